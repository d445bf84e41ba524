"""The experiment in docs/evidence.md: its grid, what is chosen, what its outcomes are made of."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
from ledgers import ledger_of, line
from scipy import stats

from cosub.paper.studies.arms import ARMS, BUDGETS, CHOSEN, arms, budgets, equal_epochs, pilot
from cosub.paper.studies.ledger import Ledger
from cosub.paper.studies.statistics import estimate
from cosub.recipes import get
from cosub.recipes.files import overrides

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from experiment import family, tuning  # noqa: E402
from experiment.outcomes import choices, equivalence, extension, holm, outcomes, page  # noqa: E402

RECIPE = get("cifar10-500")


# --- the grid


def test_every_arm_has_the_compute_of_masking_at_every_budget_and_warms_up_for_a_tenth():
    cells = budgets(RECIPE).cells
    assert len(cells) == len(ARMS) * len(BUDGETS)
    for cell in cells:
        recipe = cell.recipe
        spent = recipe.epochs * ARMS[cell.series].rows(recipe.drop_rate)
        assert spent == pytest.approx(cell.x, rel=0.02), cell.name
        assert recipe.optimizer.warmup_epochs == pytest.approx(recipe.epochs / 10), cell.name


def test_the_largest_budget_is_the_study_of_the_arms():
    largest = [cell for cell in budgets(RECIPE).cells if cell.x == RECIPE.epochs]
    assert [cell.recipe for cell in largest] == [cell.recipe for cell in arms(RECIPE).cells]


def test_the_pilot_does_not_share_a_seed():
    seeds = {run.seed for run in pilot(RECIPE).runs(1)}
    assert seeds.isdisjoint(arms(RECIPE).range_of(10))


def test_equal_epochs_differ_in_the_rounding_alone():
    masking, dropped = (cell.recipe for cell in equal_epochs(RECIPE).cells)
    assert overrides(dropped, masking) == {"rounding": "nearest"}
    assert masking == next(cell for cell in budgets(RECIPE).cells if cell.name == "75 epochs, masking").recipe


# --- what is chosen


def test_the_best_of_each_arm_on_validation_images_is_chosen(tmp_path):
    runs = list(pilot(RECIPE).runs(1))
    lines = [line(run, 0.9, validation_top1=0.1 + 0.01 * place) for place, run in enumerate(runs)]
    best = choices(RECIPE, ledger_of(tmp_path / "runs.jsonl", lines))
    per_arm = len(runs) // len(ARMS)
    assert [row.cell.name for row in best.values()] == [run.cell.name for run in runs[per_arm - 1 :: per_arm]]
    unfinished = choices(RECIPE, ledger_of(tmp_path / "runs.jsonl", lines[:-1]))
    assert list(unfinished) == list(ARMS)[:-1]


def test_the_arms_are_trained_as_the_pilot_chose():
    best = choices(RECIPE, Ledger(ROOT / "docs" / "runs.jsonl"))
    found = {name: (row.cell.recipe.drop_rate, row.cell.recipe.lr) for name, row in best.items()}
    assert found == dict(CHOSEN.get(RECIPE.name, {}))


# --- the outcomes


def test_outcomes_are_paired_by_seed_and_corrected_for_their_number(tmp_path):
    added = {"masking": 0.0, "stochastic-depth": 0.01, "two-copies": 0.0, "co-training": 0.03}
    noise = [0.002, -0.001, 0.001]
    lines = [
        line(run, 0.5 + 0.1 * run.seed + added[run.cell.name] + noise[run.seed] * (run.cell.name == "co-training"))
        for run in arms(RECIPE).runs(3)
    ]
    found = outcomes(RECIPE, ledger_of(tmp_path / "runs.jsonl", lines))
    differences = [0.02 + value for value in noise]
    assert found[0].found.mean == pytest.approx(sum(differences) / 3)
    assert found[0].found.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert [outcome.corrected is None for outcome in found] == [True, False, False, False]
    assert found[2].found.mean == pytest.approx(found[0].found.mean / 2)
    assert found[3].found.mean == pytest.approx(-found[0].found.mean)
    raw = [outcome.found.p for outcome in found[1:]]
    assert [outcome.corrected for outcome in found[1:]] == holm(raw)
    assert min(raw) * 3 == pytest.approx(min(holm(raw)))


def test_differences_of_arms_are_shown_for_every_budget(tmp_path):
    added = {"masking": 0.0, "stochastic-depth": 0.01, "two-copies": 0.0, "co-training": -0.03}
    lines = [
        line(run, 0.5 + 0.1 * run.seed + added[run.cell.series] + 0.001 * run.seed * (run.cell.series == "co-training"))
        for run in budgets(RECIPE).runs(3)
        if run.cell.x != 150
    ]
    text = page(RECIPE, ledger_of(tmp_path / "runs.jsonl", lines))
    half = 100 * stats.t.ppf(0.975, 2) * 0.001 / math.sqrt(3)
    found = f"-3.90 ± {half:.2f} (3)"
    assert f"| co-training minus stochastic-depth | {found} | {found} |  |" in text
    nats = f"+0.039 ± {half / 100:.3f} nats"
    assert f"| the same, cross-entropy at a fitted temperature | {nats} | {nats} |  | {nats} |" in text
    assert "| stochastic-depth minus masking | +1.00 ± 0.00 (3) | +1.00 ± 0.00 (3) |  |" in text


def test_a_secondary_outcome_stays_one_where_others_are_missing(tmp_path):
    added = {"two-copies": 0.0, "co-training": 0.03}
    runs = [run for run in arms(RECIPE).runs(3) if run.cell.name in added]
    lines = [line(run, 0.5 + (0.1 + added[run.cell.name]) * run.seed) for run in runs]
    (found,) = outcomes(RECIPE, ledger_of(tmp_path / "runs.jsonl", lines))
    assert found.what.endswith("two-copies")
    assert found.corrected == pytest.approx(min(1.0, 3 * found.found.p))


def test_equivalence_is_by_the_90_percent_interval(tmp_path):
    lines = [line(run, 0.5 + 0.001 * run.seed * (run.cell.name != "masking")) for run in equal_epochs(RECIPE).runs(3)]
    found = equivalence(RECIPE, ledger_of(tmp_path / "runs.jsonl", lines))
    low, high = stats.t.interval(0.9, 2, loc=0.001, scale=0.001 / math.sqrt(3))
    assert found.mean + found.half_width(0.9) == pytest.approx(high)
    assert found.mean - found.half_width(0.9) == pytest.approx(low)
    assert found.equivalent(high + 1e-6)
    assert not found.equivalent(high - 1e-6)


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


def test_a_single_seed_has_no_interval():
    found = estimate([0.5])
    assert (found.half, found.p, found.equivalent(1.0)) == (None, None, None)


# --- the other tables


def test_slimmed_networks_are_compared_by_seed():
    found = {
        family.Member(arm, seed, 6, "greedy", 0): 0.5 + 0.1 * seed + (0.02 + 0.01 * seed) * (arm == "co-training")
        for arm in family.ARMS
        for seed in (0, 1)
    }
    found[family.Member("co-training", 2, 6, "greedy", 0)] = 0.9  # its rival is not there yet
    (row,) = family.table(found).splitlines()[2:]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["6", "greedy", "2"]
    assert [cell.split(" ±")[0] for cell in cells[3:]] == ["55.00", "57.50", "+2.50"]


def test_fine_tuning_is_a_table_of_what_was_not_to_choose():
    common = {"recipe": "finetune", "overrides": {"drop_rate": 0.1, "lr": 0.01}, "seconds": 60.0}
    epochs = get("finetune").epochs  # what the line does not say is the recipe's own
    lines = [
        {**common, "cell": cell, "seed": seed, "top1": top1}
        for cell, seed, top1 in [
            ("masking, rate 0.1, learning rate 0.01", 100, 0.9),
            ("masking", 0, 0.5),
            ("masking", 1, 0.6),
            ("co-training", 0, 0.52),
            ("co-training", 1, 0.62),
        ]
    ]
    masking, own = tuning.table(lines).splitlines()[2:]
    assert masking.startswith(f"| masking | 2 | 0.1 | 0.01 | {epochs} | 60 | 55.00 ±")
    assert own.split(" | ")[-1] == "+2.00 ± 0.00 |"


# --- the page


def test_the_page_is_what_the_script_makes_of_the_ledger():
    spec = importlib.util.spec_from_file_location("evidence", ROOT / "scripts" / "evidence.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = (ROOT / "docs" / "evidence.md").read_text()
    assert text == script.within(text, script.results(ROOT / "docs"))


def test_the_extension_is_told_apart_from_the_outcomes(tmp_path):
    """At its own budget, and beside the largest budget of the experiment."""
    added = {"masking": 0.0, "stochastic-depth": 0.01, "two-copies": 0.0, "co-training": 0.03}
    lines = [
        line(run, 0.5 + added[run.cell.series] + 0.001 * run.seed * (run.cell.series == "co-training"))
        for run in budgets(RECIPE).runs(3)
        if run.cell.x in (150, 300)
    ]
    found = extension(RECIPE, ledger_of(tmp_path / "runs.jsonl", lines))
    means = {one.what: round(one.found.mean, 6) for one in found}
    assert means["top-1, minus stochastic-depth"] == means["top-1, minus stochastic-depth at 150 epochs"] == 0.021
    assert means["top-1, minus two-copies"] == 0.031
    assert {one.corrected for one in found} == {None}
    assert "| co-training at 300 epochs, not corrected |" in page(RECIPE, ledger_of(tmp_path / "runs.jsonl", lines))
    assert not extension(RECIPE, ledger_of(tmp_path / "none.jsonl", []))
