"""Slimmed networks of two arms of docs/evidence.md, as a table: what scripts/family.py measured."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.choices import Strategy
from cosub.paper.studies.statistics import estimate, paired
from cosub.runs.tables import markdown

ARMS = ("stochastic-depth", "co-training")
"""The second is compared with the first, seed by seed."""


@dataclass(frozen=True)
class Member:
    """One slimmed network."""

    arm: str
    seed: int
    blocks: int
    strategy: Strategy
    healed: int
    """Epochs."""

    @property
    def way(self) -> tuple[int, str]:
        """What it has in common with other arms and seeds: blocks, and how they were chosen."""
        return self.blocks, self.strategy + (f", {self.healed} epochs of healing" if self.healed else "")


Found = Mapping[Member, float]
"""Top-1 on test images."""


def read(path: Path) -> dict[Member, float]:
    """The lines of docs/family.jsonl; none if there is no such file."""
    lines: list[dict[str, Any]] = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    return {Member(**{name: line[name] for name in Member.__annotations__}): line["top1"] for line in lines}


def table(found: Found) -> str:
    """A row for each number of blocks and way to choose them, the largest networks first."""
    lines: list[list[str]] = []
    for way in sorted({member.way for member in found}, key=lambda way: (-way[0], way[1])):
        rival, own = ({m.seed: top1 for m, top1 in found.items() if (m.arm, m.way) == (arm, way)} for arm in ARMS)
        difference = paired(own, rival)
        if difference is None:
            continue
        values = [estimate([one[seed] for seed in own if seed in rival]) for one in (rival, own)]
        lines.append([str(way[0]), way[1], str(difference.number), *_percent(values), difference.percent("+")])
    head = ("blocks of 12", "chosen by", "seeds", "stochastic-depth", "co-training", "difference")
    return "\n".join(markdown(head, lines))


def _percent(values: Iterable[Any]) -> list[str]:
    return [value.percent() for value in values]
