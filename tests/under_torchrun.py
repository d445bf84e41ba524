"""cosub in a process of torchrun's that sends a signal in the middle of a run.

under_torchrun.py worker|launcher SIGNAL STEP VERB ...
"""

import os
import sys

from cosub.cli import main
from cosub.trainer import Trainer

victim, number, at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
train_step = Trainer._train_step


def step(self, *args):
    if self.step == at and self.world.rank == 1:
        os.kill(os.getpid() if victim == "worker" else os.getppid(), number)
    return train_step(self, *args)


Trainer._train_step = step
sys.exit(main(sys.argv[4:]))
