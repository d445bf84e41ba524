"""Signals that end a run after the current step."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from cosub.data.loading import STOP_SIGNALS

# Launchers and schedulers send a signal several times, or two different ones.
ONE_REQUEST = 5.0  # seconds


class StopRequest:
    """SIGTERM, SIGINT and SIGUSR1 request a stop; signals within five seconds are the same request.

    The first one prints a line: `promise` is what will happen. A later one stops at once, with KeyboardInterrupt. The
    death of the torchrun that started a process is a request too, because nothing else would end the process.
    """

    def __init__(
        self, say: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock, self._first = say, clock, -1.0
        self.promise = "stopping after this step"
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
            with suppress(OSError, ValueError, RuntimeError):  # the stream is gone, or amid another write
                self._say(f"{self.promise} (Ctrl-C again, {ONE_REQUEST:g} s from now or later, stops at once)")
        elif now - self._first > ONE_REQUEST:
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the `with` block."""
        if threading.current_thread() is not threading.main_thread():  # where Python takes no signals
            yield
            return
        before = {number: signal.signal(number, self.note) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
