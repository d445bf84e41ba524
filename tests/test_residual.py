import pytest
import torch
from torch import nn

from cosub.residual import masked_residual, residual
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


@pytest.mark.parametrize("kept", [1, 3, 6])
def test_equals_its_masked_counterpart(branch, kept):
    x = torch.randn(6, 4, 8)
    submodel = draw(6, (kept,), torch.Generator().manual_seed(0))
    ours = run(residual, x, branch, submodel.layer(0))
    reference = run(masked_residual, x, branch, submodel.mask()[0])
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_nothing_dropped_is_plain_addition_to_the_bit(branch):
    x = torch.randn(6, 4, 8)
    assert torch.equal(residual(x, branch, None), x + branch(x))
    assert torch.equal(residual(x, branch, keep_layers([0], 1, 6).layer(0)), x + branch(x))


def test_a_layer_that_keeps_nothing_is_not_run():
    def fail(_):
        raise AssertionError("the branch ran")

    x = torch.randn(6, 4, 8)
    assert residual(x, fail, keep_layers([], 1, 6).layer(0)) is x


def test_only_kept_rows_reach_the_branch(branch):
    seen = []
    residual(
        torch.randn(6, 4, 8),
        lambda h: seen.append(len(h)) or branch(h),
        draw(6, (2,), torch.Generator()).layer(0),
    )
    assert seen == [2]


@pytest.mark.parametrize(("inside", "outside"), [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)])
def test_precision_is_promoted_as_addition_does(branch, inside, outside):
    rows = draw(6, (2,), torch.Generator()).layer(0)
    assert residual(torch.randn(6, 4, 8, dtype=outside), lambda h: h.to(inside), rows).dtype == torch.float32
