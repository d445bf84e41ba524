"""The optimizer, and the learning rate over the steps."""

from dataclasses import dataclass

from cosub.choices import DecayRule, OptimizerName, RateDecay, RateRule
from cosub.recipes.ranges import NonNegativeFloat, PositiveShare, Strict


@dataclass(frozen=True)
class Optimizer(Strict):
    """Optimizer and learning-rate schedule: linear warm-up, then the decay, both functions of the step."""

    PREFIX = "optimizer."

    name: OptimizerName = "adamw"
    """AdamW, LAMB or stochastic gradient descent with momentum."""
    weight_decay: NonNegativeFloat = 0.02
    """Not applied to biases, norms, position embeddings and class tokens."""
    lr_rule: RateRule = "sqrt"
    """sqrt: lr is for a batch of 2048, and is multiplied by sqrt(batch_size / 2048) (Appendix A.1)."""
    decay: RateDecay = "cosine"
    """Decay from the peak to min_lr: half a cosine, or linear."""
    warmup_epochs: NonNegativeFloat = 5.0
    """Epochs in which the rate rises to its peak."""
    warmup_lr: NonNegativeFloat = 1e-6
    """The rate that the rise begins at."""
    min_lr: NonNegativeFloat = 1e-5
    """The rate that the decay ends at."""
    clip: NonNegativeFloat = 1.0
    """Maximum norm of the gradient; 0 turns clipping off."""
    layer_decay: PositiveShare = 1.0
    """Factor of the learning rate from each block to the one before it; 1: the same rate in all (Table 10)."""
    layer_decay_rule: DecayRule = "paper"
    """paper: the last block and the head have the full rate (Appendix A.1); timm: the last block is decayed once."""
