"""The training loop. It knows no task, method, data set or metric by name.

A run is a function of its recipe: every random choice of a step is seeded from (seed, step, group), every image
from (seed, epoch, position). Where it runs changes rounding at most.
"""

import copy
import itertools
import json
import math
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._pytree import tree_leaves

from cosub.attachment import active, state
from cosub.data.loading import Batch, StepSampler, training_loader
from cosub.data.marks import mark
from cosub.data.sources import Examples, Source, fingerprint
from cosub.errors import InputError, RunError, Stopped
from cosub.evaluation.classification import check_bad
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.runs.folder import RunFolder
from cosub.runs.network import build_network
from cosub.runs.progress import Reporter
from cosub.runs.published import prepared_otherwise
from cosub.seeds import derive
from cosub.submodel import Submodel, concatenate
from cosub.train import checkpoint as checkpoints
from cosub.train.compile_choice import Choice, Work, choose, count_work
from cosub.train.few_rows import enough_rows
from cosub.train.finite import MOST_IN_A_ROW, Updates, copied_buffers, first_spoiled, restore_buffers
from cosub.train.logs import Logs, Window
from cosub.train.optim import build_optimizer, learning_rate
from cosub.train.sharding import full, load_network, load_optimizer, local, shard
from cosub.train.signals import StopRequest
from cosub.train.steps import images_of_epoch, share, steps_per_epoch
from cosub.train.tasks import Score, method_of, task_of
from cosub.train.teachers import Teacher, load_teacher
from cosub.twins.compilation import compile_blocks, uncompile_blocks
from cosub.weights.loading import load_weights

GRACE = 30  # seconds between SIGTERM and SIGKILL
SLOW_CHECKPOINT = 25


Runners = dict[str, nn.Module]  # the networks that are trained, as they are called: wrapped, where there are processes


@dataclass
class Counters:
    """What a checkpoint counts besides steps."""

    seconds: float = 0.0
    bad: set[str] = field(default_factory=set)
    best: tuple[int, float] = (0, -1.0)  # epoch and accuracy, where the recipe chooses by validation images
    skipped: int = 0
    """Images without a label to learn."""
    skipped_steps: int = 0
    """Steps without an update, because loss or gradient was not finite."""


class Trainer:
    """A recipe made ready to run: network, optimizer, data, and the step they have reached."""

    def __init__(self, recipe: Recipe, source: Source, world: World, folder: RunFolder, reporter: Reporter) -> None:
        self.recipe, self.source, self.world = recipe, source, world
        self.folder, self.reporter = folder, reporter
        self.share = share(recipe, world.rank, world.size)
        self.steps_per_epoch = steps_per_epoch(recipe, len(source.train.labels))
        self.total_steps = recipe.epochs * self.steps_per_epoch
        self.method = method_of(recipe)
        self.task = task_of(recipe, source)
        self.trained = {"network": self._build(recipe.seed)}
        if self.method.needs == "peer":
            self.trained["peer"] = self._build(derive("peer", recipe.seed))
        self.network = self.trained["network"]
        self.others: dict[str, nn.Module] = {}
        self.rows = self.method.copies * recipe.group_size  # of a group
        self.kept = state(self.network).kept(self.rows)
        self.dataset = self.task.training_set()
        self.precision = _precision(recipe, world.device)
        self.scaler = torch.GradScaler(world.device.type, enabled=self.precision == torch.float16)
        self.fingerprint, self.mark = fingerprint(source), mark(source, recipe.data)
        self.counters, self.step = Counters(), 0
        self.skipped_in_a_row = 0
        self.stop = StopRequest()
        self.saved_at = time.monotonic()
        self.new = not checkpoints.exist(folder.checkpoints)
        if self.new:
            self._begin()

    def _build(self, seed: int) -> nn.Module:
        network = self.task.network(seed, self.world)
        state(network).checkpointing = self.recipe.runtime.checkpointing
        return network

    @property
    def result(self) -> nn.Module:
        """What is saved: the best epoch's network where the recipe chooses one, else the last step's."""
        return self.others.get("best", self.latest)

    @property
    def latest(self) -> nn.Module:
        """What is evaluated during training: the averaged network where the recipe averages."""
        averaged = self.others.get("averaged")
        return averaged.module if isinstance(averaged, AveragedModel) else self.network

    def fit(self) -> None:
        """Train from the step that is reached to the end; `prepare` comes before.

        Raises:
            RunError: for a loss or gradient that is not finite, or too many unreadable images.
            Stopped: by a signal, after a checkpoint.
        """
        self._try_compiled()
        resolution = self.recipe.resolution
        runners = {name: _parallel(network.train(), resolution, self.world) for name, network in self.trained.items()}
        batches = self._batches()
        logs = Logs(self.folder.path, self.step) if self.world.main else None
        every = max(1, min(50, self.total_steps // 200))
        window = Window(self.recipe.batch_size)
        self.reporter.start(self.step, self.total_steps)
        with _closing(logs, self.reporter):
            window.started = time.perf_counter()
            while self.step < self.total_steps:
                window.values.append(self._train_step(runners, batches, window))
                self.step += 1
                if self.step % every == 0 or self.step == self.total_steps:
                    self._report(window, logs)
                self._between_steps(window, logs)

    def prepare(self) -> None:
        """Make what training needs, at the newest whole checkpoint or, where there is none, at the beginning.

        A run that goes on does not read the recipe's weights again: their file may be gone by then.

        Raises:
            InputError: if the run was begun with other data.
        """
        found = checkpoints.latest(self.folder.checkpoints)
        if found is None and not self.new:  # all are damaged
            self._begin()
        if found is not None and self.method.needs == "teacher":
            self.others["teacher"] = Teacher(found.counters["teacher"]).to(self.world.device)
        self._make_ready(found)
        if found is not None:
            self._resume(found)

    def _resume(self, found: checkpoints.Checkpoint) -> None:
        other = found.counters.get("files", self.mark) != self.mark  # checkpoints before it was kept have none
        if other or found.counters["data"] != self.fingerprint:
            raise InputError(
                f"data.path: {self.folder.path}: was begun with other images or classes than lie there now; "
                "name the same data, or another --out"
            )
        self.step = found.step
        for name, network in self.networks.items():
            load_network(network, found.weights[name])
        load_optimizer(self.optimizer, found.state["optimizer"])
        self.scaler.load_state_dict(found.state["scaler"])
        counted = found.counters
        best, skipped = tuple(counted["best"]), counted.get("skipped", 0)
        steps = counted.get("skipped_steps", 0)  # checkpoints before these were counted have none
        self.counters = Counters(counted["seconds"], set(counted["bad"]), best, skipped, steps)
        self.reporter.say(f"continuing {self.folder.path} at step {self.step} of {self.total_steps}")

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Every network of the run, by the name of its file in a checkpoint."""
        return {**self.trained, **self.others}

    def _begin(self) -> None:
        """What a new run reads: the weights that its recipe names, and its teacher."""
        recipe = self.recipe
        if recipe.weights:
            trained = {name: self.task.pretrained(network) for name, network in self.trained.items()}
            said = {name: load_weights(network, recipe.weights) for name, network in trained.items()}
            self.reporter.say(f"weights: starting from {recipe.weights}")
            if caution := prepared_otherwise(recipe):
                self.reporter.warn(caution)
            for name, lines in said.items():
                for line in lines:
                    self.reporter.say(f"weights: {line}" if name == "network" else f"weights of the {name}: {line}")
        if self.method.needs == "teacher":
            source: str = recipe.method.teacher  # pyright: ignore[reportAttributeAccessIssue]
            teacher, lines = load_teacher(
                source, self.source.classes, recipe.resolution, self.folder.path, recipe.inputs
            )
            self.others["teacher"] = teacher.to(self.world.device)
            for line in lines:
                self.reporter.say(line)

    def _make_ready(self, found: checkpoints.Checkpoint | None) -> None:
        """Copy, then compile, then shard, then the optimizer: each needs the one before."""
        if self.recipe.ema:
            self.others["averaged"] = _averaged(self.network, self.recipe.ema)
        if self.method.needs == "mean-teacher":
            momentum: float = self.recipe.method.momentum  # pyright: ignore[reportAttributeAccessIssue]
            self.others["mean-teacher"] = _averaged(self.network, momentum).eval()
        if self.recipe.choose == "best":
            self.others["best"] = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.compiled = self._whether_compiled(found)
        if self.compiled:
            for network in self.trained.values():
                compile_blocks(network)
        if self.recipe.runtime.parallel == "fsdp" and self.world.size > 1:
            for network in self.networks.values():
                shard(network.module if isinstance(network, AveragedModel) else network, self.world)
        self.optimizer = build_optimizer(self.recipe, *self.trained.values())
        self.updates = Updates(self.optimizer, self.scaler, self.recipe.non_finite == "skip")

    def _whether_compiled(self, found: checkpoints.Checkpoint | None) -> bool:
        """As the recipe says; where it leaves that to the rule, a run goes on as it began."""
        recipe, device = self.recipe, self.world.device.type
        wanted = recipe.runtime.compile
        if wanted == "on" and recipe.rounding == "bernoulli":
            raise InputError("compile: on: rounding bernoulli gives every step other shapes; take auto or off")
        choice = choose(wanted, recipe.rounding, device, self.total_steps, self._work)
        if wanted == "auto" and device == "cuda" and recipe.rounding != "bernoulli":
            if found is not None:  # checkpoints before there was a rule have none: all were compiled
                began = found.counters.get("compiled", True)
                choice = Choice(began, f"auto: {'on' if began else 'off'}, as the run was begun")
            self.reporter.say(f"compile: {choice.why}")
        return choice.compiled

    def _work(self) -> Work:
        recipe = self.recipe
        with torch.device("meta"):
            network = build_network(recipe, len(self.source.classes), self.method.copies)
        return count_work(network, recipe.resolution, self.rows, recipe.num_groups, len(self.trained))

    def _try_compiled(self) -> None:
        """See that the compiled blocks work before the first step."""
        if not self.compiled:
            return
        started, stats = time.perf_counter(), torch._dynamo.utils.counters["stats"]
        before = stats["unique_graphs"]
        try:
            for network in self.trained.values():
                self._rehearse(network)
            graphs = stats["unique_graphs"] - before
            seconds = time.perf_counter() - started
            self.reporter.say(f"compiled: {graphs} graph{'s' * (graphs != 1)} in {seconds:.0f} s")
        except Exception as error:  # a compiler raises what it likes
            reason = " ".join(str(error).split())[:200]
            if self.recipe.runtime.compile == "on":
                raise RunError(
                    f"compile: on: the blocks cannot be compiled here ({reason}); take auto or off"
                ) from error
            self.compiled = False
            for network in self.trained.values():
                uncompile_blocks(network)
            self.reporter.warn(f"going on uncompiled, because the blocks cannot be compiled here ({reason})")

    def _rehearse(self, network: nn.Module) -> None:
        """One forward and backward on empty images, which leaves no trace in the network."""
        before = {key: buffer.clone() for key, buffer in network.named_buffers()}
        groups = self.share.groups(0)
        size = (len(groups) * self.recipe.group_size, 3, self.recipe.resolution, self.recipe.resolution)
        low = self.precision != torch.float32
        network.train()
        with (
            active(network, self.submodel(groups)),
            torch.autocast(self.world.device.type, self.precision, enabled=low),
        ):
            answer = network(torch.zeros(size, device=self.world.device))
        _total(answer).backward()
        network.zero_grad(set_to_none=True)
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])

    def save(self) -> None:
        """Write a checkpoint; nothing that is not finite gets into one. All processes call it."""
        started = time.monotonic()
        finite = torch.stack([local(parameter).isfinite().all() for parameter in self._parameters()]).all()
        if self.world.any(not finite):
            raise RunError(
                f"the weights are not finite after step {self.step}: lower --lr; the last checkpoint is whole"
            )
        keep = self.world.main
        weights = {name: full(network.state_dict(), keep) for name, network in self.networks.items()}
        values = {"optimizer": full(self.optimizer.state_dict(), keep), "scaler": self.scaler.state_dict()}
        counters = {
            "seconds": self.counters.seconds,
            "bad": sorted(self.counters.bad),
            "skipped": self.counters.skipped,
            "best": list(self.counters.best),
            "skipped_steps": self.counters.skipped_steps,
            "compiled": self.compiled,
            "data": self.fingerprint,
            "files": self.mark,
            **({"teacher": teacher.about} if isinstance(teacher := self.others.get("teacher"), Teacher) else {}),
        }
        checkpoint = checkpoints.Checkpoint(self.step, weights, values, counters)
        folder, number = self.folder.checkpoints, self.recipe.runtime.keep_checkpoints
        self.world.on_main(lambda: checkpoints.save(folder, checkpoint, number))
        seconds = time.monotonic() - started
        if seconds > SLOW_CHECKPOINT:
            self.reporter.warn(
                f"the checkpoint took {seconds:.0f} s, and torchrun and Slurm give {GRACE} s between SIGTERM and "
                "SIGKILL: ask for more time, or write to a faster disk"
            )

    def _parameters(self) -> Iterator[nn.Parameter]:
        return itertools.chain.from_iterable(network.parameters() for network in self.trained.values())

    def submodel(self, groups: range, name: str = "network") -> Submodel:
        """The table of some groups of this step for a network, each drawn from (seed, step, group)."""
        tables = []
        purpose = "submodel" if name == "network" else f"submodel of the {name}"
        for group in groups:
            generator = torch.Generator().manual_seed(derive(purpose, self.recipe.seed, self.step, group))
            tables.append(state(self.network).draw(self.rows, generator))
        return concatenate(tables, self.method.copies)

    def _batches(self, steps: int = sys.maxsize, workers: int | None = None) -> Iterator[Batch]:
        """The batches of so many steps from the one that is reached; by default of all, by the recipe's workers."""
        recipe = self.recipe
        ahead = range(self.step, min(self.step + steps, self.total_steps))
        workers = recipe.runtime.workers if workers is None else workers
        size = len(self.source.train.labels)
        sampler = StepSampler(
            size, recipe.batch_size, recipe.group_size, recipe.seed, self.share, ahead, recipe.augment.repeats
        )
        return iter(training_loader(self.dataset, sampler, workers, self.world.device.type == "cuda"))

    def _train_step(self, runners: Runners, batches: Iterator[Batch], window: Window) -> Tensor:
        """One optimizer step; gives (loss, accuracy, skipped, norm of the gradient), still on the device."""
        rate = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        buffers = copied_buffers(self.trained) if self.recipe.non_finite == "skip" else []
        sums = torch.zeros(3, device=self.world.device)
        for micro_step in range(self.share.micro_steps):
            waited = time.perf_counter()
            batch = next(batches)
            window.waited += time.perf_counter() - waited
            self.counters.bad.update(batch.bad)
            last = micro_step == self.share.micro_steps - 1
            with _synchronised(runners.values(), last):
                sums += self._forward_backward(runners, batch, self.share.groups(micro_step))
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(list(self._parameters()), self.recipe.optimizer.clip or math.inf)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        norm = torch.nan_to_num(norm, 0, 0) if self.scaler.is_enabled() else norm  # an overflow is the scaler's
        values = torch.cat([sums, norm.detach().float().view(1)])
        bad = (~values.isfinite()).any().float().view(1)
        if not self.updates.make(self.world.mean(bad).view(())):
            self._not_finite(values, buffers)
            return values
        self.skipped_in_a_row = 0
        for other in self.others.values():
            if isinstance(other, AveragedModel):
                other.update_parameters(self.network)
        return values

    def _not_finite(self, values: Tensor, buffers: list[Tensor]) -> None:
        """Say where the step that is reached went wrong, keep its images, and end the run or go on without it."""
        batches = list(self._batches(steps=1, workers=0))
        for network in self.trained.values():
            uncompile_blocks(network)
        places = self.world.gather({first_spoiled(self.trained, lambda: self._repeat(batches))} - {""})
        rate = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        loss, *_, norm = values.tolist()
        said = (
            f"step {self.step + 1}: loss {loss:g}, gradient {norm:g}: not finite first "
            f"{min(places, default='in nothing that shows when the step is run again')} "
            f"(learning rate {rate:.3g}; the images are in {self._keep(batches, rate)})"
        )
        self.counters.skipped_steps += 1
        self.skipped_in_a_row += 1
        if self.recipe.non_finite == "stop" or self.skipped_in_a_row == MOST_IN_A_ROW:
            raise RunError(
                f"{said}: lower --lr, raise --optimizer.warmup-epochs, set --optimizer.clip, or take --non-finite "
                f"skip, which leaves up to {MOST_IN_A_ROW - 1} such steps in a row out; the last checkpoint is whole"
            )
        self.reporter.warn(f"{said}; skipped")
        restore_buffers(self.trained, buffers)
        if self.compiled:
            for network in self.trained.values():
                compile_blocks(network)

    def _repeat(self, batches: list[Batch]) -> float:
        """The loss of the step that is reached, and its gradients, once more."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = [
            self._forward_backward(self.trained, batch, self.share.groups(micro_step))[0].item()
            for micro_step, batch in enumerate(batches)
        ]
        return sum(losses)

    def _keep(self, batches: list[Batch], rate: float) -> Path:
        """Write down the images and labels of this process in the step that is reached, as the loader gave them."""
        path = self.folder.path / f"non-finite-step-{self.step + 1}-process-{self.world.rank}.safetensors"
        tensors = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "labels")}
        facts = {"step": self.step + 1, "learning_rate": rate, "seed": self.recipe.seed}
        with suppress(OSError, SafetensorError):  # a full disk is not what ends this run
            checkpoints.save_weights(tensors, path, {"facts": json.dumps(facts)})
        return path

    def _forward_backward(self, runners: Runners, batch: Batch, groups: range) -> Tensor:
        recipe, device = self.recipe, self.world.device
        torch.manual_seed(derive("step", recipe.seed, self.step, groups.start))
        labels = batch.labels.to(device, non_blocking=True)
        images, targets = self.task.prepare(batch.images.to(device, non_blocking=True), labels, self.step, groups)
        low = self.precision != torch.float32
        with ExitStack() as stack, torch.autocast(device.type, self.precision, enabled=low):
            for name, network in self.trained.items():
                stack.enter_context(active(network, self.submodel(groups, name)))
            stack.enter_context(enough_rows())
            loss, logits = self.method({**self.others, **runners}, images, targets)
        loss = loss / self.share.micro_steps
        self.scaler.scale(loss).backward()
        accuracy, skipped = self.task.observe(logits, labels)
        return torch.stack([loss.detach(), accuracy / self.share.micro_steps, skipped])

    def _report(self, window: Window, logs: Logs | None) -> None:
        """Read what the steps left on the device; this is where the host waits for it, and where it is checked."""
        values, rows = window.read(self.world.mean)
        bad = (~rows.isfinite()).any(1).nonzero()
        if len(bad) and self.recipe.non_finite == "stop":
            self.step -= len(rows) - int(bad[0])
            self._not_finite(rows[bad[0, 0]], [])
        self.counters.seconds += values["seconds"]
        self.counters.bad = self.world.gather(self.counters.bad)
        rate = learning_rate(self.recipe, self.step - 1, self.steps_per_epoch)
        self.counters.skipped += round(values.pop("skipped") * self.world.size)
        check_bad(list(self.counters.bad), len(self.source.train.labels), self.recipe.bad_share)
        if not math.isfinite(values["loss"]):  # all steps were skipped
            return
        self.reporter.step(self.step, values)
        if logs is not None:
            epoch = self.step / self.steps_per_epoch
            del values["seconds"]
            logs.write({"step": self.step, "epoch": round(epoch, 4), "lr": rate, **values})

    def _between_steps(self, window: Window, logs: Logs | None) -> None:
        paused = time.perf_counter()
        ended_epoch = self.step % self.steps_per_epoch == 0
        epochs = self.step // self.steps_per_epoch
        if ended_epoch and self._evaluation_due(epochs):
            headline = self.evaluate(self.source.watched, network=self.latest).headline
            self._choose(epochs, next(iter(headline.values())))
            if logs is not None:
                found: dict[str, float] = {**headline, **self.evaluate_training()}
                found["distinct_images"] = images_of_epoch(self.recipe, self.steps_per_epoch)
                logs.write({"step": self.step, "epoch": epochs, **found})
        stopping = self.world.any(self.stop.asked)
        if stopping or self._checkpoint_due(ended_epoch):
            if window.values:
                self._report(window, logs)
            self.save()
            self.saved_at = time.monotonic()
        now = time.perf_counter()  # training time leaves out evaluation and checkpoints
        window.started = window.started + now - paused if window.values else now
        if stopping:
            raise Stopped(f"stopped at step {self.step} of {self.total_steps}; the same command continues the run")

    def _evaluation_due(self, epochs: int) -> bool:
        if self.recipe.choose == "best":  # a choice must not hang on how often somebody looks
            return True
        every = self.recipe.runtime.evaluate_every or max(1, self.recipe.epochs // 10)
        return epochs % every == 0 and self.step < self.total_steps

    def _choose(self, epoch: int, top1: float) -> None:
        """Keep the network where it is the best so far; of equal ones the first."""
        if self.recipe.choose == "last" or top1 <= self.counters.best[1]:
            return
        self.counters.best = epoch, top1
        now = {**dict(self.latest.named_parameters()), **dict(self.latest.named_buffers())}
        best = self.others["best"]
        with torch.no_grad():
            for name, value in itertools.chain(best.named_parameters(), best.named_buffers()):
                value.copy_(now[name])

    def _checkpoint_due(self, ended_epoch: bool) -> bool:
        every = self.recipe.runtime.checkpoint_every
        if every:
            return self.step % every == 0 or self.step == self.total_steps
        if self.step == self.total_steps:
            return True
        return ended_epoch and self.world.any(time.monotonic() - self.saved_at > 60)

    def evaluate_training(self) -> dict[str, float]:
        """Accuracy on the images that were trained on, unchanged, where the recipe asks for it."""
        if not self.recipe.runtime.evaluate_training:
            return {}
        found = self.evaluate(self.source.train, network=self.latest).headline
        return {f"train_{name}": value for name, value in found.items()}

    def evaluate(
        self, examples: Examples, submodels: dict[str, list[int]] | None = None, network: nn.Module | None = None
    ) -> Score:
        """How good the result network is, or another, and submodels, on images of the source."""
        return self.task.evaluate(network or self.result, examples, self.world, submodels)


def _precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    chosen = recipe.precision
    if chosen == "auto":
        chosen = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if chosen == "fp16" and device.type != "cuda":
        raise InputError("precision: 'fp16': needs a GPU; take bf16 or fp32")
    if chosen == "fp16" and recipe.runtime.parallel == "fsdp":
        raise InputError("precision: 'fp16': its loss scaling does not go with --parallel fsdp; take bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[chosen]


def _averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Averaged weights that start from the network's: torch's own would start from those after the first step."""
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    averaged.n_averaged.fill_(1)
    return averaged


def _parallel(network: nn.Module, resolution: int, world: World) -> nn.Module:
    """DistributedDataParallel, after one backward that is thrown away: it orders its buckets after the first."""
    if world.size == 1 or isinstance(network, FSDPModule):
        return network
    device_ids = [world.device.index] if world.device.type == "cuda" else None
    runner = DistributedDataParallel(network, device_ids=device_ids, gradient_as_bucket_view=True)
    # a gradient of one row, such as the class token's, has other strides than its bucket: a copy of no weight
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    runner.eval()  # the full network; running statistics stay as they are
    _total(runner(torch.zeros(1, 3, resolution, resolution, device=world.device))).backward()
    network.zero_grad(set_to_none=True)
    return runner


def _total(answer: Any) -> Tensor:
    """A sum over all that a network answers, for a backward that is thrown away."""
    return torch.stack([values.float().sum() for values in tree_leaves(answer)]).sum()


@contextmanager
def _synchronised(runners: Iterable[nn.Module], last: bool) -> Iterator[None]:
    """Gradients are summed over processes with the last micro-step alone."""
    with ExitStack() as stack:
        for runner in runners:
            if isinstance(runner, FSDPModule):
                runner.set_requires_gradient_sync(last)
            elif isinstance(runner, DistributedDataParallel) and not last:
                stack.enter_context(runner.no_sync())
        yield


@contextmanager
def _closing(logs: Logs | None, reporter: Reporter) -> Iterator[None]:
    try:
        yield
    finally:
        reporter.stop()
        if logs is not None:
            logs.close()
