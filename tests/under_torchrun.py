"""cosub in a process of torchrun's that meets an accident in the middle of a run.

under_torchrun.py ACCIDENT STEP VERB ...     ACCIDENT: worker:SIGNAL, launcher:SIGNAL or link:INTERFACE
"""

import os
import subprocess
import sys

from cosub.cli import main
from cosub.train.trainer import Trainer

(what, detail), at = sys.argv[1].split(":"), int(sys.argv[2])
train_step = Trainer._train_step


def accident() -> None:
    if what == "link":
        subprocess.run(["ip", "link", "set", detail, "down"], check=True)
    else:
        os.kill(os.getpid() if what == "worker" else os.getppid(), int(detail))


def step(self, *args):
    if self.step == at and self.world.rank == 1:
        accident()
    return train_step(self, *args)


Trainer._train_step = step
sys.exit(main(sys.argv[3:]))
