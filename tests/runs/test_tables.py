"""Tables of text for a person."""

from cosub.runs.tables import align

ROWS = [
    ["model", "timm", "pixels"],
    ["UperNet PatchConvNet-B60 (21k)", "patchconvnet_b60", "512"],
    ["[bold]", "\udcff", "7"],
]


def test_numbers_stand_to_the_right_and_each_row_is_one_line_where_there_is_no_terminal():
    first, second, third = align(ROWS, "<<>")
    assert (first.split(), second.split()[-1]) == (ROWS[0], "512")
    assert len(first) == len(second) == len(third)
    assert third.split() == ["[bold]", "\udcff", "7"]  # no markup, and names that are not UTF-8


def test_nothing_is_cut_where_a_line_is_too_narrow():
    lines = align(ROWS, "<<>", width=30)
    assert max(map(len, lines)) <= 30
    shown = "".join("".join(lines).split())
    for cell in ("UperNet", "(21k)", "512", "pixels", "7"):
        assert cell in shown


def test_the_width_is_that_of_the_terminal(monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "30")
    assert align(ROWS, "<<>") == align(ROWS, "<<>", width=30)
