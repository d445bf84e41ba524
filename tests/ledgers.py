"""Ledgers of runs that were not trained."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cosub.paper.studies.grid import Run
from cosub.paper.studies.ledger import Ledger


def line(run: Run, top1: float, **more: Any) -> dict[str, Any]:
    """What a run would have written."""
    return {
        "study": run.study.name,
        "cell": run.cell.name,
        "recipe": run.recipe.name,
        "seed": run.seed,
        "key": run.key,
        "commit": "abc",
        "device": "cpu, 1 thread",
        "steps": 4,
        "seconds": 2.0,
        "top1": top1,
        "validation_top1": top1 - 0.1,
        "top1_submodels": {"0.5": top1 / 2},
        "loss_scaled": 1 - top1,
        "curve": [[1, 0.995, 0.5], [2, 1.0, 0.6]],
        **more,
    }


def ledger_of(path: Path, lines: Iterable[dict[str, Any]]) -> Ledger:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return Ledger(path)
