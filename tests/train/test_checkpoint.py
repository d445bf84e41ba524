import os
import warnings

import pytest
import torch

from cosub.errors import RunError
from cosub.train.checkpoint import Checkpoint, DamagedCheckpoint, latest, save


def make(step: int) -> Checkpoint:
    tensor = torch.full((3,), float(step))
    return Checkpoint(step, {"network": {"w": tensor}}, {"optimizer": {"m": tensor}}, {"seconds": 1.0})


def test_round_trip_and_rotation(tmp_path):
    for step in (1, 2, 30):
        save(tmp_path, make(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000030"]
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 30
    assert torch.equal(found.weights["network"]["w"], torch.full((3,), 30.0))
    assert torch.equal(found.state["optimizer"]["m"], torch.full((3,), 30.0))


def test_damaged_newer_checkpoints_do_not_push_out_whole_ones(tmp_path):
    save(tmp_path, make(2), keep=2)
    for step in (12, 14):
        (save(tmp_path, make(step), keep=3) / "state.pt").write_bytes(b"")
    save(tmp_path, make(4), keep=1)
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 4


def test_a_full_disk_ends_the_run_and_not_the_program(tmp_path, monkeypatch):
    save(tmp_path, make(1), keep=2)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cosub.train.checkpoint.save_file", full)
    with pytest.raises(RunError, match=r"cannot be written.*No space left"):
        save(tmp_path, make(2), keep=2)
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_none_yet(tmp_path):
    assert latest(tmp_path / "checkpoints") is None


@pytest.mark.parametrize("file", ["network.safetensors", "state.pt", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "empty"])
def test_every_damage_is_passed_over_with_a_warning(tmp_path, file, damage):
    save(tmp_path, make(1), keep=2)
    path = save(tmp_path, make(2), keep=2) / file
    content = bytearray(path.read_bytes())
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "flip":
            content[len(content) // 2] ^= 0x40
            path.write_bytes(content)
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert [warning.category for warning in seen] == [DamagedCheckpoint]


def test_where_all_are_damaged_nothing_begins_anew(tmp_path):
    (save(tmp_path, make(1), keep=2) / "state.pt").unlink()
    with pytest.warns(DamagedCheckpoint), pytest.raises(RunError, match="all checkpoints are damaged; remove it"):
        latest(tmp_path)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), OSError(24, "Too many open files")])
def test_what_a_disk_refuses_is_not_damaged(tmp_path, monkeypatch, error):
    """It may be whole: an older one, with which to go on, would end with its removal."""
    save(tmp_path, make(1), keep=2)
    save(tmp_path, make(2), keep=2)

    def refused(_path):
        raise error

    monkeypatch.setattr("cosub.train.checkpoint._digest", refused)
    with pytest.raises(RunError, match=rf"step-00000002: cannot be read .*{error.strerror}"):
        latest(tmp_path)


def test_what_a_later_version_wrote_is_refused(tmp_path, monkeypatch):
    save(tmp_path, make(1), keep=2)
    monkeypatch.setattr("cosub.train.checkpoint.FORMAT", 2)
    save(tmp_path, make(2), keep=2)
    monkeypatch.setattr("cosub.train.checkpoint.FORMAT", 1)
    with pytest.raises(RunError, match="is of format 2, and this version of cosub reads 1"):
        latest(tmp_path)


def test_a_left_over_of_a_killed_write_is_no_checkpoint(tmp_path):
    save(tmp_path, make(1), keep=2)
    (tmp_path / ".step-00000002").mkdir()
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    save(tmp_path, make(2), keep=2)
    assert not (tmp_path / ".step-00000002").exists()


def test_a_pickle_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/touched",)

    import hashlib
    import json

    path = save(tmp_path, make(1), keep=2)
    torch.save(Evil(), path / "state.pt")
    meta = json.loads((path / "checkpoint.json").read_text())
    del meta["self"]
    meta["sha256"]["state.pt"] = hashlib.sha256((path / "state.pt").read_bytes()).hexdigest()
    meta["self"] = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
    (path / "checkpoint.json").write_text(json.dumps(meta))
    with pytest.raises(RunError, match="step-00000001: cannot be read"):
        latest(tmp_path)
    assert not (tmp_path / "touched").exists()
