"""What identifies the data is read from disk once per machine, and is the same in all of its processes."""

import os
import time
from pathlib import Path

import pytest
import torch
from tiny import TINY, run, tiny, together

from cosub.errors import InputError, RunError
from cosub.runs.distributed import World, join

MACHINES = {0: 0, 1: 1, 2: 0}  # local rank by rank: the first two processes are on one machine


def _ask(out: str, failing: int = -1, seconds: int = 0, timeout: int = 600) -> None:
    rank = int(os.environ["RANK"])
    os.environ["LOCAL_RANK"] = str(MACHINES[rank])
    world = join("cpu", timeout)

    def action() -> str:
        Path(out, f"ran-{rank}").touch()
        time.sleep(seconds)
        if rank == failing:
            raise InputError("data.path: x: is away; bring it back")
        return f"from {rank}"

    try:
        found = world.once_per_node(action)
    except InputError as error:
        Path(out, f"error-{rank}").write_text(str(error))
        raise
    Path(out, f"found-{rank}").write_text(found)


def texts(out: Path, what: str) -> list[str]:
    return [path.read_text() for path in sorted(out.glob(f"{what}-*"))]


def test_the_first_process_of_each_machine_does_it_for_the_others(tmp_path):
    assert together(3, _ask, str(tmp_path)) == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.glob("ran-*")) == ["ran-0", "ran-2"]
    assert texts(tmp_path, "found") == ["from 0", "from 0", "from 2"]


@pytest.mark.parametrize("failing", [0, 2])
def test_its_error_is_that_of_all(tmp_path, failing):
    assert together(3, _ask, str(tmp_path), failing) == [InputError.status] * 3
    assert texts(tmp_path, "error") == ["data.path: x: is away; bring it back"] * 3


@pytest.mark.slow
def test_the_others_wait_longer_than_for_a_collective_operation(tmp_path):
    assert together(3, _ask, str(tmp_path), -1, 25, 15) == [0, 0, 0]


def test_alone_it_is_done_here():
    assert World(0, 1, torch.device("cpu")).once_per_node(lambda: 7) == 7


def _train(out: str) -> None:
    from cosub.train import same_data

    def counted(*_) -> str:
        Path(out, f"ran-{os.environ['RANK']}").touch()
        return "mark"

    same_data.mark = counted
    run(tiny(Path(out, "run"), model_args=TINY))


def test_a_run_reads_the_files_of_its_data_once(tmp_path):
    assert together(2, _train, str(tmp_path)) == [0, 0]
    assert [path.name for path in tmp_path.glob("ran-*")] == ["ran-0"]


def _one_has_no_data(out: str) -> None:
    world = join("cpu", 600)
    if not world.main:
        raise InputError("data.path: x: is missing; name a folder")
    world.once_per_node(lambda: 7)


def test_a_process_that_ended_before_is_not_waited_for(tmp_path):
    """Making a group would, for as long as an action may take."""
    assert together(2, _one_has_no_data, str(tmp_path)) == [RunError.status, InputError.status]


def _odd(out: str) -> None:
    class Odd(Exception):
        """Of a class that no other process has."""

    def action() -> int:
        raise Odd("of this process")

    try:
        join("cpu", 600).once_per_node(action)
    except RunError as error:
        Path(out, f"error-{os.environ['RANK']}").write_text(str(error))
        raise


def test_an_error_that_others_cannot_read_is_told_in_words(tmp_path):
    assert together(2, _odd, str(tmp_path)) == [RunError.status] * 2
    assert texts(tmp_path, "error") == ["Odd('of this process')"] * 2
