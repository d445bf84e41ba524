"""Training methods (figure 2 and table 4), one per file. The loop knows none of them by name."""

from cosub.recipes.methods import Cosub, CosubDistill, Cotrain, Distill, MeanTeacher, MethodConfig, Supervised
from cosub.train.methods.cosub import CosubMethod
from cosub.train.methods.cosub_distill import CosubDistillMethod
from cosub.train.methods.cotrain import CotrainMethod
from cosub.train.methods.distill import DistillMethod
from cosub.train.methods.mean_teacher import MeanTeacherMethod
from cosub.train.methods.method import Builder, Method
from cosub.train.methods.supervised import SupervisedMethod

__all__ = ["Builder", "Method", "build"]

_METHODS: dict[type, type[Method]] = {
    Supervised: SupervisedMethod,
    Distill: DistillMethod,
    MeanTeacher: MeanTeacherMethod,
    Cotrain: CotrainMethod,
    Cosub: CosubMethod,
    CosubDistill: CosubDistillMethod,
}


def build(config: MethodConfig) -> Method:
    """The method that a recipe names."""
    return _METHODS[type(config)](config)
