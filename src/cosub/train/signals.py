"""Signals that end a run after the current step."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Launchers and schedulers send a signal several times, or two different ones.
ONE_REQUEST = 5.0  # seconds

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """SIGTERM, SIGINT and SIGUSR1 request a stop; signals within five seconds are the same request.

    A later signal stops at once, with KeyboardInterrupt. The death of the torchrun that started a process is a request
    too, because nothing else would end the process.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._first = clock, -1.0
        self._launcher = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None

    @property
    def asked(self) -> bool:
        """Whether a stop was requested."""
        return self._first >= 0 or self._launcher not in (None, os.getppid())

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        now = self._clock()
        if self._first < 0:
            self._first = now
        elif now - self._first > ONE_REQUEST:
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the `with` block."""
        before = {number: signal.signal(number, self.note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
