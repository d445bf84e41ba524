"""What methods with a frozen teacher share. A checkpoint describes it, so a continued run reads no other file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cosub.train.methods.method import Builder, Method
from cosub.train.networks import Networks

TEACHER = "teacher"


@dataclass(frozen=True)
class TeacherMethod(Method):
    teacher: str
    """A finished run's folder, an exported folder, or a name of timm's weights."""

    def networks(self, build: Builder) -> Networks:
        return Networks(others={TEACHER: build.teacher(self.teacher)})

    def facts(self, networks: Mapping[str, nn.Module]) -> dict[str, Any]:
        return {TEACHER: networks[TEACHER].about}


@torch.no_grad()
def teacher_logits(networks: Mapping[str, nn.Module], images: Tensor) -> Tensor:
    """The frozen teacher's logits `(B, C)` on the student's images."""
    return networks[TEACHER](images)
