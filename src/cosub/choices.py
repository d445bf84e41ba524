"""The values that options may take. Imports nothing heavy, so that recipes and `--help` need no torch."""

from typing import Literal

Rounding = Literal["nearest", "floor", "ceil", "bernoulli", "masked"]
BY_CHANCE: tuple[Rounding, ...] = ("bernoulli", "masked")
"""Each row is kept by chance: no two steps keep equally many."""
Operation = Literal["efficient", "plain"]
Schedule = Literal["uniform", "linear"]
CosubKind = Literal["bce-soft", "bce-hard", "ce-soft", "ce-hard"]
TargetForm = Literal["soft", "hard"]
LabelLoss = Literal["bce", "ce"]
Crop = Literal["random-resized", "simple", "center"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Checkpointing = Literal["none", "lean", "selective", "blocks"]
Parallel = Literal["ddp", "fsdp"]
Compile = Literal["auto", "on", "off"]
OptimizerName = Literal["adamw", "lamb", "sgd"]
Choose = Literal["last", "best"]
HeadStart = Literal["model", "zero", "probe"]
NonFinite = Literal["stop", "skip"]
RateRule = Literal["sqrt", "constant"]
RateDecay = Literal["cosine", "linear"]
DecayRule = Literal["paper", "timm"]
Strategy = Literal["every-other", "ends", "layerscale", "cosine", "leave-one-out", "greedy", "search"]
Unit = Literal["block", "layer"]
ArmName = Literal["masking", "stochastic-depth", "two-copies", "co-training"]
Interpolation = Literal["bicubic", "bilinear"]
Range = Literal["type", "auto"] | tuple[float, float]
Protocol = Literal["val", "v2", "real"]
Format = Literal["timm", "onnx", "hub"]
Way = Literal["masked", "plain", "efficient", "cosub", "distill", "mean-teacher", "cotrain", "cosub-distill"]
"""Ways to make a training step, whose costs are compared: operations, then methods."""
