import inspect
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import cosub
from cosub.losses import cosub_distillation_loss, cosub_loss, dense, distillation_loss, label_loss, mixed_targets

LOOP = (Path(__file__).parents[1] / "docs" / "loop.md").read_text()

B, C = 5, 7


@pytest.fixture
def logits():
    return (3 * torch.randn(2 * B, C, generator=torch.Generator().manual_seed(0))).requires_grad_()


TARGETS = {
    "integer": torch.tensor([0, 3, 6, 2, 2]),
    "mixed": mixed_targets(torch.tensor([0, 3, 6, 2, 2]), torch.tensor([2, 2, 6, 3, 0]), 0.7, C, "ce", 0.1),
    "multi-label": (torch.rand(B, C, generator=torch.Generator().manual_seed(1)) > 0.6).float(),
}


def four_terms(logits, targets, weight, kind):
    """Equation 2 written out: label and peer, for each of the two submodels."""
    y = targets if targets.is_floating_point() else F.one_hot(targets, C).float()
    first, second = logits[:B], logits[B:]

    def loss(a, b):
        if kind.startswith("bce"):
            return F.binary_cross_entropy_with_logits(a, b)
        return -(b * a.log_softmax(1)).sum(1).mean()

    def target(a):
        a = a.detach()
        if kind.endswith("hard"):
            return F.one_hot(a.argmax(1), C).float()
        return a.sigmoid() if kind.startswith("bce") else a.softmax(1)

    label = (loss(first, y) + loss(second, y)) / 2
    peer = (loss(first, target(second)) + loss(second, target(first))) / 2
    return weight * label + (1 - weight) * peer


@pytest.mark.parametrize("kind", ["bce-soft", "bce-hard", "ce-soft", "ce-hard"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_equals_the_four_terms_of_equation_2(logits, targets, weight, kind):
    ours, reference = cosub_loss(logits, targets, weight, kind), four_terms(logits, targets, weight, kind)
    torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-6)
    ours, reference = torch.autograd.grad(ours, logits), torch.autograd.grad(reference, logits)
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_multi_label_targets_of_any_type(logits, dtype):
    targets = TARGETS["multi-label"]
    assert torch.equal(cosub_loss(logits, targets.to(dtype)), cosub_loss(logits, targets))


def test_targets_are_not_changed(logits):
    targets = TARGETS["mixed"].clone()
    cosub_loss(logits, targets)
    assert torch.equal(targets, TARGETS["mixed"])


def test_weight_1_is_the_label_loss_of_both_copies(logits):
    targets = TARGETS["integer"]
    assert torch.equal(cosub_loss(logits, targets, weight=1.0), label_loss(logits, targets))


def test_no_gradient_reaches_the_other(logits):
    (gradient,) = torch.autograd.grad(cosub_loss(logits, TARGETS["integer"], weight=0.0), logits)
    # d BCE(z, t) / dz = (sigmoid(z) - t) / (2 B C): what is left is the direct term alone.
    expected = (logits.sigmoid() - logits.roll(B, 0).sigmoid()) / (2 * B * C)
    torch.testing.assert_close(gradient, expected)


def test_equal_copies_add_nothing_to_the_label(logits):
    twice = logits[:B].detach().repeat(2, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(cosub_loss(twice, TARGETS["integer"], weight=0.5), twice)
    (label,) = torch.autograd.grad(label_loss(twice, TARGETS["integer"]), twice)
    torch.testing.assert_close(gradient, 0.5 * label)


def test_half_precision_is_computed_in_full(logits):
    low = cosub_loss(logits.bfloat16(), TARGETS["mixed"])
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, cosub_loss(logits.bfloat16().float(), TARGETS["mixed"]))


def test_binary_targets_come_from_labels_not_from_a_threshold():
    labels, partners = torch.tensor([0, 1]), torch.tensor([1, 1])
    mixed = mixed_targets(labels, partners, 0.001, 4, "bce")
    assert mixed.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0]]
    assert mixed_targets(labels, partners, 1.0, 4, "bce").tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert mixed_targets(labels, partners, 0.0, 4, "bce").tolist() == [[0, 1, 0, 0], [0, 1, 0, 0]]
    with pytest.raises(ValueError, match="smoothing"):
        mixed_targets(labels, partners, 0.5, 4, "bce", smoothing=0.1)


def test_soft_targets_sum_to_one():
    mixed = mixed_targets(torch.tensor([0, 1]), torch.tensor([1, 3]), 0.7, 4, "ce", smoothing=0.1)
    torch.testing.assert_close(mixed.sum(1), torch.ones(2))
    torch.testing.assert_close(mixed[0], torch.tensor([0.7, 0.3, 0, 0]) * 0.9 + 0.025)


def test_dense():
    assert dense(torch.tensor([2]), 3).tolist() == [[0, 0, 1]]


def test_bad_values_name_the_remedy(logits):
    targets = TARGETS["integer"]
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\]"):
        cosub_loss(logits, targets, weight=1.5)
    with pytest.raises(ValueError, match="attach with copies=2"):
        cosub_loss(logits[:B], targets)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss must be one of bce, ce, got 'bcee'"):
        inspect.unwrap(label_loss)(torch.zeros(2, 3), torch.tensor([0, 1]), loss="bcee")  # without the check of types


@pytest.mark.parametrize("loss", [distillation_loss, cosub_distillation_loss])
@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (torch.zeros(1, C), r"teacher: must be logits of shape \(5, 7\).*got \(1, 7\): call the teacher in eval mode"),
        (torch.zeros(2 * B, C), r"one row per image, got \(10, 7\)"),
        (torch.zeros(B), r"got \(5,\)"),
        (torch.zeros(B, C, device="meta"), r"teacher: is on meta and the logits on cpu: pass teacher\.to\("),
    ],
)
def test_logits_of_a_teacher_that_do_not_fit_are_refused(logits, loss, teacher, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(loss)(logits, TARGETS["integer"], teacher)  # without the check of types


# --- the page on loops of one's own


def of_loop(after: str, **given) -> torch.Tensor:
    """The loss that the code computes which follows some words of the page."""
    scope = {"torch": torch, "cosub": cosub, "cross_entropy": F.cross_entropy, **given}
    exec(re.findall(r"^```python\n(.*?)^```", LOOP.split(after)[1], re.S | re.M)[0], scope)
    return scope["loss"]


@pytest.mark.parametrize("name", ["integer", "mixed"])
def test_a_loss_of_ones_own_that_is_cross_entropy_gives_equation_2(logits, name):
    loss = of_loop("**With a loss of your own**", model=lambda _: logits, images=None, own=F.cross_entropy,
                   targets=TARGETS[name])  # fmt: skip
    reference = cosub_loss(logits, TARGETS[name], kind="ce-soft")
    torch.testing.assert_close(loss, reference)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (loss, reference)))


def test_another_loss_of_ones_own_takes_the_place_of_the_labels(logits):
    def focal(rows, targets):
        return ((1 - rows.softmax(1)[range(B), targets]) ** 2 * F.cross_entropy(rows, targets, reduction="none")).mean()

    targets = TARGETS["integer"]
    loss = of_loop("**With a loss of your own**", model=lambda _: logits, images=None, own=focal, targets=targets)
    expected = (focal(logits[:B], targets) + focal(logits[B:], targets)) / 4
    expected += cosub_loss(logits, targets, weight=0.0, kind="ce-soft") / 2
    torch.testing.assert_close(loss, expected)


def test_a_teacher_in_ones_own_loop(logits):
    teacher = torch.nn.Linear(3, C)
    images = torch.randn(B, 3, generator=torch.Generator().manual_seed(2))
    loss = of_loop(
        "**With a teacher**", model=lambda _: logits, teacher=teacher, images=images, targets=TARGETS["integer"]
    )
    assert torch.equal(loss, cosub_distillation_loss(logits, TARGETS["integer"], teacher(images)))
    loss.backward()
    assert teacher.weight.grad is None
