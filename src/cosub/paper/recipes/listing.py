"""Lists of the recipes: for a terminal, and for the page docs/recipes.md."""

import inspect
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from cosub.paper.recipes.catalogue import PAPER
from cosub.paper.recipes.paper import LAMB, Entry
from cosub.recipes import recipes

FIRST = "To begin with"
_PAPER = "the paper: top-1"
_HEAD = (
    "| recipe | model | starts from | epochs | pixels | drop rate | batch | lr | LAMB | the paper: baseline / cosub |"
)
_INTRODUCTION = """# Recipes

Written by `cosub recipes --markdown`. `cosub recipes NAME` prints one with its cost, the paper's numbers and the
options of each; `cosub train NAME --data.path PATH` trains it.

`lr` is the peak rate at the recipe's batch, of the optimizer in the text of Appendix A.1 or of the training that the
group names. Where the column LAMB has a rate, NAME-lamb is the same recipe with DeiT-III's optimizer and that rate.
A star marks a value that is inferred: the paper does not publish it. The last column is the
paper's, none of it measured here: the table and its first number, top-1 in percent, of the baseline and of
co-training.
"""


def purposes(word: str = "") -> dict[str, str]:
    """The first line of the docstring by name, of recipes with the word in docstring or name."""
    texts = {name: inspect.getdoc(recipe) or "" for name, recipe in recipes().items()}
    return {name: text.splitlines()[0] for name, text in texts.items() if word.lower() in f"{name} {text}".lower()}


def overview(word: str = "", width: int = 0) -> str:
    """The recipes by group, one per line; a preset with LAMB shares the line of its recipe.

    Args:
        word: as for `purposes`.
        width: of a line; by default the terminal's, 120 where there is none, and 80 at least.
    """
    width = width or max(80, shutil.get_terminal_size((120, 24)).columns)
    found = purposes(word)
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name, purpose in found.items():
        if (base := name.removesuffix(LAMB)) != name and base in found:
            continue
        entry = PAPER.get(name)
        shown = f"{name}[{LAMB}]" if name + LAMB in found else name
        groups.setdefault(entry.group if entry else FIRST, []).append((shown, purpose.rstrip("."), _headline(entry)))
    return "\n\n".join("\n".join(_group(title, rows, width)) for title, rows in groups.items())


def _group(title: str, rows: Sequence[tuple[str, str, str]], width: int) -> Iterator[str]:
    """Lines of a group: name, purpose, and at the right the paper's number where there is one."""
    if any(number for *_, number in rows):
        fits = len(title) + len(_PAPER) + 2 <= width
        yield from [f"{title}{_PAPER:>{width - len(title)}}"] if fits else [title, f"{_PAPER:>{width}}"]
    else:
        yield title
    column = max(len(name) for name, *_ in rows)
    for name, purpose, number in rows:
        room = width - column - 4 - (len(number) + 2 if number else 0)
        short = textwrap.shorten(purpose, room, placeholder=" ...")
        yield f"  {name:<{column}}  {short:<{room}}  {number}".rstrip()


def page() -> str:
    """The text of docs/recipes.md."""
    groups: dict[str, list[Entry]] = {}
    for entry in PAPER.values():
        if not entry.name.endswith(LAMB):
            groups.setdefault(entry.group, []).append(entry)
    parts = [_INTRODUCTION]
    for title, entries in groups.items():
        rule = "|".join(["---"] * (_HEAD.count("|") - 1))
        parts.append("\n".join([f"## {title}\n", _HEAD, f"|{rule}|", *map(_line, entries)]) + "\n")
    return "\n".join(parts)


def _line(entry: Entry) -> str:
    recipe = entry.recipe
    lamb = PAPER.get(entry.name + LAMB)
    cells = [
        f"`{entry.name}`",
        recipe.model,
        entry.before or recipe.weights,
        f"{recipe.epochs}{_star(entry, 'epochs')}",
        f"{recipe.resolution}{_star(entry, 'resolution')}",
        f"{recipe.drop_rate:g}{_star(entry, 'drop_rate')}",
        f"{recipe.batch_size}{_star(entry, 'batch_size')}",
        f"{recipe.peak_lr:.3g}{_star(entry, 'lr')}",
        f"{lamb.recipe.peak_lr:.3g}{_star(lamb, 'lr')}" if lamb else "",
        "; ".join(_scores(entry)),
    ]
    return f"| {' | '.join(cells)} |"


def _star(entry: Entry, field: str) -> str:
    return "\\*" if field in entry.inferred else ""


def _scores(entry: Entry) -> Iterable[str]:
    """`8: 83.5 / 83.8` for each row that has the baseline, co-training, or both."""
    rows: dict[tuple[str, str], list[str]] = {}
    for row in entry.rows:
        method = row.options.partition("--method ")[2].partition(" ")[0]
        if row.table == "7" or method not in ("", "supervised") or (row.options and not method):
            continue
        scores = rows.setdefault((row.table, row.row.partition(", ")[0]), ["-", "-"])
        scores[0 if method else 1] = str(next(iter(row.numbers.values())))
    return [f"{table}: {' / '.join(scores)}" for (table, _), scores in rows.items()]


def _headline(entry: Entry | None) -> str:
    first = next((row for row in entry.rows if not row.options), None) if entry else None
    return f"{next(iter(first.numbers.values()))} (table {first.table})" if first else ""
