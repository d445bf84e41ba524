"""Where and on what a recipe runs: what does not change its results."""

from dataclasses import dataclass

from tyro.conf import Fixed, Suppress

from cosub.choices import Checkpointing, Compile, Parallel
from cosub.recipes.ranges import NonNegativeInt, PositiveInt, Strict


@dataclass(frozen=True)
class Runtime(Strict):
    """What does not change results: where, on what, and what is kept. Not part of the recipe's identity."""

    out: str = ""
    """The run's folder; by default out/RECIPE-METHOD-SEED."""
    workers: NonNegativeInt | None = None
    """Processes that load images, for each training process; 0 loads in the training process. By default 0 on a CPU,
    and on a GPU one for each CPU but one, 16 at most, and no more than shared memory has room for."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    micro_steps: PositiveInt = 1
    """Parts into which each process splits its share of a batch, to save memory (gradient accumulation)."""
    checkpoint_every: NonNegativeInt = 0
    """Steps between checkpoints; 0: at the end of an epoch, if a minute has passed since the last, and within it after
    half an hour."""
    evaluate_every: NonNegativeInt = 0
    """Epochs between evaluations; 0: about ten in a run."""
    evaluate_training: bool = False
    """Evaluate on the training images too, without augmentation, to measure overfitting."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints that stay on disk, the latest ones."""
    compile: Compile = "auto"
    """Compile each block on its own; auto: on a GPU where the steps save more time than compiling takes, and
    uncompiled, with a warning, where that fails."""
    checkpointing: Checkpointing = "none"
    """What backward recomputes to save memory: nothing, results of norms and GELU (lean), all but matrix products and
    attention (selective), or whole blocks."""
    parallel: Parallel = "ddp"
    """With several processes: each holds the whole network (ddp), or a share of every layer (fsdp, FSDP2)."""
    timeout: PositiveInt = 600
    """Seconds for which a process waits for the others before the run ends."""
    deterministic: bool = False
    """On a GPU: only deterministic kernels, so that a continued run is bit-identical."""
    inferred: Fixed[Suppress[tuple[str, ...]]] = ()
    """Fields of the recipe whose values were inferred by fine-tuning, and not given."""
