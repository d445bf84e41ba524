"""Many processes against one: the same run, replicated (DDP) or sharded (FSDP2)."""

import json
from collections.abc import Mapping

import pytest
import torch
from tiny import run, run_and_kill, run_together, tiny, weights

from cosub import checkpoint as checkpoints
from cosub.run import RunFolder

# Dropout inside the network is drawn for a micro-step as a whole, so it is off here.
PLAIN = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def recipe(out, **changes):
    """28 steps of six groups, which one, two and three processes divide; the test images, 360, they do not all."""
    changes = {"model_args": PLAIN, "batch_size": 96, "epochs": 2, "ema": 0.9, **changes}
    return tiny(out, **changes)


def close(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    return out, run(recipe(out))


@pytest.mark.parametrize(
    ("processes", "parallel", "micro_steps"),
    [(2, "ddp", 1), (3, "ddp", 2), (2, "fsdp", 1), (3, "fsdp", 2)],
)
def test_equal_one_process(alone, tmp_path, processes, parallel, micro_steps):
    out, expected = alone
    facts = run_together(recipe(tmp_path / "run", parallel=parallel, micro_steps=micro_steps), processes)
    assert facts == {"processes": processes, "sharded": [parallel == "fsdp"]}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["processes"], summary["steps"], summary["num_images"]) == (processes, 28, 360)
    close(weights(out), weights(tmp_path / "run"))  # the averaged network
    ours, theirs = (checkpoints.latest(folder / "checkpoints") for folder in (tmp_path / "run", out))
    close(ours.weights["network"], theirs.weights["network"])
    for key in ("top1", "top5", "top1_submodels"):
        assert summary[key] == expected[key]


@pytest.mark.parametrize(("before", "after"), [("fsdp", None), (None, "fsdp"), ("fsdp", "ddp")])
def test_a_checkpoint_knows_no_number_of_processes(alone, tmp_path, before, after, monkeypatch):
    """Written by two sharded processes and read by one, and the other way round."""
    out = tmp_path / "run"
    stop = recipe(out, **({"parallel": before} if before else {}), checkpoint_every=5)
    if before:
        run_together(stop, 2, stop_at=9)  # by a signal to one of them
    else:
        run_and_kill(stop, 11, "_train_step")
    assert checkpoints.latest(out / "checkpoints").step == 10
    go_on = recipe(out, **({"parallel": after} if after else {}))
    if after:
        assert run_together(go_on, 2)["processes"] == 2
    else:
        run(go_on)
    assert RunFolder(out).read_summary()["steps"] == 28
    close(weights(alone[0]), weights(out))
