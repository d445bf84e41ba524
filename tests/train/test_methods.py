"""Each method against its definition written out the plain way, and as a run that is killed and continued."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny import TINY, before_steps, run, run_and_kill, run_together, tiny, weights
from torch import nn

import cosub
from cosub.cli import main
from cosub.data.imagenet import in_imagenets_order, synsets
from cosub.data.sources import open_source
from cosub.errors import InputError
from cosub.losses import cosub_distillation_loss, cosub_loss, distillation_loss
from cosub.recipes.files import dump, read
from cosub.recipes.methods import METHODS, Cosub, CosubDistill, Cotrain, Distill, MeanTeacher, Supervised
from cosub.runs.distributed import World
from cosub.runs.folder import RunFolder
from cosub.runs.network import build_network
from cosub.runs.progress import Reporter
from cosub.train import checkpoint as checkpoints
from cosub.train.methods import build
from cosub.train.teachers import Teacher, describe, load_teacher
from cosub.train.trainer import Trainer

CPU = World(0, 1, torch.device("cpu"))
KINDS = ["bce-soft", "bce-hard", "ce-soft", "ce-hard"]


def plain_cross_entropy(logits, target, loss):
    """Sums over classes and means, in words."""
    if loss == "bce":
        p = logits.sigmoid()
        return -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    return -(target * logits.log_softmax(1)).sum(1).mean()


def plain_target(logits, kind):
    loss, form = kind.split("-")
    if form == "hard":
        return torch.eye(logits.shape[1])[logits.argmax(1)]
    return logits.sigmoid() if loss == "bce" else logits.softmax(1)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    targets = torch.rand(4, 5).round()  # several classes per image, as multi-label data and mixing have
    return {"z": torch.randn(8, 5, requires_grad=True), "y": targets, "t": torch.randn(4, 5, requires_grad=True)}


def same_with_gradient(ours, plain, z):
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    mine, theirs = (torch.autograd.grad(value, z, retain_graph=True)[0] for value in (ours, plain))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copies", [1, 2])
def test_distillation_is_label_and_teacher(batch, kind, copies):
    z, y, t, loss = batch["z"][: 4 * copies], batch["y"], batch["t"], kind.split("-")[0]
    label, target = y.repeat(copies, 1), plain_target(t.detach(), kind).repeat(copies, 1)
    plain = 0.3 * plain_cross_entropy(z, label, loss) + 0.7 * plain_cross_entropy(z, target, loss)
    ours = distillation_loss(z, y, t, 0.3, kind)
    same_with_gradient(ours, plain, batch["z"])
    assert torch.autograd.grad(ours, t, allow_unused=True)[0] is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["soft", "hard"])
def test_cosub_with_distillation_has_three_shares(batch, kind, form):
    z, y, t = batch["z"], batch["y"], batch["t"]
    loss = kind.split("-")[0]
    other = plain_target(torch.cat([z[4:], z[:4]]).detach(), kind)
    from_teacher = plain_target(t.detach(), f"{loss}-{form}").repeat(2, 1)
    plain = (
        0.2 * plain_cross_entropy(z, y.repeat(2, 1), loss)
        + 0.3 * plain_cross_entropy(z, from_teacher, loss)
        + 0.5 * plain_cross_entropy(z, other, loss)
    )
    same_with_gradient(cosub_distillation_loss(z, y, t, 0.2, 0.3, kind, form), plain, z)


def test_shares_of_nothing_leave_the_simpler_methods(batch):
    z, y, t = batch["z"], batch["y"], batch["t"]
    assert torch.equal(cosub_distillation_loss(z, y, t, 0.4, 0.0), cosub_loss(z, y, 0.4))
    torch.testing.assert_close(
        cosub_distillation_loss(z, y, t, 0.4, 0.6, "bce-soft", "hard"), distillation_loss(z, y, t, 0.4, "bce-hard")
    )
    torch.testing.assert_close(distillation_loss(z, y, t, 1.0), F.binary_cross_entropy_with_logits(z, y.repeat(2, 1)))


def test_losses_refuse_what_they_cannot_do(batch):
    z, y = batch["z"], batch["y"]
    with pytest.raises(ValueError, match="the teacher has 4 classes and the student 5"):
        distillation_loss(z, y, torch.randn(4, 4))
    with pytest.raises(ValueError, match=r"teacher_weight must be in \[0, 0.6\]"):
        cosub_distillation_loss(z, y, batch["t"], 0.4, 0.7)
    with pytest.raises(ValueError, match="two copies of 4 images and got 4 rows"):
        cosub_distillation_loss(z[:4], y, batch["t"])


# --- methods on networks


class Given(nn.Module):
    """Gives logits of ours, and remembers its inputs."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.seen = logits, []

    def forward(self, images):
        self.seen.append((images, torch.is_grad_enabled()))
        return self.logits


class Asked:
    """A builder that remembers what it was asked for, and gives networks with logits of ours."""

    def __init__(self, logits):
        self.logits, self.calls = logits, []

    def another(self, name):
        self.calls.append(("another", name))
        return Given(self.logits)

    def average(self, momentum):
        self.calls.append(("average", momentum))
        return Given(self.logits)

    def teacher(self, source):
        self.calls.append(("teacher", source))
        return Given(self.logits)


@pytest.mark.parametrize("kind", METHODS)
def test_each_method_asks_its_networks_once_and_its_teacher_without_gradient(kind, batch):
    method = build(METHODS[kind]())
    images = torch.randn(4, 3, 8, 8)
    more = method.networks(Asked(batch["t"]))
    networks = {"network": Given(batch["z"][: 4 * method.copies]), **more.all}
    loss, logits = method(networks, images, batch["y"])
    assert logits is networks["network"].logits
    assert all(len(network.seen) == 1 and network.seen[0][0] is images for network in networks.values())
    for name in more.others:
        assert networks[name].seen[0][1] is False
        assert torch.autograd.grad(loss, batch["t"], allow_unused=True, retain_graph=True)[0] is None
    for _ in more.trained:
        other = torch.autograd.grad(loss, batch["t"])[0]
        assert other.abs().sum() > 0


def test_each_method_asks_for_the_networks_of_figure_2():
    def asked(config):
        build_networks = Asked(torch.zeros(4, 5))
        more = build(config).networks(build_networks)
        return build_networks.calls, list(more.trained), list(more.others)

    assert asked(Supervised()) == asked(Cosub()) == ([], [], [])
    assert asked(Cotrain()) == ([("another", "peer")], ["peer"], [])
    assert asked(MeanTeacher(momentum=0.9)) == ([("average", 0.9)], [], ["mean-teacher"])
    for kind in (Distill, CosubDistill):
        assert asked(kind(teacher="run")) == ([("teacher", "run")], [], ["teacher"])


def test_cosub_with_weight_1_is_supervised_training_on_two_submodels(batch):
    z, y = batch["z"], batch["y"]
    cosub_method, supervised = build(Cosub(weight=1.0)), build(Supervised())
    ours = cosub_method({"network": Given(z)}, torch.zeros(4, 3, 8, 8), y)[0]
    first, second = (supervised({"network": Given(part)}, torch.zeros(4, 3, 8, 8), y)[0] for part in z.chunk(2))
    same_with_gradient(ours, (first + second) / 2, z)


def test_drop_rate_0_adds_no_gradient_beyond_the_labels(images, table):
    """Two equal submodels are each other's soft target: that changes nothing."""
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24, num_heads=3, num_classes=5)
    cosub.attach(model, drop_rate=0.0).train()
    labels, gradients = torch.arange(6) % 5, []
    for weight in (0.5, 1.0):
        model.zero_grad()
        (cosub_loss(model(images), labels, weight) / weight).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, value in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], value, rtol=1e-4, atol=1e-6)


# --- runs


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A finished run on the same data at another resolution."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    run(tiny(out, seed=7, resolution=16))
    return out


def method_of(kind, teacher):
    given = {"teacher": str(teacher)} if kind in ("distill", "cosub-distill") else {}
    return METHODS[kind](**given, **({"momentum": 0.9} if kind == "mean-teacher" else {}))


def trainer_of(out, method, **changes):
    recipe = tiny(out, method=method, **changes)
    trainer = Trainer(recipe, open_source(recipe.data), CPU, RunFolder(out), Reporter())
    trainer.prepare()
    RunFolder(out).claim(recipe)
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cosub-distill", "mean-teacher", "distill", "cotrain"])
def test_killed_and_continued_to_the_bit(kind, teacher, tmp_path):
    folder = tmp_path / "teacher"
    recipes = []
    for name in ("whole", "killed"):
        folder.exists() or folder.symlink_to(teacher)
        recipes.append(tiny(tmp_path / name, method=method_of(kind, folder), checkpoint_every=4, ema=0.9))
    run(recipes[0])
    run_and_kill(recipes[1], 9)
    folder.unlink()  # a run that goes on has its teacher in the checkpoint
    run(recipes[1])
    ours, theirs = (checkpoints.latest(tmp_path / name / "checkpoints") for name in ("killed", "whole"))
    assert set(ours.weights) == {"network", "averaged"} | set(
        build(recipes[0].method).networks(Asked(torch.zeros(1))).all
    )
    for name, tensors in theirs.weights.items():
        assert all(torch.equal(ours.weights[name][key], value) for key, value in tensors.items()), name
    assert RunFolder(tmp_path / "killed").read_summary()["method"] == kind


def test_the_teacher_does_not_change_and_gets_no_gradient(teacher, tmp_path):
    trainer = trainer_of(tmp_path / "run", Distill(teacher=str(teacher)))
    inside = trainer.networks.others["teacher"].network
    before = copy.deepcopy(inside.state_dict())
    trainer.fit()
    assert all(torch.equal(before[name], value) for name, value in inside.state_dict().items())
    assert all(parameter.grad is None for parameter in inside.parameters())
    assert all(torch.equal(before[name], value) for name, value in weights(teacher).items())
    held = {id(parameter) for group in trainer.state.optimizer.param_groups for parameter in group["params"]}
    assert not held & {id(parameter) for parameter in inside.parameters()}


def test_the_mean_teacher_follows_the_closed_form(tmp_path):
    """t_n = m^n x_0 + (1 - m) sum_k m^(n-k) x_k over the steps' weights x_k."""
    trainer = trainer_of(tmp_path / "run", MeanTeacher(momentum=0.9), optimizer=lively())
    history = []
    with before_steps(lambda trainer: history.append(copy.deepcopy(trainer.network.state_dict()))):
        trainer.fit()
    history.append(copy.deepcopy(trainer.network.state_dict()))
    assert len(history) == 23
    for name, value in trainer.networks.others["mean-teacher"].module.state_dict().items():
        expected = 0.9**22 * history[0][name]
        expected += sum(0.1 * 0.9 ** (22 - k) * history[k][name] for k in range(1, 23))
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in trainer.networks.others["mean-teacher"].modules())


def lively():
    """A learning rate that moves the weights in a few steps."""
    from cosub.recipes.optimizer import Optimizer

    return Optimizer(warmup_epochs=0.0)


def test_two_networks_differ_and_both_learn(tmp_path):
    trainer = trainer_of(tmp_path / "run", Cotrain(), optimizer=lively())
    before = {name: copy.deepcopy(network.state_dict()) for name, network in trainer.networks.trained.items()}
    assert not torch.equal(before["network"]["head.weight"], before["peer"]["head.weight"])
    tables = [trainer.micro_step.submodel(trainer.networks, name, 0, range(2)) for name in ("network", "peer")]
    assert tables[0].kept == tables[1].kept
    assert not torch.equal(tables[0].order, tables[1].order)
    trainer.fit()
    for name, network in trainer.networks.trained.items():
        unmoved = [key for key, value in network.state_dict().items() if torch.equal(value, before[name][key])]
        assert unmoved == []
    state = trainer.state.optimizer.state_dict()["state"]
    assert len(state) == 2 * len(list(trainer.network.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "parallel"),
    [
        ("cosub-distill", "fsdp"),
        ("cotrain", "ddp"),
        ("cotrain", "fsdp"),
        ("mean-teacher", "fsdp"),
        ("distill", "ddp"),
    ],
)
def test_two_processes_equal_one(kind, parallel, teacher, tmp_path):
    plain = {key: value for key, value in TINY.items() if key != "proj_drop_rate"}
    arguments = {"model_args": plain, "method": method_of(kind, teacher), "micro_steps": 2}
    run(tiny(tmp_path / "one", **arguments))
    facts = run_together(tiny(tmp_path / "two", parallel=parallel, **arguments), 2)
    assert facts == {"processes": 2, "sharded": [parallel == "fsdp"]}
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-5, atol=1e-5)


# --- teachers


def test_a_teacher_gives_the_logits_of_its_own_network(teacher):
    found, said = load_teacher(str(teacher), tuple(map(str, range(10))), 8, teacher.with_name("other"))
    assert said == ["teacher: its images are resized from 8 to 16 pixels"]
    images = torch.randn(3, 3, 8, 8)
    bigger = F.interpolate(images, (16, 16), mode="bicubic", antialias=True)
    assert torch.equal(found.train()(images), cosub.load(teacher)(bigger))
    assert found(images).requires_grad is False


@pytest.mark.parametrize(
    "kept", [(), pytest.param((0, 1, 3), marks=pytest.mark.slow)], ids=["whole", "half a block gone"]
)
def test_an_exported_folder_and_the_hub_are_the_teacher_that_the_run_is(teacher, tmp_path, monkeypatch, kept):
    source, images = teacher, torch.randn(3, 3, 8, 8)
    if kept:
        source = Path(shutil.copytree(teacher, tmp_path / "slim"))
        recipe = dataclasses.replace(read(source / "recipe.json"), kept_layers=kept)
        (source / "recipe.json").write_text(dump(recipe))
        network = build_network(recipe, 10, 1)
        save_file(network.state_dict(), source / "model.safetensors", {"classes": json.dumps([*map(str, range(10))])})
    assert main(["export", str(source), "--out", str(tmp_path / "out")]) == 0
    monkeypatch.setattr(
        "timm.models._hub.hf_hub_download", lambda repo_id, filename, **_: str(tmp_path / "out" / filename)
    )
    digits = tuple(map(str, range(10)))
    wanted, _ = load_teacher(str(source), digits, 8, tmp_path / "own")
    for name in (str(tmp_path / "out"), "hf-hub:owner/name"):
        found, said = load_teacher(name, digits, 8, tmp_path / "own")
        assert said == ["teacher: its images are resized from 8 to 16 pixels"]
        torch.testing.assert_close(found(images), wanted(images), rtol=0, atol=1e-5)
        again = Teacher(json.loads(json.dumps(found.about)))  # as from a checkpoint
        again.load_state_dict(found.state_dict())
        assert torch.equal(again(images), found(images))
    with pytest.raises(InputError, match="has 10 classes and the data 9"):
        load_teacher(name, digits[:9], 8, tmp_path / "own")


def test_a_teacher_without_a_classifier_or_a_name_is_refused(tmp_path, monkeypatch):
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"holds no run and no config\.json of timm's"):
        describe(str(tmp_path / "w.safetensors"), 8)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: Path("no network").read_text())
    with pytest.raises(InputError, match=r"teacher: hf-hub:a/b: its config\.json cannot be downloaded"):
        describe("hf-hub:a/b", 8)


def test_a_teacher_of_imagenet_is_refused_for_folders_in_another_order(tmp_path):
    """Sorted as strings, 100 comes before 2."""
    numbers = list(map(str, range(1000)))
    orders = {True: [numbers, [f"{n:04d}" for n in range(1000)], synsets(), [f"class {n}" for n in range(1000)]],
              False: [sorted(numbers), list(synsets()[::-1])]}  # fmt: skip
    for right, lists in orders.items():
        assert [in_imagenets_order(classes) for classes in lists] == [right] * len(lists)
    with pytest.raises(InputError, match=r"teacher: deit.*in another \(0, 1, 10, ...\): name them by synset"):
        load_teacher("deit_tiny_patch16_224.fb_in1k", tuple(sorted(numbers)), 224, tmp_path)


def test_a_teacher_of_timms_gets_images_normalised_its_way():
    about = describe("vit_base_patch16_224.augreg_in1k", 32)
    assert (about["resolution"], about["classes"], about["mean"]) == (224, 1000, [0.5] * 3)
    small = {"embed_dim": 24, "depth": 1, "num_heads": 3}
    teacher = Teacher({**about, "resolution": 32, "settings": small})
    pixels = torch.rand(2, 3, 32, 32)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(
        teacher((pixels - mean) / deviation), teacher.network((pixels - 0.5) / 0.5), rtol=1e-4, atol=1e-5
    )
    assert describe("regnety_160.deit_in1k", 192)["resolution"] == 192  # a convolutional network takes any size


def test_teachers_that_do_not_fit_are_refused(teacher, tmp_path):
    digits = tuple(map(str, range(10)))

    def refused(source, classes=digits, out=tmp_path / "own"):
        with pytest.raises(InputError) as caught:
            load_teacher(str(source), classes, 8, out)
        return str(caught.value)

    assert "is missing; name a finished run's folder" in refused("")
    assert "is this run itself" in refused(teacher, out=teacher)
    assert "has 10 classes and the data 9; train it on these data first" in refused(teacher, digits[:9])
    assert "trained on other classes ('9', where the data have 'nine')" in refused(teacher, (*digits[:9], "nine"))
    assert "holds no run" in refused(tmp_path)
    assert "nor a name of timm's weights (did you mean regnety_160.deit_in1k?)" in refused("regnety_160.deit_in1")
    unfinished = tmp_path / "unfinished"
    RunFolder(unfinished).claim(tiny(unfinished))
    assert "has no model.safetensors yet; finish it" in refused(unfinished)
    save_file({"head.weight": torch.zeros(1)}, unfinished / "model.safetensors", {"classes": json.dumps(digits)})
    assert "do not fit this" in refused(unfinished)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "distill"], "teacher: is missing"),
        (["--method", "distill", "--dry-run"], "teacher: is missing"),
        (["--method", "distill", "--teacher", "nowhere"], "teacher: nowhere: is neither a run's folder"),
        (["--method", "mean-teacher", "--momentum", "1"], "momentum: 1.0: must be in [0, 1)"),
        (["--method", "mean-teacher", "--momentum", "-0.1"], "momentum: -0.1: must be in [0, 1)"),
        (
            ["--method", "cosub-distill", "--weight", "0.6", "--teacher-weight", "0.5"],
            "teacher_weight: 0.5: must be in",
        ),
        (["--momentum", "0.9"], "--momentum: belongs to --method mean-teacher"),
        (["--method", "distil"], "did you mean distill?"),
    ],
)
def test_wrong_words(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_that_is_the_students_own_unfinished_run(teacher, tmp_path):
    out = tmp_path / "run"
    run_and_kill(tiny(out, checkpoint_every=4), 9)
    other = tiny(tmp_path / "other", method=Distill(teacher=str(out)))
    with pytest.raises(InputError, match=r"has no model\.safetensors yet"):
        run(other)
    own = dataclasses.replace(other, method=CosubDistill(teacher=str(tmp_path / "other")))
    with pytest.raises(InputError, match="is this run itself"):
        run(own)
    assert not (tmp_path / "other").exists()
