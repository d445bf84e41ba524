"""Settings of the process: OpenMP's threads sleep soon where they wait, and freed memory is used again."""

import json
import os
import platform
import subprocess
import sys

import pytest

from cosub.runs.cpu import SPINS

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


FREED = """
import ctypes, resource
from cosub.cli import main
main(["--version"])
libc, size = ctypes.CDLL(None), 64 << 20
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = libc.malloc(size)
    libc.memset(place, 1, size)
    libc.free(place)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
@pytest.mark.parametrize(("given", "kept"), [({}, True), ({"MALLOC_ARENA_MAX": "2"}, False)], ids=["nothing", "set"])
def test_freed_memory_is_used_again_unless_malloc_is_set(given, kept):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FREED], env={**clean, **given}, capture_output=True, text=True, check=True
    )
    page_faults = int(done.stdout.splitlines()[-1])
    assert (page_faults < 8) == kept  # 16,384 pages of 4 KiB, or 32 of 2 MiB
