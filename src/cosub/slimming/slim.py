"""`cosub slim` from beginning to end: choose layers, make the network, write it as a run, heal it."""

import dataclasses
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Literal

import cosub
from cosub.choices import Strategy
from cosub.data.sources import Source
from cosub.errors import InputError
from cosub.evaluation.accuracy import evaluate, shares_of
from cosub.evaluation.images import source_of_run
from cosub.recipes.files import read
from cosub.recipes.methods import Distill
from cosub.recipes.recipe import Recipe
from cosub.runs import distributed
from cosub.runs.counting import count_parameters
from cosub.runs.folder import RunFolder, Trained, aside, load_classifier
from cosub.runs.progress import Terminal, progress
from cosub.runs.published import metadata
from cosub.runs.summary import scored_on
from cosub.runs.tables import number_of
from cosub.slimming.calibration_set import calibration_images
from cosub.slimming.making import Slimmed, make
from cosub.slimming.request import Request
from cosub.slimming.scorer import Layers, Scorer, milliseconds
from cosub.slimming.strategies import choose, cost
from cosub.slimming.units import Units, counted_by, units_of
from cosub.train.checkpoint import save_weights
from cosub.train.launch import train

_BEFORE = {"unit": "layer"}  # of the question, where a summary from before there were blocks does not say it
_LATER = ("weights", "data", "latency_batch")  # in summaries from before they were asked for
_HEALING_RATE = 0.1  # of the learning rate that the run was trained with


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run that is to be slimmed, on its device, with its data and the images that layers are chosen on."""

    trained: Trained
    source: Source
    scorer: Scorer
    units: Units
    world: distributed.World
    top1: float
    """Of the full network, as its run measured it."""
    scored_on: Literal["validation", "held-out"]
    """Which images that is of: validation images where they chose the run's epoch."""

    def choose(self, strategy: Strategy, depths: list[int], evaluations: int) -> dict[int, Layers]:
        """With a bar."""
        number = cost(strategy, len(self.units), min(depths), evaluations) * self.scorer.num_batches
        with progress(strategy, max(number, 1)) as advance:
            self.scorer.tick = advance
            try:
                return choose(strategy, self.scorer, depths, evaluations, self.units)
            finally:
                self.scorer.tick = lambda _: None  # the bar has ended

    def make(self, layers: Layers) -> Slimmed:
        scorer = self.scorer
        return make(self.trained, layers, scorer.images, scorer.loss, scorer.batch_size)


def open_run(request: Request) -> Opened:
    """Load what is to be slimmed. Says which units are counted where that was not asked for, and warns of a run that
    never dropped layers.

    Raises:
        InputError: if the run is not finished, cannot be slimmed so, its data are not there, or the calibration images
            are its test images.
    """
    trained = load_classifier(request.run)
    recipe = trained.recipe
    distributed.require_one_process("slim")
    world = distributed.join(request.device)
    trained.network.to(world.device)
    source = source_of_run(recipe.data, trained.classes, request.data.path, recipe.choose)
    images = calibration_images(source, recipe, request.calibration, request.images, request.seed)
    scorer = Scorer(trained.network, images, recipe.method.targets, request.batch_size)
    units = units_of(trained, request.unit)
    units.check(*request.numbers)
    summary = RunFolder(Path(request.run)).read_summary()
    if not isinstance(summary.get("top1"), float):
        raise InputError(f"run: {request.run}: its summary.json says no top1; it is damaged, take the run's copy")
    if not summary.get("effective_drop_rate", recipe.drop_rate):
        Terminal().warn(
            f"{request.run} never dropped layers, so its network has not learnt to do without any: accuracy may fall "
            "fast, --heal EPOCHS trains it further"
        )
    if request.unit is None:
        Terminal().say(f"unit: {counted_by(units, request.numbers[0])}")
    return Opened(trained, source, scorer, units, world, summary["top1"], scored_on(summary))


def beside(request: Request, ending: str) -> Path:
    """The folder of the result: as asked, or RUN-ENDING beside the run."""
    run = Path(request.run)
    run = run if run.name not in ("", "..") else run.resolve()  # "." and "..", which have no name of their own
    return Path(request.out) if request.out else run.with_name(f"{run.name}-{ending}")


def slim(request: Request) -> dict[str, Any]:
    """Choose layers, write the slimmed network as a run, heal it where that is asked. Gives the run's summary.

    Where the folder holds what the same question gave before, that is taken.

    Raises:
        InputError: if the run cannot be slimmed so, or the folder holds something else.
    """
    folder = RunFolder(beside(request, f"slim-{request.keep}"))
    summary = _earlier(folder, request)
    if summary is None:
        with aside(folder.path) as place:
            summary = _slim(request, folder, RunFolder(place))
    Terminal().table("cosub slim", table(summary))
    if request.heal:
        summary["healed"] = train(healing(request, folder))
    return summary


def _slim(request: Request, folder: RunFolder, place: RunFolder) -> dict[str, Any]:
    """Slims and writes into `place`, which will be `folder`."""
    started = time.time()
    opened = open_run(request)
    scorer, recipe = opened.scorer, opened.trained.recipe
    request = dataclasses.replace(request, unit=opened.units.kind)
    assert request.keep is not None
    chosen = opened.choose(request.strategy, [request.keep], request.evaluations)[request.keep]
    evaluations = scorer.evaluations
    rival = choose("every-other", scorer, [request.keep], units=opened.units)[request.keep]
    losses = scorer.losses(scorer.everything, [scorer.everything, chosen, rival])
    slimmed = opened.make(chosen)
    result = evaluate(
        slimmed.network,
        opened.source.test,
        len(opened.trained.classes),
        recipe.resolution,
        opened.world,
        inputs=recipe.inputs,
        submodels=shares_of(slimmed.network),
        batch_size=request.batch_size,
        bad_share=recipe.bad_share,
    )
    summary = {
        **_facts(slimmed.recipe, folder),
        "seconds": round(time.time() - started, 3),
        "device": str(opened.world.device),
        "top1": result.top1,
        "top5": result.top5,
        "top1_submodels": dict(result.submodels),
        "num_images": result.num_images,
        "bad_images": len(result.bad),
        **({"reported_on": "validation"} if opened.scored_on == "validation" else {}),
        "slim": {
            **_about(request, opened, slimmed),
            "evaluations": evaluations,
            "calibration_loss": dict(zip(("full", "chosen", "every-other"), losses, strict=True)),
        },
    }
    _write(folder, place, slimmed, opened.trained.classes, summary)
    return summary


def _facts(recipe: Recipe, folder: RunFolder) -> dict[str, Any]:
    """Of the keys of a training run's summary, those that are known; no step was made here."""
    return {
        "format": 1,
        "state": "done",
        "method": recipe.method.kind,
        "recipe": recipe.name,
        "model": recipe.model,
        "seed": recipe.seed,
        "drop_rate": recipe.drop_rate,
        "run": str(folder.path),
        "steps": 0,
        "version": cosub.__version__,
    }


def _about(request: Request, opened: Opened, slimmed: Slimmed) -> dict[str, Any]:
    """What was taken out, and what that changed."""
    networks = [slimmed.network, opened.trained.network]
    times = milliseconds(networks, slimmed.recipe.resolution, request.latency_batch)
    return {
        "of": request.run,
        "asked": question(request),
        "layers": len(slimmed.layers),
        "layers_full": opened.scorer.num_layers,
        "units_full": len(opened.units),
        "kept_layers": list(slimmed.recipe.kept_layers),
        "factor": slimmed.factor,
        "factor_losses": {f"{factor:g}": loss for factor, loss in slimmed.losses.items()},
        "calibration_images": len(opened.scorer.images),
        **dict(zip(("params", "params_full"), map(count_parameters, networks), strict=True)),
        **dict(zip(("milliseconds", "milliseconds_full"), times, strict=True)),
        "latency_batch": request.latency_batch,
        "top1_full": opened.top1,
    }


def question(request: Request) -> dict[str, Any]:
    """What the choice of layers and the figures beside it depend on."""
    return {
        "run": os.path.realpath(request.run),
        "keep": request.keep,
        "unit": request.unit,
        "strategy": request.strategy,
        "calibration": os.path.realpath(request.calibration) if request.calibration else "",
        "images": request.images,
        "seed": request.seed,
        "evaluations": request.evaluations,
        "weights": _digest(RunFolder(Path(request.run)).weights),
        "data": os.path.realpath(request.data.path) if request.data.path else "",
        "latency_batch": request.latency_batch,
    }


def _digest(file: Path) -> str:
    """Of its content: another run may have been trained into the same folder."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _earlier(folder: RunFolder, request: Request) -> dict[str, Any] | None:
    """The summary of the same question in that folder; None where there is nothing."""
    if not folder.summary.exists():
        return None
    summary = folder.read_summary()
    now = question(request)
    try:
        asked = {**{name: now[name] for name in _LATER}, **_BEFORE, **summary["slim"]["asked"]}
        table(summary)
    except (KeyError, TypeError, ValueError, AttributeError):  # another run's, or damaged
        asked = dict(_BEFORE)
    if now | ({} if request.unit else {"unit": asked["unit"]}) != asked:
        raise InputError(
            f"out: {folder.path}: exists and holds something else, of another run or by other options; name another "
            "folder with --out"
        )
    summary["run"] = str(folder.path)  # its folder may have been named from elsewhere, or have moved
    unit = "" if request.unit else f", by {asked['unit']}s"
    Terminal().say(f"{folder.path}: was made before by the same command{unit}; nothing is computed again")
    return summary


def _write(
    folder: RunFolder, place: RunFolder, slimmed: Slimmed, classes: tuple[str, ...], summary: dict[str, Any]
) -> None:
    runtime = dataclasses.replace(slimmed.recipe.runtime, out=str(folder.path))
    place.claim(dataclasses.replace(slimmed.recipe, runtime=runtime))
    save_weights(slimmed.network.state_dict(), place.weights, metadata(slimmed.recipe, classes))
    place.write_summary(summary)


def healing(request: Request, folder: RunFolder) -> Recipe:
    """The recipe that trains a slimmed run with the full one as its teacher.

    The run's own recipe, with a tenth of its learning rate from the first step on, no layer dropped, and half of the
    loss the teacher's soft target.
    """
    recipe = read(folder.recipe)
    loss = "bce-soft" if recipe.method.targets == "bce" else "ce-soft"
    return dataclasses.replace(
        recipe,
        data=recipe.data.at(request.data.path),
        weights=str(folder.path),
        method=Distill(teacher=str(Path(request.run)), loss=loss),  # without a slash at its end
        drop_rate=0.0,
        epochs=request.heal,
        lr=recipe.lr * _HEALING_RATE,
        optimizer=dataclasses.replace(recipe.optimizer, warmup_epochs=0.0),
        runtime=dataclasses.replace(recipe.runtime, out=f"{folder.path}-healed", device=request.device),
    )


def table(summary: dict[str, Any]) -> dict[str, str]:
    """What came out, for a person."""
    about = summary["slim"]
    losses, batch = about["calibration_loss"], number_of(about["latency_batch"], "image")
    layers = f"{about['layers']} of {about['layers_full']}: {' '.join(map(str, about['kept_layers']))}"
    blocks = f"{about['asked']['keep']} of {about['units_full']}" if about["asked"].get("unit") == "block" else ""
    images = number_of(summary["num_images"], f"{scored_on(summary)} image")
    return {
        **({"blocks": blocks} if blocks else {}),
        "residual layers": layers,
        "strategy": f"{about['asked']['strategy']}, {number_of(about['evaluations'], 'submodel')} on "
        f"{about['calibration_images']} calibration images",
        "calibration loss": f"{losses['chosen']:.4f} (every-other {losses['every-other']:.4f}, "
        f"full {losses['full']:.4f})",
        "factor": f"{about['factor']:g} ({', '.join(f'{k}: {v:.4f}' for k, v in about['factor_losses'].items())})",
        "parameters": f"{about['params']:,} (full {about['params_full']:,})",
        "time": f"{about['milliseconds']:.2f} ms for {batch} (full {about['milliseconds_full']:.2f})",
        "top-1": f"{summary['top1']:.2%} (full {about['top1_full']:.2%}; {images})",
        "folder": summary["run"],
    }
