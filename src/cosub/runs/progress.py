"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere. All on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track
from rich.table import Table
from rich.text import Text

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0

Item = TypeVar("Item")


def watched(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The same items; a bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    yield from track(items, what, total, console=console, transient=True, disable=not console.is_terminal)


class Reporter:
    """Says nothing: for all processes but the first."""

    def table(self, title: str, rows: Mapping[str, str]) -> None: ...
    def warn(self, message: str) -> None: ...
    def say(self, message: str) -> None: ...
    def start(self, done: int, total: int) -> None: ...
    def step(self, done: int, values: Mapping[str, float]) -> None: ...
    def stop(self) -> None: ...


class Terminal(Reporter):
    """Tables, warnings and progress for one process."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        self.total, self.first, self.started, self.last_line = 0, 0, 0.0, 0.0

    def table(self, title: str, rows: Mapping[str, str]) -> None:
        if not self.console.is_terminal:
            width = max(map(len, rows))
            self.say("\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in rows.items())]))
            return
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows.items():
            table.add_row(Text(name), Text(value))
        self.console.print(table)

    def warn(self, message: str) -> None:
        if self.console.is_terminal:
            self.console.print(Panel(Text(message), title="warning", style="bold yellow"))
        else:
            self.say(f"WARNING: {message}")

    def say(self, message: str) -> None:
        if self.console.is_terminal:
            self.console.print(Text(message), soft_wrap=True)
        else:
            print(message, file=sys.stderr, flush=True)

    def start(self, done: int, total: int) -> None:
        self.first, self.total, self.started = done, total, time.monotonic()
        self.last_line = self.started
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.completed}/{task.total}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
            )
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            self.bar = Progress(*columns, *times, console=self.console)
            self.bar.add_task("train", total=total, completed=done, text="")
            self.bar.start()

    def step(self, done: int, values: Mapping[str, float]) -> None:
        text = (
            f"loss {values['loss']:.4f}  accuracy {values['accuracy']:.3f}  "
            f"{values['images_per_second']:.0f} images/s  data wait {values['data_wait']:.0%}"
        )
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, text=text)
            return
        now = time.monotonic()
        if now - self.last_line >= _SECONDS_BETWEEN_LINES or done == self.total:
            self.last_line = now
            left = (now - self.started) / max(done - self.first, 1) * (self.total - done)
            self.say(f"step {done}/{self.total}  {text}  left {_clock(left)}")

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress through `total` pieces of work: the function that is yielded is told how many more are done.

    A bar on a terminal; elsewhere a line every ten seconds.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(title, total=total)
            yield lambda more: bar.advance(task, more)
        return
    done, started = 0, time.monotonic()
    last = started

    def advance(more: int) -> None:
        nonlocal done, last
        done, now = done + more, time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES or (done == total and last > started):
            last = now
            left = (now - started) / done * (total - done)
            print(f"{title} {done / total:.0%}  left {_clock(left)}", file=sys.stderr, flush=True)

    yield advance


def counted(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, their progress shown as they come."""
    with progress(what, total) as advance:
        for item in items:
            yield item
            advance(1)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
