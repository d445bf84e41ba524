"""Training methods behind one protocol. The loop knows none of them."""

from collections.abc import Mapping
from typing import Literal, Protocol

from torch import Tensor, nn

from cosub.recipes.methods import Cosub, CosubDistill, Cotrain, Distill, MeanTeacher, MethodConfig, Supervised
from cosub.train.methods.cosub import CosubMethod
from cosub.train.methods.cosub_distill import CosubDistillMethod
from cosub.train.methods.cotrain import CotrainMethod
from cosub.train.methods.distill import DistillMethod
from cosub.train.methods.mean_teacher import MeanTeacherMethod
from cosub.train.methods.supervised import SupervisedMethod

Other = Literal["", "peer", "teacher", "mean-teacher"]


class Method(Protocol):
    """From a batch to a loss."""

    @property
    def copies(self) -> int:
        """Submodels an image."""
        ...

    @property
    def needs(self) -> Other:
        """What is there besides the network: a second one that is trained, a frozen teacher, or averaged weights."""
        ...

    def __call__(self, networks: Mapping[str, nn.Module], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and logits `(copies * B, C)`, of images `(B, 3, H, W)` with dense targets `(B, C)`.

        `networks` holds "network" and, by name, what the method needs. Those that are trained have their submodels set.
        """
        ...


def build(config: MethodConfig) -> Method:
    match config:
        case Supervised():
            return SupervisedMethod(config.loss)
        case Distill():
            return DistillMethod(config.weight, config.loss)
        case MeanTeacher():
            return MeanTeacherMethod(config.weight, config.loss)
        case Cotrain():
            return CotrainMethod(config.weight, config.loss)
        case Cosub():
            return CosubMethod(config.weight, config.loss)
        case CosubDistill():
            return CosubDistillMethod(config.weight, config.teacher_weight, config.loss, config.teacher_answer)
