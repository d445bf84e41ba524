"""Settings of a process that computes on CPUs. Results do not depend on them; imports nothing heavy."""

import ctypes
import os

SPINS = "1000"  # about 10 microseconds; by itself GNU's OpenMP spins 300,000 times

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of malloc.h
_LARGEST = 2**31 - 1


def settle() -> None:
    """Both settings; what the user has set stays as it is."""
    spin_less()
    keep_freed_memory()


def spin_less() -> None:
    """Let waiting threads of OpenMP sleep sooner: spinning, they starve one another on CPUs that are not idle.

    Read where torch is loaded, here and in processes that are started. scripts/spinning.py measures it.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def keep_freed_memory() -> None:
    """Let glibc use freed memory again instead of returning it to the system after each large tensor.

    Else the system clears the same pages at every step: a third of the CPU time of an EfficientNet.
    scripts/allocating.py measures it. Nothing is done where malloc is not glibc's.
    """
    set_by_user = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) or name == "LD_PRELOAD" for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None and not set_by_user:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _LARGEST)
