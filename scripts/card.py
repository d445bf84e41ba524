"""Measure on one GPU, row by row, the most informative first; each row has a time limit, and its result is kept.

    python scripts/card.py --minutes 15                      # rows that have a result are not run again
    python scripts/card.py --only vit-h-128 --only digits
    python scripts/card.py --page                            # writes the results into docs/performance.md
    python scripts/card.py evidence --minutes 8              # the experiment of docs/evidence.md; goes on when repeated
    python scripts/card.py --device cpu --tiny               # checks that every row runs; its numbers mean nothing

Writes OUT/NAME.json and NAME.log for each row, OUT/table.md, and prints the table. The exit status is 1 if a bar is
missed or a row fails.

Measures the package of this checkout, installed or not; what the package depends on must be installed (pyproject.toml:
torch, timm, pydantic, tyro and others), and pytest for the rows of tests. `cifar10-gpu` and `evidence` also need the
package `datasets`, and COSUB_DATA, the folder that holds cifar10.
"""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # as for the rows

import torch
from card import evidence
from card.page import markdown, page
from card.running import Runner
from card.table import ROWS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("what", nargs="?", choices=("rows", "evidence"), default="rows")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and few steps")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for all rows together")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--out", type=Path, default=Path("out/card"), help="the folder of the results")
    parser.add_argument("--page", action="store_true", help="run nothing: write the results into docs/performance.md")
    parser.add_argument("--row", choices=names, help=argparse.SUPPRESS)  # one row, in this process
    options = parser.parse_args()
    if options.device == "cpu" and not options.tiny:
        parser.error("--device cpu: the rows are made for a GPU; add --tiny")
    if options.page and options.tiny:
        parser.error("--page: tiny results are not for the page")
    return options


def _evidence(options: argparse.Namespace) -> int:
    data = "" if options.tiny else evidence.data_path()
    left = evidence.run(evidence.recipes(options.device, options.tiny), options.out, data, options.minutes)
    if left:
        print(f"{left} runs left; the same command continues")
    return int(left > 0)


def main() -> int:
    options = _options()
    runner = Runner(options.out, options.device, options.tiny)
    if options.row:
        runner.measure(next(row for row in ROWS if row.name == options.row))
        return 0
    if options.page:
        page(PAGE, ROWS, runner.results())
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device: cuda: there is no GPU here; --device cpu --tiny checks that the rows run")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "evidence":
        return _evidence(options)
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    runner.run(rows, 60 * options.minutes)
    results = runner.results()
    text = markdown(rows, results)
    (options.out / "table.md").write_text(text + "\n")
    print(text)
    return int("| MISS |" in text or any(result["state"] in ("failed", "stopped") for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
