"""How long OpenMP's threads may spin for one another: seconds of training, idle and beside one other busy process.

python scripts/spinning.py [--repeats 5] [--counts 300000 1000] [--idle-only]

300000 is what GNU's OpenMP does by itself. The cases take turns within each repeat, in another order each time;
medians are given, and ratios to the first count. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SPIN = "while True: pass"


def environment(count: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    return {**kept, "GOMP_SPINCOUNT": count}


def cosub(count: str, *words: str) -> dict:
    command = [sys.executable, "-m", "cosub", *words, "--json"]
    done = subprocess.run(command, env=environment(count), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def digits(count: str) -> float:
    """Seconds of 44 steps of the digits' recipe, evaluation included."""
    with tempfile.TemporaryDirectory() as folder:
        return cosub(count, "train", "digits", "--epochs", "2", "--device", "cpu", "--out", str(Path(folder, "run")))[
            "seconds"
        ]


def vit(count: str) -> float:
    """Seconds of a step of ViT-S at 224 pixels: 8 images, two submodels each; the median of five."""
    words = ["--model", "deit3_small_patch16_224", "--batch-size", "8", "--repeats", "5", "--methods", "cosub"]
    return cosub(count, "bench", "step", *words, "--device", "cpu")["seconds"]["cosub"]


CASES: dict[str, Callable[[str], float]] = {"digits, 2 epochs": digits, "ViT-S at 224, a step": vit}


@contextmanager
def beside(busy: bool) -> Iterator[None]:
    """One other process that computes all the time, or none."""
    other = subprocess.Popen([sys.executable, "-c", SPIN]) if busy else None
    try:
        yield
    finally:
        if other is not None:
            other.kill()
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--counts", nargs="+", default=["300000", "1000"])
    parser.add_argument("--idle-only", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so the processes that it started end too
    found: dict[tuple[bool, str, str], list[float]] = defaultdict(list)
    for repeat in range(options.repeats):
        turns = [(busy, case, count) for busy in (False, True) for case in CASES for count in options.counts]
        random.Random(repeat).shuffle(turns)
        for busy, case, count in turns:
            if busy and options.idle_only:
                continue
            with beside(busy):
                found[busy, case, count].append(CASES[case](count))
            print(f"{'busy' if busy else 'idle'}  {case}  {count}: {found[busy, case, count][-1]:.3f} s", flush=True)
    print(f"\n{os.cpu_count()} CPUs, medians of {options.repeats}")
    for (busy, case, count), seconds in sorted(found.items(), key=lambda item: item[0][:2]):
        base = statistics.median(found[busy, case, options.counts[0]])
        middle = statistics.median(seconds)
        print(f"{'busy' if busy else 'idle'}  {case:<22} spins {count:>7}  {middle:.3f} s  ratio {middle / base:.3f}")


if __name__ == "__main__":
    main()
