"""cosub compare FOLDER [--minutes M] [--seeds S] [--model M] [--weights W] [--out FOLDER] ..."""

import sys
from pathlib import Path
from typing import Any

from cosub.api.parsing import parse
from cosub.comparison.request import Request
from cosub.errors import InputError


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    request = parse(Request, words, "cosub compare")
    if not Path(request.folder).is_dir():
        raise InputError(f"FOLDER: {request.folder}: is not a folder; name one with a folder of images for each class")
    from cosub.comparison.course import compare
    from cosub.comparison.page import PAGE, table
    from cosub.comparison.result import as_json as values
    from cosub.runs import distributed
    from cosub.runs.tables import number_of

    distributed.require_one_process("compare")
    found, out = compare(request, _say)
    if not as_json:
        print("\n".join([*table(found), found.verdict, str(out / PAGE)]))
        if found.left:
            print(f"{number_of(found.left, 'run')} left; the same command goes on")
    return {**values(found), "folder": str(out)}


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
