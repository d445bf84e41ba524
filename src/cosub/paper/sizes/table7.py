"""Table 7: the paper's measurements of training, at 224 pixels and a batch of 2048."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of one method: peak memory of a GPU, and minutes per epoch."""

    peak_gb: float
    minutes: float


@dataclass(frozen=True)
class Measured:
    """Measurements of one network: the number of GPUs, and the cost of each method."""

    gpus: int
    supervised: Cost
    esd: Cost
    """Supervised, with efficient stochastic depth."""
    cosub: Cost


TABLE7 = {
    "ViT-L": Measured(32, Cost(21.4, 8), Cost(15.1, 9), Cost(26.9, 16)),
    "ViT-H": Measured(64, Cost(27.6, 12), Cost(15.2, 11), Cost(25.0, 17)),
}
