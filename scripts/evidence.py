"""The results on docs/evidence.md, from docs/runs.jsonl.

python scripts/evidence.py [--page docs/evidence.md]    # writes them between the page's markers; without, prints
"""

import argparse
from pathlib import Path

from cosub.paper.studies.evidence import page
from cosub.paper.studies.ledger import Ledger
from cosub.recipes import get
from cosub.runs.folder import write_atomically

START, END = "<!-- results: scripts/evidence.py -->", "<!-- end of results -->"
RECIPE = "cifar10-500"


def results(ledger: Path) -> str:
    return page(get(RECIPE), Ledger(ledger))


def within(text: str, found: str) -> str:
    """The page with what stands between its markers replaced."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{found}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", type=Path, default=Path("docs/runs.jsonl"))
    parser.add_argument("--page", type=Path, help="a page with markers")
    options = parser.parse_args()
    found = results(options.ledger)
    if options.page is None:
        print(found)
    else:
        write_atomically(options.page, within(options.page.read_text(), found))


if __name__ == "__main__":
    main()
