"""cosub evaluate RUN|FOLDER|FILE|timm:NAME|hf-hub:OWNER/NAME [--data.path P] [--set val=P ...] ...

Of a segmentation run: cosub evaluate RUN [--data.path P] [--keep SHARE] [--show N] [--multi-scale] [--whole] ...
"""

from typing import Any

from cosub.api.evaluate import Evaluate, evaluate
from cosub.api.parsing import parse
from cosub.api.report import spelled_out


def run(words: list[str], as_json: bool) -> dict[str, Any] | None:
    return evaluate(parse(Evaluate, spelled_out(words), "cosub evaluate"), as_json)
