"""What it saves to use freed memory again (`cosub.runs.cpu.keep_freed_memory`): CPU seconds of a training step.

    python scripts/allocating.py [MODEL ...] [--repeats 3]

A process with and a process without it take turns, with one thread each; 16 images of 224 pixels, two submodels each.
CPU seconds, those in the system beside the program's own, do not depend on what else the machine does, as time does.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

MODELS = ["tf_efficientnet_lite0", "resnet50", "convnext_tiny", "deit3_small_patch16_224"]
STEPS = 4  # and one before them


def steps(name: str) -> dict[str, float]:
    """Medians of CPU seconds, the program's and the system's, and the most memory of the process in MiB."""
    import timm
    import torch

    import cosub

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = cosub.attach(timm.create_model(name).train(), drop_rate=0.05, copies=2, seed=0)
    optimizer = torch.optim.AdamW(model.parameters())
    images, targets = torch.randn(16, 3, 224, 224), torch.randint(0, 1000, (16,))
    taken = []
    for _ in range(STEPS + 1):
        before = resource.getrusage(resource.RUSAGE_SELF)
        cosub.cosub_loss(model(images), targets, weight=0.5).backward()
        optimizer.step()
        optimizer.zero_grad()
        after = resource.getrusage(resource.RUSAGE_SELF)
        taken.append((after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime))
    own, system = (statistics.median(values) for values in zip(*taken[1:], strict=True))
    return {"own": own, "system": system, "MiB": after.ru_maxrss / 1024}


def measured(name: str, kept: bool) -> dict[str, float]:
    words = [sys.executable, __file__, name, "--child", "kept" if kept else "plain"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    return json.loads(subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=["kept", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        from cosub.runs import cpu

        if options.child == "kept":
            cpu.keep_freed_memory()
        print(json.dumps(steps(options.models[0])))
        return
    for name in options.models:
        turns = [(measured(name, False), measured(name, True)) for _ in range(options.repeats)]
        plain, kept = (
            {key: statistics.median(t[key] for t in side) for key in side[0]} for side in zip(*turns, strict=True)
        )
        ratio = (kept["own"] + kept["system"]) / (plain["own"] + plain["system"])
        print(f"{name:<26} {_row(plain)}   kept: {_row(kept)}   ratio {ratio:.2f}", flush=True)


def _row(values: dict[str, float]) -> str:
    return f"{values['own']:.2f} + {values['system']:.2f} s in the system, {values['MiB']:,.0f} MiB"


if __name__ == "__main__":
    main()
