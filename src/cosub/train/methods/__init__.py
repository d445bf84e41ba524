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


def build(config: MethodConfig) -> Method:
    """The method that a recipe names."""
    match config:
        case Supervised():
            return SupervisedMethod(config.loss)
        case Distill():
            return DistillMethod(config.teacher, config.weight, config.loss)
        case MeanTeacher():
            return MeanTeacherMethod(config.weight, config.momentum, config.loss)
        case Cotrain():
            return CotrainMethod(config.weight, config.loss)
        case Cosub():
            return CosubMethod(config.weight, config.loss)
        case CosubDistill():
            weights = config.weight, config.teacher_weight
            return CosubDistillMethod(config.teacher, *weights, config.loss, config.teacher_answer)
