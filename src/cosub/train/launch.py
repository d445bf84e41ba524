"""A training command from beginning to end: claim the folder, train, evaluate, write the results."""

import dataclasses
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

import cosub
from cosub.attachment import state
from cosub.choices import BY_CHANCE
from cosub.data.atomic import written_atomically
from cosub.data.marks import about, gone, mark
from cosub.data.overview import overview
from cosub.data.pixel_range import depth_cautions, resolve_range
from cosub.data.sources import fingerprint
from cosub.errors import CosubError, InputError, RunError, Stopped
from cosub.evaluation.accuracy import shares_of
from cosub.evaluation.metric import headline_metric
from cosub.recipes.files import folder_of
from cosub.recipes.recipe import Recipe
from cosub.runs import distributed
from cosub.runs.callbacks import Callback
from cosub.runs.counting import count_parameters
from cosub.runs.folder import RunFolder
from cosub.runs.names import write_text
from cosub.runs.progress import Reporter, Terminal
from cosub.runs.published import metadata
from cosub.runs.summary import scored_on
from cosub.runs.tables import number_of
from cosub.train import checkpoint as checkpoints
from cosub.train.cautions import cautions, effective_rate
from cosub.train.checkpoint import DamagedCheckpoint, save_weights
from cosub.train.forecast import forecast
from cosub.train.logs import named
from cosub.train.micro_step import precision_cautions
from cosub.train.optim import rate_table
from cosub.train.plot import plot_runs
from cosub.train.process import settings_of_run
from cosub.train.room import room_in_memory, room_on_disk
from cosub.train.sharding import full
from cosub.train.steps import images_of_epoch
from cosub.train.tasks import task_type
from cosub.train.trainer import Trainer
from cosub.train.workers import with_workers

LOCK_WAIT = 60.0  # seconds: longer than the grace between SIGTERM and SIGKILL


def train(recipe: Recipe, callbacks: Sequence[Callback] = ()) -> dict[str, Any]:
    """Run a recipe, or continue it, and return its summary. A finished run is returned as it is.

    Callbacks are called with what is logged and evaluated as it runs, in the first process.

    Raises:
        InputError: if the recipe cannot be run here; nothing was written.
        RunError: if the run cannot continue.
        Stopped: by a signal; the same call continues.
    """
    world = distributed.join(recipe.runtime.device, recipe.runtime.timeout)
    folder = RunFolder(folder_of(recipe))
    reporter = Terminal(callbacks) if world.main else Reporter()
    recipe = folder.as_begun(recipe)
    if folder.state() != "done":
        recipe = dataclasses.replace(recipe, data=resolve_range(recipe.data))
    folder.check(recipe)
    if folder.state() == "done":
        summary = folder.read_summary()
        result = _read_result(recipe, folder, summary)
        _require_same_data(recipe, folder, summary, world, reporter)
        reporter.table("finished already", result)
        return summary
    with settings_of_run(recipe.runtime.deterministic, world.device), _warnings_to(reporter):
        source = task_type(recipe).open(recipe)
        pixels = depth_cautions(recipe.data, source.train)
        trainer = Trainer(with_workers(recipe, world), source, world, folder, reporter)
        reporter.table("cosub train", plan(trainer))
        if recipe.optimizer.layer_decay < 1:
            rates = rate_table(recipe, trainer.network)
            reporter.table("learning rate by depth", {place: f"{rate:.3g}" for place, rate in rates.items()})
        for warning in [*pixels, *precision_cautions(recipe, world.device), *cautions(recipe, trainer.network)]:
            reporter.warn(warning)
        with _alone(trainer, recipe), trainer.stop.listening():
            if folder.state() == "done":  # by another process, while this one waited for it
                return folder.read_summary()
            trainer.prepare()
            if expected := forecast(trainer):
                reporter.say(expected)
            with room_on_disk(folder), _recorded(trainer), distributed.explain_errors(), room_in_memory(world.device):
                trainer.fit()
                return _finish(trainer)


def _require_same_data(
    recipe: Recipe, folder: RunFolder, summary: dict[str, Any], world: distributed.World, reporter: Reporter
) -> None:
    """Check that a finished run was trained on the data that the recipe names. They may have moved, or be deleted.

    Raises:
        InputError: if other data are there.
    """
    if gone(recipe.data):
        where = recipe.data.place or "not given"
        reporter.warn(f"data.path: {where}: there are no data now, and a finished run needs none")
        return
    source = task_type(recipe).open(recipe)
    kept, same = summary.get("data"), True
    if isinstance(kept, dict):
        same = kept.get("fingerprint") == world.once_per_node(lambda: mark(source, recipe.data))
    else:  # a run from before summaries had the fingerprint
        with suppress(RunError):  # for a result, no checkpoint is needed
            found = checkpoints.latest(folder.checkpoints)
            same = found is None or found.counters["data"] == fingerprint(source)
    if not same:
        raise InputError(
            f"data.path: {folder.path}: was trained on other images or classes than are there now; name the same data, "
            "or another --out"
        )


def plan(trainer: Trainer) -> dict[str, str]:
    """What will run, for a person to check beforehand."""
    recipe = trainer.recipe
    parameters = count_parameters(trainer.network)
    copies, workers = trainer.method.copies, recipe.runtime.workers or 0
    rows = copies * recipe.group_size
    kept = state(trainer.network).kept(rows)
    low, high = min(kept), max(kept)
    roughly = "about " if recipe.rounding in BY_CHANCE else ""
    effective = effective_rate(recipe, trainer.network)
    return {
        "method": f"{recipe.method.kind} ({recipe.method.loss}, {number_of(copies, 'submodel')} per image)",
        "model": f"{recipe.network} at {recipe.resolution} pixels",
        "start": recipe.weights or "from scratch",
        "parameters": f"{parameters:,}",
        "residual layers": str(len(kept)),
        "drop rate": f"{recipe.drop_rate:g} ({recipe.schedule}), {effective:.4g} effective",
        "rows kept": f"{roughly}{low if low == high else f'{low} to {high}'} of {rows} per layer and group",
        "images": f"{len(trainer.source.train.labels):,} to train, {len(trainer.source.test.labels):,} to "
        f"{'validate' if trainer.source.validation is trainer.source.test else 'test'}, "
        f"{len(trainer.source.classes)} classes",
        **overview(trainer.source),
        "an epoch": f"{images_of_epoch(recipe, trainer.steps_per_epoch):,} distinct images"
        + (f", {recipe.augment.repeats} copies of each" if recipe.augment.repeats > 1 else ""),
        "batch": f"{number_of(recipe.batch_size, 'image')}, "
        f"{number_of(recipe.num_groups, 'group')} of {recipe.group_size}, "
        f"{number_of(trainer.world.size, 'process', 'es')}, {number_of(trainer.share.micro_steps, 'micro-step')}",
        "steps": f"{trainer.total_steps:,} ({number_of(recipe.epochs, 'epoch')} of {trainer.steps_per_epoch})",
        "learning rate": f"{recipe.peak_lr:.3g} ({recipe.optimizer.name}, {recipe.optimizer.lr_rule} rule)",
        "device": f"{trainer.world.device} in {str(trainer.precision).removeprefix('torch.')}"
        + (f", images loaded by {number_of(workers, 'process', 'es')}" if workers else ""),
        "folder": str(trainer.folder.path),
    }


@contextmanager
def _alone(trainer: Trainer, recipe: Recipe) -> Iterator[None]:
    """Claim the folder for the recipe as it was asked for, and keep other commands out of it."""
    with ExitStack() as stack:

        def enter() -> None:
            trainer.folder.claim(recipe)
            stack.enter_context(trainer.folder.lock(LOCK_WAIT, trainer.reporter))
            trainer.folder.allow(recipe)

        trainer.world.on_main(enter)
        yield


@contextmanager
def _recorded(trainer: Trainer) -> Iterator[None]:
    """Keep the state in summary.json up to date: running, stopped, failed; `_finish` writes done."""
    started = time.time()

    def note(status: str, **more: Any) -> None:
        if trainer.world.main:
            trainer.folder.write_summary({**_facts(trainer), "state": status, "started": started, **more})

    try:
        note("running")
        yield
    except (Stopped, KeyboardInterrupt):
        note("stopped")
        raise
    except BaseException as error:
        with suppress(OSError):  # if the disk is full, that is the error to report
            note("failed", reason=str(error) if isinstance(error, CosubError) else repr(error))
        raise


def _facts(trainer: Trainer) -> dict[str, Any]:
    return {
        "format": 1,
        "method": trainer.recipe.method.kind,
        "recipe": trainer.recipe.name,
        "model": trainer.recipe.model,
        "seed": trainer.recipe.seed,
        "drop_rate": trainer.recipe.drop_rate,
        "effective_drop_rate": effective_rate(trainer.recipe, trainer.network),
        "run": str(trainer.folder.path),
        "steps": trainer.state.step,
        "seconds": round(trainer.state.counters.seconds, 3),
        "data": about(trainer.source, trainer.recipe.data, trainer.data.files),
        "bad_images": len(trainer.state.counters.bad),
        "skipped_steps": trainer.state.counters.skipped_steps,
        "processes": trainer.world.size,
        "device": str(trainer.world.device),
        **({"gpu": torch.cuda.get_device_name()} if trainer.world.device.type == "cuda" else {}),
        "threads": torch.get_num_threads(),
        "version": cosub.__version__,
    }


def _finish(trainer: Trainer) -> dict[str, Any]:
    recipe = trainer.recipe
    trainer.stop.promise = "stopping; all steps are done, and the same command makes the last evaluation again"
    result = trainer.evaluate(trainer.source.test, shares_of(trainer.network))
    more = trainer.evaluate_training()
    source, counters = trainer.source, trainer.state.counters
    if source.validation is source.test:
        more |= named(result.headline, "validation")
    elif source.validation is not None:
        more |= named(trainer.evaluate(source.validation).headline, "validation")
    if recipe.choose == "best":
        reported_on = "validation" if source.validation_or_test is source.test else "test"
        more |= {"chosen_epoch": counters.best[0], "chosen_on": "validation", "reported_on": reported_on}
    more |= trainer.task.skipped(counters.skipped)
    trainer.reporter.evaluated(_at_the_end(trainer, result.headline, more))
    weights = full(trainer.networks.result.state_dict(), trainer.world.main)
    bad = sorted({*counters.bad, *result.bad})
    summary = {
        **_facts(trainer),
        "state": "done",
        **result.summary,
        **more,
        "bad_images": len(bad),
    }
    trainer.world.on_main(lambda: _write(trainer, summary, weights, bad))
    trainer.reporter.table("result", result_table(recipe, summary))
    return summary


def _at_the_end(trainer: Trainer, headline: Mapping[str, float], more: Mapping[str, Any]) -> dict[str, float]:
    """What callbacks get of the network that the run gives; training images were seen by that of the last epoch."""
    chosen, source = trainer.recipe.choose == "best", trainer.source
    values = {} if source.validation is source.test else named(headline, "test")
    kinds = ("validation_",) if chosen else ("validation_", "train_")
    values |= {name: float(value) for name, value in more.items() if name.startswith(kinds)}
    epoch = trainer.state.counters.best[0] if chosen else trainer.recipe.epochs
    return {"step": trainer.state.step, "epoch": epoch, **values}


def _write(trainer: Trainer, summary: dict[str, Any], weights: dict[str, Tensor], bad: list[str]) -> None:
    """Write the results. The summary, which says that the run is done, is written last."""
    folder = trainer.folder
    try:
        with written_atomically(folder.weights) as aside:
            save_weights(weights, aside, metadata(trainer.recipe, trainer.source.classes))
        plot_runs([folder.path], folder.path / "curves.png", summary)
        if bad:
            names = folder.path / "bad-images.txt"
            write_text(names, "\n".join(bad) + "\n")
            trainer.reporter.warn(f"{number_of(len(bad), 'image')} could not be read: {names}")
        folder.write_summary(summary)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{folder.path}: cannot be written ({error}); the last checkpoint is intact") from error


def _read_result(recipe: Recipe, folder: RunFolder, summary: dict[str, Any]) -> dict[str, str]:
    try:
        return result_table(recipe, summary)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"run: {folder.summary}: is not the summary of a finished run ({error!r}); remove it, and the same command "
            "writes it again"
        ) from error


def result_table(recipe: Recipe, summary: dict[str, Any]) -> dict[str, str]:
    """The results of a finished run as rows of a table."""
    name, key = headline_metric(recipe.task.kind)
    scored = scored_on(summary)
    images = number_of(summary["num_images"], f"{scored} image")
    rows = {name: f"{summary[key]:.2%} (full network, {images})"}
    for share, top1 in summary.get("top1_submodels", {}).items():
        rows[f"top-1 with {float(share):.0%} of the blocks"] = f"{top1:.2%}"
    if (epoch := summary.get("chosen_epoch")) is not None:
        when = f"epoch {epoch}" if epoch else "the network before the first step"
        rows["chosen"] = (
            f"{when}, by {'these images, so it is optimistic' if scored == 'validation' else 'the validation images'}"
        )
    if summary.get("skipped_crops"):
        rows["skipped"] = f"{summary['skipped_crops']:,} crops in which all pixels are ignored"
    rows["training"] = f"{number_of(summary['steps'], 'step')} in {summary['seconds']:.1f} s"
    rows["folder"] = f"{summary['run']}: model.safetensors, summary.json, metrics.jsonl, curves.png"
    return rows


@contextmanager
def _warnings_to(reporter: Reporter) -> Iterator[None]:
    """Show a damaged checkpoint as one line, and other warnings as Python does."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Any, category: type[Warning], *rest: Any) -> None:
            if issubclass(category, DamagedCheckpoint):
                reporter.warn(str(message))
            else:
                shown(message, category, *rest)

        warnings.simplefilter("always", DamagedCheckpoint)
        warnings.showwarning = show
        yield
