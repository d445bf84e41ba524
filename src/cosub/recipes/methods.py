"""The methods of figure 2: which network is whose teacher, and the loss."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from tyro.conf import Fixed, Suppress

from cosub.choices import CosubKind, LabelLoss, TargetForm
from cosub.recipes.ranges import Rate, Share, Strict, require


@dataclass(frozen=True)
class Supervised(Strict):
    """Figure 2 (a): cross-entropy with the label, one submodel per image (stochastic depth)."""

    kind: Fixed[Suppress[Literal["supervised"]]] = "supervised"
    loss: LabelLoss = "bce"
    """Binary or softmax cross-entropy."""

    @property
    def targets(self) -> LabelLoss:
        return self.loss


class WithTeacher(Strict):
    """What methods with a teacher share: the weight of the label loss, and the kind of loss."""

    weight: Share
    loss: CosubKind

    @property
    def targets(self) -> LabelLoss:
        return "bce" if self.loss.startswith("bce") else "ce"


@dataclass(frozen=True)
class Cosub(WithTeacher):
    """Submodel co-training, equation 2: two submodels per image, each the other's teacher."""

    kind: Fixed[Suppress[Literal["cosub"]]] = "cosub"
    weight: Share = 0.5
    """Weight of the label loss, the paper's lambda (Table 5)."""
    loss: CosubKind = "bce-soft"
    """Binary or softmax cross-entropy, and the other's prediction as a soft or hard target (Table 3)."""


@dataclass(frozen=True)
class Distill(WithTeacher):
    """Figure 2 (b): the label, and the prediction of a frozen teacher for the same augmented image."""

    kind: Fixed[Suppress[Literal["distill"]]] = "distill"
    teacher: str = ""
    """A run's folder, an exported one, hf-hub:OWNER/NAME, or timm's name of weights, e.g. regnety_160.deit_in1k."""
    weight: Share = 0.5
    """Weight of the label loss."""
    loss: CosubKind = "bce-hard"
    """Binary or softmax cross-entropy, and the teacher's prediction as a soft or hard target."""


@dataclass(frozen=True)
class MeanTeacher(WithTeacher):
    """Figure 2 (c): the label, and the prediction of the network with averaged weights."""

    kind: Fixed[Suppress[Literal["mean-teacher"]]] = "mean-teacher"
    momentum: Rate = 0.999
    """Decay of the averaged weights, per step. The paper's values, from a small search, are not published."""
    weight: Share = 0.5
    """Weight of the label loss."""
    loss: CosubKind = "bce-soft"
    """Binary or softmax cross-entropy, and the teacher's prediction as a soft or hard target."""


@dataclass(frozen=True)
class Cotrain(WithTeacher):
    """Figure 2 (d): two networks, each the other's teacher; the first one is kept."""

    kind: Fixed[Suppress[Literal["cotrain"]]] = "cotrain"
    weight: Share = 0.5
    """Weight of the label loss."""
    loss: CosubKind = "bce-soft"
    """Binary or softmax cross-entropy, and the other's prediction as a soft or hard target."""


@dataclass(frozen=True)
class CosubDistill(WithTeacher):
    """Submodel co-training, and a frozen teacher for both submodels (Table 4, last row)."""

    kind: Fixed[Suppress[Literal["cosub-distill"]]] = "cosub-distill"
    teacher: str = ""
    """A run's folder, an exported one, hf-hub:OWNER/NAME, or timm's name of weights, e.g. regnety_160.deit_in1k."""
    weight: Share = 0.25
    """Weight of the label loss."""
    teacher_weight: Share = 0.25
    """Weight of the teacher's target; the other submodel's target has the rest."""
    loss: CosubKind = "bce-soft"
    """Binary or softmax cross-entropy, and the other submodel's prediction as a soft or hard target."""
    teacher_answer: TargetForm = "hard"
    """The teacher's prediction as a soft target (its probabilities) or a hard one (its top class)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        left = 1 - self.weight
        require(self.teacher_weight <= left, "teacher_weight", self.teacher_weight, f"must be in [0, {left:g}]")


MethodConfig = Annotated[
    Supervised | Distill | MeanTeacher | Cotrain | Cosub | CosubDistill, Field(discriminator="kind")
]
METHODS: dict[str, type[Any]] = {config.kind: config for config in get_args(get_args(MethodConfig)[0])}
