"""What can be seen on a GPU alone. Each test runs once on the CPU too, for one family, so that it is known to run.

Imports no other test: a machine with a GPU may lack what those need.
"""

import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import SMALL, _alive, _built, _vit, frozen, masked_reference
from tiny import SPAWN, call, run, run_and_kill, tiny, weights
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import cosub
from cosub.data.sources import open_source
from cosub.recipes import get
from cosub.recipes.data import Digits
from cosub.recipes.methods import METHODS
from cosub.runs.distributed import join
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.train.logs import Window
from cosub.train.parallel import parallel
from cosub.train.trainer import Trainer

pytestmark = [
    pytest.mark.filterwarnings(warning)
    for warning in (
        # Dynamo looks at .grad of a block's input, which is no leaf.
        "ignore:The .grad attribute of a Tensor",
        # Inductor, and torch where it is set: TF32 is off on purpose.
        "ignore:.*(TF32|TensorFloat32)",
        "ignore:Synchronization debug mode is a prototype feature",
    )
]
NAMES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def everywhere(families: list[str]) -> pytest.MarkDecorator:
    """Every family on a GPU, and one on the CPU."""
    on_gpu = [pytest.param("cuda", name, marks=pytest.mark.gpu, id=name) for name in families]
    return pytest.mark.parametrize(("device", "name"), [*on_gpu, pytest.param("cpu", "deit3", id="deit3-cpu")])


@pytest.fixture(autouse=True)
def _a_device_and_full_precision(request):
    """What float32 means here: no TF32 in products and convolutions."""
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value


@contextmanager
def never_waiting(device: str) -> Iterator[None]:
    """An error where the host waits for the device."""
    if device == "cpu":
        yield
        return
    try:
        torch.cuda.set_sync_debug_mode("error")  # which warns, and may raise that, once the mode is set
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_mode_is_put_back_where_its_warning_is_an_error(monkeypatch):
    modes = []

    def set_mode(mode):
        modes.append(mode)
        if mode == "error":
            warnings.warn("Synchronization debug mode is a prototype feature and so on", stacklevel=2)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    with never_waiting("cuda"):  # in these tests it is no error
        assert modes == ["error"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="prototype"), never_waiting("cuda"):
            pass
    assert modes == ["error", "default"] * 2


def without_copies(name: str) -> nn.Module:
    """A family that takes all it needs from the device."""
    if name == "dinov3":  # for images of any size, timm makes its coordinates on the host, anew in each forward
        return _alive(_vit("vit_small_patch16_dinov3", depth=3, dynamic_img_size=False))
    return SMALL[name]()


class Copies(TorchDispatchMode):
    """Counts copies from the host, for which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        if function is torch.ops.aten._to_copy.default:
            self.count += args[0].device.type == "cpu" and result.device.type != "cpu"
        return result


@pytest.mark.parametrize("name", sorted(SMALL))
def test_nothing_is_copied_to_the_device_in_forward(name):
    """Of timm's own; also where there is no GPU. The meta device stands for one."""
    model = without_copies(name).to("meta").train()
    with Copies() as copies:
        model(torch.randn(6, 3, 32, 32, device="meta"))
    assert not copies.count


def steps_that_never_wait(device: str, name: str, change: Callable[[nn.Module], object]) -> None:
    """In forward, loss and backward; the first step compiles, and warms up what allocates."""
    torch.manual_seed(0)
    model = cosub.attach(without_copies(name), drop_rate=0.5).to(device).train()
    change(model)
    images, labels = torch.randn(6, 3, 32, 32, device=device), torch.arange(6, device=device) % 5
    for step in range(3):
        with never_waiting(device if step else "cpu"):
            with torch.autocast(device, torch.bfloat16):
                loss = cosub.cosub_loss(model(images), labels)
            loss.backward()
    assert loss.isfinite()


@everywhere(sorted(SMALL))
def test_a_step_never_waits_for_the_device(device, name):
    steps_that_never_wait(device, name, lambda model: None)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["deit3", "swin", "convnext"])
def test_a_compiled_step_never_waits_for_the_device(name):
    steps_that_never_wait("cuda", name, cosub.compile_blocks)


def test_a_submodel_is_not_captured_in_a_graph(monkeypatch):
    model, images = cosub.attach(SMALL["deit3"](), drop_rate=0.5), torch.randn(6, 3, 32, 32)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match=r"in train mode cannot be captured in a CUDA graph: model\.eval\(\)"):
        model.train()(images)
    assert model.eval()(images).shape == (6, 5)


def stepped(
    model: nn.Module, images: Tensor, precision: str | None, active: Callable[[], AbstractContextManager]
) -> dict[str, Tensor]:
    """Logits and gradients in float32. The loss is scaled as for float16, whose small gradients would be zeros."""
    device, scale = images.device.type, 2.0**10 if precision == "fp16" else 1.0
    with torch.autocast(device, NAMES.get(precision or ""), enabled=precision is not None), active():
        logits = model(images)
    (scale * logits.float().square().mean()).backward()
    gradients = {key: p.grad.float().cpu() / scale for key, p in model.named_parameters() if p.grad is not None}
    return {"logits": logits.detach().float().cpu(), **gradients}


def both(device: str, name: str, precision: str | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One step of ours and one of timm's with the same masks. Batch norms take their running statistics."""
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(device)
    ours = frozen(cosub.attach(copy.deepcopy(_built(name)), drop_rate=0.5).train()).to(device)
    layers = len(cosub.state(ours).rates)
    submodel = cosub.draw(12, (6,) * layers, torch.Generator().manual_seed(0))
    mask = submodel.mask().to(device)
    theirs = frozen(masked_reference(copy.deepcopy(_built(name)), mask, name).train()).to(device)
    doubled = images.repeat(2, 1, 1, 1)
    return (
        stepped(ours, images, precision, lambda: cosub.active(ours, submodel)),
        stepped(theirs, doubled, precision, nullcontext),
    )


@everywhere(sorted(SMALL))
def test_contract_fp32(device, name):
    ours, theirs = both(device, name, None)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert (value - theirs[key]).abs().max() <= 1e-3 * theirs[key].abs().max() + 1e-7, key


@pytest.mark.parametrize("precision", sorted(NAMES))
@everywhere(sorted(SMALL))
def test_contract(device, name, precision):
    """The bound of test_precision: the gradients of matrices, and those of vectors, each as one, within a tenth."""
    ours, theirs = both(device, name, precision)
    assert all(value.isfinite().all() for value in ours.values())
    for matrices in (True, False):
        gradient, masked = (
            torch.cat([v.flatten() for key, v in of.items() if key != "logits" and (v.dim() > 1) is matrices])
            for of in (ours, theirs)
        )
        assert (gradient - masked).norm() < 0.1 * masked.norm()


# --- runs

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu), "cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run on the CPU."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run(tiny(out, device="cpu"))
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["supervised", "cosub", "distill", "cosub-distill", "mean-teacher", "cotrain"])
def test_a_step_of_a_run_never_waits_for_the_device(tmp_path, finished, device, kind):
    """With a teacher whose images are normalised in another way, and images that lie on the device."""
    given = {"teacher": str(finished)} if "distill" in kind else {}
    inputs = dataclasses.replace(get("digits").inputs, mean=(0.4,) * 3, std=(0.2,) * 3)
    settings = {"method": METHODS[kind](**given), "data": Digits(on_device=True), "inputs": inputs, "compile": "off"}
    recipe = tiny(tmp_path / "run", device=device, **settings)
    trainer = Trainer(recipe, open_source(recipe.data), join(device), RunFolder(tmp_path / "run"), Reporter())
    trainer.prepare()
    runners = parallel(trainer.networks.trained, recipe.resolution, trainer.world)
    batches, window = trainer.batches(), Window(recipe.batch_size)
    for step in range(4):
        with never_waiting(device if step >= 2 else "cpu"):
            values = trainer.train_step(runners, batches, window)
        trainer.state.step += 1
    assert values.isfinite().all()
    assert values[0] > 0


@pytest.mark.parametrize("device", DEVICES)
def test_images_are_augmented_on_the_device_as_on_the_cpu(tmp_path, device):
    def first(place: str) -> Tensor:
        recipe = tiny(tmp_path / place, device=place, data=Digits(on_device=True))
        trainer = Trainer(recipe, open_source(recipe.data), join(place), RunFolder(tmp_path / place), Reporter())
        trainer.state = SimpleNamespace(step=0)
        return next(trainer.batches()).images.cpu().float()

    difference = (first(device) - first("cpu")).abs()
    assert (difference <= 1).float().mean() > 0.999  # values that are rounded, at the edge of two


@pytest.mark.gpu
def test_a_run_in_fp16_is_killed_and_goes_on_with_its_loss_scale(tmp_path):
    settings = {"device": "cuda", "precision": "fp16", "compile": "off", "checkpoint_every": 3}
    run_and_kill(tiny(tmp_path / "run", **settings), 8)
    found = run(tiny(tmp_path / "run", **settings))
    assert found["top1"] > 0
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


@pytest.mark.parametrize("device", DEVICES)
def test_commands_on_a_device_find_what_they_find_on_the_cpu(tmp_path, capsys, finished, device):
    def top1(place: str) -> float:
        status, out, err = call(capsys, "evaluate", finished, "--device", place, "--json")
        assert status == 0, err
        return json.loads(out)["top1"]

    assert top1(device) == pytest.approx(top1("cpu"), abs=0.006)  # of 360 images, two may lie on an edge
    for place in dict.fromkeys((device, "cpu")):
        words = ["slim", finished, "--keep", 1, "--device", place, "--out", tmp_path / f"slim-{place}"]
        status, _, err = call(capsys, *words)
        assert status == 0, err
    kept = [json.loads((tmp_path / f"slim-{place}" / "recipe.json").read_text()) for place in (device, "cpu")]
    assert len(kept[0]["kept_layers"]) == len(kept[1]["kept_layers"]) == 2


@pytest.mark.parametrize(
    ("device", "compiled"),
    [
        pytest.param("cuda", "off", marks=pytest.mark.gpu),
        pytest.param("cuda", "on", marks=pytest.mark.gpu),
        pytest.param("cpu", "off", marks=pytest.mark.slow),
    ],
)
def test_a_deterministic_run_is_killed_and_continued_to_the_bit(tmp_path, device, compiled):
    """In processes of their own: cuBLAS looks once, when CUDA starts, whether it is to be deterministic."""
    settings = {"device": device, "compile": compiled, "deterministic": True, "checkpoint_every": 3}
    whole, broken = (tiny(tmp_path / name, **settings) for name in ("whole", "broken"))
    _alone(whole)
    run_and_kill(broken, 8)
    _alone(broken)
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def _alone(recipe) -> None:
    process = SPAWN.Process(target=run, args=(recipe,))
    process.start()
    process.join()
    assert process.exitcode == 0
