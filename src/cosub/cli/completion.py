"""cosub completion bash|zsh|fish"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tyro.conf import Positional

from cosub.api.parsing import options_of, parse


@dataclass(frozen=True)
class Completion:
    """Print a script that completes verbs, options, their choices and recipes. It runs nothing of cosub.

    - bash: cosub completion bash > ~/.local/share/bash-completion/completions/cosub
    - zsh: eval "$(cosub completion zsh)" in ~/.zshrc
    - fish: cosub completion fish > ~/.config/fish/completions/cosub.fish
    """

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """The shell."""


@dataclass(frozen=True)
class Words:
    """What may follow a verb."""

    first: tuple[str, ...]
    """Words right after it, e.g. recipes; where there are none, names of files."""
    options: dict[str, tuple[str, ...]]
    """Each with its choices; where there are none, names of files."""


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Completion, words, "cosub completion")
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](vocabulary())
    if not as_json:
        print(script)
    return {"shell": options.shell, "script": script}


def vocabulary() -> dict[str, Words]:
    """The words of each verb."""
    from cosub.cli import VERBS
    from cosub.cli.analyse import ANALYSES
    from cosub.cli.bench import BENCHMARKS, OPTIONS
    from cosub.cli.check_data import Check
    from cosub.cli.evaluate import Evaluate
    from cosub.cli.export import Export
    from cosub.cli.plot import Plot
    from cosub.cli.predict import Predict
    from cosub.cli.recipes import Recipes
    from cosub.cli.study import Options
    from cosub.comparison import request as comparison
    from cosub.paper.studies import STUDIES
    from cosub.recipes import recipes
    from cosub.slimming.request import Request

    names = tuple(recipes())
    known = {
        "train": Words(names, _of_training()),
        "evaluate": _words(Evaluate),
        "predict": _words(Predict),
        "export": _words(Export),
        "slim": _words(Request),
        "plot": _words(Plot),
        "check-data": _words(Check),
        "recipes": _words(Recipes, first=names),
        "compare": _words(comparison.Request),
        "study": _words(Options, first=tuple(STUDIES)),
        "analyse": _words(*ANALYSES.values(), first=tuple(ANALYSES)),
        "bench": _words(*OPTIONS, first=tuple(BENCHMARKS)),
        "completion": Words(("bash", "zsh", "fish"), {}),
    }
    return {verb: known[verb] for verb in VERBS}


def _words(*kinds: Any, first: tuple[str, ...] = ()) -> Words:
    options = {flag: choices for kind in kinds for flag, choices in options_of(kind).items()}
    return Words(first, {**options, "--json": (), "--help": ()})


def _of_training() -> dict[str, tuple[str, ...]]:
    """The options of `cosub train` with any method and any source."""
    from cosub.cli.dry_run import FLAGS
    from cosub.recipes import DEFAULT, get
    from cosub.recipes.data import SOURCES
    from cosub.recipes.methods import METHODS

    options = options_of(get(DEFAULT))
    for kind in METHODS.values():
        options |= options_of(kind)
    for kind in SOURCES.values():
        options |= options_of(kind, "--data.")
    options |= {"--method": tuple(METHODS), "--source": tuple(SOURCES)}
    return options | dict.fromkeys([*FLAGS, "--pretrained", "--model-args", "--json", "--help", "--help-all"], ())


def _bash(verbs: dict[str, Words]) -> str:
    return "\n".join(
        [
            "_cosub() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""',
            '  if [ "$COMP_CWORD" -eq 1 ]; then',
            f'    words="{" ".join(verbs)}"',
            "  else",
            '    case "${COMP_WORDS[1]} $before $current" in',
            *(f"      {line}" for verb, words in verbs.items() for line in _cases(verb, words)),
            "    esac",
            "  fi",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o default -F _cosub cosub",
        ]
    )


def _cases(verb: str, words: Words) -> Iterator[str]:
    """What follows an option with choices; then options, where one is begun; then what follows the verb."""
    for flag, choices in words.options.items():
        if choices:
            yield f'"{verb} {flag} "*) words="{" ".join(choices)}" ;;'
    yield f'"{verb} "*" -"*) words="{" ".join(words.options)}" ;;'
    if words.first:
        yield f'"{verb} {verb} "*) words="{" ".join(words.first)}" ;;'


def _zsh(verbs: dict[str, Words]) -> str:
    return "autoload -Uz compinit bashcompinit\ncompinit\nbashcompinit\n" + _bash(verbs)


def _fish(verbs: dict[str, Words]) -> str:
    from cosub.cli import VERBS

    lines = []
    for verb, words in verbs.items():
        lines.append(f"complete -c cosub -n __fish_use_subcommand -f -a {verb} -d {_quoted(VERBS[verb])}")
        here = f"complete -c cosub -n '__fish_seen_subcommand_from {verb}'"
        lines += [f"{here} -a '{' '.join(words.first)}'"] if words.first else []
        for flag, choices in words.options.items():
            lines.append(f"{here} -l {flag[2:]}" + (f" -x -a '{' '.join(choices)}'" if choices else ""))
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
