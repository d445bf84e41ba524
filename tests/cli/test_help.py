"""Help: short first, a line for every option, names of values; synonyms; completion; lists that fit the terminal."""

import json
import re
import shutil
import subprocess

import pytest
from tiny import recipe_flags

from cosub.api.configuring import configure
from cosub.api.help import FIRST, SYNONYMS
from cosub.api.parsing import options_of
from cosub.cli import VERBS, main
from cosub.cli.analyse import ANALYSES
from cosub.cli.bench import BENCHMARKS
from cosub.cli.completion import vocabulary
from cosub.recipes import get
from cosub.recipes.data import SOURCES
from cosub.recipes.methods import METHODS

COMMANDS = [
    *([verb] for verb in VERBS if verb not in ("train", "analyse", "bench")),
    *(["analyse", name] for name in ANALYSES),
    *(["bench", name] for name in BENCHMARKS),
    *(["train", "--method", name] for name in METHODS),
    *(["train", "--source", name] for name in SOURCES if name != "scenes"),
    ["train", "camvid"],
    ["train", "finetune"],
    ["train", "--dry-run"],
    ["check-data", "--source", "scenes"],
]


def help_of(capsys, monkeypatch, *words, columns=80, flag="--help-all"):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        main([*words, flag])
    assert ended.value.code == 0
    return capsys.readouterr().out


def entries(text):
    """Flag (or metavar) -> all that its help says, defaults aside."""
    found, name = {}, ""
    for line in re.findall(r"^[│ ] (.*?) *[│ ]?$", text.rpartition("\n\n")[2], re.M):
        if begun := re.match(r"(--[a-z]\S*|\[?[A-Z]+(?:\.\.\.)?\]?(?= |$))", line):
            name = begun[1]
        if name:
            found[name] = f"{found.get(name, '')} {line.strip()}"
    return {name: re.sub(r"\((default|required).*", "", said) for name, said in found.items()}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_has_a_line_of_help(words, capsys, monkeypatch):
    found = entries(help_of(capsys, monkeypatch, *words))
    assert found or words[0] == "bench"
    for name, said in found.items():
        without = re.sub(r"\[?\{.*?\}[\]. ]*|--\S+|\b[A-Z]{2,}\b", "", said)
        assert len(re.findall(r"[A-Za-z]{2,}", without)) >= 1, f"{name}: {said!r}"


@pytest.mark.parametrize(
    ("words", "columns"),
    [([], 80), ([], 100), (["finetune"], 80), (["cifar10", "--source", "folder"], 80), (["camvid"], 100)],
)
def test_the_help_of_train_is_short(words, columns, capsys, monkeypatch):
    text = help_of(capsys, monkeypatch, "train", *words, columns=columns, flag="--help")
    lines = text.splitlines()
    assert len(lines) <= 80
    assert max(map(len, lines)) <= columns
    recipe = get(words[0]) if len(words) == 1 else configure([*words])
    shown = {name for name in entries(text) if name.startswith("--")}
    assert shown == {flag for flag in FIRST if flag in recipe_flags(recipe)}
    assert "--help-all" in text


def test_help_all_has_every_option(capsys, monkeypatch):
    text = help_of(capsys, monkeypatch, "train")
    assert set(options_of(get("digits"))) == {name for name in entries(text) if name.startswith("--")}
    assert "--epochs" in text


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        ("predict", "RUN IMAGE..."),
        ("plot", "RUN..."),
        ("evaluate", "RUN"),
        ("recipes", "[NAME]"),
        ("analyse layers", "RUN..."),
        ("analyse counts", "[RUN...]"),
    ],
)
def test_arguments_have_the_names_that_people_use(words, usage, capsys, monkeypatch):
    text = help_of(capsys, monkeypatch, *words.split())
    first = text.split("\n\n")[0]
    assert first.startswith(f"usage: cosub {words} [-h] ")
    assert usage in first
    assert "STR" not in text


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("train --learning-rate 0.1", "--lr"),
        ("train --learning_rate=0.1", "--lr"),
        ("train --batch_size 4 --num-epochs 3", "--epochs"),
        ("train --wd 0.1", "--optimizer.weight-decay"),
        ("train --weight-decay 0.1", "--optimizer.weight-decay"),
        ("train --mixup 0.1", "--augment.mixup"),
        ("train finetune --data-dir x", "--data.path"),
        ("train --dataset digits", "--source"),
        ("train --amp", "--precision"),
        ("evaluate run --num-workers 2", "--workers"),
        ("predict run image.jpg --topk 2", "--top"),
    ],
)
def test_what_other_programs_call_an_option_leads_to_ours(words, flag, capsys):
    assert main(words.split()) == 2
    assert f"(did you mean {flag}?)" in capsys.readouterr().err


def test_synonyms_are_options_that_there_are_and_none_hides_one():
    flags = {flag[2:] for words in vocabulary().values() for flag in words.options}
    assert set(SYNONYMS).isdisjoint(recipe[2:] for recipe in recipe_flags(get("digits")))
    assert all(name in flags for names in SYNONYMS.values() for name in names)


def completed(script, *words):
    """What bash proposes for the last word."""
    count = len(words) - 1
    code = f'{script}\nCOMP_WORDS=("$@"); COMP_CWORD={count}; _cosub; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", code, "bash", *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_verbs_options_choices_and_recipes(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(script, "cosub", "") == list(VERBS)
    assert completed(script, "cosub", "tr") == ["train"]
    assert "digits" in completed(script, "cosub", "train", "di")
    assert completed(script, "cosub", "train", "digits", "--method", "co") == ["cotrain", "cosub", "cosub-distill"]
    assert completed(script, "cosub", "train", "--rounding", "c") == ["ceil"]
    assert completed(script, "cosub", "train", "digits", "--data.p") == ["--data.path"]
    assert completed(script, "cosub", "analyse", "layers", "--unit", "") == ["block", "layer"]
    assert completed(script, "cosub", "predict", "out/") == []  # and so bash completes file names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_verb_and_option_in_every_shell(shell, capsys):
    assert main(["completion", shell, "--json"]) == 0
    script = json.loads(capsys.readouterr().out)["script"]
    assert list(vocabulary()) == list(VERBS)
    for flag in recipe_flags(get("digits")):
        assert re.search(rf"(--|-l ){re.escape(flag[2:])}\b", script), flag
    for verb, words in vocabulary().items():
        assert set(words.first) <= set(script.replace("'", " ").replace('"', " ").split()), verb


def test_completion_refuses_another_shell(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "must be one of bash, zsh, fish" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [80, 100, 150])
def test_the_list_of_recipes_fits_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("  deit3-b-800[-lamb]") and line.endswith("83.9 (table 1)") for line in lines)
    headings = [line for line in lines if line and not line.startswith("  ")]
    assert any(line.endswith("the paper: top-1") for line in headings)
    assert main([]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= max(columns, 95)
