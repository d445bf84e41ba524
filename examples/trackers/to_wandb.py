"""A run of cosub on Weights & Biases: python examples/trackers/to_wandb.py [--epochs 3]

The same command continues a stopped run, here and there; so does `torchrun --nproc-per-node 2` in place of python.
Without an account or a network: WANDB_MODE=offline. `import trackio as wandb` works too, without `id`, because trackio
resumes a run by its name.
"""

import argparse
import os
from collections.abc import Mapping

import wandb

import cosub

OUT = "out/tracked"  # another experiment needs another
NAME = OUT.replace("/", "-")


class ToWandb:
    """A callback: what is logged, and what is evaluated; with --choose best, at the end, of the chosen epoch."""

    latest = 0.0

    def logged(self, values: Mapping[str, float]) -> None:
        wandb.log({f"training/{name}": value for name, value in values.items()}, step=int(values["step"]))

    def evaluated(self, values: Mapping[str, float]) -> None:
        chosen, self.latest = values["epoch"] < self.latest, values["epoch"]
        prefix = "chosen/" if chosen else ""
        named = {prefix + name: value for name, value in values.items() if name != "step"}
        wandb.log(named, step=int(values["step"]))


def main(epochs: int) -> None:
    settings = {"epochs": epochs, "drop_rate": 0.2, "group_size": 32}  # two groups, for one or two processes
    first = os.environ.get("RANK", "0") == "0"  # cosub calls callbacks in the first process alone
    if first:
        wandb.init(project="cosub", name=NAME, id=NAME, resume="allow", config=settings)
    run = cosub.fit("digits", out=OUT, callbacks=[ToWandb()], **settings)
    if first:
        wandb.finish()
        print(f"top-1 {run.summary['top1']:.2%} in {run.folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    main(parser.parse_args().epochs)
