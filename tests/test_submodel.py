import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosub.submodel import Submodel, concatenate, count, draw, draw_rows, keep_layers, rates


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 300), st.floats(0, 0.99), st.sampled_from(["nearest", "floor", "ceil"]))
def test_effective_rate_is_the_nearest_that_rows_allow(rows, rate, rounding):
    kept = count(rows, [rate] * 12, rounding)
    exact = rows * (1 - rate)
    assert all(1 <= k <= rows for k in kept)
    reach = {"nearest": 0.5, "floor": 1.0, "ceil": 1.0}[rounding]
    assert all(abs(k - max(exact, 1)) <= reach + 1e-6 for k in kept)
    submodel = draw(rows, kept, generator())
    passing = (submodel.mask() > 0).sum(1)
    assert passing.tolist() == list(kept)
    assert submodel.drop_rates == tuple(1 - int(p) / rows for p in passing)


@pytest.mark.parametrize("rows", range(1, 129))
def test_rounding_of_the_paper_for_every_number_of_rows(rows):
    for rate in (0.05, 0.1, 0.2, 0.3, 0.45, 0.5, 0.6):
        (kept,) = count(rows, [rate])
        # Independent arithmetic in hundredths: round half up, at least one.
        assert kept == max(1, (rows * round(100 * (1 - rate)) + 50) // 100)
        assert count(rows, [rate], "floor") == (max(1, rows * round(100 * (1 - rate)) // 100),)


def test_ceil_is_equation_c1_as_printed():
    """It floors the dropped rows: of 8 rows none, one and four."""
    assert [count(8, [rate], "ceil") for rate in (0.05, 0.2, 0.6)] == [(8,), (7,), (4,)]
    for rows in range(1, 60):
        for percent in range(100):
            assert count(rows, [percent / 100], "ceil") == (rows - rows * percent // 100,)


def test_rates_uniform_and_linear():
    assert rates(0.3, "uniform", [2, 2]) == (0.3,) * 4
    assert rates(0.3, "linear", [2, 2, 2, 2]) == pytest.approx((0, 0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3))
    assert rates(0.3, "linear", [2]) == (0, 0)
    with pytest.raises(ValueError, match=r"drop_rate must be in \[0, 1\)"):
        rates(1.0, "uniform", [2])


def test_scale_keeps_the_expectation():
    submodel = draw(10, count(10, [0.25] * 3), generator())
    assert submodel.scale == (10 / 8,) * 3
    assert torch.allclose(submodel.mask().mean(1), torch.ones(3))


def test_draw_is_a_function_of_its_generator():
    first, again, other = (
        draw(16, (8, 8), generator(3)),
        draw(16, (8, 8), generator(3)),
        draw(16, (8, 8), generator(4)),
    )
    assert torch.equal(first.order, again.order)
    assert not torch.equal(first.order, other.order)
    assert torch.equal(first.order.sort(1).values, torch.arange(16).expand(2, 16))


def test_rows_and_layers_are_drawn_independently():
    # Over many draws each pair of rows is kept together as often as sampling without replacement says.
    masks = torch.stack([draw(6, (3, 3), generator(seed)).mask() > 0 for seed in range(4000)]).float()
    together = (masks[:, 0, 0] * masks[:, 0, 1]).mean()
    assert together == pytest.approx(3 / 6 * 2 / 5, abs=0.03)
    assert (masks[:, 0, 0] * masks[:, 1, 0]).mean() == pytest.approx(0.25, abs=0.03)


def test_by_hand():
    full = keep_layers(range(4), 4, 5)
    assert torch.equal(full.mask(), torch.ones(4, 5))
    assert full.layers()[2].keep is None
    assert keep_layers([], 4, 5).mask().sum() == 0
    without = keep_layers({0, 1, 3}, 4, 5, scale="expectation")
    assert torch.equal(without.mask()[:, 0], torch.tensor([4 / 3, 4 / 3, 0, 4 / 3]))
    with pytest.raises(ValueError, match="layers 0 to 3"):
        keep_layers([4], 4, 5)


def test_print_save_replay():
    submodel = draw(6, (3, 6, 1), generator())
    assert "kept    3" in str(submodel)
    assert "all" in str(submodel)
    buffer = io.BytesIO()
    torch.save(submodel.state_dict(), buffer)
    buffer.seek(0)
    again = Submodel.from_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(again.order, submodel.order)
    assert (again.kept, again.scale) == (submodel.kept, submodel.scale)


def test_concatenated_groups_keep_what_each_drew():
    copies, images = 2, 4
    groups = [draw(copies * images, (5, 3), generator(seed)) for seed in range(3)]
    whole = concatenate(groups, copies).mask().view(2, copies, 3, images)
    for index, group in enumerate(groups):
        assert torch.equal(whole[:, :, index], group.mask().view(2, copies, images))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="describe"):
        Submodel(torch.arange(4).expand(2, 4), (1,), (1.0, 1.0))
    with pytest.raises(ValueError, match="kept must lie"):
        Submodel(torch.arange(4).expand(1, 4), (5,), (1.0,))
    with pytest.raises(ValueError, match="groups must agree"):
        concatenate([draw(4, (2,), generator()), draw(4, (3,), generator())], 2)
    with pytest.raises(ValueError, match="rows must be at least 1"):
        count(0, [0.1])
    with pytest.raises(Exception, match="rounding"):
        count(4, [0.1], "up")  # pyright: ignore[reportArgumentType]


# --- each row by chance


def test_rows_kept_by_chance_are_binomial_and_unscaled_by_their_number():
    table = draw_rows(4000, [0.0, 0.25, 0.9], generator())
    assert table.kept[0] == 4000
    for kept, rate in zip(table.kept, (0.0, 0.25, 0.9), strict=True):
        assert abs(kept - 4000 * (1 - rate)) <= 5 * (4000 * rate * (1 - rate)) ** 0.5
    assert table.scale == pytest.approx((1, 1 / 0.75, 10))
    many = draw_rows(40, [0.5] * 500, generator())
    numbers = torch.tensor(many.kept, dtype=torch.float32)
    assert numbers.mean() == pytest.approx(20, abs=0.6)
    assert numbers.var() == pytest.approx(10, rel=0.25)  # 40 * 0.5 * 0.5
    assert min(draw_rows(2, [0.99] * 50, generator()).kept) == 1


def test_of_two_masked_rows_each_is_dropped_at_the_rate():
    """Keeping one row at least, as where rows are skipped, would keep 65 % at a rate of 0.45."""
    kept = draw_rows(2, [0.45] * 4000, generator(), least=0).kept
    assert min(kept) == 0
    assert sum(kept) / 8000 == pytest.approx(0.55, abs=0.03)


def test_the_same_seed_keeps_the_same_rows_first():
    fixed, chance = draw(16, (8, 8), generator()), draw_rows(16, [0.5, 0.5], generator())
    assert torch.equal(fixed.order, chance.order)


def test_groups_drawn_by_chance_are_put_together():
    random, copies, images = generator(), 2, 3
    groups = [draw_rows(copies * images, [0.5] * 4, random) for _ in range(2)]
    assert groups[0].kept != groups[1].kept
    whole = concatenate(groups, copies).mask().view(4, copies, 2, images)
    for index, group in enumerate(groups):
        assert torch.equal(whole[:, :, index], group.mask().view(4, copies, images))


def test_what_goes_with_masked_rows_is_not_taken_apart():
    """The branch then runs on all rows, and a mask of each image has to follow them all."""
    table, masks = draw(6, (2,), generator()), torch.arange(3.0).view(3, 1)
    assert table.layers()[0].take(masks).shape == (2, 1)
    assert torch.equal(table.layers(masked=True)[0].take(masks), masks.repeat(2, 1))
