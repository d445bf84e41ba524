"""Bounds on what is saved for backward and on FLOPs, counted without memory."""

import pytest

from cosub.bench.step import Case, count

HUGE = ("deit3_huge_patch14_224", 0.6)
LARGE = ("deit3_large_patch16_224", 0.45)
BASE = ("deit3_base_patch16_224", 0.2)


@pytest.mark.parametrize(
    ("model", "rate", "bf16", "ours", "cosub", "flops"),
    [(*HUGE, False, 0.37, 0.75, 0.82), (*LARGE, False, 0.51, 1.0, 1.1), (*BASE, False, 0.7, 1.4, 1.61),
     (*HUGE, True, 0.37, 0.75, 0.82), (*LARGE, True, 0.51, 1.0, 1.1)],
)  # fmt: skip
def test_bytes_and_flops_stay_below_their_bounds(model, rate, bf16, ours, cosub, flops):
    result = count(Case(model, rate, 32, bf16=bf16))
    saved = result["ratio"]["saved_bytes"]
    assert saved["efficient"] <= ours < saved["plain"]
    assert saved["cosub"] <= cosub
    assert result["ratio"]["flops"]["cosub"] <= flops
    # Nothing is computed that the plain operation does not: folding costs less than a thousandth.
    assert result["flops"]["efficient"] == pytest.approx(result["flops"]["plain"], rel=1e-3)


def test_saved_bytes_follow_the_rows_kept():
    few, many = (count(Case("deit3_small_patch16_224", rate, 32, ways=("efficient",))) for rate in (0.75, 0.5))
    assert few["saved_bytes"]["efficient"] < 0.6 * many["saved_bytes"]["efficient"]
