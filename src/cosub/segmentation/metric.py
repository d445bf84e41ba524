"""The headline metric of segmentation. Light: importing it needs neither torch nor transformers."""

from cosub.evaluation.metric import Metric

MIOU = Metric("mIoU", "miou")
