"""A comparison that `cosub compare` has finished, as a table of docs/evidence.md, from its runs.jsonl."""

from collections.abc import Sequence

from cosub.paper.studies.arms import ARMS, FIRST
from cosub.paper.studies.ledger import Line
from cosub.paper.studies.statistics import estimate, paired
from cosub.recipes import get
from cosub.runs.tables import markdown


def table(lines: Sequence[Line]) -> str:
    """A row for each arm, at the drop rate and learning rate that were chosen for it."""
    rows: list[list[str]] = []
    own = {name: [line for line in lines if line["cell"] == name] for name in ARMS}  # others are the runs that choose
    first = _by_seed(own[FIRST])
    for name, found in own.items():
        if not found:
            continue
        values, seconds = _by_seed(found), estimate([line["seconds"] for line in found])
        difference = None if name == FIRST else paired(values, first)
        top1 = estimate(list(values.values()))
        assert top1
        assert seconds
        recipe = get(found[0]["recipe"])  # what is not among the overrides is as it says
        chosen = [f"{found[0]['overrides'].get(key, getattr(recipe, key)):g}" for key in ("drop_rate", "lr", "epochs")]
        cells = [name, str(top1.number), *chosen, f"{seconds.mean:.0f}", top1.percent()]
        rows.append([*cells, difference.percent("+") if difference else ""])
    head = ("arm", "seeds", "drop rate", "learning rate", "epochs", "seconds", "test top-1", "to masking")
    return "\n".join(markdown(head, rows))


def _by_seed(lines: Sequence[Line]) -> dict[int, float]:
    return {line["seed"]: line["top1"] for line in lines}
