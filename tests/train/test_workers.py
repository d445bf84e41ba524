"""How many processes load images by default."""

import os
from types import SimpleNamespace

import pytest
import torch
from tiny import run, tiny

from cosub.recipes.data import Digits, Folder
from cosub.recipes.files import read_run
from cosub.runs.distributed import World
from cosub.train.workers import with_workers


def found(out, device="cuda", processes=1, **settings):
    world = World(0, processes, torch.device(device), local_size=processes)
    return with_workers(tiny(out, **settings), world).runtime.workers


@pytest.mark.parametrize(("processes", "workers"), [(1, 16), (2, 11), (8, 2), (24, 0), (48, 0)])
def test_on_a_gpu_the_processes_of_a_machine_share_its_cpus(tmp_path, monkeypatch, processes, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(24), raising=False)
    assert found(tmp_path, processes=processes, data=Folder(path="somewhere")) == workers


def test_elsewhere_and_for_images_in_memory_training_loads_them_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(24), raising=False)
    assert found(tmp_path, "cpu", data=Folder(path="somewhere")) == 0
    assert found(tmp_path, data=Folder(path="somewhere", on_device=True)) == 0
    assert found(tmp_path, data=Digits()) == 0
    assert found(tmp_path, data=Folder(path="somewhere"), workers=3) == 3


def test_no_more_workers_than_shared_memory_holds_the_batches_of(tmp_path, monkeypatch):
    """Half of it: a container has 64 MB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(24), raising=False)
    settings = {"data": Folder(path="somewhere"), "resolution": 224, "batch_size": 256, "group_size": 32}
    batch = 256 * 3 * 224 * 224
    for free, workers in ((2**26, 0), (4 * batch + 4096, 1), (24 * batch + 4096, 6), (2**40, 16)):
        monkeypatch.setattr(os, "statvfs", lambda _, free=free: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))
        assert found(tmp_path, **settings) == workers
    assert found(tmp_path, micro_steps=8, **settings) == 16  # evaluation has batches of 256 all the same


def test_a_recipe_is_written_as_it_was_asked_for(tmp_path):
    """Its number of workers is that of the machine, and another machine has another."""
    run(tiny(tmp_path / "run"))
    assert read_run(tmp_path / "run").runtime.workers is None
