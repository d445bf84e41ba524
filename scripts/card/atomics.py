"""What atomic additions of rows cost: whole steps of co-training, beside two experiments that do without."""

import dataclasses
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from card.permuted import Permuted
from card.row import Setup
from card.steps import CO_TRAINING, Steps, timings
from cosub import residual
from cosub.bench.step import candidate
from cosub.losses import cosub_loss


def atomics(setup: Setup) -> dict[str, Any]:
    """ViT-L, rate 0.45, 192 images, compiled by blocks: the kernel in place and the permuted stream to `index_add`."""
    from card.in_place import Add, Gather  # needs Triton, which not every build of torch brings

    steps = Steps("deit3_large_patch16_224", 0.45, 192, CO_TRAINING)
    case, device = steps.case(setup), torch.device(setup.device)
    compiled = dataclasses.replace(case, compiled=True)
    ours, other = (candidate(compiled, "cosub", device) for _ in range(2))
    plain = candidate(case, "masked", device)  # its drop paths are not called
    run = Permuted(plain.networks["network"], case.drop_rate, case.backend)

    def in_place(images: Tensor, targets: Tensor) -> Tensor:
        with mock.patch.multiple(residual, _Gather=Gather, _Add=Add):
            return other.loss(images, targets)

    def permuted(images: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(setup.device, torch.bfloat16):
            return cosub_loss(run(images), targets)

    ways = {
        "index_add": ours,
        "in place": dataclasses.replace(other, loss=in_place),
        "permuted": dataclasses.replace(plain, loss=permuted),
    }
    return timings(ways, case, device, 1 if setup.tiny else steps.repeats)
