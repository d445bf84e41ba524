"""Submodels of the networks of docs/evidence.md: accuracy by the number of blocks, chosen and healed, of two arms.

    python scripts/family.py --runs out/studies [--seeds 0 1 2 3 4] [--heal 10]

Needs the run folders of `cosub study arms --recipe cifar10-500`. Adds a line for each network to docs/family.jsonl;
what has a line is not made again.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiment.family import ARMS, Member, read

from cosub.choices import Strategy
from cosub.paper.studies.arms import arms
from cosub.paper.studies.grid import Run
from cosub.paper.studies.ledger import commit
from cosub.recipes import get
from cosub.slimming.request import Request
from cosub.slimming.slim import slim

BLOCKS = (9, 6, 3)
STRATEGIES: tuple[Strategy, ...] = ("every-other", "greedy")


def members(seeds: Sequence[int], heal: int) -> Iterator[Member]:
    for seed in seeds:
        for arm in ARMS:
            for blocks in BLOCKS:
                yield from (Member(arm, seed, blocks, strategy, 0) for strategy in STRATEGIES)
                yield Member(arm, seed, blocks, "greedy", heal)


def make(member: Member, run: Path, out: Path) -> dict[str, object]:
    """Slim, heal where that is asked, and give what came out."""
    name = f"{run.name}-{member.blocks}-{member.strategy}"
    request = Request(
        str(run), keep=member.blocks, unit="block", strategy=member.strategy, heal=member.healed, out=str(out / name)
    )
    found = slim(request)
    result = found["healed"] if member.healed else found
    return {**vars(member), "top1": result["top1"], "commit": commit()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("out/studies"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="0 1 2 3 4")
    parser.add_argument("--heal", type=int, default=10, help="epochs, for the healed networks")
    parser.add_argument("--ledger", type=Path, default=Path("docs/family.jsonl"))
    options = parser.parse_args()
    done = read(options.ledger)
    study = arms(get("cifar10-500"))
    out = options.runs / "family"
    out.mkdir(exist_ok=True)
    for member in members(options.seeds, options.heal):
        if member in done:
            continue
        run = Run(study, study.cell(member.arm), member.seed).folder(options.runs)
        line = make(member, run, out)
        with options.ledger.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


if __name__ == "__main__":
    main()
