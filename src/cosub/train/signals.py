"""Signals that end a run after the step under way."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Launchers and schedulers send the same signal several times, or two kinds of it.
ONE_REQUEST = 5.0  # seconds

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """SIGTERM, SIGINT and SIGUSR1 ask for a stop; what comes within five seconds is the same request.

    A later one stops at once: KeyboardInterrupt, in the middle of whatever runs. A process that torchrun started and
    whose torchrun has died asks as well: nobody would end it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._first = clock, -1.0
        self._launcher = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None

    @property
    def asked(self) -> bool:
        return self._first >= 0 or self._launcher not in (None, os.getppid())

    def note(self, _number: int, _frame: FrameType | None) -> None:
        now = self._clock()
        if self._first < 0:
            self._first = now
        elif now - self._first > ONE_REQUEST:
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
