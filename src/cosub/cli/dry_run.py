"""cosub train ... --dry-run [--devices N] [--device-memory-gb M] ...: plan a run and print the plan."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosub.api.help import ALL
from cosub.api.parsing import parse, take
from cosub.errors import InputError
from cosub.recipes.ranges import PositiveInt, require, require_new_file
from cosub.recipes.recipe import Recipe
from cosub.train.machine import GB, Machine

if TYPE_CHECKING:
    from cosub.train.planning import Plan, Setting

_BARS = "▁▂▃▄▅▆▇█"
_SHORT = 0.01  # seconds: such a step launches kernels for about as long
_CURVE = 40  # characters of the learning rate's curve
_COMPILED = "counted for eager blocks; a compiler decides itself what is stored"
_NOT_COUNTED = "not counted: CUDA's context, communication, what FSDP2 gathers, fragmentation; leave a tenth free"
_PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "averaged": "averaged weights",
    "others": "teacher or second network",
    "activations": "activations, stored for backward",
    "working": "temporary memory",
    "total": "total",
}


@dataclass(frozen=True)
class DryRun(Machine):
    """Plan a run without memory for its model and without writing anything. Data that are there are counted."""

    images: PositiveInt | None = None
    """Training images; by default those of the data where they are there, else
    ImageNet's (1,281,167; 21k: 14,197,122) or ADE20K's 20,210."""
    plot: str = ""
    """Write the learning rate over the epochs to this PNG, which must not exist yet."""

    @property
    def machine(self) -> Machine:
        return Machine(**{item.name: getattr(self, item.name) for item in fields(Machine)})


FLAGS = ["--dry-run", *("--" + item.name.replace("_", "-") for item in fields(DryRun))]


def take_dry_run(words: list[str]) -> DryRun | None:
    """Remove --dry-run and the options that belong to it from the words of `cosub train`.

    Raises:
        InputError: for such an option without --dry-run, or a wrong value.
    """
    planned = "--dry-run" in words
    helped = planned and bool({"-h", "--help", ALL} & set(words))
    words[:] = [word for word in words if word != "--dry-run"]
    given = [part for flag in FLAGS[1:] if (value := take(words, flag)) is not None for part in (flag, value)]
    if not planned:
        if given:
            raise InputError(f"{given[0]}: belongs to --dry-run; add --dry-run, or leave it out")
        return None
    return parse(DryRun, ["--help"] if helped else given, "cosub train [RECIPE] [--key value ...] --dry-run")


def show(recipe: Recipe, options: DryRun, as_json: bool) -> dict[str, Any]:
    """Plan the recipe, write the plot if --plot names one, and print the plan."""
    target = _target(options.plot) if options.plot else None
    from cosub.runs.progress import Terminal
    from cosub.train.planning import plan

    reporter = Terminal()
    reporter.say(f"planning {recipe.model}: seconds for a small network, up to a minute for a large one")
    planned = plan(recipe, options.machine, options.images)
    if unseen := _unseen(recipe, options):
        reporter.say(unseen)
    if target is not None:
        from cosub.train.plot import plot_learning_rate

        plot_learning_rate(recipe, planned.steps_per_epoch, target)
    for caution in planned.cautions:
        reporter.warn(caution)
    if not as_json:
        print("\n".join(_lines(planned)))
    return {**planned.to_json(), "plot": options.plot or None}


def _unseen(recipe: Recipe, options: DryRun) -> str:
    """What the plan assumes where no GPU can be asked."""
    import torch

    if options.device_tflops or recipe.runtime.device != "auto" or torch.cuda.is_available():
        return ""
    return (
        "no GPU is found here: planned for an H100; name another with --device-tflops and --device-memory-gb, or take "
        "--device cpu"
    )


def _target(name: str) -> Path:
    require(name.endswith(".png"), "plot", name, "must end in .png")
    require_new_file("plot", name)
    return Path(name)


def _lines(plan: "Plan") -> list[str]:
    facts = {**_run(plan), **_cost(plan)}
    width = max(map(len, facts))
    lines = ["dry run: nothing is trained or written"]
    lines += [f"  {name:<{width}}  {value}" for name, value in facts.items()]
    return [*lines, "", *_learning_rate(plan), "", *_memory(plan), "", *_verdict(plan)]


def _run(plan: "Plan") -> dict[str, str]:
    from cosub.runs.tables import number_of
    from cosub.train.tasks import task_type

    recipe, size = plan.recipe, plan.size
    name = task_type(recipe).assumed(recipe).name
    known = {"given": "as given", "source": "counted", "assumed": f"ASSUMED, {name}'s; set --images N"}
    groups = number_of(recipe.num_groups, "group")
    low, high, share = min(plan.kept), max(plan.kept), plan.groups_per_device
    kept, kept_share = (f"{a} to {b}" if a != b else f"{a}" for a, b in ((low, high), (low * share, high * share)))
    return {
        "method": f"{recipe.method.kind} ({recipe.method.loss}, {number_of(plan.copies, 'submodel')} per image)",
        "model": f"{recipe.network} at {recipe.resolution} pixels",
        "parameters": f"{plan.parameters:,}",
        "images": f"{size.images:,} to train ({known[size.known]}), {size.classes} classes",
        "batch": f"{number_of(recipe.batch_size, 'image')}, {groups} of {recipe.group_size}",
        "devices": f"{plan.machine.devices}; groups per device: {share}, micro-steps: {recipe.runtime.micro_steps}",
        "residual layers": str(len(plan.kept)),
        "rows kept": f"{kept} of {plan.rows} per layer and group, {kept_share} of {plan.rows * share} per device",
        "drop rate": f"{recipe.drop_rate:g} requested ({recipe.schedule}), {plan.effective_drop_rate:.4g} effective",
        "steps": f"{plan.steps:,} ({number_of(recipe.epochs, 'epoch')} of {plan.steps_per_epoch:,})",
        "compile": plan.compiled.why,
    }


def _cost(plan: "Plan") -> dict[str, str]:
    return {
        "FLOPs": f"{plan.flops:.4g} per step, {plan.flops * plan.steps:.4g} in total (backward included, all devices)",
        "time": _time(plan),
    }


def _time(plan: "Plan") -> str:
    """What follows from the FLOPs, and what does not."""
    machine, per_step = plan.machine, plan.seconds_per_step
    if plan.recipe.runtime.device == "cpu" and machine.device_tflops is None:
        return "not planned for a CPU: give --device-tflops; training says what is left from its first steps on"
    speed = f"{machine.utilisation:.0%} of {machine.peak(plan.precision):g} TFLOP/s"
    times = f"{_duration(plan.hours * 3600)}, {_duration(per_step)} per step"
    bound = "; so short a step takes longer than its FLOPs do" if per_step < _SHORT else ""
    return f"{times}, at {speed} ({machine.peak_source(plan.precision)}); without evaluation and loading{bound}"


def _duration(seconds: float) -> str:
    """In the unit that fits, with two or three digits."""
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "s")):
        if seconds >= 2 * unit or unit == 1 <= seconds:
            number = seconds / unit
            return f"{number:,.0f} {name}" if number >= 100 else f"{number:.3g} {name}"
    if seconds < 0.001:
        return "under 1 ms"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.2g} ms"


def _learning_rate(plan: "Plan") -> list[str]:
    from cosub.train.optim import learning_rate

    places = [index * (plan.steps - 1) // (_CURVE - 1) for index in range(_CURVE)]
    rates = [learning_rate(plan.recipe, place, plan.steps_per_epoch) for place in places]
    curve = "".join(_BARS[round(rate / max(rates) * (len(_BARS) - 1))] for rate in rates)
    lines = [f"learning rate  {curve}  {plan.recipe.optimizer.name}, {plan.recipe.optimizer.lr_rule} rule"]
    return lines + [f"  {rate.place:<12}  step {rate.step:>9,}  {rate.rate:.3g}" for rate in plan.learning_rates]


def _memory(plan: "Plan") -> list[str]:
    """A line for each part, replicated and sharded. Parts that are zero in both are left out."""
    lines = [f"memory per device, GB ({plan.precision})     replicated (DDP)   sharded (FSDP2)"]
    both = plan.replicated, plan.sharded
    for item in [*(item.name for item in fields(plan.replicated)), "total"]:
        replicated, sharded = (getattr(memory, item) / GB for memory in both)
        if replicated or sharded:
            lines.append(f"  {_PARTS[item]:<34}{replicated:>12.3g}{sharded:>18.3g}")
    return [*lines, *([_COMPILED] if plan.compiled.compiled else []), _NOT_COUNTED]


def _verdict(plan: "Plan") -> list[str]:
    room, total = plan.machine.device_memory_gb, plan.memory.total / GB
    way = "sharded" if plan.runs_sharded else "replicated"
    if plan.fits:
        return [f"FITS in {room:g} GB (--device-memory-gb), {way}: {total:.3g} GB, {total / room:.0%}"]
    lines = [f"DOES NOT FIT in {room:g} GB (--device-memory-gb), {way}: {total:.3g} GB"]
    if remedies := [setting for setting in plan.settings if setting.fits and not _pointless(setting, plan.settings)]:
        return [*lines, "what fits:", *(f"  {_setting(plan, remedy)}" for remedy in remedies)]
    least = min(plan.settings, key=lambda setting: setting.bytes)
    lines.append(f"no setting that was tried fits; the smallest is {' '.join(_setting(plan, least).split())}")
    return [*lines, "take more devices, a smaller --group-size (another recipe), or a smaller model"]


def _pointless(setting: "Setting", settings: Sequence["Setting"]) -> bool:
    """Whether less checkpointing with the same sharding needs no more memory and micro-steps."""
    less = settings[: settings.index(setting)]
    return any(
        other.bytes <= setting.bytes and other.micro_steps <= setting.micro_steps
        for other in less
        if other.sharded == setting.sharded
    )


def _setting(plan: "Plan", setting: "Setting") -> str:
    """The options to change, then memory and FLOPs."""
    runtime = plan.recipe.runtime
    changes = []
    if setting.micro_steps != runtime.micro_steps:
        changes.append(f"--micro-steps {setting.micro_steps}")
    if setting.checkpointing != runtime.checkpointing:
        changes.append(f"--checkpointing {setting.checkpointing}")
    if setting.sharded != plan.runs_sharded:
        changes.append(f"--parallel {'fsdp' if setting.sharded else 'ddp'}")
    return f"{', '.join(changes):<60}{setting.bytes / GB:>8.3g} GB  FLOPs x {setting.flops / plan.flops:.2f}"
