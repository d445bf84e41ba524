"""What the runs of the experiment in docs/evidence.md say: its outcomes, in the order in which the page names them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosub.paper.studies.arms import ARMS, BUDGETS, arms, budgets, equal_epochs, pilot
from cosub.paper.studies.grid import Run, Study
from cosub.paper.studies.ledger import Ledger, Line
from cosub.paper.studies.report import Row, chosen, rows
from cosub.paper.studies.statistics import Estimate, estimate, paired
from cosub.recipes.recipe import Recipe
from cosub.runs.tables import markdown

MARGIN = 0.01
"""Of accuracy: within which masking and efficient stochastic depth are called equivalent."""
SEEDS = 10
"""At most."""

DIFFERENCES = (("stochastic-depth", "masking"), ("co-training", "stochastic-depth"))
"""Of arms, which are shown for every budget."""
_RIVALS = DIFFERENCES[-1]

Lines = Mapping[int, Line]


@dataclass(frozen=True)
class Outcome:
    """A difference between two arms, seed by seed."""

    what: str
    found: Estimate
    corrected: float | None = None
    """Its p-value, corrected for the number of secondary outcomes."""
    percent: bool = True
    """In points of accuracy; else in nats."""


def choices(recipe: Recipe, ledger: Ledger) -> dict[str, Row]:
    """Of each arm of which all pilot runs are there, the one that was best on validation images."""
    found = rows(pilot(recipe), ledger, 1)
    best = {name: [row for row in found if row.cell.series == name] for name in ARMS}
    return {name: row for name, own in best.items() if all(one.lines for one in own) and (row := chosen(own))}


def outcomes(recipe: Recipe, ledger: Ledger) -> list[Outcome]:
    """The primary outcome, then the secondary ones, of what was run by two arms from at least two seeds."""
    lines = {cell.name: _lines(arms(recipe), cell.name, ledger) for cell in arms(recipe).cells}
    asked: list[tuple[str, str, str, bool]] = [
        ("top-1", "stochastic-depth", "top1", True),
        ("top-1", "two-copies", "top1", True),
        ("top-1 of half of the blocks", "stochastic-depth", "half", True),
        ("cross-entropy at a fitted temperature", "stochastic-depth", "loss_scaled", False),
    ]
    differences = [paired(_column(lines["co-training"], key), _column(lines[other], key)) for _, other, key, _ in asked]
    # What is not there yet, or equal in all seeds, has a place in the family of the secondary ones all the same.
    corrected = [None, *holm([1.0 if found is None or found.p is None else found.p for found in differences[1:]])]
    return [
        Outcome(f"{what}, co-training minus {other}", found, p, percent)
        for (what, other, _, percent), found, p in zip(asked, differences, corrected, strict=True)
        if found is not None and found.p is not None
    ]


def extension(recipe: Recipe, ledger: Ledger) -> list[Outcome]:
    """Co-training at the last budget: no part of the outcomes above, and not corrected for their number."""
    by_place, last = _by_place(recipe, ledger), BUDGETS[-1] * recipe.epochs
    asked: list[tuple[str, str, float, str]] = [
        ("top-1", "stochastic-depth", last, "top1"),
        ("cross-entropy at a fitted temperature", "stochastic-depth", last, "loss_scaled"),
        ("top-1", "two-copies", last, "top1"),
        ("top-1 of half of the blocks", "stochastic-depth", last, "half"),
        ("top-1", "stochastic-depth", recipe.epochs, "top1"),
    ]
    found = [
        (
            f"{what}, minus {other}" + ("" if epochs == last else f" at {epochs:g} epochs"),
            paired(_column(by_place["co-training", last], key), _column(by_place[other, epochs], key)),
            key != "loss_scaled",
        )
        for what, other, epochs, key in asked
    ]
    return [
        Outcome(what, difference, percent=percent)
        for what, difference, percent in found
        if difference is not None and difference.p is not None
    ]


def equivalence(recipe: Recipe, ledger: Ledger) -> Estimate | None:
    """Efficient stochastic depth minus masking, at equal epochs."""
    return rows(equal_epochs(recipe), ledger, SEEDS)[1].difference


def _by_place(recipe: Recipe, ledger: Ledger) -> dict[tuple[str, float | None], Lines]:
    """The runs of each arm and budget, in epochs of masking."""
    return {(row.cell.series, row.cell.x): row.lines for row in rows(budgets(recipe), ledger, SEEDS)}


def _lines(study: Study, cell: str, ledger: Ledger) -> Lines:
    found = {seed: ledger.find(Run(study, study.cell(cell), seed)) for seed in study.range_of(SEEDS)}
    return {seed: line for seed, line in found.items() if line is not None}


def _column(lines: Lines, key: str) -> dict[int, float]:
    if key == "half":
        return {seed: line["top1_submodels"]["0.5"] for seed, line in lines.items()}
    return {seed: line[key] for seed, line in lines.items()}


def page(recipe: Recipe, ledger: Ledger) -> str:
    """The results as Markdown: the choices, accuracy against compute, the outcomes, the equivalence, the extension."""
    parts = [part(recipe, ledger) for part in (_choices, _table, _outcomes, _extension)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _choices(recipe: Recipe, ledger: Ledger) -> str:
    lines: list[list[str]] = []
    for name, row in choices(recipe, ledger).items():
        best, accuracy = row.cell.recipe, row.validation.percent() if row.validation else ""
        lines.append([name, f"{best.drop_rate:g}", f"{best.lr:g}", accuracy])
    return "\n".join(markdown(("chosen", "drop rate", "learning rate", "validation top-1"), lines))


def _table(recipe: Recipe, ledger: Ledger) -> str:
    """An arm a row, a budget a column; then differences, by seed."""
    by_place = _by_place(recipe, ledger)
    places = [share * recipe.epochs for share in BUDGETS]
    lines: list[list[str]] = []
    for name in ARMS:
        cells = [_cell(estimate([*_column(by_place[name, epochs], "top1").values()])) for epochs in places]
        lines.append([name, *cells])
    for name, other in DIFFERENCES:
        columns = [[_column(by_place[arm, epochs], "top1") for arm in (name, other)] for epochs in places]
        cells = [_cell(paired(*pair), "+") for pair in columns]
        lines.append([f"{name} minus {other}", *cells])
    losses = [[_column(by_place[arm, epochs], "loss_scaled") for arm in _RIVALS] for epochs in places]
    lines.append(["the same, cross-entropy at a fitted temperature", *(_nats(paired(*pair)) for pair in losses)])
    head = ("test top-1 at the compute of masking for", *(f"{epochs:g} epochs" for epochs in places))
    return "\n".join(markdown(head, lines))


def _cell(found: Estimate | None, sign: str = "") -> str:
    return f"{found.percent(sign)} ({found.number})" if found else ""


def _outcomes(recipe: Recipe, ledger: Ledger) -> str:
    lines: list[list[str]] = []
    for outcome in outcomes(recipe, ledger):
        corrected = "primary" if outcome.corrected is None else f"{outcome.corrected:.3f}"
        lines.append([*_shown(outcome), corrected])
    table = "\n".join(markdown(("outcome", "seeds", "difference, 95 % interval", "p", "p, Holm"), lines))
    same = equivalence(recipe, ledger)
    if same is None or same.error is None:
        return table
    verdict = "equivalent" if same.equivalent(MARGIN) else "not shown to be equivalent"
    half = 100 * (same.half_width(0.9) or 0.0)
    return (
        f"{table}\n\n"
        f"Efficient stochastic depth minus masking at equal epochs: {100 * same.mean:+.2f} ± {half:.2f} points "
        f"(90 % interval, {same.number} seeds): {verdict} within {100 * MARGIN:g} point."
    )


def _extension(recipe: Recipe, ledger: Ledger) -> str:
    found = [_shown(outcome) for outcome in extension(recipe, ledger)]
    title = f"co-training at {BUDGETS[-1] * recipe.epochs:g} epochs, not corrected"
    return "\n".join(markdown((title, "seeds", "difference, 95 % interval", "p"), found)) if found else ""


def _shown(outcome: Outcome) -> list[str]:
    found = outcome.found
    value = f"{found.percent('+')} points" if outcome.percent else _nats(found)
    return [outcome.what, str(found.number), value, "below 0.001" if found.p < 0.001 else f"{found.p:.3f}"]


def _nats(found: Estimate | None) -> str:
    return f"{found.mean:+.3f} ± {found.half or 0.0:.3f} nats" if found else ""


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979), in the order given."""
    corrected, highest = [0.0] * len(values), 0.0
    for place, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        corrected[index] = highest
    return corrected
