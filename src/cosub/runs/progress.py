"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere. All on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cosub.runs.callbacks import Callback
from cosub.runs.tables import WHOLE, align

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0
_BAR = 10  # columns
_ROOM_FOR_A_BAR = 80  # columns of a terminal
_NUMBERS = 4 + 1 + 4 + 1 + 8  # columns: "100% left 99:59:59"


class Meter:
    """Progress through `total` pieces of work: a bar on a terminal, a line every ten seconds elsewhere.

    A bar stays within one line of the terminal: what is said with it is said as far as there is room.
    """

    def __init__(self, console: Console, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.first = title, total, done
        self.started = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        if console.is_terminal:
            wide = console.width >= _ROOM_FOR_A_BAR
            self.room = console.width - len(title) - 1 - _NUMBERS - 1 - (_BAR + 1 if wide else 0)
            columns = [TextColumn("{task.description}"), *([BarColumn(_BAR)] if wide else [])]
            columns += [TextColumn("{task.percentage:>3.0f}%"), TextColumn("left"), TimeRemainingColumn()]
            self.bar = Progress(*columns, TextColumn("{task.fields[text]}", markup=False), console=console)
            self.bar.add_task(title, total=total, completed=done, text="")
            self.bar.start()

    def update(self, done: int, texts: Sequence[str] = ()) -> None:
        """That so many pieces are done, and what there is to say of the last, the most important first."""
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, text=fitting(texts, self.room))
            return
        now, spoke = time.monotonic(), self.last_line > self.started
        if now - self.last_line >= _SECONDS_BETWEEN_LINES or (done == self.total and (texts or spoke)):
            self.last_line = now
            left = (now - self.started) / max(done - self.first, 1) * (self.total - done)
            words = [f"{self.title} {done / self.total:.0%}", f"left {_clock(left)}", *texts]
            print("  ".join(words), file=sys.stderr, flush=True)

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()


class Reporter:
    """Says nothing: for all processes but the first."""

    def table(self, title: str, rows: Mapping[str, str]) -> None: ...
    def warn(self, message: str) -> None: ...
    def say(self, message: str) -> None: ...
    def start(self, done: int, total: int) -> None: ...
    def step(self, done: int, values: Mapping[str, float]) -> None: ...
    def measured(self, epoch: int, images: str, metric: str, value: float) -> None: ...
    def evaluated(self, values: Mapping[str, float]) -> None: ...
    def stop(self) -> None: ...


class Terminal(Reporter):
    """Tables, warnings, progress and callbacks of one process."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self.console, self.callbacks = Console(stderr=True), callbacks
        self.meter: Meter | None = None
        self.latest = ""

    def table(self, title: str, rows: Mapping[str, str]) -> None:
        if not self.console.is_terminal:
            self.say("\n".join([title, *(f"  {line}" for line in align(list(rows.items()), width=WHOLE))]))
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
        self.meter = Meter(self.console, "train", total, done)

    def step(self, done: int, values: Mapping[str, float]) -> None:
        assert self.meter is not None
        texts = [
            f"loss {values['loss']:.4f}",
            f"accuracy {values['accuracy']:.1%}",
            f"step {done}/{self.meter.total}",
            f"{values['images_per_second']:.0f} images/s",
            f"data wait {values['data_wait']:.0%}",
        ]
        self.meter.update(done, [self.latest, *texts] if self.latest else texts)
        for callback in self.callbacks:
            callback.logged(values)

    def evaluated(self, values: Mapping[str, float]) -> None:
        for callback in self.callbacks:
            callback.evaluated(values)

    def measured(self, epoch: int, images: str, metric: str, value: float) -> None:
        """What was measured on the validation or test images stays in the bar; elsewhere it is a line."""
        self.latest = f"{'val' if images == 'validation' else images} {value:.2%}"
        if not self.console.is_terminal:
            self.say(f"epoch {epoch}: {metric} {value:.2%} on the {images} images")

    def stop(self) -> None:
        if self.meter is not None:
            self.meter.stop()
            self.meter = None


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress through `total` pieces of work: call the function that is yielded with how many more are done."""
    meter, done = Meter(Console(stderr=True), title, total), 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        meter.update(done)

    try:
        yield advance
    finally:
        meter.stop()


def counted(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, their progress shown as they come."""
    with progress(what, total) as advance:
        for item in items:
            yield item
            advance(1)


def fitting(texts: Sequence[str], room: int) -> str:
    """As many of the texts, from the first on, as fit into so many columns."""
    lines = ["  ".join(texts[:number]) for number in range(len(texts) + 1)]
    return max((line for line in lines if cell_len(line) <= room), key=len, default="")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
