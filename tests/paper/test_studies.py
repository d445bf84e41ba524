"""Studies: grids, their runs, the ledger, and what is made from it."""

import dataclasses
import io
import json
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from ledgers import ledger_of, line
from tiny import TINY, call
from torch.nn.functional import cross_entropy

from cosub.data.sources import open_source
from cosub.data.transforms import evaluation, normalize
from cosub.errors import InputError
from cosub.paper.studies import STUDIES, study
from cosub.paper.studies import ledger as ledgers
from cosub.paper.studies.grid import Cell, Run, Study
from cosub.paper.studies.ledger import Ledger
from cosub.paper.studies.page import orphans, text, write
from cosub.paper.studies.report import command, compared, markdown, remarks, rows
from cosub.paper.studies.statistics import estimate, paired
from cosub.paper.studies.work import Place, needed, work
from cosub.recipes import get, recipes
from cosub.recipes.augmentation import Augment
from cosub.recipes.changes import changed
from cosub.recipes.data import Digits
from cosub.recipes.files import overrides
from cosub.recipes.methods import Cosub, Supervised
from cosub.runs.folder import load_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(monkeypatch):
    """A recipe of four steps, known by name."""
    recipe = dataclasses.replace(
        get("digits"),
        name="small",
        model_args=TINY,
        drop_rate=0.5,
        epochs=2,
        batch_size=32,
        group_size=16,
        data=Digits(test_share=0.5, train_images=64, validation_images=40),
        augment=Augment(crop="center", flip=0.0, policy="", jitter=0.0),
    )
    monkeypatch.setitem(recipes(), "small", lambda: recipe)
    return recipe


# --- grids


def test_every_study_makes_runs_that_differ():
    for name in STUDIES:
        made = study(name)
        names = [cell.name for cell in made.cells]
        assert len(set(names)) == len(names), name
        keys = [run.key for run in made.runs(2)]
        assert len(set(keys)) == len(keys), name
        for cell in made.cells:
            assert not cell.baseline or cell.baseline in names
            assert set(cell.uses.values()) <= set(names)


def test_studies_share_what_is_the_same_run(small):
    def key(name, cell):
        made = study(name, recipe="small")
        return Run(made, made.cell(cell), 1).key

    assert key("table5", "weight 0.5") == key("headline", "cosub") == key("table3", "bce-soft")
    assert key("headline", "supervised") == key("table4", "supervised") != key("rate", "rate 0, supervised")


def test_a_run_that_uses_another_hangs_on_it_and_not_on_where_it_lies(small, tmp_path):
    made = study("table4", recipe="small")
    run = Run(made, made.cell("distill"), 0)
    assert run.ready(tmp_path).method.teacher == str(Run(made, made.cell("teacher"), 0).folder(tmp_path))
    other = dataclasses.replace(made, cells=tuple(_faster(cell) for cell in made.cells))
    assert Run(other, other.cell("distill"), 0).key != run.key


def _faster(cell):
    return dataclasses.replace(cell, recipe=changed(cell.recipe, {"lr": 0.1})) if cell.name == "teacher" else cell


def test_changes_by_dotted_names(small):
    new = changed(small, {"method": Cosub(), "method.weight": 0.3, "model_args.depth": 5, "epochs": 7})
    assert (new.method, new.model_args["depth"], new.epochs) == (Cosub(weight=0.3), 5, 7)
    assert small.model_args["depth"] == TINY["depth"]
    assert overrides(new, small) == {"epochs": 7, "method.weight": 0.3, "model_args.depth": 5}


def test_the_command_of_a_cell_trains_that_cell(small):
    from cosub.api.configuring import configure

    made = study("table2"), study("table4"), study("transfer")
    cells = [made[0].cells[2], made[1].cells[2], *made[2].cells[-2:], study("schedule").cells[-1]]
    for cell in cells:
        words = shlex.split(re.sub(r"\bS\b", "3", command(cell)), comments=True)
        seeded = {"seed": 3, "data.subset_seed": 3, **dict.fromkeys(cell.uses, "RUN")}
        seeded |= {"data.path": "PATH"} if hasattr(cell.recipe.data, "path") else {}
        assert configure(words[2:]) == changed(cell.recipe, seeded), words


# --- statistics


def test_interval_of_a_mean():
    found = estimate([1.0, 2.0, 3.0, 4.0])
    assert found is not None
    assert found.mean == 2.5
    assert found.half == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, rel=1e-5)  # t of 3 degrees of freedom
    assert 3.0 in found
    assert 5.0 not in found
    assert estimate([]) is None
    assert estimate([2.0]).percent() == "200.00"


def test_paired_differences_cancel_the_seed():
    found = paired({0: 0.5, 1: 0.9, 2: 0.7, 5: 0.0}, {2: 0.6, 1: 0.8, 0: 0.4})
    assert found is not None
    assert (round(found.mean, 9), found.number) == (0.1, 3)
    assert found.half == pytest.approx(0, abs=1e-9)


def test_equal_differences_of_all_seeds_are_no_difference():
    right = {0: 301, 1: 317, 2: 290}
    for more, differs in (((5, 5, 5), False), ((5, 6, 5), True), ((-5, -5, -5), False), ((0, 0, 0), False)):
        baseline = {seed: number / 360 for seed, number in right.items()}
        found = paired({seed: (right[seed] + more[seed]) / 360 for seed in right}, baseline)
        assert found is not None
        assert (found.differs, found.p is None) == (differs, not differs)
    assert estimate([0.1]).differs is False


# --- reports


def test_a_table_leaves_blank_what_was_not_run_and_says_what_under_fits(small, tmp_path):
    made = study("headline", recipe="small")
    runs = {(run.cell.name, run.seed): run for run in made.runs(2)}
    lines = [line(runs["supervised", seed], 0.8 + seed / 10, curve=[[1, 0.9, 0], [2, 1, 0]]) for seed in (0, 1)]
    ledger = ledger_of(tmp_path / "runs.jsonl", [*lines, line(runs["cosub", 0], 0.85)])
    found = rows(made, ledger, 2)
    page = markdown(made, found)
    assert "| supervised | 2 | 75.00 ± 63.53 | 85.00 ± 63.53 |  | 90.0 | 2 |" in page
    assert "| supervised, 2 x epochs |  |  |  |  |  |  |" in page
    assert "| cosub | 1 | 75.00 | 85.00 | +5.00 | 99.5 | 2 |" in page
    assert any("supervised has 90.0 % training accuracy" in remark for remark in remarks(made, found))


def test_the_choice_is_made_on_validation_images(small, tmp_path):
    made = study("table3", recipe="small")
    runs = {run.cell.name: run for run in made.runs(1)}
    lines = [line(runs["bce-soft"], 0.9), line(runs["ce-hard"], 0.8, validation_top1=0.95)]
    found = rows(made, ledger_of(tmp_path / "runs.jsonl", lines), 1)
    assert "Chosen on validation images: ce-hard." in remarks(made, found)


def test_the_page_of_studies_is_made_from_the_ledger():
    ledger = ROOT / "docs" / "runs.jsonl"
    if not ledger.exists():
        pytest.skip("no runs are recorded yet")
    assert (ROOT / "docs" / "studies.md").read_text() == text(Ledger(ledger))
    assert orphans(Ledger(ledger)) == []
    assert all(len(one) <= 2048 for one in ledger.read_bytes().splitlines())


def _renamed(cell):
    return dataclasses.replace(cell, recipe=changed(cell.recipe, {"name": "another"}))


def test_all_comparisons_lie_beneath_one_another(small, tmp_path):
    """Fewest images: ahead by 10 points; shallowest: behind; the recipe itself, in both, is counted once."""

    def top1(run):
        gain = {"32 training images, cosub": 0.1, "2 blocks, cosub": -0.1}.get(run.cell.name, 0.0)
        return 0.5 + gain + (0.02 * (run.seed - 1) if run.recipe.method.kind == "cosub" else 0.0)

    studies = [study(name, recipe="small") for name in ("images", "depth")]
    ledger = ledger_of(
        tmp_path / "runs.jsonl",
        {run.key: line(run, top1(run)) for made in studies for run in made.runs(3)}.values(),
    )
    section = text(ledger).split("## Where co-training begins to help")[1].split("##")[0]
    assert "Of 5, the difference is above zero in 1; its interval lies above zero in 1, below in 1" in section
    assert "Above: small, 32 training images +10.00 ± 4.97. Below: small, 2 blocks -10.00 ± 4.97." in section
    assert tmp_path / "study-where.png" in write(tmp_path / "runs.jsonl")
    again = [rows(study("headline", recipe="small"), ledger, 3)]
    renamed = [dataclasses.replace(row, cell=_renamed(row.cell)) for row in again[0]]
    assert len(compared([*again, renamed])) == len(compared(again)) == 1
    supervised = [one for one in ledger.lines if "supervised" in one["cell"]]
    assert "Where co-training begins" not in text(ledger_of(tmp_path / "alone.jsonl", supervised))


def test_lines_of_runs_that_no_study_has_any_more_are_named(small, tmp_path):
    run = next(study("headline", recipe="small").runs(1))
    ledger = ledger_of(tmp_path / "runs.jsonl", [line(run, 0.8), {**line(run, 0.7), "key": "of another time"}])
    assert [lost["top1"] for lost in orphans(ledger)] == [0.7]


def test_what_a_study_cannot_start_from_is_one_line():
    for name, recipe, said in [
        ("depth", "finetune", "sets no model_args.depth"),
        ("images", "cifar10", "sets no data.train_images"),
        ("table1", "camvid", "is for segmentation"),
    ]:
        with pytest.raises(InputError, match=said):
            study(name, recipe=recipe)


def test_equal_time_is_compared_seed_by_seed(small, tmp_path):
    made = study("headline", recipe="small")
    runs = {(run.cell.name, run.seed): run for run in made.runs(2)}
    lines = [line(runs["supervised, 2 x epochs", seed], 0.80 + seed / 10) for seed in (0, 1)]
    lines += [line(runs["cosub", seed], 0.85 + seed / 10) for seed in (0, 1)]
    found = rows(made, ledger_of(tmp_path / "runs.jsonl", lines), 2)
    assert any("against supervised, 2 x epochs (2 s), test: +5.00 ± 0.00." in said for said in remarks(made, found))


# --- runs


def few(recipe):
    supervised = changed(recipe, {"method": Supervised()})
    tuned = changed(recipe, {"method": Cosub(), "lr": 1e-3})
    cells = (
        Cell("supervised", supervised),
        Cell("start", supervised if recipe.epochs == 0 else changed(supervised, {"epochs": 1}), shown=False),
        Cell("tuned", tuned, "supervised", {"weights": "start"}),
    )
    return Study("headline", "Few", "", cells)


def test_runs_are_trained_once_and_recorded(small, tmp_path, monkeypatch):
    made, said = few(small), []
    place = Place(tmp_path / "runs", Ledger(tmp_path / "docs" / "runs.jsonl"))
    missing = needed(made, 1, place)
    assert [run.cell.name for run in missing] == ["supervised", "start", "tuned"]
    assert work(missing, place, 2, None, said.append) == 0
    assert any(message.startswith("start, seed 0: trained, for others to use") for message in said)
    lines = Ledger(place.ledger.path).lines
    assert {(one["cell"], one["device"]) for one in lines} == {
        ("supervised", "cpu, 1 thread"),
        ("tuned", "cpu, 1 thread"),
    }
    assert all(len(one["curve"]) == 2 and one["validation_top1"] is not None for one in lines)
    assert lines[0]["overrides"].keys() >= {"method.kind"}
    assert needed(made, 1, place) == []
    elsewhere = Place(tmp_path / "gone", place.ledger)
    assert needed(made, 1, elsewhere) == []
    assert len(needed(dataclasses.replace(made, weights=True), 1, elsewhere)) == 3


def test_cross_entropy_at_a_fitted_temperature_is_recorded(small, tmp_path):
    made = Study("headline", "One", "", (Cell("one", changed(small, {"epochs": 1})),), calibrated=True)
    place = Place(tmp_path / "runs", Ledger(tmp_path / "runs.jsonl"))
    (run,) = needed(made, 1, place)
    work([run], place, 1, None, lambda message: None)
    (found,) = place.ledger.lines
    loaded = load_run(run.folder(place.out))
    source, transform = open_source(loaded.recipe.data), evaluation(loaded.recipe.resolution, loaded.recipe.inputs)
    logits, labels = {}, {}
    for name, part in (("validation", source.validation), ("test", source.test)):
        images = torch.stack([torch.as_tensor(transform(part.image(index))) for index in range(len(part.labels))])
        with torch.inference_mode():
            logits[name] = loaded.network(normalize(images, loaded.recipe.inputs)).double()
        labels[name] = torch.tensor(part.labels)
    temperatures = torch.logspace(-1.5, 1.5, 2000, dtype=torch.float64)
    losses = [cross_entropy(logits["validation"] / value, labels["validation"]) for value in temperatures]
    best = temperatures[torch.stack(losses).argmin()]
    assert found["loss"] == pytest.approx(float(cross_entropy(logits["test"], labels["test"])), abs=1e-5)
    assert found["loss_scaled"] == pytest.approx(float(cross_entropy(logits["test"] / best, labels["test"])), abs=1e-4)
    assert found["temperature"] == pytest.approx(float(best), rel=2e-3)


def test_a_failed_run_is_named_and_others_are_trained(small, tmp_path):
    from cosub.errors import RunError

    wrong = Cell("wrong", changed(small, {"model": "no-such-model"}))
    after = Cell("after", changed(small, {"method": Supervised()}), uses={"weights": "wrong"})
    made = Study("headline", "Wrong", "", (wrong, Cell("right", changed(small, {"epochs": 1})), after))
    place = Place(tmp_path, Ledger(tmp_path / "runs.jsonl"))
    with pytest.raises(RunError, match=r"1 of 3 runs failed.*timm does not know it"):
        work(needed(made, 1, place), place, 1, None, lambda message: None)
    assert [one["cell"] for one in place.ledger.lines] == ["right"]


def test_the_minutes_end_and_the_rest_goes_on_next_time(small, tmp_path):
    made = Study("headline", "Long", "", (Cell("long", changed(small, {"epochs": 4000})),))
    place = Place(tmp_path, Ledger(tmp_path / "runs.jsonl"))
    missing = needed(made, 1, place)
    assert work(missing, place, 1, 1e-3, lambda message: None, patience=0.1) == 1
    assert place.ledger.lines == []
    assert needed(made, 1, place)[0].key == missing[0].key


# --- the verb


def test_the_papers_own_recipes_are_listed(capsys):
    status, out, _ = call(capsys, "study", "table5", "--scale", "paper", "--json")
    assert status == 0
    assert {row["paper"] for row in json.loads(out)["rows"]} >= {"val 79.05", "val 83.55", "val 82.91"}
    assert "83.55" in call(capsys, "study", "table5", "--scale", "paper")[1]


def test_dry_run_lists_and_costs(small, tmp_path, capsys):
    words = ["table5", "--recipe", "small", "--seeds", 2, "--out", tmp_path / "out", "--ledger", tmp_path / "l.jsonl"]
    status, out, _ = call(capsys, "study", *words, "--dry-run", "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["left"], len(found["runs"])) == (12, 12)
    assert {run["steps"] for run in found["runs"]} == {4}
    assert {run["source"] for run in found["runs"]} == {"measured steps, one thread"}
    assert not (tmp_path / "out").exists()
    assert "12 of 12 runs to train" in call(capsys, "study", *words, "--dry-run")[1]


def test_a_study_ends_in_a_table_and_a_page(small, tmp_path, capsys):
    ledger = tmp_path / "docs" / "runs.jsonl"
    words = ["figure4", "--recipe", "small", "--seeds", 1, "--out", tmp_path / "out", "--ledger", ledger]
    status, out, err = call(capsys, "study", *words, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert [row["cell"] for row in found["rows"]] == ["supervised", "cosub"]
    assert all(Path(run, "model.safetensors").exists() for run in found["runs"])
    assert (tmp_path / "out" / "figure4" / "table.md").exists()
    status, out, err = call(capsys, "study", "--write", "--ledger", ledger)
    assert status == 0, err
    assert (tmp_path / "docs" / "studies.md").read_text() == text(Ledger(ledger))
    assert (tmp_path / "docs" / "study-figure4-small.png").stat().st_size < 150_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tabel5"], "study: 'tabel5': there is none of that name (did you mean table5?)"),
        (["table5", "--recipe", "digit"], "did you mean digits"),
        (["table5", "--scale", "day"], "--scale: 'day': must be one of minutes, hour, paper"),
        (["esd", "--scale", "paper"], "scale: paper: esd is no table of the recipes"),
        (["table5", "--seeds", "-1"], "seeds: -1: must be 1 or more"),
        (["table5", "--jobs", "0"], "jobs: 0: must be 1 or more"),
        (["table5", "--budget-minutes", "0"], "budget_minutes: 0.0: must be positive"),
        (["headline"], "data.path: is not given"),
        (["--write", "--ledger", "nowhere.jsonl"], "ledger: nowhere.jsonl: there is none"),
        (["transfer", "--recipe", "digits-few"], "recipe: digits-few: "),
        (["table5", "--no-such"], "--no-such: there is no such option"),
    ],
)
def test_wrong_input_is_one_line(words, message, capsys):
    status, out, err = call(capsys, "study", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_line_for_which_there_is_no_room_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "runs.jsonl"
    path.write_text("{}\n")

    class Full(io.FileIO):
        def write(self, line):
            return super().write(line[:5])

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda self, mode, buffering: Full(self, "a"))
        with pytest.raises(OSError, match="no room for a whole line"):
            ledgers._append(path, b'{"study": 1}\n')
    assert path.read_text() == "{}\n"


def test_a_ledger_with_another_line_is_named(tmp_path):
    (tmp_path / "runs.jsonl").write_text('{"study": "x"}\n')
    with pytest.raises(InputError, match="line 1 is not the line of a run"):
        Ledger(tmp_path / "runs.jsonl")
