"""The command line: `main` finds the verb, and turns errors into one line and a status. Imports nothing heavy."""

import importlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

from cosub import __version__
from cosub.errors import NO_ROOM, CosubError, InputError, nearest
from cosub.runs import cpu
from cosub.runs.names import printable_everywhere

VERBS = {
    "train": "train a recipe, or continue it; without a recipe: digits",
    "evaluate": "accuracy of a network, or of a submodel of it",
    "analyse": "figures of submodels: analyse population, layers, counts, quantisation, overfitting, tradeoff",
    "compare": "masked drop path, stochastic depth and co-training on my images, at equal time",
    "predict": "the most likely classes of images",
    "export": "write a run's network as a timm checkpoint or ONNX, or push it to the Hub",
    "slim": "a smaller network of a run: keep some blocks or residual layers, remove the others",
    "plot": "learning curves of one or more runs",
    "bench": "cost of a training step: bench step, table7; sizes: bench models; twins: bench coverage; bench loader",
    "check-data": "damaged and odd images of a data set, and duplicates",
    "recipes": "list the recipes, or print one",
    "study": "a table or figure of the paper at small scale, with confidence intervals",
    "completion": "a script that completes words in bash, zsh or fish",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb. Returns the exit status: 0 done, 2 wrong input, 3 cannot continue, 75 stopped, 1 internal error."""
    printable_everywhere()
    cpu.settle()
    words = [_at_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    if not words or words[0] in ("-h", "--help", "--help-all"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"cosub {__version__}")
        return 0
    try:
        return _run(words[0], words[1:])
    except CosubError as error:
        print(f"cosub: {' '.join(str(error).split())}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # the reader of standard output is gone; Python would warn again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        if error.filename is None:  # of standard output, which Python would try again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        named = "" if error.filename is None else f"{error.filename}: "
        print(f"cosub: {named}{error.strerror}; name another path, or make room", file=sys.stderr)
        return 3 if error.errno in NO_ROOM else 2
    except KeyboardInterrupt:
        print("cosub: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from safetensors import SafetensorError  # of files of weights, which says no errno

        if not isinstance(error, SafetensorError):
            raise
        print(f"cosub: a file of weights cannot be written or read ({error}); make room, or repair it", file=sys.stderr)
        return 3


def _at_home(word: str) -> str:
    """~ expanded where a path begins: shells do that at the start of a word, but not in --out=~/runs."""
    before, sign, path = word.rpartition("=~")
    return f"{before}={os.path.expanduser('~' + path)}" if sign else os.path.expanduser(word)


def usage() -> str:
    lines = ["usage: cosub VERB ...", ""]
    width = shutil.get_terminal_size().columns
    for verb, purpose in VERBS.items():
        lines.append(textwrap.fill(f"  {verb:<11} {purpose}", width, subsequent_indent=" " * 14))
    lines += ["", "cosub VERB --help lists its options; every verb takes --json: one JSON object on stdout."]
    return "\n".join(lines)


def _run(verb: str, words: list[str]) -> int:
    if verb not in VERBS:
        from cosub.recipes import recipes

        if verb in recipes():
            raise InputError(f"verb: {verb!r}: is a recipe: cosub train {verb} ...")
        raise InputError(f"verb: {verb!r}: unknown{nearest(verb, list(VERBS))}; see cosub --help")
    as_json = "--json" in words
    words = [word for word in words if word != "--json"]
    module = importlib.import_module(f"cosub.cli.{verb.replace('-', '_')}")
    result = module.run(words, as_json)
    if as_json and result is not None:
        print(json.dumps(result))
    sys.stdout.flush()
    return 0
