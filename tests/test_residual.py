import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from cosub.residual import masked_residual, plain_residual, residual
from cosub.submodel import draw, keep_layers


@pytest.fixture
def branch() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8))


def run(operation, x, branch, rows):
    x = x.clone().requires_grad_()
    branch.zero_grad()
    out = operation(x, branch, rows)
    (out * torch.arange(out.numel()).view_as(out)).sum().backward()
    return [out, x.grad, *(p.grad for p in branch.parameters())]


@pytest.fixture(params=[residual, plain_residual], ids=["efficient", "plain"])
def operation(request):
    return request.param


@pytest.mark.parametrize("kept", [1, 3, 6])
def test_equals_its_masked_counterpart(branch, kept, operation):
    x = torch.randn(6, 4, 8)
    submodel = draw(6, (kept,), torch.Generator().manual_seed(0))
    ours = run(operation, x, branch, submodel.layers()[0])
    reference = run(masked_residual, x, branch, submodel.mask()[0])
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_nothing_dropped_is_plain_addition_to_the_bit(branch, operation):
    x = torch.randn(6, 4, 8)
    assert torch.equal(operation(x, branch, None), x + branch(x))
    assert torch.equal(operation(x, branch, keep_layers([0], 1, 6).layers()[0]), x + branch(x))


def test_a_chain_of_layers_with_the_same_rows_in_use_twice(branch, operation):
    """Gradients through two layers whose input is also used elsewhere, as a shared gradient must not be written to."""
    results = []
    for way in (operation, plain_residual):
        x = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        submodel = draw(6, (2, 4), torch.Generator().manual_seed(0))
        branch.zero_grad()
        middle = way(x, branch, submodel.layers()[0])
        end = way(middle, branch, submodel.layers()[1])
        (end + 2 * middle + 3 * x).square().sum().backward()
        results.append([end.detach(), x.grad, *(p.grad.clone() for p in branch.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:FutureWarning")  # torch's own rules
@pytest.mark.parametrize("transform", ["jvp", "dual numbers", "vmap"])
def test_where_only_autograd_has_rules(branch, transform):
    """Forward-mode differentiation, in both of its forms, and `torch.func`."""
    x, along = torch.randn(2, 6, 4, 8, generator=torch.Generator().manual_seed(1))
    rows = draw(6, (2,), torch.Generator().manual_seed(0)).layers()[0]
    found = []
    for way in (residual, plain_residual):

        def run(x, way=way):
            return way(way(x, branch, rows), branch, rows, shortcut=2 * x)

        if transform == "jvp":
            found.append(torch.func.jvp(run, (x,), (along,))[1])
        elif transform == "vmap":
            found.append(torch.func.vmap(run)(torch.stack([x, along])))
        else:
            with forward_ad.dual_level():
                found.append(forward_ad.unpack_dual(run(forward_ad.make_dual(x, along))).tangent)
    torch.testing.assert_close(*found)
    assert found[0].std() > 0.1


def test_the_operation_stores_the_index_alone():
    saved = []
    x, rows = torch.randn(6, 4, 8, requires_grad=True), draw(6, (3,), torch.Generator()).layers()[0]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        residual(x, lambda h: h * 1.0, rows)
    assert {tuple(t.shape) for t in saved} == {(3,)}


def test_input_without_gradient(branch, operation):
    x = torch.randn(6, 4, 8)
    operation(x, branch, draw(6, (3,), torch.Generator()).layers()[0]).sum().backward()
    assert all(p.grad is not None for p in branch.parameters())


def test_a_layer_that_keeps_nothing_is_not_run():
    def fail(_):
        raise AssertionError("the branch ran")

    x = torch.randn(6, 4, 8)
    assert residual(x, fail, keep_layers([], 1, 6).layers()[0]) is x


def test_only_kept_rows_reach_the_branch(branch):
    seen = []
    residual(
        torch.randn(6, 4, 8),
        lambda h: seen.append(len(h)) or branch(h),
        draw(6, (2,), torch.Generator()).layers()[0],
    )
    assert seen == [2]


@pytest.mark.parametrize(("inside", "outside"), [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)])
def test_precision_is_promoted_as_addition_does(inside, outside, operation):
    rows = draw(6, (2,), torch.Generator()).layers()[0]
    x = torch.randn(6, 4, 8, dtype=outside, requires_grad=True)
    out = operation(x, lambda h: 2 * h.to(inside), rows)
    assert out.dtype == torch.float32
    out.sum().backward()
    kept = torch.zeros(6)
    kept[rows.keep] = 2 * rows.scale
    torch.testing.assert_close(x.grad.float(), (1 + kept).view(6, 1, 1).expand(6, 4, 8), rtol=0.01, atol=0.01)
