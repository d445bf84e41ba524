"""A run of cosub on Weights & Biases: python examples/trackers/to_wandb.py [--epochs 3]

Without an account or a network: WANDB_MODE=offline.
"""

import argparse
from collections.abc import Mapping

import wandb

import cosub


class ToWandb:
    """A callback: what is logged, and what is evaluated; with --choose best, at the end, of the chosen epoch."""

    latest = 0.0

    def logged(self, values: Mapping[str, float]) -> None:
        wandb.log({f"training/{name}": value for name, value in values.items()}, step=int(values["step"]))

    def evaluated(self, values: Mapping[str, float]) -> None:
        chosen, self.latest = values["epoch"] < self.latest, values["epoch"]
        named = {f"chosen/{name}": value for name, value in values.items()} if chosen else dict(values)
        wandb.log(named, step=int(values["step"]))


def main(epochs: int) -> None:
    with wandb.init(project="cosub") as tracked:
        run = cosub.fit("digits", epochs=epochs, out=f"out/{tracked.id}", callbacks=[ToWandb()])
        tracked.config.update({"model": run.recipe.model, "drop_rate": run.recipe.drop_rate, "seed": run.recipe.seed})
    print(f"top-1 {run.summary['top1']:.2%} in {run.folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    main(parser.parse_args().epochs)
