"""How far confidence can be trusted: temperature, calibration error, and below which confidence to reject."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional as F

from cosub.evaluation.report.scoring import Scored

BINS = 15
_RANGE = (math.log(0.02), math.log(50.0))  # of temperatures


@dataclass(frozen=True)
class Rejection:
    """Where to reject for a precision: `confidence` was chosen on the images that were fitted on, the rest measured on
    others. None where no confidence reaches the precision there."""

    precision: float
    confidence: float | None
    kept: float | None = None
    """Share of the images whose confidence is as high."""
    measured: float | None = None
    """Share of those that are right; None where none is kept."""
    interval: tuple[float, float] | None = None
    """95%, Wilson's."""


@dataclass(frozen=True)
class Calibration:
    """Errors in [0, 1] and mean losses in nats, with the network's own confidence and with the logits divided by the
    temperature, on images that the temperature was not fitted on."""

    temperature: float
    ece: float
    ece_scaled: float
    loss: float
    loss_scaled: float
    fitted_images: int
    measured_images: int
    rejections: tuple[Rejection, ...]


def calibrate(fitted: Scored, measured: Scored, precisions: Sequence[float]) -> Calibration:
    """Temperature and rejection from the first set; what they do, from the second."""
    temperature = fit_temperature(fitted)
    scaled = measured.logits / temperature
    return Calibration(
        temperature=temperature,
        ece=calibration_error(measured.logits, measured.labels),
        ece_scaled=calibration_error(scaled, measured.labels),
        loss=float(F.cross_entropy(measured.logits, measured.labels)),
        loss_scaled=float(F.cross_entropy(scaled, measured.labels)),
        fitted_images=len(fitted),
        measured_images=len(measured),
        rejections=tuple(_reject(fitted, measured, precision) for precision in precisions),
    )


def fit_temperature(scored: Scored) -> float:
    """What the logits are to be divided by, so that cross-entropy is lowest (Guo et al., 2017)."""
    logits, labels = scored.logits.double(), scored.labels

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), labels))

    found = minimize_scalar(loss, bounds=_RANGE, method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)


def calibration_error(logits: Float[Tensor, "N C"], labels: Tensor) -> float:
    """Expected calibration error: |accuracy - confidence|, over equal bins of confidence, weighted by their images."""
    mean, accuracy, counts = reliability(logits.softmax(1).amax(1), logits.argmax(1) == labels)
    return float(np.nansum(counts * np.abs(accuracy - mean)) / counts.sum())


def reliability(
    confidence: Float[Tensor, " N"], right: Bool[Tensor, " N"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each bin of confidence: mean confidence, accuracy (both NaN where it is empty), and number of images.

    A confidence of 1 is in the last bin.
    """
    places = (confidence * BINS).long().clamp(max=BINS - 1)
    counts = torch.bincount(places, minlength=BINS).double()
    sums = [torch.bincount(places, weights=values.double(), minlength=BINS) for values in (confidence, right)]
    mean, accuracy = ((total / counts).numpy() for total in sums)
    return mean, accuracy, counts.numpy()


def least_confidence(confidence: Tensor, right: Tensor, precision: float) -> float | None:
    """The lowest confidence such that of the images with as much, that share is right; None where there is none."""
    order = confidence.argsort(descending=True, stable=True)
    ordered, shares = confidence[order], right[order].double().cumsum(0) / torch.arange(1, len(order) + 1)
    last = torch.ones(len(order), dtype=torch.bool)  # of images with equal confidence: all are kept, or none
    last[:-1] = ordered[:-1] != ordered[1:]
    enough = (last & (shares >= precision)).nonzero().flatten()
    return float(ordered[enough[-1]]) if len(enough) else None


def interval(right: int, number: int) -> tuple[float, float]:
    """A 95% interval (Wilson's) of a share."""
    found = binomtest(right, number).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _reject(fitted: Scored, measured: Scored, precision: float) -> Rejection:
    confidence = least_confidence(fitted.confidence, fitted.right, precision)
    if confidence is None:
        return Rejection(precision, None)
    kept = measured.confidence >= confidence
    number, right = int(kept.sum()), int(measured.right[kept].sum())
    if not number:
        return Rejection(precision, confidence, 0.0)
    return Rejection(precision, confidence, number / len(measured), right / number, interval(right, number))
