"""A run of cosub on MLflow: python examples/trackers/to_mlflow.py [--epochs 3]

MLFLOW_TRACKING_URI says where, e.g. sqlite:///mlflow.db.
"""

import argparse
from collections.abc import Mapping

import mlflow

import cosub


class ToMLflow:
    """A callback: what is logged, and what is evaluated; with --choose best, at the end, of the chosen epoch."""

    latest = 0.0

    def logged(self, values: Mapping[str, float]) -> None:
        mlflow.log_metrics({f"training/{name}": value for name, value in values.items()}, step=int(values["step"]))

    def evaluated(self, values: Mapping[str, float]) -> None:
        chosen, self.latest = values["epoch"] < self.latest, values["epoch"]
        named = {f"chosen/{name}": value for name, value in values.items()} if chosen else dict(values)
        mlflow.log_metrics(named, step=int(values["step"]))


def main(epochs: int) -> None:
    mlflow.set_experiment("cosub")
    with mlflow.start_run() as tracked:
        out = f"out/{tracked.info.run_id}"
        run = cosub.fit("digits", epochs=epochs, out=out, callbacks=[ToMLflow()])
        mlflow.log_params({"model": run.recipe.model, "drop_rate": run.recipe.drop_rate, "seed": run.recipe.seed})
    print(f"top-1 {run.summary['top1']:.2%} in {run.folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    main(parser.parse_args().epochs)
