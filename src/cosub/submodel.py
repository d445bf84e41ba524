"""A submodel: which rows pass through which residual layer, and by what factor their branch is multiplied (section 4).

Letters: `L` residual layers, `R` rows (`copies * images`), `K` rows kept by one layer.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cosub.choices import Rounding, Schedule

# Guards products such as 10 * (1 - 0.9) = 0.999...98 against falling to the integer below.
_EPSILON = 1e-9


class Rows(NamedTuple):
    """What one residual layer processes: `keep` is None when every row passes, or none does."""

    keep: Int64[Tensor, "K"] | None
    kept: int
    total: int
    scale: float
    masked: bool = False
    """The branch runs on all rows, and what it gives for those that are not kept is multiplied by zero."""

    def take(self, per_row: Tensor | None) -> Tensor | None:
        """The kept rows of a tensor with one entry per row, or one per image (repeated for each copy)."""
        if per_row is None or per_row.shape[0] == 1:
            return per_row
        if self.keep is not None and not self.masked:
            return per_row.index_select(0, self.keep % per_row.shape[0])
        if per_row.shape[0] == self.total:
            return per_row
        return per_row.repeat(self.total // per_row.shape[0], *[1] * (per_row.dim() - 1))


@dataclass(frozen=True, eq=False)
class Submodel:
    """A table `order (L, R)` of permutations, a count `kept (L,)` and a factor `scale (L,)`.

    The first `kept[l]` entries of `order[l]` are the rows that layer `l` processes; their branch is multiplied
    by `scale[l]`. `kept` is a tuple of Python integers, because a tensor would make shapes depend on data.

    Raises:
        ValueError: if the three do not describe the same layers, or a count is outside [0, R].
    """

    order: Int64[Tensor, "L R"]
    kept: tuple[int, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        layers, rows = self.order.shape
        if not layers == len(self.kept) == len(self.scale):
            raise ValueError(f"order, kept and scale describe {layers}, {len(self.kept)} and {len(self.scale)} layers")
        if any(not 0 <= count <= rows for count in self.kept):
            raise ValueError(f"kept must lie in [0, {rows}], got {self.kept}")

    @property
    def num_layers(self) -> int:
        return self.order.shape[0]

    @property
    def rows(self) -> int:
        return self.order.shape[1]

    @property
    def drop_rates(self) -> tuple[float, ...]:
        """The effective drop rate of each layer, `1 - kept / R`."""
        return tuple(1 - count / self.rows for count in self.kept)

    def layers(self, device: torch.device | str = "cpu", scale: float = 1.0, masked: bool = False) -> tuple[Rows, ...]:
        """What each residual layer processes: indices on `device`, and its factor multiplied by `scale`.

        The whole table is copied at once. A copy to a GPU is asynchronous, from pinned memory, which torch reuses when
        the copy is done.
        """
        table, device = self.order.flatten(), torch.device(device)
        if (table.device.type, device.type) == ("cpu", "cuda") and not torch.compiler.is_compiling():
            table = table.pin_memory()
        parts = [part for count in self.kept for part in (count, self.rows - count)]
        kept = table.to(device, non_blocking=True).split(parts)[::2]
        least = 0 if masked else 1
        return tuple(
            Rows(keep if least <= count < self.rows else None, count, self.rows, factor * scale, masked)
            for keep, count, factor in zip(kept, self.kept, self.scale, strict=True)
        )

    def mask(self) -> Float[Tensor, "L R"]:
        """The same submodel as factors: `scale[l]` where a row passes through layer `l`, zero elsewhere."""
        mask = torch.zeros(self.order.shape, device=self.order.device)
        for index, (count, scale) in enumerate(zip(self.kept, self.scale, strict=True)):
            mask[index, self.order[index, :count]] = scale
        return mask

    def state_dict(self) -> dict[str, Any]:
        """Plain values that `torch.save` writes and `torch.load(weights_only=True)` reads."""
        return {"order": self.order.cpu(), "kept": list(self.kept), "scale": list(self.scale)}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Submodel":
        return cls(state["order"], tuple(state["kept"]), tuple(state["scale"]))

    def __str__(self) -> str:
        lines = [f"submodel: {self.num_layers} residual layers, {self.rows} rows"]
        for index in range(self.num_layers):
            passing = sorted(self.order[index, : self.kept[index]].tolist())
            shown = "all" if len(passing) == self.rows else " ".join(map(str, passing)) or "none"
            lines.append(f"  {index:3d}  kept {self.kept[index]:4d}  scale {self.scale[index]:.3f}  rows {shown}")
        return "\n".join(lines)


def rates(drop_rate: float, schedule: Schedule, layers_per_block: Sequence[int]) -> tuple[float, ...]:
    """The drop rate of each residual layer.

    `uniform` is the paper's (section 4, "progressive vs uniform rate"); `linear` grows from 0 in the first block
    to `drop_rate` in the last, and is the same for all layers of a block. That is timm's ramp, but for two groups: in
    EfficientNet, MobileNetV4 and MaxViT timm also counts blocks without a shortcut; in CaiT and XCiT it is uniform.

    Raises:
        ValueError: if `drop_rate` is outside [0, 1) or the schedule is unknown.
    """
    if not 0 <= drop_rate < 1:
        raise ValueError(f"drop_rate must be in [0, 1), got {drop_rate}")
    if schedule not in get_args(Schedule):
        raise ValueError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {schedule!r}")
    last = max(len(layers_per_block) - 1, 1)
    factors = {
        "uniform": [1.0] * len(layers_per_block),
        "linear": [block / last for block in range(len(layers_per_block))],
    }[schedule]
    return tuple(drop_rate * factors[block] for block, count in enumerate(layers_per_block) for _ in range(count))


def count(rows: int, layer_rates: Sequence[float], rounding: Rounding = "nearest") -> tuple[int, ...]:
    """How many of `rows` rows each layer keeps; at least one (so every parameter gets a gradient).

    `nearest` rounds `rows * (1 - rate)` (the paper's B_keep, section 4), `floor` rounds it down, and `ceil` up: that is
    equation C.1 as printed, which floors the dropped rows.
    With `bernoulli` and `masked` the number is drawn with the table (`draw_rows`); here it is the nearest to its mean.

    Raises:
        ValueError: if `rows` is not positive or the rounding is unknown.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    exact = [rows * (1 - rate) for rate in layer_rates]
    match rounding:
        case "nearest" | "bernoulli" | "masked":
            kept = [math.floor(value + 0.5 + _EPSILON) for value in exact]
        case "floor":
            kept = [math.floor(value + _EPSILON) for value in exact]
        case "ceil":
            kept = [math.ceil(value - _EPSILON) for value in exact]
        case _:
            raise ValueError(f"rounding must be one of {', '.join(get_args(Rounding))}, got {rounding!r}")
    return tuple(min(max(value, 1), rows) for value in kept)


def draw(rows: int, kept: Sequence[int], generator: torch.Generator) -> Submodel:
    """A random submodel: each layer keeps `kept[l]` of the rows, scaled by `rows / kept[l]` (Appendix C).

    All layers are drawn at once. The table lies on the generator's device.
    """
    noise = torch.rand(len(kept), rows, generator=generator, device=generator.device)
    return Submodel(noise.argsort(dim=1, stable=True), tuple(kept), tuple(rows / max(k, 1) for k in kept))


def draw_rows(rows: int, layer_rates: Sequence[float], generator: torch.Generator, least: int = 1) -> Submodel:
    """A random submodel as in stochastic depth before the paper: a layer keeps each row with probability
    `1 - rate`, independently of the others, scaled by `1 / (1 - rate)`. It keeps `least` rows or more: 1, so that every
    parameter gets a gradient, or 0 where dropped rows are masked, for there they all do.

    From equal generators, this and `draw` take rows in the same order: they differ only in how many a layer keeps.
    Here that number is binomial, so shapes change from step to step.
    """
    noise = torch.rand(len(layer_rates), rows, generator=generator, device=generator.device)
    share = torch.tensor([1 - rate for rate in layer_rates], device=noise.device)
    kept = (noise < share[:, None]).sum(dim=1).clamp(min=least)
    scale = tuple(1 / (1 - rate) for rate in layer_rates)
    return Submodel(noise.argsort(dim=1, stable=True), tuple(kept.tolist()), scale)


def keep_layers(
    layers: Iterable[int], num_layers: int, rows: int, scale: float | Literal["expectation"] = 1.0
) -> Submodel:
    """The submodel in which every row passes through the given residual layers and no others.

    `scale` is the factor of the kept branches; "expectation" makes it `num_layers / kept layers`.
    All layers with scale 1 give the full network.

    Raises:
        ValueError: if a layer does not exist.
    """
    chosen = set(layers)
    if unknown := sorted(chosen - set(range(num_layers))):
        raise ValueError(f"there are layers 0 to {num_layers - 1}, got {unknown}")
    factor = num_layers / max(len(chosen), 1) if scale == "expectation" else float(scale)
    order = torch.arange(rows, device="cpu").expand(num_layers, rows)
    kept = tuple(rows if layer in chosen else 0 for layer in range(num_layers))
    return Submodel(order, kept, (factor,) * num_layers)


def evenly(layers_per_block: Sequence[int], share: float) -> list[int]:
    """The residual layers of a fraction of the blocks, evenly spaced from the first block to the last.

    Raises:
        ValueError: if `share` is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    blocks = len(layers_per_block)
    number = max(1, math.floor(blocks * share + 0.5))
    chosen = {round(place) for place in torch.linspace(0, blocks - 1, number).tolist()}
    first = [sum(layers_per_block[:block]) for block in range(blocks)]
    return [first[block] + layer for block in sorted(chosen) for layer in range(layers_per_block[block])]


def concatenate(groups: Sequence[Submodel], copies: int) -> Submodel:
    """One table for several groups of images that run through the network together.

    Each group's rows are `copies` runs of its own images; the result's rows are `copies` runs of all images, in
    the order of the groups. What is drawn for a group does not depend on the groups beside it.

    Raises:
        ValueError: if the groups have different numbers of rows, or scale a layer differently.
    """
    first = groups[0]
    if any((group.scale, group.rows) != (first.scale, first.rows) for group in groups):
        raise ValueError("groups must agree in rows and scale")
    images = first.rows // copies
    rows = [_placed(group.order, index, len(groups), images) for index, group in enumerate(groups)]
    kept = [group.kept for group in groups]
    order = torch.stack(
        [
            torch.cat(
                [row[layer, : count[layer]] for row, count in zip(rows, kept, strict=True)]
                + [row[layer, count[layer] :] for row, count in zip(rows, kept, strict=True)]
            )
            for layer in range(first.num_layers)
        ]
    )
    return Submodel(order, tuple(sum(counts) for counts in zip(*kept, strict=True)), first.scale)


def _placed(order: Tensor, group: int, num_groups: int, images: int) -> Tensor:
    """Row `copy * images + i` of a group becomes row `copy * (num_groups * images) + group * images + i`."""
    return order // images * (num_groups * images) + group * images + order % images
