"""A run of cosub on MLflow: python examples/trackers/to_mlflow.py [--epochs 3]

The same command continues a stopped run, here and there; so does `torchrun --nproc-per-node 2` in place of python.
MLFLOW_TRACKING_URI says where, e.g. sqlite:///mlflow.db.
"""

import argparse
import contextlib
import os
from collections.abc import Mapping

import mlflow

import cosub

OUT = "out/tracked"  # another experiment needs another


class ToMLflow:
    """A callback: what is logged, and what is evaluated; with --choose best, at the end, of the chosen epoch."""

    latest = 0.0

    def logged(self, values: Mapping[str, float]) -> None:
        mlflow.log_metrics({f"training/{name}": value for name, value in values.items()}, step=int(values["step"]))

    def evaluated(self, values: Mapping[str, float]) -> None:
        chosen, self.latest = values["epoch"] < self.latest, values["epoch"]
        prefix = "chosen/" if chosen else ""
        named = {prefix + name: value for name, value in values.items() if name != "step"}
        mlflow.log_metrics(named, step=int(values["step"]))


def tracked() -> contextlib.AbstractContextManager[object]:
    """MLflow's run of this folder, begun or continued: MLflow chooses the ids, so it is found by its name."""
    mlflow.set_experiment("cosub")
    earlier = mlflow.search_runs(filter_string=f"attributes.run_name = '{OUT}'", output_format="list")
    return mlflow.start_run(earlier[0].info.run_id) if earlier else mlflow.start_run(run_name=OUT)


def main(epochs: int) -> None:
    settings = {"epochs": epochs, "drop_rate": 0.2, "group_size": 32}  # two groups, for one or two processes
    first = os.environ.get("RANK", "0") == "0"  # cosub calls callbacks in the first process alone
    with tracked() if first else contextlib.nullcontext():
        run = cosub.fit("digits", out=OUT, callbacks=[ToMLflow()], **settings)
        if first:
            mlflow.log_params({"model": run.recipe.model, **settings})
            print(f"top-1 {run.summary['top1']:.2%} in {run.folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    main(parser.parse_args().epochs)
