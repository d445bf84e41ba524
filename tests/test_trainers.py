"""The page for those who have a trainer: each diff is short, and what it leads to trains two copies of each image."""

import ast
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import cosub.losses

PAGE = (Path(__file__).parents[1] / "docs" / "trainers.md").read_text()
DIFFS = dict(re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?^```diff\n(.*?)^```", PAGE, re.S | re.M))
TIMM, DEIT, DINO, HF, LIGHTNING, VISION = sorted(DIFFS, key=PAGE.index)
BATCH, SMALL = 4, {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
INSTALL = "pip install 'cosub[examples]'"


def side(diff: str, sign: str) -> str:
    """The lines before a change ("-"), or after it ("+")."""
    return "\n".join(line[1:] for line in diff.splitlines() if line[:1] in ("", " ", sign))


def small(name: str, pretrained: bool = False, drop_path_rate: float = 0.0, **given: Any) -> nn.Module:
    """timm's network of a name, without its weights and in the smallest size."""
    return timm.create_model(name, **{"num_classes": 5, "drop_path_rate": drop_path_rate, **given, **SMALL})


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2 * BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets() -> Tensor:
    return torch.arange(2 * BATCH) % 5


@pytest.fixture
def loader(images, targets) -> DataLoader:
    return DataLoader(TensorDataset(images, targets), BATCH)


@pytest.fixture
def learnt(monkeypatch) -> list[tuple[int, int]]:
    """Rows of logits, and images, of every call of the loss."""
    calls, loss = [], cosub.losses.cosub_loss

    def seen(logits: Tensor, targets: Tensor, *rest: Any, **more: Any) -> Tensor:
        calls.append((len(logits), len(targets)))
        return loss(logits, targets, *rest, **more)

    monkeypatch.setattr(cosub.losses, "cosub_loss", seen)
    return calls


@pytest.fixture
def change(learnt) -> Callable[..., dict[str, Any]]:
    """Executes what a trainer is after the change, with stand-ins for what the trainer has there."""

    def run(trainer: str, **stand_ins: Any) -> dict[str, Any]:
        scope = {"__name__": "trainer", "torch": torch, "cross_entropy": F.cross_entropy, **stand_ins}
        exec(side(DIFFS[trainer], "+"), scope)
        return scope

    return run


def moved(model: nn.Module) -> bool:
    """Whether a loss has reached every parameter."""
    return all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("trainer", DIFFS)
def test_a_diff_has_ten_lines_at_most(trainer):
    lines = DIFFS[trainer].splitlines()
    assert 0 < sum(line[:1] in ("+", "-") for line in lines) <= 10
    assert "cosub" not in side(DIFFS[trainer], "-")
    ast.parse(side(DIFFS[trainer], "-"))


def test_timms_task(change, learnt, loader):
    from timm.task import ClassificationTask

    args = SimpleNamespace(model="vit_tiny_patch16_224", num_classes=5)
    scope = change(TIMM, args=args, create_model=small, ClassificationTask=ClassificationTask)
    scope["task"].setup_ema()
    for inputs, target in loader:
        scope["task"](inputs, target)["loss"].backward()
        scope["task"].update_ema()
    assert moved(scope["model"])
    assert learnt == [(2 * BATCH, BATCH)] * 2


def test_deits_mixed_targets(change, learnt, images, targets):
    from timm.data import Mixup

    samples, mixed = Mixup(mixup_alpha=0.8, num_classes=5)(images, targets)
    args = SimpleNamespace(model="deit3_small_patch16_224", nb_classes=5, drop_path=0.0)
    scope = change(DEIT, args=args, create_model=small, samples=samples, targets=mixed)
    scope["loss"].backward()
    assert moved(scope["model"])
    assert learnt == [(4 * BATCH, 2 * BATCH)]


@pytest.mark.parametrize("name", ["vit_base_patch14_dinov2", "vit_base_patch16_dinov3"])
def test_timms_networks_of_dino(name, change, learnt, loader):
    assert name in PAGE
    assert timm.is_model(name)
    models = SimpleNamespace(create_model=lambda _, **given: small(name, **given))
    scope = change(DINO, timm=models, loader=loader)
    assert moved(scope["model"])
    assert learnt == [(2 * BATCH, BATCH)] * 2


@pytest.mark.filterwarnings("ignore", "error:::cosub")  # what other libraries warn of is theirs
def test_hugging_faces_trainer(change, learnt, images, targets, tmp_path):
    transformers = pytest.importorskip("transformers", reason=f"transformers is not installed: {INSTALL}")
    pytest.importorskip("accelerate", reason=f"accelerate is not installed: {INSTALL}")
    shape = {"image_size": 32, "patch_size": 8, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = transformers.ViTConfig(**shape, intermediate_size=48, num_labels=5)
    pairs = [{"pixel_values": image, "labels": label} for image, label in zip(images, targets, strict=True)]
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_grad_norm": 0.0}
    quiet = {"logging_strategy": "no", "save_strategy": "no", "disable_tqdm": True, "dataloader_pin_memory": False}
    scope = change(
        HF,
        AutoModelForImageClassification=SimpleNamespace(
            from_pretrained=lambda name: transformers.ViTForImageClassification(config)
        ),
        Trainer=transformers.Trainer,
        arguments=transformers.TrainingArguments(str(tmp_path), num_train_epochs=1, **options, **quiet),
        training=pairs,
    )
    scope["trainer"].train()
    assert learnt == [(4, 2)] * 4
    assert scope["trainer"].evaluate(pairs)["eval_loss"] > 0
    assert len(learnt) == 4


def test_hugging_faces_loss_is_the_mean_over_accumulated_batches(change, targets):
    stand_in = SimpleNamespace(from_pretrained=lambda name: small("vit_tiny_patch16_224"))
    scope = change(
        HF, AutoModelForImageClassification=stand_in, Trainer=lambda *_, **__: None, arguments=None, training=None
    )
    logits = torch.randn(4 * BATCH, 5, generator=torch.Generator().manual_seed(1))
    whole = cosub.cosub_loss(logits, targets)
    halves = [
        scope["loss"](SimpleNamespace(logits=torch.cat([rows, others])), part, torch.tensor(2 * BATCH))
        for rows, others, part in zip(
            logits[: 2 * BATCH].split(BATCH), logits[2 * BATCH :].split(BATCH), targets.split(BATCH), strict=True
        )
    ]
    torch.testing.assert_close(sum(halves), whole)


@pytest.mark.filterwarnings("ignore", "error:::cosub")
def test_a_lightning_module(change, learnt, loader):
    lightning = pytest.importorskip("lightning", reason=f"lightning is not installed: {INSTALL}")
    scope = change(
        LIGHTNING, LightningModule=lightning.LightningModule, timm=SimpleNamespace(create_model=small)
    )  # fmt: skip
    scope["Classifier"].configure_optimizers = lambda self: torch.optim.SGD(self.parameters(), lr=0.1)
    module = scope["Classifier"]()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(module, loader)
    assert learnt == [(2 * BATCH, BATCH)] * 2


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_torchvisions_loop(name, change, learnt, images, targets):
    shape = {"vit_b_16": {"image_size": 32}}.get(name, {})
    build = partial(torchvision.models.get_model, **shape)
    found: dict[str, Any] = {}

    def train_one_epoch(model: nn.Module, criterion: Callable[..., Tensor], *_: Any) -> None:
        criterion(model.train()(images), targets).backward()
        found["moved"] = moved(model)

    def accuracy(output: Tensor, target: Tensor, topk: tuple[int, ...]) -> list[Tensor]:
        assert len(output) == len(target)
        return [(output.topk(k).indices == target[:, None]).any(1).float().mean() for k in topk]

    change(
        VISION,
        args=SimpleNamespace(model=name),
        num_classes=5,
        torchvision=SimpleNamespace(models=SimpleNamespace(get_model=build)),
        utils=SimpleNamespace(accuracy=accuracy),
        output=torch.randn(4 * BATCH, 5),
        image=images,
        target=targets,
        train_one_epoch=train_one_epoch,
        optimizer=None,
        data_loader=None,
    )
    assert found["moved"]
    assert learnt == [(4 * BATCH, 2 * BATCH)]
