"""Transformers on ImageNet-1k: from scratch as DeiT-III, and 20 epochs at 224 pixels after a lower resolution.

Appendix A.1 is ambiguous about the optimizer. Recipes have the AdamW of its text, 1e-3 at a batch of 2048; those whose
name ends in -lamb have the LAMB of DeiT-III, 3e-3 (ViT-S: 4e-3). Weight decay is the paper's 0.02 in both.
"""

from cosub.data.imagenet import IMAGENET
from cosub.paper.recipes.paper import TEACHER, Entry, Printed, cost, pair, with_lamb
from cosub.paper.sizes.table7 import TABLE7, Measured
from cosub.recipes.architectures import ARCHITECTURES, group_size, inferred_drop_rate
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder
from cosub.recipes.methods import Cosub
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe

VIT = "ImageNet-1k from scratch: ViT"
OTHERS = "ImageNet-1k from scratch: other transformers"
FINE_TUNED = "ImageNet-1k, 20 epochs at 224 pixels after training at fewer"

THREE_AUGMENT = Augment(policy="3a", jitter=0.3, mixup=0.8, cutmix=1.0, repeats=3)
RAND_AUGMENT = Augment(policy="rand-m9-mstd0.5-inc1", jitter=0.0, mixup=0.8, cutmix=1.0, smoothing=0.1)

_TWICE = ((400, 224), (800, 224))  # epochs and pixels
_OF_SIZE = {
    "deit3-s": _TWICE,
    "deit3-m": _TWICE,
    "deit3-b": (*_TWICE, (1200, 224), (1600, 224), (800, 128), (400, 192), (800, 192)),
    "deit3-l": (*_TWICE, (800, 128), (400, 192), (800, 192)),
    "deit3-h": (*_TWICE, (800, 126), (800, 182)),
    "cait-m12": _TWICE,
    "cait-l24": ((400, 224),),
    "pit-s": ((400, 224),),
    "pit-b": _TWICE,
    "xcit-l12": ((400, 224),),
    "swin-b": ((400, 224),),
    "swin-l": ((400, 224),),
}
TRAININGS = tuple((name, *stage) for name, stages in _OF_SIZE.items() for stage in stages)
_EPOCHS_GIVEN = ("cait-m12", "pit-b")

_LAMB = {"deit3-s": 4e-3, "deit3-b": 3e-3, "deit3-l": 3e-3, "deit3-h": 3e-3}


def _table_4(title: str, scores: tuple[float, ...]) -> tuple[Printed, ...]:
    """Rows (a), (b), (c), (d), (e), and (b) with (e)."""
    rows = ("supervised", "KD", "mean teacher", "co-training", "cosub", "KD + cosub")
    options = ("--method supervised", f"--method distill {TEACHER}", "--method mean-teacher", "--method cotrain", "")
    options = (*options, f"--method cosub-distill {TEACHER}")
    return tuple(
        Printed("4", f"{title}, {row}", {"val": score}, option)
        for row, score, option in zip(rows, scores, options, strict=True)
    )


def _table_7(name: str) -> tuple[Printed, ...]:
    title = ARCHITECTURES[name].title
    found = TABLE7[title]
    rows = {
        "DeiT-III": (found.supervised, "--method supervised --rounding masked"),
        "DeiT-III + ESD": (found.esd, "--method supervised"),
        "cosub": (found.cosub, ""),
    }
    return tuple(
        Printed("7", f"{title}, {row}", {"GB": of.peak_gb, "minutes": of.minutes}, options)
        for row, (of, options) in rows.items()
    )


_TABLE_3 = tuple(
    Printed("3", f"ViT-H, {kind}", {"val": score}, f"--loss {kind.lower()}" if kind != "BCE-soft" else "")
    for kind, score in (("BCE-soft", 83.5), ("BCE-hard", 83.5), ("CE-hard", 81.9))
)
_TABLE_5 = tuple(
    Printed("5", f"ViT-H, lambda {weight:g}", {"val": score}, f"--weight {weight:g}" if weight != 0.5 else "")
    for weight, score in ((0.1, 79.05), (0.3, 83.27), (0.5, 83.55), (0.7, 83.20), (0.9, 83.04), (1.0, 82.91))
)

_ROWS: dict[str, tuple[Printed, ...]] = {
    "deit3-s-800": (*pair("1", "ViT-S", (81.4,), (81.5,)), *pair("11", "ViT-S", (81.4, 70.5), (81.5, 70.8))),
    "deit3-m-800": pair("1", "ViT-M", (82.5,), (82.8,)),
    "deit3-b-400": pair("6", "ViT-B", (83.1, 72.6), (83.2, 73.1)),
    "deit3-b-800": (
        *pair("1", "ViT-B", (83.7,), (83.9,)),
        *pair("6", "ViT-B", (83.7, 73.1), (83.9, 73.5)),
        *pair("8", "ViT-B, 224x224", (83.7, 73.1), (83.9, 73.5)),
    ),
    "deit3-b-1200": pair("6", "ViT-B", (83.3, 72.8), None),
    "deit3-b-1600": pair("6", "ViT-B", (83.3, 73.4), None),
    "deit3-l-800": (
        *pair("1", "ViT-L", (84.5,), (84.9,)),
        *pair("2", "ViT-L", (84.5,), (84.9,)),
        *_table_4("ViT-L", (84.5, 85.3, 84.4, 82.6, 84.9, 85.3)),
        *_table_7("deit3-l"),
        *pair("8", "ViT-L, 224x224", (84.5, 75.0), (84.9, 75.6)),
    ),
    "deit3-h-400": pair("6", "ViT-H", (84.8, 75.3), (85.0, 75.8)),
    "deit3-h-800": (
        *pair("1", "ViT-H", (84.9,), (85.5,)),
        *_table_4("ViT-H", (84.9, 85.3, 83.4, 83.1, 85.5, 85.7)),
        *pair("6", "ViT-H", (84.9, 75.6), (85.5, 76.3)),
        *_table_7("deit3-h"),
        *pair("8", "ViT-H, 224x224", (84.9, 75.6), (85.5, 76.3)),
    ),
    "deit3-h-800-126px": (*_TABLE_3, *_TABLE_5),
    "cait-m12-400": pair("6", "CaiT-M12", (83.2, 72.9), (83.7, 73.5)),
    "cait-m12-800": pair("6", "CaiT-M12", (82.9, 72.6), (83.6, 73.1)),
    "cait-l24-400": pair("2", "CaiT-L24", (83.8,), (84.4,)),
    "pit-s-400": pair("11", "PiT-S", None, (81.3, 69.7)),
    "pit-b-400": (
        *pair("2", "PiT-B", (83.8,), (84.1,)),
        *pair("6", "PiT-B", (83.8, 73.6), (84.1, 74.1)),
        *pair("11", "PiT-B", None, (84.1, 74.1)),
    ),
    "pit-b-800": pair("6", "PiT-B", (82.4, 71.9), (83.1, 72.8)),
    "xcit-l12-400": pair("2", "XCiT-L12", (82.6,), (83.0,)),
    "swin-b-400": pair("2", "Swin-B", (82.9,), (83.3,)),
    "swin-l-400": pair("2", "Swin-L", (80.8,), (84.0,)),
}

_ROWS_AT_224: dict[str, tuple[tuple[str, str, tuple[float, ...] | None, tuple[float, ...]], ...]] = {
    "deit3-b-800-128px": (("8", "ViT-B, 128x128", (83.5, 73.4), (83.8, 74.0)),),
    "deit3-b-800-192px": (
        ("8", "ViT-B, 192x192", (83.8, 73.6), (84.1, 74.0)),
        ("11", "ViT-B", (83.8, 73.6), (84.2, 74.2)),
        ("B.2", "ViT-B, 1k, 800 epochs", None, (84.2, 88.5, 74.2)),
    ),
    "deit3-b-400-192px": (("B.2", "ViT-B, 1k, 400 epochs", None, (83.8, 88.6, 73.5)),),
    "deit3-l-800-128px": (("8", "ViT-L, 128x128", (84.5, 74.7), (85.1, 75.5)),),
    "deit3-l-800-192px": (
        ("8", "ViT-L, 192x192", (84.9, 75.1), (85.2, 75.7)),
        ("11", "ViT-L", (84.9, 75.1), (85.3, 75.5)),
        ("B.2", "ViT-L, 1k, 800 epochs", None, (85.3, 89.2, 75.5)),
    ),
    "deit3-l-400-192px": (("B.2", "ViT-L, 1k, 400 epochs", None, (85.0, 89.4, 75.5)),),
    "deit3-h-800-126px": (("8", "ViT-H, 126x126", (85.1, 75.6), (85.6, 76.4)),),
    "deit3-h-800-182px": (
        ("8", "ViT-H, 182x182", (85.1, 75.9), (85.7, 76.6)),
        ("11", "ViT-H", (85.2, 75.9), (85.7, 76.6)),
    ),
}

_TEACHER = (
    "Table 4 does not name its teacher: regnety_160.deit_in1k is DeiT's; the momenta of its mean teacher are not "
    "published"
)


def _name(architecture: str, epochs: int, resolution: int) -> str:
    return f"{architecture}-{epochs}" + ("" if resolution == 224 else f"-{resolution}px")


def _from_scratch(name: str, epochs: int, resolution: int) -> Entry:
    known = ARCHITECTURES[name]
    recipe = Recipe(
        name=_name(name, epochs, resolution),
        model=known.model,
        resolution=resolution,
        classes=IMAGENET,
        method=Cosub(loss="bce-soft"),
        drop_rate=known.imagenet,
        epochs=epochs,
        batch_size=2048,
        group_size=group_size(known),
        lr=1e-3,
        data=Folder(),
        augment=THREE_AUGMENT,
    )
    rows = _ROWS.get(recipe.name, ())
    guessed = () if name.startswith("deit3") or name in _EPOCHS_GIVEN else ("epochs",)
    return Entry(
        VIT if name.startswith("deit3") else OTHERS,
        f"{known.title} on ImageNet-1k, {epochs} epochs at {resolution} pixels",
        recipe,
        cost(recipe, *([_time(TABLE7[known.title], epochs)] if resolution == 224 and known.title in TABLE7 else [])),
        rows,
        (_TEACHER,) if any(row.table == "4" for row in rows) else (),
        (*inferred_drop_rate(known, "imagenet"), *guessed),
    )


def _time(measured: Measured, epochs: int) -> str:
    """GPU days from the minutes per epoch of table 7."""
    ours, theirs, gpus = measured.cosub.minutes, measured.esd.minutes, measured.gpus
    days = [round(minutes * gpus * epochs / 1440) for minutes in (ours, theirs)]
    return (
        f"the paper: {ours} minutes per epoch on {gpus} GPUs (table 7), that is {days[0]} GPU days; "
        f"supervised {theirs}, {days[1]} GPU days"
    )


def _to_224(name: str, epochs: int, resolution: int) -> Entry:
    """DeiT-III's 20 epochs: its rate, 1e-5, is also the minimum learning rate, so it is constant after warm-up."""
    known, before = ARCHITECTURES[name], _name(name, epochs, resolution)
    recipe = Recipe(
        name=f"{before}-to-224",
        model=known.model,
        weights=f"out/{before}-cosub-0",
        classes=IMAGENET,
        method=Cosub(loss="ce-soft"),
        drop_rate=known.imagenet,
        epochs=20,
        batch_size=512,
        group_size=group_size(known),
        lr=1e-5,
        data=Folder(),
        augment=RAND_AUGMENT,
        optimizer=Optimizer(lr_rule="constant"),
    )
    return Entry(
        FINE_TUNED,
        f"{known.title}, 20 epochs at 224 pixels after {epochs} at {resolution}",
        recipe,
        cost(recipe),
        tuple(row for given in _ROWS_AT_224[before] for row in pair(*given, before=before)),
        (
            "Rate, batch, loss and augmentation are DeiT-III's, because the paper does not state them; the drop rate "
            "is the first stage's (DeiT-III lowers ViT-H's to 0.55)",
            *(("B.2 does not state the resolution of its 400 epochs: 192",) if epochs == 400 else ()),
        ),
        ("lr", "drop_rate", "batch_size", "method.loss"),
    )


def _entries() -> list[Entry]:
    found = []
    for training in TRAININGS:
        name = training[0]
        entry = _from_scratch(*training)
        found += [entry, with_lamb(entry, _LAMB.get(name, 3e-3), inferred=name not in _LAMB)]
    return [*found, *(_to_224(*training) for training in TRAININGS if _name(*training) in _ROWS_AT_224)]


ENTRIES = _entries()
