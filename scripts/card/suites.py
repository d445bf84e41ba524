"""Tests that need a GPU, as rows."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from card.row import Setup

TESTS = Path(__file__).parents[2] / "tests" / "test_gpu.py"


@dataclass(frozen=True)
class Suite:
    """Tests of tests/test_gpu.py, selected by pytest's -k."""

    chosen: str

    def __call__(self, setup: Setup) -> dict[str, Any]:
        setup.require_cuda("these tests run only there")
        report = setup.folder / "report.xml"
        # A warning that only a GPU brings is no failure.
        command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-W", "default", "-m", "gpu"]
        command += ["-k", self.chosen, f"--junitxml={report}", str(TESTS)]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        return outcome(report)


def outcome(report: Path) -> dict[str, int]:
    """How many tests of a JUnit report passed, failed and were skipped."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, skipped, bad = (
        sum(int(suite.get(key, 0)) for suite in suites for key in keys)
        for keys in (("tests",), ("skipped",), ("failures", "errors"))
    )
    return {"passed": total - skipped - bad, "failed": bad, "skipped": skipped}
