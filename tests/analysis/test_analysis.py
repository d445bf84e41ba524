"""The analyses: numbers against brute force or known values, files, and wrong input."""

import copy
import csv
import dataclasses
import itertools
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from pictures import picture
from PIL import Image
from scipy.stats import binom
from tiny import call, run, tiny
from torch.utils.flop_counter import FlopCounterMode

from cosub.analysis.counts import counts
from cosub.analysis.layers import Ablation, agreement, units
from cosub.analysis.population import Member, by_depth, choose_depths, draw_layers
from cosub.analysis.quantisation import mark, quantisation
from cosub.analysis.subjects import cautions, images_of_runs, load_subjects
from cosub.analysis.tradeoff import at_resolution, macs
from cosub.attachment import active, attach, detach
from cosub.data.sources import Files, open_source, with_validation
from cosub.data.transforms import normalize
from cosub.errors import InputError, RunError
from cosub.evaluation.accuracy import evaluate
from cosub.evaluation.images import Images, halves, images_of_run, load_into_memory, subsample
from cosub.evaluation.submodels import Kept, evaluate_submodels
from cosub.losses import label_loss
from cosub.recipes.data import Digits, Folder
from cosub.recipes.inputs import Inputs
from cosub.recipes.methods import Supervised
from cosub.runs.distributed import World
from cosub.runs.progress import progress
from cosub.submodel import keep_layers


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """One that was co-trained, and one that never dropped a layer."""
    folder = tmp_path_factory.mktemp("runs")
    run(tiny(folder / "cosub"))
    run(tiny(folder / "plain", method=Supervised(), drop_rate=0.0))
    return folder / "cosub", folder / "plain"


@pytest.fixture(scope="module")
def subjects(runs):
    return load_subjects([str(path) for path in runs])


@pytest.fixture(scope="module")
def test_set():
    return subsample(open_source(Digits()).test, 50, seed=3)


# --- many submodels on the same images


def test_submodels_are_evaluated_as_one_at_a_time(subjects, test_set):
    subject = subjects[0]
    images = load_into_memory(test_set, 8, subject.recipe.inputs)
    chosen = [Kept((0, 1, 2, 3)), Kept((0, 3)), Kept((0, 3), "expectation"), Kept((2,), 1.5), Kept(())]
    seen = []
    top1, loss = evaluate_submodels(subject.network, images, chosen, batch_size=16, advance=seen.append)
    assert sum(seen) == 50 * len(chosen)
    batch = normalize(images.pixels)
    for kept, right, wrong in zip(chosen, top1, loss, strict=True):
        with torch.no_grad(), active(subject.network, keep_layers(kept.layers, 4, 50, kept.scale)):
            logits = subject.network(batch)
        assert right.item() == pytest.approx((logits.argmax(1) == images.labels).float().mean().item())
        assert wrong.item() == pytest.approx(label_loss(logits, images.labels).item(), rel=1e-5)
    assert loss[1] != loss[2]


def test_submodels_agree_with_the_evaluation_of_a_run(subjects, test_set):
    subject = subjects[0]
    world = World(0, 1, torch.device("cpu"))
    result = evaluate(subject.network, test_set, 10, 8, world, submodels={"two": [0, 3]})
    images = load_into_memory(test_set, 8, subject.recipe.inputs)
    top1, _ = evaluate_submodels(subject.network, images, [Kept((0, 1, 2, 3)), Kept((0, 3))])
    assert top1.tolist() == pytest.approx([result.top1, result.submodels["two"]], abs=1e-6)


def test_submodels_need_images_and_layers_that_are_there(subjects):
    network = subjects[0].network
    none, one = (
        Images(torch.zeros(number, 3, 8, 8, dtype=torch.uint8), torch.zeros(number, dtype=torch.long), Inputs())
        for number in (0, 1)
    )
    with pytest.raises(ValueError, match="images: there are none"):
        evaluate_submodels(network, none, [Kept((0,))])
    with pytest.raises(ValueError, match="layers 0 to 3"):
        evaluate_submodels(network, one, [Kept((4,))])


# --- sets of images


def test_subsamples_and_halves_are_functions_of_the_seed():
    examples = open_source(Digits()).test
    part = subsample(examples, 21, seed=0)
    assert len(part.labels) == 21
    assert part.labels == subsample(examples, 21, seed=0).labels != subsample(examples, 21, seed=1).labels
    assert subsample(examples, 0, seed=0) is examples
    assert subsample(examples, 360, seed=0) is examples
    first, second = halves(part, seed=0)
    assert (len(first.labels), len(second.labels)) == (11, 10)
    pixels = {first.image(i).tobytes() for i in range(11)} | {second.image(i).tobytes() for i in range(10)}
    assert pixels == {part.image(i).tobytes() for i in range(21)}
    with pytest.raises(InputError, match="too few for two halves"):
        halves(subsample(examples, 1, seed=0), seed=0)


def test_unreadable_images_are_left_out_and_named(tmp_path):
    for index in range(4):
        picture(index).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    files = Files([tmp_path / f"{index}.png" for index in range(4)], [0, 1, 2, 3])
    images = load_into_memory(files, 8, Inputs(), bad_share=0.5)
    assert (tuple(images.pixels.shape), images.labels.tolist()) == ((3, 3, 8, 8), [0, 1, 3])
    assert "2.png" in images.bad[0]
    with pytest.raises(RunError, match=r"2\.png"):
        load_into_memory(files, 8, Inputs(), bad_share=0.0)


def test_images_of_run_by_name_and_by_path(tmp_path):
    for split, number in (("here/train", 3), ("here/val", 2), ("there", 1)):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(number):
                picture(index).save(tmp_path / split / name / f"{index}.png")
    data, classes = Folder(path=str(tmp_path / "moved")), ("cat", "dog")
    sizes = [len(images_of_run(data, classes, name, str(tmp_path / "here")).labels) for name in ("train", "test")]
    assert sizes == [6, 4]
    assert len(images_of_run(data, classes, str(tmp_path / "there")).labels) == 2
    with pytest.raises(InputError, match="is not a folder"):
        images_of_run(data, classes)
    with pytest.raises(InputError, match="not those of the run"):
        images_of_run(data, ("cat", "cow"), "test", str(tmp_path / "here"))
    with pytest.raises(InputError, match="which have no path"):
        images_of_run(Digits(), tuple("0123456789"), str(tmp_path))


# --- the numbers


def test_random_submodels_are_distinct_and_all_of_them_where_they_are_few():
    drawn = draw_layers(16, 9, 50, seed=0)
    assert len(set(drawn)) == len(drawn) == 50
    assert all(len(layers) == 9 and list(layers) == sorted(set(layers)) and layers[-1] < 16 for layers in drawn)
    assert drawn == draw_layers(16, 9, 50, seed=0) != draw_layers(16, 9, 50, seed=1)
    assert draw_layers(5, 2, 10, seed=0) == list(itertools.combinations(range(5), 2))
    assert len(draw_layers(5, 2, 9, seed=0)) == 9
    counted = [sum(layer in layers for layers in draw_layers(8, 2, 25, seed=0)) for layer in range(8)]
    assert min(counted) >= 2  # of 25 * 2 / 8 = 6.25


@pytest.mark.parametrize(
    ("layers", "depths"), [(16, [4, 6, 8, 10, 12, 14, 16]), (64, [16, 24, 32, 40, 48, 56, 64]), (2, [1, 2]), (1, [1])]
)
def test_depths_go_from_a_quarter_to_all(layers, depths):
    assert set(choose_depths(layers)) >= {1, layers} if layers < 4 else choose_depths(layers) == depths


def test_a_population_in_numbers():
    values = [0.2, 0.4, 0.9, 0.9]
    members = [Member("a", "1", 2, top1, 1 - top1 + i / 100, (i,)) for i, top1 in enumerate(values)]
    (depth,) = by_depth(members, num_layers=4)
    assert (depth.submodels, depth.least, depth.best, depth.best_layers) == (4, 0.2, 0.9, (2,))
    assert depth.mean == pytest.approx(0.6)
    assert depth.deviation == pytest.approx(math.sqrt((0.16 + 0.04 + 0.09 + 0.09) / 4))
    assert 0.2 < depth.low < depth.high <= 0.9


def test_units_are_blocks_or_layers():
    assert units((2, 1, 3), "block") == [(0, 1), (2,), (3, 4, 5)]
    assert units((2, 1), "layer") == [(0,), (1,), (2,)]


def _ablations(name, top1, loss):
    full = Ablation("r", "block", None, name, 1.0, 0.0, ())
    rest = [Ablation("r", "block", i, name, a, b, (i,)) for i, (a, b) in enumerate(zip(top1, loss, strict=True))]
    return [full, *rest]


def test_agreement_is_spearmans_rho_over_the_units():
    first = _ablations("x", [0.1, 0.2, 0.3, 0.4], [4.0, 3.0, 2.0, 1.0])
    second = _ablations("y", [0.5, 0.6, 0.7, 0.9], [1.0, 2.0, 4.0, 3.0])
    found = agreement(first + second)
    assert (found.sets, found.top1_rho) == (("x", "y"), pytest.approx(1))
    assert found.loss_rho == pytest.approx(-0.8)  # 1 - 6 * (9 + 1 + 4 + 4) / (4 * 15)
    flat = agreement(first + _ablations("y", [0.5] * 4, [1.0, 2.0, 3.0, 4.0]))
    assert (flat.top1_rho, flat.top1_p, flat.loss_rho) == (None, None, pytest.approx(-1))
    assert agreement(first[:3] + second[:3]).loss_rho is None


def test_counts_are_binomial_and_for_other_rates_the_sum_over_submodels():
    found = counts("ViT-H", [0.5] * 64)
    assert max(found, key=lambda count: count.submodels).kept == 32
    assert sum(count.submodels for count in found) == 2**64
    assert [count.probability for count in found] == pytest.approx(list(binom.pmf(range(65), 64, 0.5)))
    rates = [0.1, 0.5, 0.9]
    for count in counts("linear", rates):
        drawn = [
            math.prod(1 - rate if bit else rate for bit, rate in zip(bits, rates, strict=True))
            for bits in itertools.product((0, 1), repeat=3)
            if sum(bits) == count.kept
        ]
        assert count.probability == pytest.approx(sum(drawn))


def test_quantisation_has_the_papers_steps():
    rates = quantisation([8])
    effective = {(rate.rounding, rate.asked): rate.effective for rate in rates}
    assert effective["nearest", 0.05] == 0
    assert effective["floor", 0.05] == 0.125
    assert {effective["floor", index / 100] for index in range(100)} == {step / 8 for step in range(8)}
    read = [effective["ceil", rate] for rate in (0.05, 0.2, 0.6)]  # equation C.1 as printed
    assert read == [0, 0.125, 0.5]
    assert [effective["floor", rate] for rate in (0.05, 0.2, 0.6)] == [0.125, 0.25, 0.625]
    assert effective["nearest", 0.99] == 0.875  # a layer keeps one row at least


def test_multiply_accumulates_are_those_of_torchs_counter(subjects):
    network, image = subjects[0].network, torch.zeros(1, 3, 8, 8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    assert macs(network, image) == counter.get_total_flops() // 2 > 10_000


def test_a_run_at_another_resolution_keeps_its_weights(subjects):
    larger = at_resolution(subjects[0], 16, torch.device("cpu"))
    assert larger.network(torch.zeros(1, 3, 16, 16)).shape == (1, 10)
    theirs, ours = larger.network.state_dict(), subjects[0].network.state_dict()
    assert torch.equal(theirs["head.weight"], ours["head.weight"])
    assert theirs["pos_embed"].shape[1] == 17
    assert at_resolution(subjects[0], 8, torch.device("cpu")) is subjects[0]
    with pytest.raises(InputError, match="not a multiple of the patch size"):
        at_resolution(subjects[0], 9, torch.device("cpu"))


def test_a_subject_knows_what_training_dropped(subjects):
    assert (subjects[0].rows, set(subjects[0].drop_rates)) == (32, {0.5})
    assert (subjects[1].rows, set(subjects[1].drop_rates)) == (16, {0.0})
    assert subjects[0].layers_per_block == (2, 2)
    by_chance = dataclasses.replace(subjects[1], recipe=dataclasses.replace(subjects[1].recipe, rounding="masked"))
    attached = attach(detach(copy.deepcopy(subjects[1].network)), drop_rate=0.02, rounding="masked")
    by_chance = dataclasses.replace(by_chance, network=attached)
    assert set(by_chance.drop_rates) == {0.02}  # of 16 rows no whole one
    assert cautions([by_chance]) == []
    assert len(cautions([subjects[1]])) == 1
    with pytest.raises(InputError, match=r"drops each row by chance .*leave it out"):
        mark(by_chance)


def test_runs_of_different_data_are_not_put_side_by_side(subjects):
    other = dataclasses.replace(subjects[1].recipe, data=Digits(split_seed=1))
    with pytest.raises(InputError, match="different data or splits"):
        images_of_runs([subjects[0], dataclasses.replace(subjects[1], recipe=other)], ["test"])
    with pytest.raises(InputError, match=r"classes 0, 1, 2, \.\.\. and a, b\)"):
        images_of_runs([subjects[0], dataclasses.replace(subjects[1], recipe=other, classes=("a", "b"))], [])


def of(subject, **changes):
    """A run of cats and dogs that is like another but for its recipe."""
    recipe = dataclasses.replace(subject.recipe, **changes)
    return dataclasses.replace(subject, recipe=recipe, classes=("cat", "dog"))


def test_runs_that_read_pixels_differently_are_not_put_side_by_side(subjects, tmp_path):
    for split, name in itertools.product(("train", "val"), ("cat", "dog")):
        (tmp_path / split / name).mkdir(parents=True)
        picture().save(tmp_path / split / name / "a.png")
    data = Folder(path=str(tmp_path))
    first, alike = of(subjects[0], data=data), of(subjects[1], data=dataclasses.replace(data, val_share=0.2))
    assert len(images_of_runs([first, alike], ["test"])["test"].labels) == 2
    for changes, what in (
        ({"orientation": True}, "data.range type, data.orientation True"),
        ({"range": (0.0, 99.0)}, "data.range (0.0, 99.0), data.orientation False"),
        ({"pixels": 1}, "data.pixels 1"),
    ):
        other = of(subjects[1], data=dataclasses.replace(data, **changes))
        with pytest.raises(InputError) as error:
            images_of_runs([first, other], ["test"])
        said = f"read pixels differently (data.range type, data.orientation False and {what}); name runs that"
        assert said in str(error.value)


def test_validation_images_of_a_run_that_chose_its_epoch_are_no_training_images(subjects):
    source = open_source(Digits())
    best = dataclasses.replace(subjects[0], recipe=dataclasses.replace(subjects[0].recipe, choose="best"))
    found = images_of_runs([best], ["train", "test"])
    assert list(found["train"].labels) == list(with_validation(source).train.labels)
    assert len(found["train"].labels) < len(source.train.labels)
    assert list(found["test"].labels) == list(source.test.labels)
    assert images_of_runs([subjects[1], best], ["test"])
    with pytest.raises(InputError, match="different data or splits"):
        images_of_runs([subjects[1], best], ["train"])


# --- through the command line


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("name", "words", "rows"),
    [
        ("population", ["--submodels", 3, "--limit", 20], 2 * 2 * 4),
        ("layers", ["--limit", 20, "--unit", "layer"], 2 * 2 * 5),
        ("layers", ["--limit", 20, "--sets", "train", "test"], 2 * 2 * 3),
        ("counts", [], 2 * 5),
        ("quantisation", ["--rows", 4, 8], 3 * 2 * 100),
        ("overfitting", ["--limit", 20], 2 * 2),
        ("tradeoff", ["--limit", 20, "--resolutions", 8, 16, "--repeats", 1, "--batch-size", 4], 2 * 2),
    ],
)
def test_each_analysis_writes_a_table_and_a_picture(name, words, rows, runs, capsys, tmp_path):
    out = tmp_path / "new" / "folder"
    status, printed, err = call(capsys, "analyse", name, *runs, "--out", out, *words, "--json")
    assert status == 0, err
    result = json.loads(printed)
    assert result["runs"] == [str(path) for path in runs]
    assert len(table(Path(result["csv"]))) == rows
    assert ("WARNING: plain was trained without dropping a layer" in err) == (name in ("population", "layers"))
    with Image.open(result["picture"]) as page:
        assert page.width > 400
    before = {path: path.read_bytes() for path in out.iterdir()}
    status, printed, err = call(capsys, "analyse", name, *runs, "--out", out, *words)
    assert (status, "exists; name another folder" in err, len(err.splitlines()), printed) == (2, True, 1, "")
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_population_and_its_members(runs, capsys, tmp_path):
    words = ["--submodels", 4, "--keep", 2, 4, "--limit", 30, "--out", tmp_path / "a"]
    status, printed, _ = call(capsys, "analyse", "population", *runs, *words)
    assert status == 0
    assert printed.splitlines()[0].split()[:3] == ["run", "scale", "kept"]
    depths, members = table(tmp_path / "a" / "population.csv"), table(tmp_path / "a" / "population-submodels.csv")
    assert len(members) == 2 * 2 * (4 + 1)
    chosen = {run.name: [m["layers"] for m in members if m["run"] == run.name] for run in runs}
    assert chosen["cosub"] == chosen["plain"]  # the same submodels of each
    for depth in depths:
        mine = [m for m in members if all(m[key] == depth[key] for key in ("run", "scale", "kept"))]
        assert int(depth["submodels"]) == len(mine)
        assert float(depth["best"]) == max(float(m["top1"]) for m in mine)
    full = {(d["run"], d["scale"]): d["mean"] for d in depths if d["kept"] == "4"}
    assert full["cosub", "1"] == full["cosub", "L/k"]


def test_counts_and_quantisation_need_no_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "analyse", "counts")[0] == 0
    assert len(table(tmp_path / "analysis" / "counts.csv")) == 65
    assert call(capsys, "analyse", "quantisation")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "analyse: '': must be population, layers"),
        (["populations"], "did you mean population?"),
        (["population"], "RUNS: is missing"),
        (["population", "nowhere"], "run: nowhere: holds no run"),
        (["population", "RUN", "--keep", "5"], "keep: 5: cosub has 4 residual layers; keep 1 to all"),
        (["population", "RUN", "--keep", "0"], "keep: 0: must be 1 or more"),
        (["population", "RUN", "--submodels", "0"], "submodels: 0: must be 1 or more"),
        (["population", "RUN", "--limit", "-1"], "limit: -1: must be 0 or more"),
        (
            ["population", "RUN", "--set", "tset"],
            "set: 'tset': must be test, train, or the path of images (did you mean test?)",
        ),
        (["population", "RUN", "--data.path", "x"], "which have no path"),
        (["population", "RUN", "RUN"], "is named twice"),
        (["population", "HALF"], "has no model.safetensors yet; finish it"),
        (["population", "RUN", "--device", "tpu"], "device: 'tpu'"),
        (["population", "RUN", "--out", "FILE"], "is a file; name a folder"),
        (["population", "RUN", "--setz", "test"], "--setz: there is no such option (did you mean --set?)"),
        (["layers", "RUN", "--unit", "half"], "--unit: 'half': must be one of block, layer"),
        (["layers", "RUN", "--sets", "test", "test"], "must be one or two different sets"),
        (["layers", "RUN", "--limit", "1"], "too few for two halves"),
        (["counts", "--layers", "0"], "layers: 0: must be 1 or more"),
        (["counts", "--drop-rate", "1"], "drop_rate: 1.0: must be in [0, 1)"),
        (["quantisation", "--rows", "0"], "rows: 0: must be 1 or more"),
        (["overfitting", "RUN", "--sets", "test"], "sets: "),
        (["tradeoff", "RUN", "--resolutions", "9"], "resolution: 9: is not a multiple of the patch size"),
        (["tradeoff", "RUN", "--repeats", "0"], "repeats: 0: must be 1 or more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words(words, message, runs, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half").mkdir()
    shutil.copy(runs[0] / "recipe.json", tmp_path / "half")
    (tmp_path / "file").write_text("")
    places = {"RUN": str(runs[0]), "HALF": "half", "FILE": "file"}
    before = sorted(tmp_path.rglob("*"))
    status, out, err = call(capsys, "analyse", *(places.get(word, word) for word in words))
    assert (status, message in err, len(err.splitlines()), out) == (2, True, 1, ""), err
    assert sorted(tmp_path.rglob("*")) == before
    assert not (runs[0] / "analysis").exists()


def test_progress_elsewhere_than_on_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr("cosub.runs.progress.time.monotonic", lambda: next(clock))
    with progress("submodels", 4) as advance:
        for _ in range(4):
            advance(1)
    assert capsys.readouterr().err.splitlines() == ["submodels 50%  left 0:11", "submodels 100%  left 0:00"]
