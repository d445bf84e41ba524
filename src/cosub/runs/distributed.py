"""The processes of a run, which torchrun starts and describes in the environment."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cosub.errors import CosubError, InputError, RunError, Stopped

T = TypeVar("T")

# An action of one process may take hours, and `timeout` is for those that all begin together. One that dies is noticed
# at once, because its connections close.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class World:
    """The processes of a run as one of them sees them."""

    rank: int
    size: int
    device: torch.device
    local_rank: int = 0
    """The rank among those of one machine."""
    local_size: int = 1
    """How many there are on this machine."""

    @property
    def main(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all get the same result."""
        return bool(self.max(flag))

    def max(self, value: float) -> float:
        """The largest value of all processes; all get the same result."""
        if self.size == 1:
            return value
        largest = torch.tensor(float(value))  # on the CPU, so that nothing synchronises with a GPU
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return largest.item()

    def gather(self, names: set[str]) -> set[str]:
        """The union of the sets of all processes."""
        if self.size == 1:
            return names
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, sorted(names))
        return {name for part in parts for name in part}

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes; all get the same result."""
        return self.sum(values).div_(self.size) if self.size > 1 else values

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes; all get the same result."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def on_main(self, action: Callable[[], object]) -> None:
        """Run an action in the first process; if it fails there, all processes fail."""
        self.on_all(action if self.main else lambda: None)

    def on_all(self, action: Callable[[], T]) -> T:
        """Run an action in each process; if it fails in one, all processes fail."""
        failure: Exception | None = None
        found: list[T] = []
        try:
            found.append(action())
        except Exception as error:
            failure = error
        if self.any(failure is not None):
            raise failure or RunError("another process failed; its own message says why")
        return found[0]

    def once_per_node(self, action: Callable[[], T]) -> T:
        """What an action returns in the first process of each machine; the others there get it without running it.

        If it fails in one, all processes fail with its error.
        """
        if self.size == 1:
            return action()
        outcome: Any = None
        outcomes: list[Any] = [None] * self.size
        with explain_errors():
            self.any(False)  # a process that has died by now is noticed here, and not where a group is made
            group: Any = dist.new_group(backend="gloo", timeout=_PATIENCE)
            if self.local_rank == 0:
                try:
                    outcome = action(), None
                except CosubError as error:
                    outcome = None, error
                except Exception as error:  # which another process may not be able to read
                    outcome = None, RunError(repr(error))
            dist.all_gather_object(outcomes, outcome, group)
        dist.destroy_process_group(group)
        for _, failure in filter(None, outcomes):
            if failure is not None:
                raise failure
        found, _ = list(filter(None, outcomes[: self.rank + 1]))[-1]  # torchrun numbers a machine's processes in a row
        return found

    def share_buffers(self, network: nn.Module) -> None:
        """Give all processes the first one's buffers: each has updated the running statistics by its own rows."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)


def join(device: str, timeout: int = 600) -> World:
    """Join the processes that torchrun started; without torchrun there is one.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
        timeout: seconds to wait for the others, now and in each collective operation.

    Raises:
        RunError: if fewer processes respond than WORLD_SIZE says.
        InputError: for a device that does not exist, or several tasks of srun that know nothing of each other.
    """
    _require_launcher()
    size, rank = _number("WORLD_SIZE", 1), _number("RANK", 0)
    local_rank = _number("LOCAL_RANK", 0)
    chosen = _device(device, local_rank)
    if size > 1 and not dist.is_initialized():
        try:
            backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"WORLD_SIZE is {size} and the others do not respond ({reason}): {_remedy(size)}") from error
    present = dist.get_world_size() if dist.is_initialized() else 1
    if present != size:
        raise RunError(f"WORLD_SIZE is {size} and {present} processes joined: start all of them with torchrun")
    return World(rank, size, chosen, local_rank, _number("LOCAL_WORLD_SIZE", 1))


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turn the error of a collective operation into one line.

    Raises:
        RunError: if another process has ended, or cannot be reached.
    """
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, dist.DistError) or any(word in reason for word in ("gloo", "NCCL")):
            raise RunError(
                f"the other processes do not respond ({reason[:200]}): start the same command again for all of them, "
                "and the run continues from its last checkpoint"
            ) from error
        raise


@contextmanager
def leaving() -> Iterator[None]:
    """Leave the other processes at the end of the `with` block, but not NCCL's where an error ends it.

    NCCL would first wait for what the others have queued. After an error in one process that may be for ever, and its
    message would never be read. Connections close with the process; gloo's threads may abort it if they are left.
    """
    try:
        yield
    except BaseException as error:
        together = isinstance(error, Stopped)
        if together or (dist.is_initialized() and dist.get_backend() == "gloo"):
            _leave()
        raise
    _leave()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def require_one_process(verb: str) -> None:
    """Raise InputError where a launcher has started several processes of a verb that would do the same in each."""
    if _number("WORLD_SIZE", 1) > 1:
        raise InputError(f"{verb}: runs in one process; leave torchrun out")


def _require_launcher() -> None:
    """Refuse tasks of srun without torchrun: each would be a run of its own, on the same folder.

    srun sets the variable for each step. SLURM_NTASKS will not do: it is the job's, in a batch script too.
    """
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks != "1" and "WORLD_SIZE" not in os.environ:
        raise InputError(
            f"environment: SLURM_STEP_NUM_TASKS={tasks}: srun has started {tasks} tasks, and each would run alone; "
            "start one torchrun per node, as scripts/slurm.sbatch does, or set WORLD_SIZE=1 if each task is another run"
        )


def _remedy(size: int) -> str:
    """What to do where processes cannot join."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return "use torchrun"
    if _number("LOCAL_WORLD_SIZE", size) == size:
        return "their own messages say why; then start the same command again"
    return (
        "on each node set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network interface that the other nodes "
        "reach, a name that `ip -brief address` lists"
    )


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal():
        raise InputError(f"environment: {variable}={text!r}: must be a whole number; torchrun sets it")
    return int(text)


def _device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: {name!r}: must be auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device: {name!r}: must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        processes = _number("LOCAL_WORLD_SIZE", 1)
        if device.index is not None and processes > 1:
            raise InputError(
                f"device: {name!r}: {processes} processes of this machine would share it; leave it out, and each takes "
                "its own (CUDA_VISIBLE_DEVICES chooses among them)"
            )
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise InputError(f"device: {name!r}: this machine has {torch.cuda.device_count()} CUDA devices; try cpu")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    return device
