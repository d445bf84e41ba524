"""torch.compile. Run by its own pytest command, without the shape-checking hook, which would break the graph."""

import copy
import pickle
from functools import partial

import pytest
import timm
import torch
from conftest import SMALL, _vit, frozen, masked_reference
from functorch.compile import make_boxed_func
from test_changes import CHANGES, TOKENS
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch import config as partitioner
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

import cosub
from cosub.twins.compilation import uncompile_blocks

pytestmark = [
    pytest.mark.compile,
    # Dynamo looks at .grad of a block's input, which is no leaf.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),
]


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    assert not torch._dynamo.utils.counters["recompile_limit"]
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_one_graph_for_every_table(images, table, backend):
    torch.manual_seed(0)
    model = cosub.attach(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2), drop_rate=0.5).train()
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for seed in range(3):
        with cosub.active(model, table(4, 12, seed=seed)):
            expected, ours = gradients(model, model(images)), gradients(model, compiled(images))
        assert_close(ours, expected)
    assert counter.frame_count == 1


def gradients(model, logits):
    model.zero_grad()
    logits.float().square().mean().backward()
    return {"logits": logits.detach(), **{n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}}


def assert_close(ours, expected, tolerance=1e-5):
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        size = tolerance * max(1.0, value.abs().max().item())
        torch.testing.assert_close(ours[key], value, rtol=0, atol=size, msg=lambda m, n=key: f"{n}: {m}")


BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


def small(depth=4, rate=0.5, **settings):
    """Of branches that matter: timm's LayerScale of DeiT-III starts at 1e-6, which no comparison would see."""
    torch.manual_seed(0)
    model = _vit("deit3_small_patch16_224", depth=depth)
    return cosub.attach(model, drop_rate=rate, **settings).train()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("depth", "settings", "graphs"),
    # Of 12 rows, linear rates keep 12 to 6: seven numbers, and 32 of them would be more than Dynamo's limit of 8.
    [(2, {}, 1), (8, {}, 1), pytest.param(32, {"schedule": "linear"}, 7, marks=pytest.mark.slow),
     pytest.param(32, {"schedule": "linear", "rate": 0.95}, 12, marks=pytest.mark.slow),
     (4, {"schedule": "linear"}, 4)],
)  # fmt: skip
def test_blocks_of_one_signature_share_a_graph(images, backend, depth, settings, graphs):
    model = small(depth, **settings)
    fast, counter = copy.deepcopy(model), CompileCounterWithBackend(backend)
    cosub.compile_blocks(fast, backend=counter)
    averaged = AveragedModel(fast, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for seed in range(2):
        submodel = drawn(model, 12, seed)
        with cosub.active(model, submodel), cosub.active(fast, submodel):
            assert_close(gradients(fast, fast(images)), gradients(model, model(images)), 2e-5)
        averaged.update_parameters(fast)
    assert counter.frame_count == graphs
    fast.eval(), model.eval()
    with torch.no_grad():
        for count in (6, 3, 5):
            assert torch.equal(fast(images[:count]), model(images[:count]))
    assert counter.frame_count == graphs  # evaluation runs eagerly


def test_the_branches_of_these_blocks_are_seen(images):
    model = small(2).eval()
    with torch.no_grad():
        with cosub.active(model, cosub.keep_layers([], 4, len(images))):
            without = model(images)
        assert (model(images) - without).abs().max() > 100 * 1e-5


def test_blocks_whose_factors_differ_have_graphs_of_their_own(images):
    """As all of NFNet's: eight graphs of one function would be Dynamo's limit, and the others would run eagerly."""
    sizes = {"depths": (1, 10), "channels": (16, 32), "stem_chs": 8, "group_size": 8, "num_features": 0}
    model = cosub.attach(timm.create_model("nfnet_l0", **sizes), drop_rate=0.5).train()
    counter = CompileCounterWithBackend("eager")
    cosub.compile_blocks(model, backend=counter)
    model(images)
    assert counter.frame_count == 11


def test_evaluation_is_compiled_where_it_is_asked_for(images):
    model = small().eval()
    fast, counter = copy.deepcopy(model), CompileCounterWithBackend("aot_eager")
    cosub.compile_blocks(fast, evaluation=True, backend=counter)
    with torch.no_grad():
        assert_close({"logits": fast(images)}, {"logits": model(images)})
    assert counter.frame_count == 1


def drawn(model, rows, seed):
    return cosub.draw(rows, cosub.state(model).kept(rows), torch.Generator().manual_seed(seed))


FEW = ("deit3", "swin", "convnext", "resnet18")
WAYS = [
    *[("aot_eager", name, "blocks") for name in FEW],
    *[pytest.param("aot_eager", name, "blocks", marks=pytest.mark.slow) for name in SMALL if name not in FEW],
    *[pytest.param("aot_eager", name, "whole", marks=pytest.mark.slow) for name in FEW],
    *[pytest.param("inductor", name, way, marks=pytest.mark.slow) for name in FEW[:3] for way in ("blocks", "whole")],
]


@pytest.mark.parametrize(("backend", "name", "way"), WAYS)
def test_each_family_compiled_equals_eager(name, backend, way, images):
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
        assert_close(ours, expected)


def loss_and_gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad.clone() for name, p in model.named_parameters()}}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["deit3", "convnext", pytest.param("swin", marks=pytest.mark.slow)])
def test_bfloat16(images, name, backend):
    model = frozen(cosub.attach(SMALL[name](), drop_rate=0.5).train())
    fast = cosub.compile_blocks(copy.deepcopy(model), backend=backend)
    submodel = drawn(model, 12, 0)
    results = []
    for network in (fast, model):
        with torch.autocast("cpu", torch.bfloat16), cosub.active(network, submodel):
            logits = network(images)
        results.append(torch.cat([value.flatten() for value in gradients(network, logits).values()]))
    assert (results[0] - results[1]).norm() < 0.1 * results[1].norm()


@pytest.mark.parametrize("checkpointing", ["blocks", "selective"])
@pytest.mark.parametrize("name", ["deit3", "resnet18"])
def test_checkpointing_is_inside(images, name, checkpointing):
    """Batch norms, in train mode, move their running statistics once."""
    torch.manual_seed(0)
    model = cosub.attach(SMALL[name](), drop_rate=0.5).train()
    fast = cosub.compile_blocks(copy.deepcopy(model), backend="aot_eager")
    cosub.state(fast).checkpointing = checkpointing
    submodel = drawn(model, 12, 0)
    with cosub.active(model, submodel), cosub.active(fast, submodel):
        assert_close(gradients(fast, fast(images)), gradients(model, model(images)))
    assert_close(dict(fast.named_buffers()), dict(model.named_buffers()))


QUICK = ("LoRA on qkv", "output hook on norm1", "weight_norm on fc1", "norm2 replaced")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "change", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CHANGES]
)
def test_changes_of_a_compiled_model(images, change, when):
    """Before compiling, or after compiled steps: Dynamo on its own would go on without a hook that came later."""
    model = small(2)
    plain = _vit("deit3_small_patch16_224", depth=2)
    plain.load_state_dict(model.state_dict())
    submodel = drawn(model, 12, 0)
    hooked = "hook" in change or change in ("pruned fc1", "detached after norm2")
    if when == "before":
        changed(model.blocks, change)
        cosub.compile_blocks(model, backend="aot_eager")
    else:
        cosub.compile_blocks(model, backend="aot_eager")
        model(images).sum().backward()
        changed(model.blocks, change)
    changed(plain.blocks, change)
    reference = masked_reference(plain, submodel.mask()).train()
    with cosub.active(model, submodel):
        if hooked:
            with pytest.warns(UserWarning, match="have hooks: these blocks run uncompiled"):
                ours = model(images)
        else:
            ours = model(images)
    assert_close(gradients(model, ours), gradients(reference, reference(images.repeat(2, 1, 1, 1))))


def changed(blocks, change):
    torch.manual_seed(1)
    for block in blocks:
        CHANGES[change](block, TOKENS)


def test_a_part_that_the_user_compiled(images, table):
    model = small(2)
    expected = copy.deepcopy(model)
    model.blocks[0].mlp.compile(backend="aot_eager")
    model.blocks[1].attn = torch.compile(model.blocks[1].attn, backend="aot_eager")
    with cosub.active(model, table(4, 12)), cosub.active(expected, table(4, 12)):
        ours, theirs = gradients(model, model(images)), gradients(expected, expected(images))
    assert_close({key.replace("_orig_mod.", ""): value for key, value in ours.items()}, theirs)


def test_copies_pickles_and_calls(images, table):
    model = cosub.compile_blocks(small(2), backend="aot_eager")
    submodel = table(4, 12)
    with cosub.active(model, submodel):
        expected = gradients(model, model(images))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), uncompile_blocks(copy.deepcopy(model))):
        assert cosub.state(other).run is None
        with cosub.active(other, submodel):
            assert_close(gradients(other, other(images)), expected)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(values):
        return torch.func.functional_call(model, values, (images,)).square().mean()

    with cosub.active(model, submodel):
        found = torch.func.grad(loss)(parameters)
    assert_close({"logits": expected["logits"], **found}, expected)


def test_two_forwards_before_a_backward_and_two_backwards(images, table):
    model = small(2)
    fast = cosub.compile_blocks(copy.deepcopy(model), backend="aot_eager")
    results = []
    for network in (model, fast):
        with cosub.active(network, table(4, 12, seed=1)):
            first = network(images)
        with cosub.active(network, table(4, 12, seed=2)):
            loss = (first + 2 * network(images)).square().mean()
        loss.backward(retain_graph=True)
        loss.backward()
        results.append({name: p.grad for name, p in network.named_parameters()})
    assert_close(results[1], results[0])


def test_lean_is_left_to_the_compiler():
    gradients = []
    for checkpointing in ("none", "lean"):
        torch.manual_seed(0)
        model = small(2)
        cosub.state(model).checkpointing = checkpointing
        cosub.compile_blocks(model, backend="aot_eager")(torch.ones(4, 3, 32, 32)).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert_close(gradients[1], gradients[0], tolerance=0)


# --- what is stored for backward


class Products(TorchDispatchMode):
    """Counts matrix products and attention."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().removesuffix(".out")
        self.count += name in ("aten::mm", "aten::addmm", "aten::bmm") or "dot_product" in name
        return function(*args, **kwargs or {})


def stored(name, depth, rate, backend):
    """Bytes of the distinct storages that autograd keeps, without parameters and their casts; products of backward."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = timm.create_model(name, img_size=48, depth=depth, embed_dim=96, num_heads=3).train()
    if backend == "masked":
        for block in model.blocks:
            block.drop_path1, block.drop_path2 = timm.layers.DropPath(rate), timm.layers.DropPath(rate)
    else:
        cosub.attach(model, rate)
    if backend not in ("masked", "eager"):
        cosub.compile_blocks(model, backend=backend)
    images = torch.randn(8, 3, 48, 48)
    matrices = {tuple(sorted(p.shape)) for p in model.parameters() if p.dim() > 1}
    parameters = {p.untyped_storage()._cdata for p in model.parameters()}

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            return model(images)

    step().float().sum().backward()
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters and tuple(sorted(tensor.shape)) not in matrices:
            storages[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = step()
    with Products() as products:
        logits.float().sum().backward()
    return sum(storage.nbytes() for storage in storages.values()), products.count


def block(name, rate, backend):
    (shallow, few), (deep, many) = (stored(name, depth, rate, backend) for depth in (1, 2))
    return deep - shallow, many - few


@pytest.mark.parametrize(
    "backend",
    ["eager", *(pytest.param(name, marks=pytest.mark.slow) for name in ("aot_eager_decomp_partition", "inductor"))],
)
def test_activations_of_a_block(backend):
    """Relative to timm's masked block, co-training, bf16: DeiT-III's, with LayerScale, and ViT's."""
    for name, bars in {"deit3_base_patch16_224": (0.79, 0.53), "vit_base_patch16_224": (0.76, 0.51)}.items():
        for rate, bar in zip((0.45, 0.6), bars, strict=True):
            masked, products = block(name, rate, "masked")
            ours, again = block(name, rate, backend)
            kept = round(16 * (1 - rate)) / 8
            assert ours / masked <= (kept + 0.005 if backend == "eager" else bar), (name, rate, ours / masked)
            assert again == products  # nothing of the kind is computed twice


@pytest.mark.parametrize("operation", ["efficient", "plain"])
def test_backward_writes_the_stream_once_per_layer(operation):
    """Autograd's backward of `index_select` fills a stream with zeros, adds the kept rows to it, and then adds both."""
    written = []

    def inspect(graph, inputs):
        streams = [node for node in graph.graph.nodes if node.op == "call_function" and _rows(node) == 8]
        written.append(len(streams))
        return make_boxed_func(graph.forward)

    model = cosub.attach(_vit("deit3_small_patch16_224", depth=3), 0.5, operation=operation).train()
    backend = aot_autograd(fw_compiler=lambda graph, inputs: make_boxed_func(graph.forward), bw_compiler=inspect)
    cosub.compile_blocks(model, backend=backend)(torch.ones(4, 3, 32, 32)).sum().backward()
    layers = 2
    assert written == [layers if operation == "efficient" else 3 * layers]


def _rows(node):
    """How many rows a node's result has, if it is a tensor."""
    value = node.meta.get("val")
    return value.shape[0] if isinstance(value, torch.Tensor) and value.dim() == 3 else 0


def chosen(dynamic, images):
    """Gradients of one chosen submodel by a compiled model, and by the same in eager mode, with another factor."""
    model, found = small(2), []
    submodel = cosub.draw(12, (6,) * 4, torch.Generator().manual_seed(0))
    for run in (model, torch.compile(model, backend="aot_eager", dynamic=dynamic)):
        for scale in (1.0, 1.5):
            cosub.state(model).scale = scale
            with cosub.active(model, submodel):
                found.append(gradients(model, run(images)))
    return found


@pytest.mark.parametrize("dynamic", [True, False, None])
def test_a_chosen_submodel_and_another_factor(images, dynamic):
    """With `dynamic`, the factor is a symbol of the graph; without a value, from the second one on."""
    first, second, compiled, again = chosen(dynamic, images)
    assert_close(compiled, first)
    assert_close(again, second)


@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects")  # the pass is remembered
@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_submodel_trains_as_the_model_does(images, strict):
    model = small(2)
    with cosub.active(model, cosub.draw(12, (6,) * 4, torch.Generator().manual_seed(0))):
        expected = gradients(model, model(images))
        exported = torch.export.export(model, (images,), strict=strict).module()
    assert_close(gradients(exported, exported(images)), expected)


@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated", "ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
def test_a_traced_submodel_is_saved(images, table, tmp_path):
    model = small(2).eval()
    with cosub.active(model, table(4, 12)):
        traced, expected = torch.jit.trace(model, images), model(images)
    torch.jit.save(traced, tmp_path / "traced.pt")
    assert torch.equal(torch.jit.load(tmp_path / "traced.pt")(images), expected)


@pytest.mark.slow
def test_compiled_blocks_are_found_in_the_cache(images, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    counters = torch._dynamo.utils.counters["aot_autograd"]
    for _ in range(2):
        torch._dynamo.reset()
        cosub.compile_blocks(small(1))(images).sum().backward()
    assert (counters["autograd_cache_hit"], counters["autograd_cache_bypass"]) == (1, 0)


def test_settings_of_the_partitioner_are_those_of_our_graphs_alone(images):
    seen = []

    def backend(graph, inputs):
        seen.append(partitioner.ban_recompute_used_far_apart)
        return graph.forward

    model = cosub.compile_blocks(small(1), backend=backend)
    model(images)
    torch.compile(nn.Linear(3, 3), backend=backend)(torch.ones(1, 3))
    assert seen == [False, True]


def test_blocks_stay_whole_in_distributed_data_parallel(images):
    """Their weights take 1.8 MB, and Dynamo would split a graph at the first bucket of 1 MB."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)
    cosub.compile_blocks(cosub.attach(model, drop_rate=0.5).train(), backend=backend)
    model.blocks[0].attn.requires_grad_(False)  # so that the other block has a graph of its own, for one signature
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        DistributedDataParallel(model)(images).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert len(graphs) == 2
    assert torch._dynamo.config.optimize_ddp is True


def test_rounding_that_changes_shapes_is_refused():
    for rounding in ("bernoulli", "masked"):
        with pytest.raises(ValueError, match=f"rounding: {rounding}"):
            cosub.compile_blocks(small(1, rounding=rounding))
    with pytest.raises(ValueError, match=r"cosub\.attach"):
        cosub.compile_blocks(nn.Linear(2, 2))


# --- runs


def test_blocks_that_a_run_puts_back_have_their_graphs(images, monkeypatch):
    """As after a step that is not finite, which is looked at uncompiled and with hooks."""
    from tiny import tiny

    from cosub.runs.distributed import World
    from cosub.runs.progress import Reporter
    from cosub.train.compiling import Compilation
    from cosub.train.finite import find_first_nonfinite
    from cosub.train.networks import Networks

    model, counter = small(2), CompileCounterWithBackend("aot_eager")
    networks = Networks({"network": model})
    compilation = Compilation(tiny("run"), World(0, 1, torch.device("cpu")), Reporter())
    compilation.on = True
    monkeypatch.setattr("cosub.train.compiling.compile_blocks", partial(cosub.compile_blocks, backend=counter))
    for _ in range(2):
        compilation.apply(networks)
        model(images).sum().backward()
        compilation.remove(networks)
        assert cosub.state(model).run is None
        assert not find_first_nonfinite(networks.trained, lambda: model(images).sum().item())
    assert counter.frame_count == 1


@pytest.mark.slow
def test_a_compiled_run_is_a_run(tmp_path, capfd):
    from tiny import run, tiny

    assert run(tiny(tmp_path / "run", compile="on"))["state"] == "done"
    assert "compiled: 1 graph in" in capfd.readouterr().err


def test_where_blocks_cannot_be_compiled_the_run_says_so(tmp_path, capfd, monkeypatch):
    from tiny import run, tiny

    from cosub.errors import RunError

    def fail(*_):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr("cosub.train.compiling.rehearse", fail)
    with pytest.raises(RunError, match="cannot be compiled here"):
        run(tiny(tmp_path / "on", compile="on"))
