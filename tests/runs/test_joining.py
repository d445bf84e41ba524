"""How the processes of a run find each other, and what is said where they do not."""

from contextlib import nullcontext

import pytest
import torch.distributed as dist

from cosub.errors import InputError, RunError, Stopped
from cosub.runs.distributed import join, leaving

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}


@pytest.fixture
def alone(monkeypatch):
    """Processes that cannot reach each other, as where a host's name is that of its loopback."""

    def refused(*_arguments, **_more):
        raise RuntimeError("Gloo connectFullMesh failed with SO_ERROR: Connection refused, remote=[127.0.1.1]:39271")

    monkeypatch.setattr(dist, "init_process_group", refused)
    monkeypatch.setattr(dist, "is_initialized", lambda: False)


@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "2"}, "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network interface"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, "their own messages say why"),
        ({"WORLD_SIZE": "4"}, "use torchrun"),
    ],
    ids=["nodes", "a-node", "no-torchrun"],
)
def test_processes_that_cannot_join_are_told_what_to_do(alone, monkeypatch, place, remedy):
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=rf"others do not respond \(Gloo .*127\.0\.1\.1.*\): .*{remedy}"):
        join("cpu")


def test_tasks_of_srun_without_torchrun_are_refused(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    with pytest.raises(InputError, match=r"SLURM_STEP_NUM_TASKS=8: .* as scripts/slurm\.sbatch does"):
        join("cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")  # a run of its own in each task
    assert join("cpu").size == 1


@pytest.mark.parametrize(
    "place",
    [
        {"SLURM_NTASKS": "8", "SLURM_NPROCS": "8", "SLURM_PROCID": "0", "SLURM_NTASKS_PER_NODE": "8"},
        {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_ID": "4294967290"},
        {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_NTASKS": "1"},
    ],
    ids=["batch-script", "interactive", "array"],
)
def test_a_job_of_several_tasks_may_train_in_one(monkeypatch, place):
    """Variables as Slurm sets them (src/common/env.c): a batch script has no number of tasks of a step."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    assert join("cpu").size == 1


@pytest.mark.parametrize(
    ("error", "backend", "left"),
    [
        (None, "cpu:gloo,cuda:nccl", True),
        (Stopped("by all together"), "cpu:gloo,cuda:nccl", True),
        (RunError("of one"), "cpu:gloo,cuda:nccl", False),
        (KeyboardInterrupt(), "cpu:gloo,cuda:nccl", False),
        (RunError("of one"), "gloo", True),
    ],
)
def test_nccl_is_not_waited_for_after_an_error(monkeypatch, error, backend, left):
    """`destroy_process_group` would, and the error would not be read before a watchdog ends the process."""
    calls = []
    monkeypatch.setattr(dist, "get_backend", lambda: backend)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("destroyed"))
    with pytest.raises(type(error)) if error else nullcontext(), leaving():
        if error:
            raise error
    assert calls == ["destroyed"] * left


def test_processes_of_one_machine_are_not_put_on_one_gpu(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"device: 'cuda:1': 2 processes of this machine would share it; leave it out"):
        join("cuda:1")
