"""The training loop. It knows no task, method, data set or metric by name.

A run is a function of its recipe: every random choice of a step is seeded from (seed, step, group), every image
from (seed, epoch, position). Where it runs changes rounding at most.
"""

import functools
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cosub.data.loading import Batch
from cosub.data.sources import Examples, Source
from cosub.errors import Stopped
from cosub.evaluation.accuracy import check_bad
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.train import checkpoint as checkpoints
from cosub.train.builder import RunBuilder, build_student
from cosub.train.choosing import evaluation_due, keep_best, keep_fitted
from cosub.train.compile_choice import work_of
from cosub.train.compiling import Compilation
from cosub.train.finite import Updates, copied_buffers, restore_buffers
from cosub.train.logs import Logs, Window, named
from cosub.train.micro_step import MicroStep, choose_precision
from cosub.train.networks import STUDENT, Networks
from cosub.train.nonfinite import NonFiniteSteps
from cosub.train.optim import build_optimizer, learning_rate, set_learning_rate
from cosub.train.parallel import Runners, parallel, synchronised
from cosub.train.run_state import RunState
from cosub.train.same_data import DataMark
from cosub.train.saving import Saving
from cosub.train.sharding import shard_all
from cosub.train.signals import StopRequest
from cosub.train.steps import images_of_epoch, sampler_of, share, steps_per_epoch
from cosub.train.tasks import Score, task_type


class Trainer:
    """A recipe ready to run: networks, optimizer, data, step. For a new run, weights and teacher are read at once."""

    def __init__(self, recipe: Recipe, source: Source, world: World, folder: RunFolder, reporter: Reporter) -> None:
        self.recipe, self.source, self.world = recipe, source, world
        self.folder, self.reporter = folder, reporter
        self.share = share(recipe, world.rank, world.size)
        self.steps_per_epoch = steps_per_epoch(recipe, len(source.train.labels))
        self.total_steps = recipe.epochs * self.steps_per_epoch
        self.learning_rate = functools.partial(learning_rate, recipe, steps_per_epoch=self.steps_per_epoch)
        self.task = task_type(recipe)(recipe, source)
        self.method = self.task.method(recipe)
        self.network = build_student(self.task, recipe.seed, world)
        self.dataset = self.task.training_set()
        self.precision = choose_precision(recipe, world.device)
        self.scaler = torch.GradScaler(world.device.type, enabled=self.precision == torch.float16)
        self.micro_step = MicroStep(self.task, self.method, self.share, world.device, self.precision, self.scaler)
        self.compilation = Compilation(recipe, world, reporter)
        self.nonfinite = NonFiniteSteps(recipe, world, folder.path, reporter)
        self.data = world.once_per_node(lambda: DataMark.of(source, recipe))  # nodes may have disks of their own
        self.stop = StopRequest(reporter.say)
        self.saving = Saving(world, self.stop, self.total_steps, recipe.runtime.checkpoint_every)
        self.builder = RunBuilder(self.task, self.network, world, folder.path, reporter)
        # As one: building may fit a classifier together.
        self.new = not world.any(checkpoints.exist(folder.checkpoints))
        self.networks = self.builder.networks(self.method) if self.new else Networks({STUDENT: self.network})

    def prepare(self) -> None:
        """Make what training needs, from the newest intact checkpoint or, without one, for the first step.

        Raises:
            InputError: if the run was begun with other data.
            RunError: if no checkpoint is intact, one cannot be read, or processes read different ones.
        """
        found = checkpoints.latest_of_all(self.folder.checkpoints, self.world)
        if found is not None:
            self.data.require(found.counters, self.folder.path)
            self.networks = self.builder.continuing(found.counters).networks(self.method)
        # The networks are copied by now. Compile, then shard, then build the optimizer: each needs the one before.
        work = functools.partial(work_of, self.recipe, len(self.source.classes), self.method, self.networks)
        self.compilation.decide(self.total_steps, work, found)
        self.compilation.apply(self.networks)
        if self.recipe.runtime.parallel == "fsdp" and self.world.size > 1:
            shard_all(self.networks, self.world)
        optimizer = build_optimizer(self.recipe, *self.networks.trained.values())
        self.updates = Updates(optimizer, self.scaler, self.recipe.non_finite == "skip")
        self.state = RunState(self.networks, optimizer, self.scaler)
        if found is not None:
            self.state.restore(found)
            self.reporter.say(f"continuing {self.folder.path} at step {self.state.step} of {self.total_steps}")

    def fit(self) -> None:
        """Train from the current step to the end; call `prepare` before.

        Raises:
            RunError: for a loss or gradient that is not finite, or too many unreadable images.
            Stopped: by a signal, after a step or amid an evaluation, and after a checkpoint.
        """
        self.compilation.rehearse(self.networks, self.micro_step)
        runners = parallel(self.networks.trained, self.recipe.resolution, self.world)
        batches, state = self.batches(), self.state
        logs = Logs(self.folder.path, state.step) if self.world.main else None
        report_every = max(1, min(50, self.total_steps // 200))
        window = Window(self.recipe.batch_size)
        self.reporter.start(state.step, self.total_steps)
        self.saving.saved_at = self.saving.clock()
        with _closing(logs, self.reporter):
            keep_fitted(self, logs)
            if state.counters.unevaluated:
                self._evaluate_epoch(state.step // self.steps_per_epoch, logs)
                self.save()  # else a run that ends soon would evaluate, and log, once more
            window.started = time.perf_counter()
            while state.step < self.total_steps:
                window.values.append(self.train_step(runners, batches, window))
                state.step += 1
                if state.step % report_every == 0 or state.step == self.total_steps:
                    self._report(window, logs)
                self._between_steps(window, logs)

    def train_step(self, runners: Runners, batches: Iterator[Batch], window: Window) -> Tensor:
        """One optimizer step. Returns (loss, accuracy, skipped, norm of the gradient), still on the device."""
        set_learning_rate(self.state.optimizer, self.learning_rate(self.state.step))
        self.state.optimizer.zero_grad(set_to_none=True)
        buffers = copied_buffers(self.networks.trained) if self.recipe.non_finite == "skip" else []
        sums = torch.zeros(3, device=self.world.device)
        for micro_step in range(self.share.micro_steps):
            batch = window.wait_for(batches)
            self.state.counters.bad.update(batch.bad)
            with synchronised(runners.values(), last=micro_step == self.share.micro_steps - 1):
                sums += self.micro_step.run(self.networks, runners, batch, self.state.step, micro_step)
        values = torch.cat([sums, self.updates.clip(self.state.parameters, self.recipe.optimizer.clip).view(1)])
        bad = (~values.isfinite()).any().float().view(1)
        if not self.updates.make(self.world.mean(bad).view(())):
            self._examine(values, buffers)
            return values
        self.nonfinite.in_a_row = 0
        if self.networks.average is not None:
            self.networks.average.update_parameters(self.network)
        self.method.after_step(self.networks.all)
        return values

    def batches(self, steps: int = sys.maxsize, workers: int | None = None) -> Iterator[Batch]:
        """The batches from the current step on; by default of all remaining steps, with the recipe's workers."""
        ahead = range(self.state.step, min(self.state.step + steps, self.total_steps))
        workers = self.recipe.runtime.workers or 0 if workers is None else workers
        sampler = sampler_of(self.recipe, len(self.source.train.labels), self.share, ahead)
        return self.dataset.batches(sampler, workers, self.world.device)

    def save(self) -> None:
        """Write a checkpoint, whose weights must be finite. All processes call it."""
        with self.saving.timed(self.reporter):
            self.state.require_finite(self.world)
            facts = {"compiled": self.compilation.on, **self.data.facts, **self.method.facts(self.networks.all)}
            checkpoint = self.state.capture(facts, keep=self.world.main)
            folder, number = self.folder.checkpoints, self.recipe.runtime.keep_checkpoints
            self.world.on_main(lambda: checkpoints.save(folder, checkpoint, number))

    def evaluate(
        self, examples: Examples, submodels: dict[str, list[int]] | None = None, network: nn.Module | None = None
    ) -> Score:
        """Evaluate the result network, or another, and submodels, on images of the source. A signal raises Stopped."""
        network = network or self.networks.result
        self.world.share_buffers(network)
        with self.saving.stoppable(network, self.state.step):
            return self.task.evaluate(network, examples, self.world, submodels)

    def evaluate_training(self) -> dict[str, float]:
        """Accuracy on the training images, without augmentation, if the recipe asks for it."""
        if not self.recipe.runtime.evaluate_training:
            return {}
        found = self.evaluate(self.source.train, network=self.networks.latest).headline
        return {f"train_{name}": value for name, value in found.items()}

    def _evaluate_epoch(self, epochs: int, logs: Logs | None) -> None:
        """Measure the latest network, keep it where it is the best so far, and report it."""
        self.state.counters.unevaluated = True
        with self.micro_step.autocast():  # float32, as in the evaluation at the end, takes a GPU several times as long
            headline = self.evaluate(self.source.validation_or_test, network=self.networks.latest).headline
            more = self.evaluate_training()
        keep_best(self.networks, self.state.counters, epochs, headline[self.task.metric.key])
        place = {"step": self.state.step, "epoch": epochs}
        more["distinct_images"] = images_of_epoch(self.recipe, self.steps_per_epoch)
        if logs is not None:
            logs.write({**place, **headline, **more})
        split = "test" if self.source.validation is None else "validation"
        self.reporter.measured(epochs, split, self.task.metric.name, headline[self.task.metric.key])
        self.reporter.evaluated({**place, **named(headline, split), **more})
        self.state.counters.unevaluated = False

    def _between_steps(self, window: Window, logs: Logs | None) -> None:
        """Evaluate at the end of an epoch, save a checkpoint when it is due, and stop if a signal requested it."""
        paused, step = time.perf_counter(), self.state.step
        ended_epoch, epochs = step % self.steps_per_epoch == 0, step // self.steps_per_epoch
        try:
            if ended_epoch and evaluation_due(self.recipe, epochs):
                self._evaluate_epoch(epochs, logs)
            due = self.saving.due(step, ended_epoch)
        except Stopped:
            self._report_and_save(window, logs)
            raise
        window.started += time.perf_counter() - paused  # training time excludes evaluation and checkpoints
        if due:
            self._report_and_save(window, logs)
            window.started = time.perf_counter()

    def _report_and_save(self, window: Window, logs: Logs | None) -> None:
        if window.values:
            self._report(window, logs)
        self.save()

    def _report(self, window: Window, logs: Logs | None) -> None:
        """Read the values of the last steps, for which the host waits here, and check and log them."""
        values, rows = window.read(self.world.mean)
        state, counters = self.state, self.state.counters
        bad = (~rows.isfinite()).any(1).nonzero()
        if len(bad) and self.recipe.non_finite == "stop":
            state.step -= len(rows) - int(bad[0])
            self._examine(rows[bad[0, 0]], [])
        counters.seconds += values.pop("seconds")
        counters.bad = self.world.gather(counters.bad)
        counters.skipped += round(values.pop("skipped") * self.world.size)
        check_bad(list(counters.bad), len(self.source.train.labels), self.recipe.bad_share)
        if not math.isfinite(values["loss"]):  # all steps were skipped
            return
        epoch, rate = round(state.step / self.steps_per_epoch, 4), self.learning_rate(state.step - 1)
        line = {"step": state.step, "epoch": epoch, "lr": rate, **values}
        if logs is not None:
            logs.write(line)
        self.reporter.step(state.step, line)

    def _examine(self, values: Tensor, buffers: list[Tensor]) -> None:
        """Report where the current step is first not finite, keep its images, and end the run or skip the step."""
        step, batches = self.state.step, list(self.batches(steps=1, workers=0))
        self.compilation.remove(self.networks)
        self.state.counters.skipped_steps += 1
        rerun, rate = lambda: self.micro_step.repeat(self.networks, batches, step), self.learning_rate(step)
        self.nonfinite.examine(self.networks, batches, values, step=step, rate=rate, rerun=rerun)
        restore_buffers(self.networks.trained, buffers)
        self.compilation.apply(self.networks)


@contextmanager
def _closing(logs: Logs | None, reporter: Reporter) -> Iterator[None]:
    try:
        yield
    finally:
        reporter.stop()
        if logs is not None:
            logs.close()
