"""torch.compile. Run by its own pytest command, without the shape-checking hook, which would break the graph."""

import copy

import pytest
import timm
import torch
from conftest import SMALL, frozen
from torch._dynamo.testing import CompileCounterWithBackend
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import cosub

pytestmark = [
    pytest.mark.compile,
    # Dynamo looks at .grad of a block's input, which is no leaf.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),
]


@pytest.mark.parametrize("backend", ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_one_graph_for_every_table(images, table, backend):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = cosub.attach(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2), drop_rate=0.5).train()
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for seed in range(3):
        with cosub.active(model, table(4, 12, seed=seed)):
            expected, ours = gradients(model, model(images)), gradients(model, compiled(images))
        for name in expected:
            torch.testing.assert_close(ours[name], expected[name], rtol=1e-5, atol=1e-5)
    assert counter.frame_count == 1
    torch._dynamo.reset()


def gradients(model, logits):
    model.zero_grad()
    logits.square().mean().backward()
    return {"logits": logits.detach(), **{name: p.grad.clone() for name, p in model.named_parameters()}}


BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.fixture
def compiled():
    """A small model of each rate and rounding, its blocks compiled each on its own; graphs are counted."""
    torch._dynamo.reset()

    def make(backend, depth=4, **settings):
        torch.manual_seed(0)
        model = timm.create_model("deit3_small_patch16_224", img_size=32, depth=depth, embed_dim=24, num_heads=3)
        cosub.attach(model, drop_rate=0.5, **settings).train()
        counter = CompileCounterWithBackend(backend)
        return model, cosub.compile_blocks(copy.deepcopy(model), backend=counter), counter

    yield make
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("depth", "settings"),
    [(4, {}), (12, {"schedule": "linear"}), (4, {"rounding": "spread"})],  # 12 linear rates: more than the limit of 8
    ids=["uniform", "linear", "spread"],
)
def test_blocks_compiled_one_by_one_equal_eager(images, compiled, backend, depth, settings):
    model, fast, counter = compiled(backend, depth, **settings)
    averaged = AveragedModel(fast, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for seed in range(3):
        submodel = drawn(model, 12, seed)
        with cosub.active(model, submodel), cosub.active(fast, submodel):
            expected, ours = gradients(model, model(images)), gradients(fast, fast(images))
        for name in expected:
            torch.testing.assert_close(ours[name], expected[name], rtol=1e-5, atol=1e-5)
        averaged.update_parameters(fast)
    assert counter.frame_count == depth  # one graph a block, whatever the table
    fast.eval(), model.eval()
    with torch.no_grad():
        torch.testing.assert_close(fast(images), model(images), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fast(images[:3]), model(images[:3]), rtol=1e-5, atol=1e-5)
    assert counter.frame_count <= 3 * depth  # evaluation, and a partial batch
    assert not torch._dynamo.utils.counters["recompile_limit"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["blocks", "whole"])
@pytest.mark.parametrize(
    ("name", "backend"),
    [*((name, "aot_eager") for name in SMALL), *((name, "inductor") for name in ("deit3", "swin", "convnext"))],
)
def test_each_family_compiled_equals_eager(name, backend, way, images):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = frozen(cosub.attach(SMALL[name](), drop_rate=0.5).train())
    fast = copy.deepcopy(model)
    run = torch.compile(fast, backend=backend) if way == "whole" else cosub.compile_blocks(fast, backend=backend)
    labels = torch.arange(6) % 5
    for seed in range(2):
        submodel = drawn(model, 12, seed)
        with cosub.active(model, submodel), cosub.active(fast, submodel):
            expected = loss_and_gradients(model, cosub.cosub_loss(model(images), labels))
            ours = loss_and_gradients(fast, cosub.cosub_loss(run(images), labels))
        for key, value in expected.items():
            size = 1e-5 * max(1.0, value.abs().max().item())
            torch.testing.assert_close(ours[key], value, rtol=0, atol=size, msg=lambda m, n=key: f"{n}: {m}")
    assert not torch._dynamo.utils.counters["recompile_limit"]
    torch._dynamo.reset()


def loss_and_gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad.clone() for name, p in model.named_parameters()}}


@pytest.mark.parametrize("checkpointing", ["blocks", "selective"])
def test_compiled_with_checkpointing(images, compiled, checkpointing):
    model, fast, _ = compiled("aot_eager")
    cosub.state(fast).checkpointing = checkpointing
    submodel = drawn(model, 12, 0)
    with cosub.active(model, submodel), cosub.active(fast, submodel):
        expected, ours = gradients(model, model(images)), gradients(fast, fast(images))
    for name in expected:
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-5, atol=1e-5)


def drawn(model, rows, seed):
    return cosub.draw(rows, cosub.state(model).kept(rows), torch.Generator().manual_seed(seed))


@pytest.mark.slow
def test_a_compiled_run_is_a_run(tmp_path, capfd):
    from tiny import run, tiny

    assert run(tiny(tmp_path / "run", compile="on"))["state"] == "done"
    assert "graphs, each block on its own" in capfd.readouterr().err


def test_where_blocks_cannot_be_compiled_the_run_says_so(tmp_path, capfd, monkeypatch):
    from tiny import run, tiny

    from cosub.errors import RunError
    from cosub.trainer import Trainer

    def fail(_trainer):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(Trainer, "_rehearse", fail)
    with pytest.raises(RunError, match="cannot be compiled here"):
        run(tiny(tmp_path / "on", compile="on"))
