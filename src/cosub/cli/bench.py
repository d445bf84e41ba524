"""cosub bench step|models|coverage|loader|table7 [--key value ...]"""

import json
import sys
from dataclasses import dataclass
from typing import Any, Literal

from tyro.conf import Positional

from cosub.cli.parsing import parse
from cosub.errors import InputError

# Of bench models: key, title, form.
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
class Step:
    """Cost of a training step: masked drop path, the plain operation, ours, co-training and others, in one process."""

    model: str = "deit3_small_patch16_224"
    drop_rate: float = 0.5
    batch_size: int = 16
    """Images; co-training makes two rows of each."""
    resolution: int | None = None
    """Pixels; by default the model's."""
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    """Compile the masked model whole and the others block by block."""
    meta: bool = False
    """Count FLOPs and bytes saved for backward, without allocating anything."""
    methods: tuple[
        Literal[
            *("all", "masked", "plain", "efficient", "cosub", "distill", "mean-teacher", "cotrain", "cosub-distill")
        ],
        ...,
    ] = ("masked", "plain", "efficient", "cosub")
    """all: those of figure 2 as well, with a teacher as large as the model, beside the paper's costs."""
    repeats: int = 10
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.drop_rate < 1:
            raise InputError(f"drop_rate: {self.drop_rate}: must be in [0, 1)")
        for name in ("batch_size", "repeats"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)}: must be 1 or more")


@dataclass(frozen=True)
class Models:
    """Size of every network in the paper's tables 11, 12, B.1 and 13, beside the size that the paper prints."""

    device: str = "cpu"
    """With a card, e.g. cuda, also images a second and peak memory: forward, 256 images, mixed precision."""


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    what = words[0] if words else ""
    if what in ("-h", "--help"):
        print("usage: cosub bench step|models|coverage|loader|table7 [OPTIONS]\n\ncosub bench PART --help tells more")
        raise SystemExit(0)
    if what == "table7":
        return _table7(words[1:], as_json)
    if what == "models":
        return _models(words[1:], as_json)
    if what == "coverage":
        return _coverage(words[1:], as_json)
    if what == "loader":
        return _loader(words[1:], as_json)
    if what != "step":
        wrong = f"{what!r}: must be" if what else "is not said; one of"
        raise InputError(f"bench: {wrong} step, models, coverage, loader or table7")
    options = parse(Step, words[1:], "cosub bench step")
    from cosub.bench.step import METHOD_WAYS, WAYS, Case, count, measure
    from cosub.runs import distributed

    case = Case(
        options.model,
        options.drop_rate,
        options.batch_size,
        options.resolution,
        bf16=options.precision == "bf16",
        compiled=options.compile,
        ways=(*WAYS, *METHOD_WAYS) if "all" in options.methods else options.methods,
    )
    result = count(case) if options.meta else measure(case, distributed.join(options.device).device, options.repeats)
    if not as_json:
        _print(result)
    return result


def _print(result: dict[str, Any]) -> None:
    print(f"{result['model']}, {result['batch_size']} images, rate {result['drop_rate']}, {result['device']}")
    for measure in ("seconds", "flops", "saved_bytes", "peak_bytes"):
        for way, value in result.get(measure, {}).items():
            ratio = result["ratio"].get(measure, {}).get(way)
            print(f"  {measure:<12}{way:<14}{value:>12.4g}" + ("" if ratio is None else f"{ratio:>9.3f} of masked"))
    for way, found in result.get("figure2", {}).items():
        paper = found["paper"] or {}
        printed = "".join(
            f"  {part} {found[part]:.2f} (paper {paper.get(part, '-')})" for part in ("weights", "optimizer")
        )
        print(f"  {'figure 2':<12}{way:<14}{printed}  compute (paper {paper.get('compute', '-')})")


@dataclass(frozen=True)
class Table7:
    """Table 7: what a step of co-training costs, counted here, beside what the paper prints. Nothing is allocated."""


def _table7(words: list[str], as_json: bool) -> dict[str, Any]:
    """The paper's table beside what one step counts here, both as ratios to the supervised baseline."""
    parse(Table7, words, "cosub bench table7")
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
        print("ratios to masked supervised training; bf16, the paper's images a GPU")
        print("\n".join(json.dumps(row) for row in rows))
    return {"rows": rows}


@dataclass(frozen=True)
class Coverage:
    """Which of timm's blocks with a slot for stochastic depth have a twin here."""


def _coverage(words: list[str], as_json: bool) -> dict[str, Any]:
    parse(Coverage, words, "cosub bench coverage")
    from cosub.bench.coverage import coverage

    rows = coverage()
    if not as_json:
        print("\n".join(f"{row['cosub']:<6}{row['file']:<26}{row['block']}" for row in rows))
    return {"blocks": rows}


@dataclass(frozen=True)
class Loader:
    """Images that are loaded a second of a core: ours beside timm's create_loader, on the same files."""

    path: Positional[str] = ""
    """A folder of images; of one with splits, those of train."""
    resolutions: tuple[int, ...] = (128, 224)
    """Pixels."""
    workers: int = 1
    """Processes that load, for each of the two; 0 loads in this process."""
    images: int = 1000
    """Images a repeat; where the folder has fewer, they come again."""
    repeats: int = 5
    """Repeats of each of the two in turn; medians are given."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("images", 1), ("repeats", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: {getattr(self, name)}: must be {least} or more")
        if min(self.resolutions, default=0) < 1:
            raise InputError(f"resolutions: {self.resolutions}: must be one or more numbers of pixels")


def _loader(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Loader, words, "cosub bench loader")
    if not options.path:
        raise InputError("PATH: is missing; name a folder of images after bench loader")
    from cosub.bench.loader import AUGMENTS, Case, decoding, difference, files_of, measure
    from cosub.data.sources.source import existing
    from cosub.data.sources.walking import told

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
            print(f"not read: {told(left_out)}", file=sys.stderr)
    return result


def _print_loader(result: dict[str, Any]) -> None:
    print(f"{result['files']} files, {result['workers']} workers; images a second of a core, and by the clock")
    for row in result["rows"]:
        core, clock = row["per_core"], row["per_second"]
        print(
            f"  {row['resolution']:>4}  {row['augment']:<14}ours {core['ours']:>7.1f}  timm {core['timm']:>7.1f}  "
            f"ratio {core['ratio']:.2f}   clock {clock['ours']:>7.1f} {clock['timm']:>7.1f}  ratio {clock['ratio']:.2f}"
        )
    print("milliseconds to decode at " + ", ".join(f"{scale}: {ms:.2f}" for scale, ms in result["decoding_ms"].items()))
    print("crops decoded at reduced scale: share, mean absolute difference to a full decode, of 255 levels")
    for row in result["difference"]:
        print(
            f"  {row['resolution']:>4}  {row['reduced']:.1%} reduced, by {row['reduced_mean']:.2f} "
            f"(at most {row['reduced_max']:.2f}); over all crops {row['mean']:.2f}"
        )


def _models(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Models, words, "cosub bench models")
    from cosub.paper.sizes.models import compare
    from cosub.runs import distributed

    rows = compare(distributed.join(options.device).device)
    if not as_json:
        print("\n".join(_table(rows)))
    return {"models": rows}


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Aligned lines; below them each note once, with the number that marks its rows."""
    columns = [(key, title, form) for key, title, form in _COLUMNS if key in rows[0]]
    notes = list(dict.fromkeys(row["note"] for row in rows if row["note"]))
    cells = [[title for _, title, _ in columns]]
    for row in rows:
        shown = {**row, "note": notes.index(row["note"]) + 1 if row["note"] else ""}
        cells.append(["-" if shown[key] is None else f"{shown[key]:{form}}" for key, _, form in columns])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligns = ["<" if key in ("table", "model", "timm") else ">" for key, _, _ in columns]
    lines = [
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(line, aligns, widths, strict=True)).rstrip()
        for line in cells
    ]
    return [*lines, "", *(f"{number}  {note}" for number, note in enumerate(notes, 1))]
