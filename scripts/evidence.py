"""The results on docs/evidence.md, from docs/runs.jsonl, family.jsonl, tuning-200.jsonl and tuning-1000.jsonl.

python scripts/evidence.py [--page docs/evidence.md]    # writes them between the page's markers; without, prints
"""

import argparse
from pathlib import Path

from experiment import family, tuning
from experiment.outcomes import page

from cosub.paper.studies.ledger import Ledger, read
from cosub.recipes import get
from cosub.runs.folder import write_atomically

START, END = "<!-- results: scripts/evidence.py -->", "<!-- end of results -->"
RECIPE = "cifar10-500"
NOT_YET = "Not yet run."
TUNED = (200, 1000)
"""Images, in the names of the files."""


def results(docs: Path) -> str:
    tuned = {images: read(docs / f"tuning-{images}.jsonl") for images in TUNED}
    made = family.read(docs / "family.jsonl")
    sections = {
        "## Submodels of these networks": family.table(made) if made else NOT_YET,
        **{
            f"## Published weights, {images:,} images to fine-tune on": tuning.table(lines) if lines else NOT_YET
            for images, lines in tuned.items()
        },
    }
    parts = [page(get(RECIPE), Ledger(docs / "runs.jsonl")), *(part for pair in sections.items() for part in pair)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def within(text: str, found: str) -> str:
    """The page with what stands between its markers replaced."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{found}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the folder of these files")
    parser.add_argument("--page", type=Path, help="a page with markers")
    options = parser.parse_args()
    found = results(options.docs)
    if options.page is None:
        print(found)
    else:
        write_atomically(options.page, within(options.page.read_text(), found))


if __name__ == "__main__":
    main()
