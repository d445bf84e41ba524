"""A quick case of each kind of what `make faults` does at length."""

import pytest
from faults import CASES, arguments


def test_all_cases_by_default():
    assert arguments([]).cases == arguments(["all"]).cases == list(CASES)
    assert arguments(["two", "disk", "--quick"]).cases == ["two", "disk"]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.filterwarnings("default")
def test_nothing_is_lost(name, tmp_path):
    case = CASES[name][1](tmp_path, True)
    if "SKIPPED" in case.note:
        pytest.skip(case.note)
    assert case.tries > 0
    assert case.lost == []
