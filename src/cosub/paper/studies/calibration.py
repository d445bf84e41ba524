"""Cross-entropy of a finished run with a fitted temperature: how good its probabilities are, at any accuracy."""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from cosub.errors import InputError
from cosub.evaluation.candidates import open_network
from cosub.evaluation.images import source_of_run
from cosub.evaluation.report.calibration import calibrate
from cosub.evaluation.report.scoring import score
from cosub.runs.folder import RunFolder, write_atomically


def calibration_of(folder: Path) -> dict[str, float]:
    """Cross-entropy in nats per test image, with the network's own probabilities (`loss`) and with a temperature fitted
    on the validation images (`loss_scaled`). Measured once, and kept in the run's folder.

    Raises:
        InputError: if the run has no validation images beside those of the test.
    """
    path = folder / "calibration.json"
    if not path.exists():
        write_atomically(path, json.dumps(_measured(folder), indent=2) + "\n")
    return json.loads(path.read_text())


def _measured(folder: Path) -> dict[str, float]:
    candidate = open_network(str(folder))
    source = source_of_run(candidate.recipe.data, candidate.classes)
    if source.validation is None or source.validation is source.test:
        raise InputError(f"run: {folder}: has no validation images to fit a temperature on")
    trained_on = torch.device(RunFolder(folder).read_summary()["device"])
    device = trained_on if trained_on.type == "cpu" or torch.cuda.is_available() else torch.device("cpu")
    candidate.network.to(device)
    fitted, measured = (score(candidate, part, device) for part in (source.validation, source.test))
    found = asdict(calibrate(fitted, measured, ()))
    return {name: round(found[name], 6) for name in ("loss", "loss_scaled", "temperature")}
