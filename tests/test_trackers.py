"""Runs are sent to trackers of experiments: the examples, with the real libraries and without a network."""

import contextlib
import json
import os
import re
import runpy
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cosub

EXAMPLES = Path(__file__).parents[1] / "examples" / "trackers"
PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
INSTALL = "pip install 'cosub[trackers]'"

fit = cosub.fit


def real(test: Any) -> Any:
    """A test with the real library; what it warns of is its own."""
    return pytest.mark.slow(pytest.mark.filterwarnings("ignore")(test))


def start(name: str) -> None:
    """As `python examples/trackers/NAME.py --epochs 2`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [name, "--epochs", "2"])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """Start an example in an empty folder, and stop it amid its second epoch."""

    class Stop:
        def logged(self, values: Any) -> None:
            if values["step"] == 30:
                os.kill(os.getpid(), signal.SIGTERM)

        def evaluated(self, values: Any) -> None: ...

    def run(name: str) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cosub, "fit", lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, Stop()], **k))
            with pytest.raises(cosub.Stopped, match="step 30 of 44"):
                start(name)

    return run


@pytest.fixture
def sent(tmp_path, capsys):
    """Start an example. Gives the folder of its run."""

    def run(name: str) -> Path:
        start(name)
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


def history_of(log: Path) -> dict[int, dict[str, float]]:
    """What a .wandb file says by step."""
    from wandb.proto import wandb_internal_pb2 as messages

    found: dict[int, dict[str, float]] = {}
    for data in records(log.read_bytes()):
        record = messages.Record.FromString(data)
        if record.HasField("history"):
            values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            found.setdefault(record.history.step.num, {}).update(values)
    return found


@real
def test_weights_and_biases_gets_what_the_run_writes_down(stopped, sent, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason=f"wandb is not installed: {INSTALL}")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    stopped("to_wandb")
    wandb.finish(exit_code=1)  # as the end of the process does
    losses, top1 = written(sent("to_wandb"))
    parts = sorted((tmp_path / "wandb").glob("offline-run-*-out-tracked/run-out-tracked.wandb"))
    assert len(parts) == 2  # of one run, by its id
    first, second = map(history_of, parts)
    assert max(first) == 30
    assert min(second) == 31
    found = first | second
    assert {step: values["training/loss"] for step, values in found.items() if "training/loss" in values} == losses
    assert found[max(found)]["test_top1"] == top1


@real
def test_mlflow_gets_what_the_run_writes_down(stopped, sent, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason=f"mlflow is not installed: {INSTALL}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    stopped("to_mlflow")
    folder = sent("to_mlflow")
    losses, top1 = written(folder)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("cosub").experiment_id])
    assert (tracked.info.run_name, tracked.info.status) == ("out/tracked", "FINISHED")
    history = client.get_metric_history(tracked.info.run_id, "training/loss")
    assert {item.step: item.value for item in history} == pytest.approx(losses)
    assert tracked.data.metrics["test_top1"] == pytest.approx(top1)
    assert tracked.data.params["model"] == json.loads((folder / "recipe.json").read_text())["model"]


# --- without the libraries


class Tracker:
    """In place of wandb or mlflow: what is called, with what."""

    def __init__(self, earlier: list[Any]) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.earlier = earlier

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            return self.earlier if name == "search_runs" else contextlib.nullcontext()

        return call

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


@pytest.fixture
def tracked(monkeypatch):
    """Start an example whose training takes no time. Gives what the tracker was called with, and the run's folder."""

    def run(name: str, rank: str | None = None, earlier: Any = ()) -> tuple[Tracker, str]:
        folders, tracker = [], Tracker(list(earlier))

        def done(recipe: str, out: str, **_: Any) -> Any:
            folders.append(out)
            return SimpleNamespace(recipe=SimpleNamespace(model="x"), summary={"top1": 0.5}, folder=out)

        monkeypatch.setattr(cosub, "fit", done)
        monkeypatch.setitem(sys.modules, name.removeprefix("to_"), tracker)
        monkeypatch.delenv("RANK", raising=False)
        if rank is not None:
            monkeypatch.setenv("RANK", rank)
        start(name)
        return tracker, *folders

    return run


def test_a_second_start_continues_the_run_of_weights_and_biases(tracked):
    (first, out), (second, again) = tracked("to_wandb"), tracked("to_wandb", "0")
    assert out == again
    ((_, given),) = first.of("init")
    assert first.of("init") == second.of("init")
    assert given["resume"] == "allow"
    assert given["id"] == given["name"] == out.replace("/", "-")
    assert not set(given["id"]) & set("/\\#?%:")  # which W&B refuses


def test_a_second_start_continues_the_run_of_mlflow(tracked):
    first, out = tracked("to_mlflow")
    assert first.of("search_runs")[0][1]["filter_string"] == f"attributes.run_name = '{out}'"
    assert first.of("start_run") == [((), {"run_name": out})]
    second, again = tracked("to_mlflow", "0", [SimpleNamespace(info=SimpleNamespace(run_id="7"))])
    assert (again, second.of("start_run")) == (out, [(("7",), {})])


@pytest.mark.parametrize("name", ["to_wandb", "to_mlflow"])
def test_of_several_processes_one_is_tracked(tracked, name, capsys):
    (first, out), (second, other) = tracked(name, "0"), tracked(name, "1")
    assert first.calls
    assert second.calls == []
    assert out == other  # where all of them train
    assert capsys.readouterr().out.count("top-1") == 1


def test_the_page_sends_a_run_of_the_command_line(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```py\n(.*?)^```", PAGE, re.S | re.M)
    lines = [{"step": 1, "loss": 0.5, "epoch": 0.5}, {"step": 2, "loss": 0.25, "epoch": 1.0}, {"step": 2, "top1": 0.75}]
    (tmp_path / "out" / "mine").mkdir(parents=True)
    (tmp_path / "out" / "mine" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    tracker = Tracker([])
    monkeypatch.setitem(sys.modules, "wandb", tracker)
    exec(code, {})
    assert len(tracker.of("init")) == 1
    assert tracker.of("log") == [
        ((values,), {"step": step})
        for step, values in [(1, {"loss": 0.5, "epoch": 0.5}), (2, {"loss": 0.25, "epoch": 1.0}), (2, {"top1": 0.75})]
    ]
