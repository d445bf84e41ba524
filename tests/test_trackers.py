"""Runs are sent to trackers of experiments: the examples, with the real libraries and without a network."""

import json
import re
import runpy
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "trackers"
INSTALL = "pip install 'cosub[trackers]'"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # what these libraries warn of is theirs


@pytest.fixture
def sent(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder. Gives the folder of its run."""

    def run(name: str) -> Path:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [name, "--epochs", "2"])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        found = re.search(r"^top-1 \d+\.\d\d% in (.*)$", capsys.readouterr().out, re.M)
        assert found
        return tmp_path / found[1]

    return run


def written(folder: Path) -> tuple[dict[int, float], float]:
    """The run's own record: the loss by step, and the accuracy at the end."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    return losses, json.loads((folder / "summary.json").read_text())["top1"]


def records(log: bytes) -> Iterator[bytes]:
    """Those of a .wandb file: seven bytes, then LevelDB's log, each part of a record with its length and kind."""
    place, parts = 7, b""
    while place + 7 <= len(log):
        left = 32768 - place % 32768  # in the block
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", log, place + 4)
        parts, place = parts + log[place + 7 : place + 7 + length], place + 7 + length
        if kind in (1, 4):  # the whole of a record, or its last part
            yield parts
            parts = b""


def test_weights_and_biases_gets_what_the_run_writes_down(sent, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason=f"wandb is not installed: {INSTALL}")
    from wandb.proto import wandb_internal_pb2 as messages

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    losses, top1 = written(sent("to_wandb"))
    (log,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    found: dict[int, dict[str, float]] = {}
    for data in records(log.read_bytes()):
        record = messages.Record.FromString(data)
        if record.HasField("history"):
            values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            found.setdefault(record.history.step.num, {}).update(values)
    assert {step: values["training/loss"] for step, values in found.items() if "training/loss" in values} == losses
    assert found[max(found)]["test_top1"] == top1


def test_mlflow_gets_what_the_run_writes_down(sent, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason=f"mlflow is not installed: {INSTALL}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    folder = sent("to_mlflow")
    losses, top1 = written(folder)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    history = client.get_metric_history(folder.name, "training/loss")
    assert {item.step: item.value for item in history} == pytest.approx(losses)
    tracked = client.get_run(folder.name).data
    assert tracked.metrics["test_top1"] == pytest.approx(top1)
    assert tracked.params["model"] == json.loads((folder / "recipe.json").read_text())["model"]
