"""OpenMP's threads sleep soon where they wait: set before torch is loaded, unless a person has set it."""

import json
import os
import subprocess
import sys

import pytest

from cosub.cli import SPINS

CODE = """
import json, os, sys
from cosub.cli import main
try:
    main(["train", "--help"])
except SystemExit:
    pass
found = {key: os.environ.get(key) for key in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
print(json.dumps({**found, "torch": "torch" in sys.modules}))
"""


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
    ids=["nothing", "a count", "a policy"],
)
def test_spinning_is_limited_before_torch_unless_it_is_set(given, count):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    clean = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**clean, **given}, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"GOMP_SPINCOUNT": count, "OMP_WAIT_POLICY": given.get("OMP_WAIT_POLICY"), "OMP_NUM_THREADS": None,
                     "torch": False}  # fmt: skip
