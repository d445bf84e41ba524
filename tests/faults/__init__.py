"""Faults made on purpose: processes killed, disks filled, bytes flipped. `python -m faults` runs all and writes a table."""

from dataclasses import dataclass, field


@dataclass
class Case:
    """What was tried, how often, and what was lost: a line for each try that did not end as it should."""

    title: str
    tries: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def count(self, problem: str, name: str) -> None:
        """Note a try; `problem` is empty where nothing was lost."""
        self.tries += 1
        if problem:
            self.lost.append(f"{name}: {problem}")
