"""The headline metric of segmentation, in a module that needs neither torch nor transformers."""

from cosub.evaluation.metric import Metric

MIOU = Metric("mIoU", "miou")
