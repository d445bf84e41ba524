"""What methods with a frozen teacher share. A checkpoint describes it, so a continued run reads no other file."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cosub.recipes.methods import CosubDistill, Distill
from cosub.train.methods.method import Builder, Method
from cosub.train.networks import Networks

TEACHER = "teacher"

Teaching = TypeVar("Teaching", bound=Distill | CosubDistill)


class TeacherMethod(Method[Teaching]):
    def networks(self, build: Builder) -> Networks:
        return Networks(others={TEACHER: build.teacher(self.config.teacher)})

    def facts(self, networks: Mapping[str, nn.Module]) -> dict[str, Any]:
        return {TEACHER: networks[TEACHER].about}


@torch.no_grad()
def teacher_logits(networks: Mapping[str, nn.Module], images: Tensor) -> Tensor:
    """The frozen teacher's logits `(B, C)` on the student's images."""
    return networks[TEACHER](images)
