"""cosub bench step|models|coverage|loader|table7 [--key value ...]"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from tyro.conf import Positional

from cosub.api.help import ALL
from cosub.api.parsing import parse
from cosub.choices import Way
from cosub.errors import InputError, nearest
from cosub.recipes.ranges import Checked, NonNegativeInt, PositiveInt, Rate, require

T = TypeVar("T")

# Columns of bench models: key, title, format.
_COLUMNS = (
    ("table", "table", ""),
    ("model", "model", ""),
    ("timm", "timm", ""),
    ("resolution", "pixels", ""),
    ("params_m", "M params", ".2f"),
    ("paper_params_m", "paper", ""),
    ("gflops", "GFLOPs", ".2f"),
    ("paper_gflops", "paper", ""),
    ("layers", "layers", ""),
    ("images_per_second", "images/s", ".0f"),
    ("peak_gb", "peak GB", ".2f"),
    ("note", "note", ""),
)


@dataclass(frozen=True)
class Step(Checked):
    """Cost of a training step, in one process: timm's masking, the plain operation, ours, co-training and others."""

    model: str = "deit3_small_patch16_224"
    """A timm model of a supported family."""
    drop_rate: Rate = 0.5
    """Share of the rows that skip a residual layer."""
    batch_size: PositiveInt = 16
    """Images; co-training has two rows per image."""
    resolution: int | None = None
    """Pixels; by default the model's."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the step's products; bf16 is autocast."""
    compile: bool = False
    """Compile the masked model whole and the others block by block."""
    meta: bool = False
    """Count FLOPs and bytes stored for backward, without allocating anything."""
    methods: tuple[Literal["all", Way], ...] = ("masked", "plain", "efficient", "cosub")
    """all: also those of figure 2, with a teacher as large as the model, beside the paper's costs."""
    repeats: PositiveInt = 10
    """Steps that are timed; the median is given."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.methods), "methods", self.methods, "needs a value, e.g. --methods masked cosub")


@dataclass(frozen=True)
class Models:
    """Size of every network in the paper's tables 11, 12, B.1 and 13, beside the size that the paper prints."""

    device: str = "cpu"
    """With a card, e.g. cuda, also images per second and peak memory: forward, 256 images, mixed precision."""


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    what = words[0] if words else ""
    if what in ("-h", "--help", ALL):
        print(f"usage: cosub bench {'|'.join(BENCHMARKS)} [OPTIONS]\n\ncosub bench NAME --help lists its options")
        raise SystemExit(0)
    if what not in BENCHMARKS:
        raise InputError(f"bench: {what!r}: must be {', '.join(BENCHMARKS)}{nearest(what, list(BENCHMARKS))}")
    return BENCHMARKS[what](words[1:], as_json)


def _parse(kind: type[T], words: list[str], name: str) -> T:
    """The options of a benchmark, which runs in one process."""
    options = parse(kind, words, f"cosub bench {name}")
    from cosub.runs import distributed

    distributed.require_one_process("bench")
    return options


def _step(words: list[str], as_json: bool) -> dict[str, Any]:
    options = _parse(Step, words, "step")
    from cosub.bench.step import Case, count, measure
    from cosub.runs import distributed

    case = Case(
        options.model,
        options.drop_rate,
        options.batch_size,
        options.resolution,
        bf16=options.precision == "bf16",
        compiled=options.compile,
        ways=get_args(Way) if "all" in options.methods else tuple(way for way in options.methods if way != "all"),
    )
    result = count(case) if options.meta else measure(case, distributed.join(options.device).device, options.repeats)
    if not as_json:
        _print(result)
    return result


def _print(result: dict[str, Any]) -> None:
    from cosub.runs.tables import align

    print(f"{result['model']}, {result['batch_size']} images, rate {result['drop_rate']}, {result['device']}")
    lines = []
    for measure in ("seconds", "flops", "saved_bytes", "peak_bytes"):
        for way, value in result.get(measure, {}).items():
            ratio = result["ratio"].get(measure, {}).get(way)
            lines.append([measure, way, f"{value:.4g}", "" if ratio is None else f"{ratio:.3f} of masked"])
    print("\n".join(align(lines, "<<>>")))
    for way, found in result.get("figure2", {}).items():
        paper = found["paper"] or {}
        printed = "".join(
            f"  {part} {found[part]:.2f} (paper {paper.get(part, '-')})" for part in ("weights", "optimizer")
        )
        print(f"  {'figure 2':<12}{way:<14}{printed}  compute (paper {paper.get('compute', '-')})")


@dataclass(frozen=True)
class Table7:
    """Table 7: the cost of a step of co-training, counted here, beside the paper's. Nothing is allocated."""


def _table7(words: list[str], as_json: bool) -> dict[str, Any]:
    """The paper's table beside the costs counted here for one step, both as ratios to the supervised baseline."""
    _parse(Table7, words, "table7")
    from cosub.bench.step import Case, count
    from cosub.paper.sizes.table7 import TABLE7
    from cosub.recipes.architectures import ARCHITECTURES, group_size

    architectures = {known.title: known for known in ARCHITECTURES.values()}
    rows = []
    for name, paper in TABLE7.items():
        known = architectures[name]
        case = Case(known.model, known.imagenet, group_size(known), bf16=True, ways=("masked", "efficient", "cosub"))
        ours, base = count(case)["ratio"], paper.supervised
        for label, way, costs in (("+ ESD", "efficient", paper.esd), ("cosub", "cosub", paper.cosub)):
            rows.append(
                {
                    "model": name,
                    "method": label,
                    "paper_peak_memory": round(costs.peak_gb / base.peak_gb, 2),
                    "paper_time": round(costs.minutes / base.minutes, 2),
                    "saved_bytes": ours["saved_bytes"][way],
                    "flops": ours["flops"][way],
                }
            )
    if not as_json:
        print("ratios to masked supervised training; bf16, the paper's images per GPU")
        print("\n".join(json.dumps(row) for row in rows))
    return {"rows": rows}


@dataclass(frozen=True)
class Coverage:
    """Which of timm's blocks with a slot for stochastic depth have a twin here."""


def _coverage(words: list[str], as_json: bool) -> dict[str, Any]:
    _parse(Coverage, words, "coverage")
    from cosub.bench.coverage import coverage

    rows = coverage()
    if not as_json:
        from cosub.runs.tables import align

        print("\n".join(align([[row["cosub"], row["file"], row["block"]] for row in rows])))
    return {"blocks": rows}


@dataclass(frozen=True)
class Loader(Checked):
    """Images loaded per second and core: ours beside timm's create_loader, on the same files."""

    path: Positional[str] = ""
    """A folder of images; of one with splits, those of train."""
    resolutions: tuple[PositiveInt, ...] = (128, 224)
    """Pixels."""
    workers: NonNegativeInt = 1
    """Processes that load, for each of the two; 0 loads in this process."""
    images: PositiveInt = 1000
    """Images per repeat; a folder with fewer is read again."""
    repeats: PositiveInt = 5
    """Repeats of each of the two in turn; medians are given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.resolutions), "resolutions", self.resolutions, "needs a value, e.g. --resolutions 224")


def _loader(words: list[str], as_json: bool) -> dict[str, Any]:
    options = _parse(Loader, words, "loader")
    if not options.path:
        raise InputError("PATH: is missing; name a folder of images after bench loader")
    from cosub.bench.loader import AUGMENTS, Case, decoding, difference, files_of, measure
    from cosub.data.sources.source import existing
    from cosub.data.sources.walking import list_left_out

    files, left_out = files_of(existing(options.path))
    rows, differences = [], []
    for resolution in options.resolutions:
        differences.append({"resolution": resolution, **difference(files, resolution)})
        for name, augment in AUGMENTS.items():
            case = Case(files, resolution, augment, options.workers, options.images)
            rows.append({"resolution": resolution, "augment": name, **measure(case, options.repeats)})
    result = {
        "path": options.path,
        "files": len(files.paths),
        "workers": options.workers,
        "rows": rows,
        "difference": differences,
        "decoding_ms": decoding(files, options.repeats),
        "skipped": [item._asdict() for item in left_out],
    }
    if not as_json:
        _print_loader(result)
        if left_out:
            print(f"not read: {list_left_out(left_out)}", file=sys.stderr)
    return result


def _print_loader(result: dict[str, Any]) -> None:
    from cosub.runs.tables import align

    print(f"{result['files']} files, {result['workers']} workers; images per second, of a core and of wall time")
    lines = [["pixels", "augmentation", "ours", "timm", "ratio", "clock: ours", "timm", "ratio"]]
    for row in result["rows"]:
        speeds = [
            cell
            for speed in (row["per_core"], row["per_second"])
            for cell in (f"{speed['ours']:.1f}", f"{speed['timm']:.1f}", f"{speed['ratio']:.2f}")
        ]
        lines.append([str(row["resolution"]), row["augment"], *speeds])
    print("\n".join(align(lines, "><>>>>>>")))
    print("milliseconds to decode at " + ", ".join(f"{scale}: {ms:.2f}" for scale, ms in result["decoding_ms"].items()))
    print("crops decoded at reduced scale: share, mean absolute difference to a full decode, of 255 levels")
    for row in result["difference"]:
        print(
            f"  {row['resolution']:>4}  {row['reduced']:.1%} reduced, by {row['reduced_mean']:.2f} "
            f"(at most {row['reduced_max']:.2f}); over all crops {row['mean']:.2f}"
        )


def _models(words: list[str], as_json: bool) -> dict[str, Any]:
    options = _parse(Models, words, "models")
    from cosub.paper.sizes.models import compare
    from cosub.runs import distributed

    rows = compare(distributed.join(options.device).device)
    if not as_json:
        print("\n".join(_table(rows)))
    return {"models": rows}


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines in columns; below them each note once, with the number that marks its rows."""
    from cosub.runs.tables import align

    columns = [(key, title, form) for key, title, form in _COLUMNS if key in rows[0]]
    notes = list(dict.fromkeys(row["note"] for row in rows if row["note"]))
    cells = [[title for _, title, _ in columns]]
    for row in rows:
        shown = {**row, "note": notes.index(row["note"]) + 1 if row["note"] else ""}
        cells.append(["-" if shown[key] is None else f"{shown[key]:{form}}" for key, _, form in columns])
    aligns = ["<" if key in ("table", "model", "timm") else ">" for key, _, _ in columns]
    return [*align(cells, aligns), "", *(f"{number}  {note}" for number, note in enumerate(notes, 1))]


BENCHMARKS: dict[str, Callable[[list[str], bool], dict[str, Any]]] = {
    "step": _step,
    "models": _models,
    "coverage": _coverage,
    "loader": _loader,
    "table7": _table7,
}
OPTIONS = (Step, Models, Coverage, Loader, Table7)
