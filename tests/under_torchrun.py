"""cosub in a process of torchrun's that meets an accident in the middle of a run.

under_torchrun.py ACCIDENT STEP VERB ...     ACCIDENT: worker:SIGNAL, launcher:SIGNAL or link:INTERFACE
"""

import os
import subprocess
import sys

from tiny import before_steps

from cosub.cli import main

(what, detail), at = sys.argv[1].split(":"), int(sys.argv[2])


def accident() -> None:
    if what == "link":
        subprocess.run(["ip", "link", "set", detail, "down"], check=True)
    else:
        os.kill(os.getpid() if what == "worker" else os.getppid(), int(detail))


def meet(trainer) -> None:
    if trainer.state.step == at and trainer.world.rank == 1:
        accident()


with before_steps(meet):
    sys.exit(main(sys.argv[3:]))
