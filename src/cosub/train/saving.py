"""When a run is saved, and how it is stopped: its processes tell each other both in one operation."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from cosub.errors import Stopped
from cosub.runs.distributed import World
from cosub.runs.progress import Reporter
from cosub.train.signals import StopRequest

SECONDS_AFTER_EPOCH = 60
SECONDS_WITHIN_EPOCH = 30 * 60  # an epoch may take hours
_asked = os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "")
GRACE = int(_asked) if _asked.isdecimal() else 30  # seconds between SIGTERM and SIGKILL
SLOW_CHECKPOINT = GRACE - 5


class Saving:
    """Says after which steps a run is saved, by the clock of the first process, and where a signal stops it."""

    def __init__(
        self, world: World, stop: StopRequest, steps: int, every: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.world, self.stop, self.steps, self.every, self.clock = world, stop, steps, every, clock
        self.saved_at = clock()

    def due(self, step: int, ended_epoch: bool) -> bool:
        """Whether a checkpoint is due after `step` steps; all processes get the same result.

        Raises:
            Stopped: in all processes, if a signal has asked any of them to stop.
        """
        return self._agreed(step, self._due(step, ended_epoch))

    @contextmanager
    def stoppable(self, network: nn.Module, step: int) -> Iterator[None]:
        """Stop an evaluation between two batches. All processes run the network equally often.

        Raises:
            Stopped: as `due`.
        """

        def before_batch(*_: object) -> None:
            self._agreed(step, False)

        hook = network.register_forward_pre_hook(before_batch, prepend=True)  # before FSDP2 gathers anything
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def timed(self, reporter: Reporter) -> Iterator[None]:
        """Note that a checkpoint is written in the `with` block, and warn if that is slow."""
        started = self.clock()
        yield
        self.saved_at = self.clock()
        if (seconds := self.saved_at - started) > SLOW_CHECKPOINT:
            reporter.warn(
                f"the checkpoint took {seconds:.0f} s, and there are {GRACE} s between SIGTERM and "
                "SIGKILL: ask for more time (TORCH_ELASTIC_SHUTDOWN_TIMEOUT), or write to a faster disk"
            )

    def _due(self, step: int, ended_epoch: bool) -> bool:
        if step == self.steps or self.every:
            return step == self.steps or step % self.every == 0
        return self.clock() - self.saved_at > (SECONDS_AFTER_EPOCH if ended_epoch else SECONDS_WITHIN_EPOCH)

    def _agreed(self, step: int, due: bool) -> bool:
        """What the first process says, unless any process has been asked to stop."""
        largest = self.world.max(2 if self.stop.asked else int(due and self.world.main))
        if largest == 2:
            raise Stopped(f"stopped at step {step} of {self.steps}; the same command continues the run")
        return largest == 1
