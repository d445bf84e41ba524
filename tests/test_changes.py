"""Whatever is done to an attached model, it trains the network that timm's would be after the same change."""

import copy

import pytest
import torch
from conftest import frozen, masked_reference
from outside import built
from test_attach import assert_same, gradients, layers_of
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

import cosub
from cosub.submodel import keep_layers
from cosub.twins import TWINS
from cosub.twins.twin import Twin

# Where in a block of each family the modules are that people change.
TOKENS = {
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "norm1": "norm1",
    "norm2": "norm2",
}
PLACES = {
    "deit3": TOKENS,
    "swin": TOKENS,
    "beit": TOKENS,
    "cait": TOKENS,
    "convnext": {**TOKENS, "qkv": "mlp.fc1", "proj": "mlp.fc2", "norm1": "norm", "norm2": "norm"},
    "torchvision-vit": {**TOKENS, "qkv": "mlp.0", "proj": "self_attention.out_proj", "fc1": "mlp.0", "fc2": "mlp.3",
                        "norm1": "ln_1", "norm2": "ln_2"},
}  # fmt: skip


class LoRA(nn.Module):
    """A low-rank addition to a frozen linear layer, whose weights can still be read, as `peft` makes it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    weight = property(lambda self: self.base.weight)
    bias = property(lambda self: self.base.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class Int8(nn.Module):
    """A linear layer whose weights are stored as integers."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.step = base.weight.detach().abs().max() / 127
        self.register_buffer("integers", (base.weight.detach() / self.step).round().to(torch.int8))
        self.bias = base.bias

    @property
    def weight(self) -> Tensor:
        return self.integers * self.step

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)


def replaced(role, make):
    def change(block: nn.Module, places: dict[str, str]) -> None:
        block.set_submodule(places[role], make(block.get_submodule(places[role])))

    return change


def changed(role, act):
    return lambda block, places: act(block.get_submodule(places[role]))


def new_linear(base: nn.Linear) -> nn.Linear:
    return nn.Linear(base.in_features, base.out_features)


def new_norm(base: nn.Module) -> nn.Module:
    return nn.Sequential(nn.RMSNorm(base.normalized_shape), nn.Dropout(0.0))


CHANGES = {
    "LoRA on qkv": replaced("qkv", LoRA),
    "LoRA on fc1": replaced("fc1", LoRA),
    "LoRA on proj": replaced("proj", LoRA),
    "LoRA on fc2": replaced("fc2", LoRA),
    "fc1 replaced": replaced("fc1", new_linear),
    "norm2 replaced": replaced("norm2", new_norm),
    "norm1 = Identity": replaced("norm1", lambda _: nn.Identity()),
    "output hook on norm1": changed("norm1", lambda m: m.register_forward_hook(lambda _m, _i, out: 1.5 * out)),
    "output hook on fc2": changed("fc2", lambda m: m.register_forward_hook(lambda _m, _i, out: out + 0.1)),
    "weight_norm on fc1": changed("fc1", parametrizations.weight_norm),
    # And beyond the ten:
    "spectral_norm on fc2": changed("fc2", parametrizations.spectral_norm),
    "pruned fc1": changed("fc1", lambda m: prune.l1_unstructured(m, "weight", 0.5)),
    "pre-hook on fc1": changed("fc1", lambda m: m.register_forward_pre_hook(lambda _m, given: (2 * given[0],))),
    "backward hook on fc2": changed(
        "fc2", lambda m: m.register_full_backward_hook(lambda _m, inner, _o: tuple(2 * g for g in inner))
    ),
    "detached after norm2": changed("norm2", lambda m: m.register_forward_hook(lambda _m, _i, out: out.detach())),
    "fc2 in int8": replaced("fc2", Int8),
    "norm1 frozen": changed("norm1", lambda m: m.requires_grad_(False)),
    "mlp frozen": lambda block, places: [block.get_submodule(places[name]).requires_grad_(False) for name in
                                         ("fc1", "fc2")],
}  # fmt: skip


@pytest.fixture(params=PLACES)
def family(request):
    return request.param


@pytest.fixture
def build(family):
    return lambda: copy.deepcopy(built(family))


def apply(model: nn.Module, change: str, family: str) -> nn.Module:
    torch.manual_seed(1)
    for block in [module for module in model.modules() if isinstance(module, Twin) or type(module) in TWINS]:
        CHANGES[change](block, PLACES[family])
    return model


def compare(model, reference, submodel, images) -> None:
    """Logits and gradients of a model with a submodel, and of timm's with the masks of that submodel."""
    frozen(model.train()), frozen(reference.train())
    with cosub.active(model, submodel):
        ours = model(images)
    theirs = reference(images.repeat(2, 1, 1, 1))
    assert_same({"logits": ours}, {"logits": theirs})
    assert_same(gradients(model, ours), gradients(reference, theirs))


TEN = tuple(CHANGES)[:10]


@pytest.mark.parametrize(
    "change", [*TEN, *(pytest.param(name, marks=pytest.mark.slow) for name in CHANGES if name not in TEN)]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_means_what_it_means_without_us(build, family, images, table, change, when):
    for dropped in ("half", "nothing"):
        if when == "before":
            model = cosub.attach(apply(build(), change, family), drop_rate=0.5)
        else:
            model = apply(cosub.attach(build(), drop_rate=0.5), change, family)
        layers = layers_of(model)
        submodel = table(layers, 12) if dropped == "half" else keep_layers(range(layers), layers, 12)
        reference = masked_reference(apply(build(), change, family), submodel.mask(), family)
        compare(model, reference, submodel, images)


def test_a_hook_on_a_norm_sees_normalised_rows(build, family, images, table):
    model, calls = cosub.attach(build(), drop_rate=0.5).train(), []
    for block in model.modules():
        if isinstance(block, Twin) and block.cosub.num_layers:
            block.get_submodule(PLACES[family]["norm1"]).register_forward_hook(lambda *call: calls.append(call))
    with cosub.active(model, table(layers_of(model), 12)):
        model(images)
    assert calls
    for norm, (rows,), out in calls:
        assert len(rows) == 6  # of 12
        torch.testing.assert_close(
            out, nn.functional.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        )


def test_detach_leaves_what_was_changed(images):
    model = copy.deepcopy(built("cait"))
    before = {name: type(module) for name, module in model.named_modules()}
    cosub.attach(model, drop_rate=0.5)
    hook = model.blocks[0].norm1.register_forward_hook(lambda _m, _i, out: 2 * out)
    parametrizations.weight_norm(model.blocks[1].mlp.fc1)
    nn.utils.parametrize.register_parametrization(model.blocks[2], "gamma_1", nn.Tanh())
    ours = model.eval()(images)
    cosub.detach(model)
    torch.testing.assert_close(model(images), ours)
    assert is_parametrized(model.blocks[2], "gamma_1")
    cosub.attach(model, drop_rate=0.5)  # and a block that is parametrized itself has its twin
    assert isinstance(model.blocks[2], Twin)
    torch.testing.assert_close(model(images), ours)
    assert model.train()(images).shape[0] == 12
    cosub.detach(model)
    hook.remove()
    remove_parametrizations(model.blocks[1].mlp.fc1, "weight")
    remove_parametrizations(model.blocks[2], "gamma_1")
    assert {name: type(module) for name, module in model.named_modules()} == before


def test_a_forward_set_on_a_block_is_refused():
    model = copy.deepcopy(built("deit3"))
    model.blocks[1].forward = model.blocks[1].forward
    with pytest.raises(ValueError, match=r"Block has a forward of its own.*attach first"):
        cosub.attach(model, drop_rate=0.5)


@pytest.mark.parametrize("family", ["deit3", "swin"], indirect=True)
def test_peft_trains_what_it_trains_without_us(build, family, images, table):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["qkv", "fc1"], r=2, init_lora_weights=False)
    submodel = table(layers_of(cosub.attach(build(), drop_rate=0.5)), 12)
    results = []
    for ours in (True, False):
        torch.manual_seed(3)
        model = build() if not ours else cosub.attach(build(), drop_rate=0.5)
        model = peft.get_peft_model(model, config).train()
        if ours:
            with cosub.active(model, submodel):
                logits = model(images)
        else:
            logits = masked_reference(model, submodel.mask(), family)(images.repeat(2, 1, 1, 1))
        results.append({"logits": logits.detach(), **gradients(model, logits)})
    assert any("lora" in name for name in results[0])
    assert_same(*results)


@pytest.mark.parametrize("checkpointing", ["none", "blocks", "selective"])
def test_checkpointing_computes_again_with_the_parameters_of_forward(images, table, checkpointing):
    """Those that `functional_call` put there are gone when backward runs."""
    model = cosub.attach(copy.deepcopy(built("deit3")), drop_rate=0.5).train()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    with cosub.active(other, table(8, 12)):
        expected = gradients(other, other(images))
    cosub.state(model).checkpointing = checkpointing
    leaves = {name: value.detach().clone().requires_grad_() for name, value in other.named_parameters()}
    with cosub.active(model, table(8, 12)):
        torch.func.functional_call(model, leaves, (images,)).square().mean().backward()
    assert_same({name: leaf.grad for name, leaf in leaves.items()}, expected)
    assert all(parameter is not leaves[name] for name, parameter in model.named_parameters())


@pytest.mark.parametrize("checkpointing", ["blocks", "selective"])
@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_checkpointing_moves_a_spectral_norm_once(images, table, checkpointing, norm):
    torch.manual_seed(0)
    changed = copy.deepcopy(built("deit3"))
    norm(changed.blocks[1].mlp.fc1)
    results = []
    for way in (checkpointing, "none"):
        model = cosub.attach(copy.deepcopy(changed), drop_rate=0.5).train()
        cosub.state(model).checkpointing = way
        with cosub.active(model, table(8, 12)):
            logits = model(images)
        results.append(gradients(model, logits) | dict(model.named_buffers()))
        assert all(module.training for module in model.modules())
    assert_same(*results, tolerance=0.0)


def test_backward_runs_twice_under_checkpointing(build, images, table):
    results = []
    for way in ("blocks", "none"):
        model = cosub.attach(build(), drop_rate=0.5).train()
        cosub.state(model).checkpointing = way
        with cosub.active(model, table(layers_of(model), 12)):
            loss = model(images).square().mean()
        loss.backward(retain_graph=True)
        results.append(gradients(model, loss) | dict(model.named_buffers()))
    assert_same(*results, tolerance=1e-6)


@pytest.mark.parametrize("checkpointing", ["none", "blocks"])
def test_functional_calls_and_torch_func(build, family, images, table, checkpointing):
    model = frozen(cosub.attach(build(), drop_rate=0.5).train())
    submodel = table(layers_of(model), 12)
    with cosub.active(model, submodel):
        expected = gradients(model, model(images))

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, parameters, (images,)).square().mean()

    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with cosub.active(model, submodel):
        found = torch.func.grad(loss)(parameters)
    assert_same(found, expected)
    cosub.state(model).checkpointing = checkpointing
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    with cosub.active(model, submodel):
        loss(leaves).backward()
    assert_same({name: leaf.grad for name, leaf in leaves.items()}, expected)


def test_a_part_of_the_graph_alone(images, table):
    """Gradients of an intermediate, of the input, of half of the parameters, and the second time."""
    results = []
    for operation in ("efficient", "plain"):
        model = cosub.attach(copy.deepcopy(built("deit3")), drop_rate=0.5, operation=operation).train()
        pixels, seen = images.clone().requires_grad_(), []
        model.blocks[2].norm1.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out))
        with cosub.active(model, table(8, 12)):
            value = model(pixels).square().mean()
        norms = [p for name, p in model.named_parameters() if "norm" in name]
        found = [
            *torch.autograd.grad(seen[0].sum(), [pixels], retain_graph=True),
            *torch.autograd.grad(value, [seen[0], pixels], retain_graph=True),
            *torch.autograd.grad(value, norms, retain_graph=True),
            *torch.autograd.grad(value, norms),
        ]
        results.append({str(index): gradient for index, gradient in enumerate(found)})
    assert_same(*results)


def test_second_derivatives(images, table):
    results = []
    for operation in ("efficient", "plain"):
        model = cosub.attach(copy.deepcopy(built("resnet18")), drop_rate=0.5, operation=operation).train()
        frozen(model)
        with cosub.active(model, table(layers_of(model), 12)):
            value = model(images).square().mean()
        parameters = dict(model.named_parameters())
        first = torch.autograd.grad(value, list(parameters.values()), create_graph=True)
        sum(gradient.square().sum() for gradient in first).backward()
        results.append({name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None})
    assert_same(*results)


def test_checkpointing_from_outside_is_refused(images):
    """It would run a block again in backward, when the rows of its pass are gone."""
    model = cosub.attach(copy.deepcopy(built("deit3")), drop_rate=0.5).train()
    inner = model.blocks[0]
    model.blocks[0] = Outside(inner)
    loss = model(images).square().mean()
    with pytest.raises(RuntimeError, match=r"called again in backward.*set_grad_checkpointing"):
        loss.backward()


class Outside(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=False)
