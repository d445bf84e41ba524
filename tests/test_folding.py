import pytest
import torch
from timm.layers.layer_scale import LayerScale
from timm.layers.norm import LayerNorm
from torch import nn

from cosub.blocks.folding import (
    FoldedNorm,
    FoldedScale,
    FoldedTimmNorm,
    NormedLinear,
    ScaledLinear,
    fold_norm,
    fold_scale,
)


class Branch(nn.Module):
    """The shape of every branch: norm, linear, something, linear, LayerScale."""

    def __init__(self, norm: type[nn.Module] = LayerNorm, bias: bool = True, scale: bool = True) -> None:
        super().__init__()
        self.norm, self.first = norm(8, eps=1e-6), nn.Linear(8, 12, bias=bias)
        self.last, self.scale = nn.Linear(12, 8, bias=bias), LayerScale(8, 0.3) if scale else nn.Identity()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))

    def forward(self, x):
        return self.scale(self.last(torch.tanh(self.first(self.norm(x)))))


def fold_both(branch, norm):
    fold_norm(branch, norm, branch.first)
    fold_scale(branch, branch.last, branch.scale)


def pair(**arguments):
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(Branch(**arguments))
    fold_both(made[1], made[1].norm)
    return made


def run(branch, x, dtype=torch.float32):
    x = x.clone().requires_grad_()
    branch.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        out = branch(x)
    (out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return {"out": out.detach().float(), "x": x.grad, **{name: p.grad for name, p in branch.named_parameters()}}


CASES = [{}, {"norm": nn.LayerNorm}, {"bias": False}, {"scale": False}, {"bias": False, "scale": False}]


@pytest.mark.parametrize("arguments", CASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_unfolded_branch(arguments, dtype):
    plain, folded = pair(**arguments)
    x = 2 + 3 * torch.randn(5, 7, 8)
    ours, reference = run(folded, x, dtype), run(plain, x, dtype)
    tolerance = 1e-5 if dtype is torch.float32 else 0.05
    for name, value in reference.items():
        size = value.abs().max().item()
        torch.testing.assert_close(ours[name] / size, value / size, rtol=0, atol=tolerance, msg=lambda m, n=name: n + m)


def test_gradients_by_finite_differences():
    _, folded = pair()
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    parameters = {name: p.detach().double().requires_grad_() for name, p in folded.double().named_parameters()}

    def call(x, *values):
        return torch.func.functional_call(folded, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters.values()))


def test_weights_near_zero_do_no_harm():
    plain, folded = pair()
    for branch in (plain, folded):
        with torch.no_grad():
            branch.norm.weight[::2] = 1e-12
            branch.scale.gamma[::2] = 0.0
    x = torch.randn(5, 8)
    ours, reference = run(folded, x), run(plain, x)
    for name, value in reference.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)


def test_acts_in_training_only_and_not_in_float16():
    plain, folded = pair()
    x = torch.randn(5, 8)
    assert torch.equal(folded.eval()(x), plain.eval()(x))
    folded.train(), plain.train()
    with torch.no_grad():
        assert torch.equal(folded(x), plain(x))
    assert folded.norm.fold.acts(x)
    assert not folded.norm.fold.acts(x.half())


def saved_values(branch, x) -> int:
    """How many values of activations are saved for backward; parameters are there anyway."""
    parameters = {p.untyped_storage().data_ptr() for p in branch.parameters()}
    storages = {}

    def pack(tensor):
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in parameters:
            storages[pointer] = tensor  # held, so that its memory is not given to another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = branch(x)
    del out
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in storages.values())


def test_saves_the_rows_once_and_nothing_more_of_norm_and_scale():
    plain, folded = pair()
    x = torch.randn(5, 7, 8, requires_grad=True)
    rows, width, hidden = 5 * 7, 8, 12
    # The rows, mean and deviation, tanh's output (once for tanh and the projection).
    assert saved_values(folded, x) == rows * (width + 2 + hidden)
    # timm: the norm's input and output, mean and deviation, tanh's output, LayerScale's input.
    assert saved_values(plain, x) == rows * (2 * width + 2 + hidden + width)


def test_what_cannot_be_folded_stays_as_it_is():
    branch = Branch()
    branch.norm, branch.last = nn.BatchNorm1d(8), nn.Conv1d(12, 8, 1)
    fold_both(branch, branch.norm)
    assert (type(branch.first), type(branch.scale)) == (nn.Linear, LayerScale)
    plain = nn.LayerNorm(8, elementwise_affine=False)
    fold_both(branch, plain)
    assert type(plain) is nn.LayerNorm


def test_each_kind_knows_its_timm_class():
    for kind in (FoldedNorm, FoldedScale, FoldedTimmNorm, NormedLinear, ScaledLinear):
        assert issubclass(kind, kind.timm_class)
