"""cosub compare: the arms, the plan, the choice, what is said of the result, and the command."""

import dataclasses
import json
from typing import get_args

import numpy as np
import pytest
from ledgers import ledger_of, line
from looking import capture, legend, note
from PIL import Image
from tiny import TINY, call, tiny

from cosub.choices import ArmName
from cosub.comparison import course
from cosub.comparison import plan as planning
from cosub.comparison.course import PILOT, short_runs, whole_runs
from cosub.comparison.page import draw, notes, page, table
from cosub.comparison.plan import LEARNING_RATES, RATES, SHORT, Plan, pace_of
from cosub.comparison.request import THREE, Request
from cosub.comparison.result import result
from cosub.comparison.start import start
from cosub.errors import InputError
from cosub.paper.studies import study
from cosub.paper.studies.arms import ARMS, FIRST
from cosub.paper.studies.work import Place, RunsFailed
from cosub.recipes import get
from cosub.recipes.methods import Cosub, Supervised
from cosub.runs.folder import RunFolder
from cosub.runs.ways import WAYS
from cosub.train.machine import Machine
from cosub.train.pace import Paces
from cosub.train.planning import plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of ten images of 8 pixels to train on, and four each to validate and to test."""
    root, random = tmp_path_factory.mktemp("data") / "pets", np.random.default_rng(0)
    for split, number in (("train", 10), ("val", 4), ("test", 4)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = random.integers(0, 128, (8, 8, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{index}.png")
    return root


def planned(request, **changes):
    """A plan of runs of an epoch or two, of a tiny network."""
    recipe = dataclasses.replace(start(request)[0], model_args=TINY, resolution=8)
    paces = {pace_of(arm, rate): 0.1 * ARMS[arm].rows(rate) for arm in request.arms for rate in RATES}
    values = {"seconds": 1.0, "steps": 4, "validation_images": 8, "test_images": 8, **changes}
    return Plan(request.asked, recipe, request.arms, request.seeds, step_seconds=paces, **values)


@pytest.fixture
def compared(folder, tmp_path):
    """The result of made-up accuracies: of the short runs the first is best, of the others by arm and seed."""

    def make(gains, seeds=3, **changes):
        made = planned(Request(str(folder), seeds=seeds), **changes)
        pilots = short_runs(made)
        lines = [line(run, 0.9 - 0.01 * number) for number, run in enumerate(pilots.runs(1))]
        ledger = ledger_of(tmp_path / "runs.jsonl", lines)
        whole = whole_runs(made, ledger)
        lines += [line(run, 0.5 + gains.get(run.cell.name, [0] * seeds)[run.seed]) for run in whole.runs(seeds)]
        return result(made, whole, ledger_of(tmp_path / "runs.jsonl", lines), left=0)

    return make


# --- the arms


def test_the_arms_differ_in_what_they_are_named_for():
    recipe = get("scratch")
    made = {name: arm.recipe(recipe) for name, arm in ARMS.items()}
    assert tuple(made) == get_args(ArmName)
    assert set(THREE) < set(made)
    assert (made[FIRST].method, made[FIRST].rounding) == (Supervised(), "masked")
    assert (made["stochastic-depth"].method, made["stochastic-depth"].rounding) == (Supervised(), "nearest")
    assert made["two-copies"].method == Cosub(weight=1.0)
    assert made["co-training"].method == Cosub()
    tuned = get("finetune")
    assert {arm.recipe(tuned).method.targets for arm in ARMS.values()} == {"ce"}


def test_an_arm_computes_the_rows_that_it_says():
    recipe = dataclasses.replace(get("digits"), drop_rate=0.5)
    flops = {name: plan(arm.recipe(recipe), Machine()).flops for name, arm in ARMS.items()}
    for name, arm in ARMS.items():
        assert flops[name] / flops[FIRST] == pytest.approx(arm.rows(0.5), rel=0.02), name


def test_the_study_of_the_arms_computes_equally_many_rows():
    recipe = get("digits-few")
    cells = study("arms").cells
    rows = [cell.recipe.epochs * ARMS[cell.name].rows(recipe.drop_rate) for cell in cells]
    assert rows == pytest.approx([recipe.epochs] * 4, rel=0.01)
    assert [cell.baseline for cell in cells] == ["", FIRST, FIRST, FIRST]


# --- the plan


def test_epochs_follow_from_the_time_of_a_step(folder):
    made = planned(Request(str(folder)), seconds=40.0)
    assert made.epochs(FIRST, 0.3, short=False) == made.epochs(FIRST, 0.1, short=False) == 100
    assert made.epochs("stochastic-depth", 0.1, short=False) == 111
    assert made.epochs("co-training", 0.1, short=False) == 56
    assert made.epochs("co-training", 0.1, short=True) == 28


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_all_runs_fill_the_minutes(folder, jobs):
    request = Request(str(folder), minutes=30)
    recipe, source, _ = start(request)
    paces = Paces({pace_of(arm, rate): 0.1 for arm in request.arms for rate in RATES}, 0.001)
    made = planning._plan(request, recipe, source, paces, jobs, spent=50.0)
    short, whole = 3 * len(RATES) * len(LEARNING_RATES) / jobs, -(-9 // jobs)
    around = planning._AROUND + 0.001 * (2 * 20 + 2 * 8 + 3 * 8)
    total = 50 + short * (SHORT * made.seconds + around) + whole * (made.seconds + around)
    assert total == pytest.approx(30 * 60 * 0.9)
    assert (made.steps, made.validation_images, made.test_images) == (4, 8, 8)


def test_too_few_minutes_are_refused_with_how_many_suffice(folder):
    recipe, source, _ = start(Request(str(folder)))
    paces = Paces({pace_of(arm, rate): 20.0 for arm in THREE for rate in RATES}, 0.01)
    with pytest.raises(
        InputError, match=r"minutes: 15: too few for 21 runs .*--minutes (\d+), fewer --seeds or --arms, a smaller"
    ) as raised:
        planning._plan(Request(str(folder)), recipe, source, paces, 2, 10.0)
    minutes = int(str(raised.value).split("--minutes ")[1].split(",")[0])
    enough = planning._plan(Request(str(folder), minutes=minutes), recipe, source, paces, 2, 10.0)
    assert min(enough.epochs(arm, rate, short=True) for arm in THREE for rate in RATES) >= 3
    slower = Paces({key: 1.15 * value for key, value in paces.step.items()}, 0.0115)  # as the next call may find it
    planning._plan(Request(str(folder), minutes=minutes), recipe, source, slower, 2, 11.5)


def test_without_validation_images_some_are_held_out_and_a_batch_leaves_four_in_an_epoch(folder, tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).symlink_to(folder / split)
    recipe, source, lines = start(Request(str(tmp_path)))
    assert any(line.startswith("validation: 2 of the 20 training images are held out") for line in lines)
    assert (len(source.train.labels), len(source.validation_or_test.labels), len(source.test.labels)) == (18, 2, 8)
    assert (recipe.batch_size, recipe.group_size) == (4, 4)
    assert source.validation_or_test is not source.test


def test_a_named_model_has_arguments_of_its_own(folder):
    recipe, _, lines = start(Request(str(folder), model="resnet26", resolution=64))
    assert (recipe.model, recipe.model_args, recipe.resolution, recipe.choose) == ("resnet26", {}, 64, "last")
    assert lines == [
        "start: from scratch, recipe scratch: resnet26 at 64 pixels",
        "validation: 8 images choose the rates, and each is 12% of them: few say little",
    ]


def test_weights_are_fine_tuned(folder, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.claim(tiny(tmp_path / "run"))
    with pytest.raises(InputError, match=r"weights: .*is a folder without model\.safetensors"):
        start(Request(str(folder), weights=str(run.path)))
    run.weights.touch()  # which are not read here
    recipe, _, _ = start(Request(str(folder), weights=str(tmp_path / "run")))
    assert (recipe.name, recipe.weights, recipe.model_args) == ("finetune", str(tmp_path / "run"), TINY)
    assert (recipe.resolution, recipe.head, recipe.choose, recipe.batch_size) == (8, "probe", "last", 5)


# --- the choice


def test_each_arm_gets_what_was_best_for_it_on_validation_images(folder, tmp_path):
    made = planned(Request(str(folder)))
    pilots = short_runs(made)
    best = {FIRST: (0.3, 0.02), "stochastic-depth": (0.1, 0.005), "co-training": (0.3, 0.005)}

    def validation(run):
        recipe = run.cell.recipe
        return 0.9 if best[run.cell.series] == (recipe.drop_rate, recipe.lr) else 0.5

    lines = [line(run, 0.99 - validation(run), validation_top1=validation(run)) for run in pilots.runs(1)]
    whole = whole_runs(made, ledger_of(tmp_path / "runs.jsonl", lines))
    assert {cell.name: (cell.recipe.drop_rate, cell.recipe.lr) for cell in whole.cells} == best
    assert all(cell.recipe.epochs == made.epochs(cell.name, cell.recipe.drop_rate, short=False) for cell in whole.cells)


class Failing:
    """A carrier of which a run fails, with two left."""

    def __init__(self, ledger):
        self.place, self.said = Place(ledger.path.parent, ledger), []

    def on(self, *_):
        raise RunsFailed("1 of 12 runs failed", left=2)

    def say(self, message):
        self.said.append(message)


def test_a_short_run_that_diverges_is_not_chosen(folder, tmp_path):
    plan = planned(Request(str(folder)))
    pilots = short_runs(plan)
    carrier = Failing(ledger_of(tmp_path / "runs.jsonl", [line(run, 0.5) for run in list(pilots.runs(1))[1:]]))
    assert course._choose(carrier, pilots, plan) == 2
    assert carrier.said == ["1 of 12 runs failed; it is not chosen"]
    others = [line(run, 0.5) for run in pilots.runs(1) if run.cell.series != "co-training"]
    with pytest.raises(RunsFailed):  # there is none to choose
        course._choose(Failing(ledger_of(tmp_path / "runs.jsonl", others)), pilots, plan)


def test_the_seed_that_chose_is_not_used_again(folder, compared):
    assert {run.seed for run in short_runs(compared({}).plan).runs(1)} == {PILOT}
    assert [sorted(arm.row.lines) for arm in compared({}).arms] == [[0, 1, 2]] * 3
    with pytest.raises(InputError, match="seeds"):
        Request(str(folder), seeds=PILOT + 1)


# --- what is said


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ([0.05, 0.06, 0.055], "submodel co-training +5.50 ± 1.24 points, ahead in three seeds"),
        ([-0.05, -0.06, -0.055], "submodel co-training -5.50 ± 1.24 points, behind in three seeds"),
        ([0.2, -0.1, 0.0], "submodel co-training +3.33 ± 37.95 points, no difference that three seeds could show"),
        ([0.0125] * 3, "submodel co-training +1.25 ± 0.00 points, no difference that three seeds could show"),
        ([0.2], "submodel co-training +20.00 points, which a single seed cannot distinguish from chance"),
    ],
)
def test_the_sentence_says_what_the_interval_bears_out(compared, gains, said):
    verdict = compared({"co-training": gains}, seeds=len(gains), test_images=80).verdict
    assert verdict.startswith("At equal time, against timm's masked drop path: efficient stochastic depth +0.00")
    assert verdict.endswith(f"; {said}.")
    assert ". " not in verdict


def test_the_table_has_the_cost_of_each_arm_and_the_page_says_who_chose(compared, folder):
    found = compared({"co-training": [0.1, 0.1, 0.1]})
    lines = {line[:21].strip(): line[21:].split() for line in table(found)}
    assert lines["milliseconds per step"] == ["100", "90", "180"]
    assert (lines["seeds"], lines["epochs"]) == (["3"] * 3, ["2", "3", "1"])
    assert (lines["drop rate"], lines["learning rate"]) == (["0.1"] * 3, ["0.005"] * 3)
    assert lines["seconds of training"] == ["2", "2", "2"]
    above = [line[21:].split() for line in table(found) if line.startswith("above masking")]
    assert [" ".join(row) for row in above] == ["+0.00 ± 0.00 +10.00 ± 0.00", "+0.00 ± 0.00 +5.00 ± 0.00"]  # the half
    assert max(map(len, table(found))) <= 80
    assert any("8 test images are not used for any choice" in note for note in notes(found))
    assert notes(found)[-1] == f"`cosub compare {folder} --minutes 15 --seeds 3` (commit abc, cpu, 1 thread)"
    optimistic = compared({}, test_images=0)
    assert not any(line.startswith("test") for line in table(optimistic))
    assert "validation numbers are optimistic" in page(optimistic, drawn=False)


def test_the_picture_names_its_bars_and_gives_each_arm_the_colour_of_its_method(compared, monkeypatch, tmp_path):
    figures = capture(monkeypatch)
    draw(compared({"co-training": [0.1, 0.11, 0.12]}), tmp_path / "a.png")
    draw(compared({}, seeds=1), tmp_path / "b.png")
    assert "95 % intervals (Student's t) over 3 seeds" in note(figures[0])
    assert "one seed: no interval" in note(figures[1])
    left, right = figures[0].axes
    assert [tick.get_text().replace("\n", " ") for tick in left.get_yticklabels()] == [ARMS[arm].title for arm in THREE]
    assert left.get_xlabel() == "top-1 on test images, %"
    colours = {container.lines[0].get_color() for container in right.containers}
    assert colours == {WAYS["supervised"].colour, WAYS["cosub"].colour}
    assert legend(figures[0]) == ["full network", "half of its blocks", "a seed"]


def test_nothing_is_concluded_before_there_is_something_to_compare(folder, tmp_path):
    made = planned(Request(str(folder)))
    found = result(made, None, ledger_of(tmp_path / "runs.jsonl", []), left=21)
    assert found.verdict.startswith("Nothing can be said yet")
    assert "21 runs left; the same command goes on" in page(found, drawn=False)


# --- the command


@pytest.mark.slow
def test_a_comparison_goes_on_from_its_plan_and_ends_in_a_page(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("cosub.comparison.course.RATES", (0.3,))
    monkeypatch.setattr("cosub.comparison.course.LEARNING_RATES", (1.0,))
    out = tmp_path / "out"
    out.mkdir()
    request = Request(str(folder), seeds=1, arms=(FIRST, "co-training"))
    (out / "plan.json").write_text(json.dumps(dataclasses.asdict(planned(request, seconds=1.2))))
    words = [folder, "--seeds", 1, "--arms", FIRST, "co-training", "--jobs", 2, "--out", out]
    status, text, err = call(capsys, "compare", *words)
    assert status == 0, err
    assert "2 runs to choose drop rates and learning rates, 2 at a time" in err
    assert text.splitlines()[-2].startswith("At equal time, against timm's masked drop path: submodel co-training ")
    assert (out / "comparison.png").stat().st_size < 150_000
    status, again, err = call(capsys, "compare", *words, "--json")
    found = json.loads(again)
    assert (status, err) == (0, "")
    assert [(arm["arm"], arm["seeds"], arm["epochs"]) for arm in found["arms"]] == [
        (FIRST, [0], 3),
        ("co-training", [0], 2),
    ]
    assert (found["left"], found["test_images"], found["verdict"]) == (0, 8, text.splitlines()[-2])
    status, _, err = call(capsys, "compare", *words, "--minutes", 20)
    assert (status, err.count("\n")) == (2, 1)
    assert "holds another comparison (it differs in minutes)" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "FOLDER: is missing"),
        (["nowhere"], "FOLDER: nowhere: is not a folder"),
        (["FOLDER", "--minutes", 0], "minutes: 0.0: must be positive"),
        (["FOLDER", "--seeds", 0], "seeds: 0: must be in [1, 100]"),
        (["FOLDER", "--arms", "co-training"], "arms: 'co-training': must be masking and others"),
        (["FOLDER", "--arms", "masked"], "--arms: 'masked': must be one of masking, stochastic-depth"),
        (["FOLDER", "--model", "vit_tinny_patch16_224"], "model: 'vit_tinny_patch16_224': timm does not know it"),
        (["FOLDER", "--weights", "nowhere.pth"], "weights: "),
        (
            ["FOLDER", "--out", "FOLDER"],
            "is no comparison's folder, nor empty; name another with --out",
        ),
        (["FOLDER", "--second", 3], "--second: there is no such option (did you mean --seeds?)"),
    ],
)
def test_wrong_input_is_one_line(folder, words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, "compare", *[folder if word == "FOLDER" else word for word in words])
    assert (status, out) == (2, "")
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("cosub: ")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_no_plan(folder, tmp_path, capsys):
    (tmp_path / "plan.json").write_text('{"recipe": {}}')
    status, _, err = call(capsys, "compare", folder, "--out", tmp_path)
    assert status == 2
    assert "plan.json: is not the plan of a comparison" in err


def test_what_the_time_was_too_short_for_is_left_to_the_next_call(folder, tmp_path, capsys, monkeypatch):
    given = []
    monkeypatch.setattr("cosub.comparison.course.work", lambda runs, *more: given.append((runs, more)) or len(runs))
    (tmp_path / "plan.json").write_text(json.dumps(dataclasses.asdict(planned(Request(str(folder))))))
    status, out, _ = call(capsys, "compare", folder, "--jobs", 2, "--out", tmp_path)
    ((runs, (_, jobs, minutes, _)),) = given
    assert (status, len(runs), jobs) == (0, len(THREE) * len(RATES) * len(LEARNING_RATES), 2)
    assert 14 < minutes < 15
    assert out.startswith("Nothing can be said yet")
    assert "12 runs left; the same command goes on" in out
    assert "Nothing can be said yet" in (tmp_path / "comparison.md").read_text()
