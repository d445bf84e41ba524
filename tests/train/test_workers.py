"""How many processes load images by default."""

import os

import pytest
import torch
from tiny import tiny

from cosub.recipes.data import Digits, Folder
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
