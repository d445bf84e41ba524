"""What the operation costs on a CPU: time relative to another checkout, and relative to timm's masking.

    python scripts/operation.py --against ../before/src     # time per block, this tree's to the other's
    python scripts/operation.py                             # a step of deit3_small at rate 0.5, also lean, to masking
    python scripts/operation.py --host                      # 24 blocks so narrow that only the host takes time

Steps alternate and medians are compared. Times are CPU seconds, which other load affects less.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1] / "src"
WORKER = """
import sys, time, timm, torch, cosub
way, name, size, depth, bf16 = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "bf16"
kind, compiled = way.removesuffix(", compiled"), way.endswith(", compiled")
narrow = dict(embed_dim=int(sys.argv[6]), num_heads=1) if len(sys.argv) > 6 else {}
torch._dynamo.config.recompile_limit = 64
torch.manual_seed(0)
model = timm.create_model(name, depth=depth, img_size=size, drop_path_rate=0.0, **narrow).train()
if kind == "masked":
    from timm.layers.drop import DropPath
    for block in model.blocks:
        block.drop_path1, block.drop_path2 = DropPath(0.5), DropPath(0.5)
        if compiled:
            block.compile(dynamic=False)
else:
    operation = "plain" if kind == "plain" else "efficient"
    cosub.attach(model, 0.5, copies=1, operation=operation)
    cosub.state(model).checkpointing = "lean" if kind == "lean" else "none"
    if compiled:
        cosub.compile_blocks(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
images = torch.randn(16, 3, size, size)
for line in sys.stdin:
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(images).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(time.process_time() - start, flush=True)
"""


class Worker:
    """A separate process, so that two versions of the package can alternate."""

    def __init__(self, source: Path, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORKER, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def step(self) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("step", file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def medians(workers: dict[str, Worker], repeats: int) -> dict[str, float]:
    """CPU seconds per step of each worker; steps alternate, and the first two warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(-2, repeats):
        for name, worker in workers.items():
            taken = worker.step()
            if turn >= 0:
                seconds[name].append(taken)
    for worker in workers.values():
        worker.close()
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="the src folder of another checkout")
    parser.add_argument("--host", action="store_true", help="bf16 steps of blocks so narrow that kernels take no time")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    started = time.time()
    if options.host:
        kinds = ("masked", "plain", "ours", "lean", "masked, compiled", "ours, compiled")
        shared = ("deit3_large_patch16_224", "32", "24", "bf16", "16")
        workers = {kind: Worker(HERE, kind, *shared) for kind in kinds}
        if options.against:
            there = options.against.resolve()
            workers |= {f"{kind}, other": Worker(there, kind, *shared) for kind in ("ours", "ours, compiled")}
        found = medians(workers, options.repeats)
        for kind, seconds in found.items():
            print(f"{kind}: {1e3 * seconds:.1f} ms, {seconds / found['masked']:.3f} of masked")
    elif options.against:
        for precision in ("fp32", "bf16"):
            shared = ("vit_base_patch16_224", "64")
            workers = {
                f"{tree} {depth}": Worker(source, "ours", *shared, depth, precision)
                for tree, source in (("this", HERE), ("other", options.against.resolve()))
                for depth in ("1", "3")
            }
            found = medians(workers, options.repeats)
            blocks = {tree: (found[f"{tree} 3"] - found[f"{tree} 1"]) / 2 for tree in ("this", "other")}
            print(f"{precision}: {1e3 * blocks['this']:.1f} ms per block to {1e3 * blocks['other']:.1f}: "
                  f"{blocks['this'] / blocks['other']:.3f}")  # fmt: skip
    else:
        kinds = ("ours", "lean", "masked")
        workers = {kind: Worker(HERE, kind, "deit3_small_patch16_224", "224", "12", "fp32") for kind in kinds}
        found = medians(workers, options.repeats)
        for kind in kinds[:2]:
            print(f"deit3_small, rate 0.5, 16 images, {kind}: {found[kind]:.2f} s to {found['masked']:.2f} s masked: "
                  f"{found[kind] / found['masked']:.3f}")  # fmt: skip
    print(f"{time.time() - started:.0f} s in total, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
