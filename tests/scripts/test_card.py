"""The card's script: its rows, on the CPU and tiny; limits, resuming, verdicts, and the page that it writes."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from card import page, running, steps  # noqa: E402
from card.atomics import copied, operation  # noqa: E402
from card.row import Bar, Row  # noqa: E402
from card.running import Runner  # noqa: E402
from card.suites import TESTS, Suite, outcome  # noqa: E402
from card.table import ROWS  # noqa: E402
from card.training import same_weights  # noqa: E402

from cosub.paper.studies import ledger  # noqa: E402
from cosub.residual import plain_residual  # noqa: E402
from cosub.submodel import draw  # noqa: E402

SCRIPT = [sys.executable, str(ROOT / "scripts" / "card.py"), "--device", "cpu", "--tiny"]
UNSEEN = Row(
    "a", "a row", 9, lambda setup: {}, (Bar("time.ours", "time", 0.9, 0.8), Bar("rate", "images/s", 20, 50, True))
)


def card(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SCRIPT, "--out", str(out), *words], capture_output=True, text=True)


def result(values: dict | None = None, state: str = "done", **more) -> dict:
    facts = {"row": "a", "on": "cpu", "tiny": True, "device": "cpu", "torch": "2", "timm": "1", "commit": "c"}
    return {**facts, "state": state, "seconds": 3.0, **({} if values is None else {"values": values}), **more}


@pytest.mark.slow
def test_a_row_runs_in_a_process_and_is_skipped_with_a_reason(tmp_path):
    ended = card(tmp_path, "--only", "gpu-tests")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "gpu-tests.json").read_text())["state"] == "skipped"
    assert "skipped: needs a GPU" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_the_package_is_that_of_the_checkout(tmp_path):
    (tmp_path / "cosub.py").write_text("raise ImportError('another one')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run([*SCRIPT, "--help"], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr


def test_steps_are_measured_and_the_dry_runs_memory_stands_beside(tmp_path, monkeypatch):
    """Here in this process: importing torch once more takes most of the time."""
    row = next(row for row in ROWS if row.name == "vit-l-64-eager")
    count = steps.planned_bytes

    def counted(case):
        kept = json.loads((tmp_path / "vit-l-64-eager.json").read_text())
        assert (kept["state"], "time" in kept["values"]) == ("done", True)  # a limit that falls here loses nothing
        return count(case)

    monkeypatch.setattr(steps, "planned_bytes", counted)
    Runner(tmp_path, "cpu", True).measure(row)
    done = json.loads((tmp_path / "vit-l-64-eager.json").read_text())
    assert (done["state"], set(done["values"]["time"])) == ("done", {"one copy", "co-training"})
    assert set(done["values"]["ms"]) == {"masked", "one copy", "co-training"}
    assert done["values"]["planned_gib"] > 0


@pytest.fixture(params=["index_copy", "in place"])
def add_rows(request, monkeypatch):
    if request.param == "index_copy":
        return copied
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # read where the module defines its kernel
    from card.in_place import in_place

    return in_place


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_other_ways_to_add_rows(add_rows, precision):
    """The kernel runs under Triton's interpreter. Compared with autograd's own rules."""
    found = []
    for residual in (operation(add_rows), plain_residual):
        torch.manual_seed(0)
        x = torch.randn(6, 5, 300, dtype=precision, requires_grad=True)  # more than one part of a row
        rows = draw(6, (4, 3), torch.Generator().manual_seed(0)).layers()
        end = residual(residual(x, lambda h: (h * 1.5).tanh(), rows[0]), torch.sin, rows[1])
        (end.float() * torch.linspace(0, 1, 300)).sum().backward()
        found.append((end.detach(), x.grad))
    for ours, reference in zip(*found, strict=True):
        away = (ours - reference).float().norm() / reference.float().norm()
        assert away < (1e-6 if precision == torch.float32 else 1e-2)


@pytest.mark.parametrize("stream", ["fp32", "bf16"])
def test_the_kernel_compiles_for_a_gpu(stream):
    """Which the interpreter does not show, and needs no GPU."""
    triton = pytest.importorskip("triton")
    from card.in_place import PART, kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {"stream": f"*{stream}", "added": "*bf16", "keep": "*i64", "scale": "fp32", "width": "i32"}
    source = ASTSource(triton.runtime.JITFunction(kernel.fn), {**types, "part": "constexpr"}, constexprs={"part": PART})
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})
    assert "atom" not in compiled.asm["ptx"]
    assert "red." not in compiled.asm["ptx"]


@pytest.mark.slow
def test_every_row_runs(tmp_path):
    card(tmp_path)
    found = {row.name: json.loads((tmp_path / f"{row.name}.json").read_text()) for row in ROWS}
    states = {name: of["state"] for name, of in found.items()}
    assert states == {row.name: "skipped" if "tests" in row.bars[0].what else "done" for row in ROWS if row.bars} | {
        row.name: "done" for row in ROWS if not row.bars
    }
    assert found["killed"]["values"]["equal"] == found["killed-compiled"]["values"]["equal"] == 1
    text = (tmp_path / "table.md").read_text()
    assert page.NOT_YET not in text
    for row in ROWS:
        for bar in row.bars:  # every key leads to a value; memory is measured on a card alone
            measured, _ = page._against(bar, found[row.name])
            assert measured != "not measured here" or bar.key.startswith("peak"), bar


def test_a_row_at_its_limit_is_ended_with_all_that_it_started(tmp_path):
    """The shell starts a child of its own, which would hold the log and go on."""
    mark, log = tmp_path / "mark", tmp_path / "log"
    words = ["sh", "-c", f"(while :; do date >> {mark}; sleep 0.05; done) & wait"]
    with log.open("wb") as file:
        assert running._finish(words, {"PATH": "/usr/bin:/bin"}, file, 0.5) is None
    size = mark.stat().st_size
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        assert mark.stat().st_size == size


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Runs no process: what `ends` says of a row is how it ends."""
    made, ends, ran = Runner(tmp_path, "cpu", True), {}, []

    def finish(words, environment, log, limit):
        name = words[words.index("--row") + 1]
        ran.append((name, limit))
        code, left = ends.get(name, (0, result({"rate": 1})))
        if left is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(left))
        log.write(b"Traceback\nOutOfMemoryError: a lot\n")
        return code

    monkeypatch.setattr(running, "_finish", finish)
    return made, ends, ran


def rows(*names: str) -> list[Row]:
    return [Row(name, name, 9, lambda setup: {}) for name in names]


def test_what_did_not_end_well_is_tried_again_after_the_rest(runner):
    made, ends, ran = runner
    ends |= {"a": (1, result(state="started")), "b": (None, None), "c": (0, result({"rate": 1}))}
    made.run(rows("a", "b", "c"), 1000)
    found = made.results()
    assert (found["a"]["state"], found["a"]["reason"]) == ("failed", "status 1: OutOfMemoryError: a lot")
    assert (found["b"]["state"], found["b"]["reason"]) == ("stopped", "after its limit of 45 s")
    assert found["c"]["state"] == "done"
    ran.clear()
    ends.clear()
    made.run(rows("a", "b", "c", "d"), 1000)
    assert [name for name, _ in ran] == ["d", "a", "b"]
    assert {of["state"] for of in made.results().values()} == {"done"}


def test_the_time_for_all_rows_is_kept(runner, capsys):
    made, _, ran = runner
    made.run(rows("a", "b"), 42)
    assert [name for name, _ in ran] == ["a", "b"]
    assert all(limit <= 42 for _, limit in ran)
    ran.clear()
    made.run(rows("c"), 35)
    assert not ran
    assert "c: not started, the time is over" in capsys.readouterr().out


def test_values_that_a_row_kept_outlive_its_end(runner, capsys):
    made, ends, _ = runner
    ends |= {"a": (None, result({"rate": 1})), "b": (1, result({"rate": 2}))}
    made.run(rows("a", "b"), 1000)
    found = made.results()
    assert [(of["state"], of["values"]["rate"]) for of in found.values()] == [("done", 1), ("done", 2)]
    out = capsys.readouterr().out
    assert "a: done" in out
    assert "after its limit of 45 s" in out
    assert "status 1: OutOfMemoryError: a lot" in out


def test_a_commit_is_named_where_there_is_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("COSUB_COMMIT", "0a1b2c3")
    ledger.commit.cache_clear()
    try:
        assert Runner(tmp_path, "cpu", True)._facts(rows("a")[0], "cpu")["commit"] == "0a1b2c3"
    finally:
        ledger.commit.cache_clear()


def test_tests_that_rows_measure_by_themselves_are_in_no_suite():
    chosen = [row.measure.chosen for row in ROWS if isinstance(row.measure, Suite)]
    words = {word for of in chosen for word in re.findall(r"\w+", of)} - {"and", "not"}
    for name in re.findall(r"def (test_\w+)", TESTS.read_text()):
        runs = any(eval(of, {word: word in name for word in words}) for of in chosen)
        assert runs == ("killed" not in name), name


def test_results_of_other_machines_are_not_mixed(runner):
    made, _, _ = runner
    (made.out / "a.json").write_text(json.dumps(result({"rate": 1}, on="cuda", tiny=False)))
    with pytest.raises(SystemExit, match=r"a\.json is of --device cuda"):
        made.run(rows("b"), 1000)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"time": {"ours": 0.91}, "rate": 19}, ("0.91", "MISS", "19", "MISS")),
        ({"time": {"ours": 0.9}, "rate": 20}, ("0.9", "PASS", "20", "PASS")),
        ({"time": {"ours": 0.8}, "rate": 50_000}, ("0.8", "PASS, goal", "50,000", "PASS, goal")),
        ({"rate": 30}, ("not measured here", "", "30", "PASS")),
    ],
)
def test_verdicts(values, expected):
    against = [page._against(bar, result(values)) for bar in UNSEEN.bars]
    assert tuple(part for pair in against for part in pair) == expected


def test_what_has_no_result_says_so():
    text = page.markdown([UNSEEN], {"a": result(state="failed", reason="no | here")})
    assert "failed: no \\| here" in text
    assert "| a row | time |  | at most 0.9 | 0.8 | not yet run |" in page.markdown([UNSEEN], {})


def test_the_page_has_the_rows_between_its_markers(tmp_path):
    target = tmp_path / "page.md"
    target.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.page(target, [UNSEEN], {"a": result({"time": {"ours": 0.5}, "rate": 99})})
    text = target.read_text()
    assert text.startswith(f"before\n{page.BEGIN}\n\ncpu, torch 2, timm 1, commit c.\n\n| row |")
    assert text.endswith(f"|\n\n{page.END}\nafter\n")
    assert "old" not in text
    assert "| a row | cpu | 3 | time: ours: 0.5; rate: 99 |" in text


def test_the_rows_of_docs_are_those_of_the_script():
    """Every bar stands there, with what it is now; what was measured is the card's."""
    told = (ROOT / "docs" / "performance.md").read_text().split(page.BEGIN)[1].split(page.END)[0]
    lines = [line for line in page.markdown(ROWS, {}).splitlines() if page.NOT_YET in line]
    for line in lines:
        assert line.split(f"| {page.NOT_YET}")[0].rstrip(" |") in told


def test_names_are_one_each():
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_report_of_tests_is_counted(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="7" skipped="2" failures="1" errors="1"/></testsuites>')
    assert outcome(report) == {"passed": 3, "failed": 2, "skipped": 2}


def test_runs_are_compared_by_their_tensors(tmp_path):
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    weights = {"a": torch.arange(3.0), "b": torch.ones(2)}
    save_file(weights, first, {"one": "1", "two": "2"})
    save_file(weights, again, {"two": "2"})
    save_file({**weights, "b": torch.tensor([1.0, 1 + 2**-23])}, other)
    assert same_weights(first, again)
    assert not same_weights(first, other)
