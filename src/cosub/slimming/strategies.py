"""Which units of a network to keep: seven ways, each for several depths at once."""

import math
from collections.abc import Sequence

import torch
from timm.layers.layer_scale import LayerScale
from torch import Tensor, nn

from cosub.attachment import layers_per_block
from cosub.choices import Strategy
from cosub.errors import InputError
from cosub.slimming.scorer import Layers, Scorer, blocks_of
from cosub.slimming.units import Chosen, Units, single_layers, without
from cosub.submodel import evenly

_BUDGET = 4  # of the search, unless said otherwise: times what greedy takes


def choose(
    strategy: Strategy, scorer: Scorer, depths: Sequence[int], evaluations: int = 0, units: Units | None = None
) -> dict[int, Layers]:
    """The residual layers to keep for each depth, counted in units (by default single layers); all of a whole network.

    Raises:
        InputError: for a network without LayerScale, or fewer evaluations than a search needs.
    """
    units = units or single_layers(scorer.num_layers)
    match strategy:
        case "every-other" | "ends":
            orders = {depth: _by_place(strategy, scorer, units, depth) for depth in depths}
        case "layerscale":
            orders = dict.fromkeys(depths, _largest(_sums(layer_scales(scorer.network), units)))
        case "cosine":
            orders = dict.fromkeys(depths, _largest(_sums(scorer.cosine_distances(), units)))
        case "leave-one-out":
            rests = [units.layers_of(without(units.everything, unit)) for unit in units.everything]
            orders = dict.fromkeys(depths, _largest(scorer.losses(scorer.everything, rests)))
        case "greedy" | "search":
            width = 1 if strategy == "greedy" else beam_width(len(units), min(depths), evaluations)
            best = beam(scorer, units, min(depths), width)
            return {depth: units.layers_of(best[depth]) for depth in depths}
    return {depth: units.layers_of(units.shrink(units.everything, order, depth)) for depth, order in orders.items()}


def cost(strategy: Strategy, units: int, depth: int, evaluations: int = 0) -> int:
    """How many submodels a strategy evaluates, at most, to choose so many of the units."""
    match strategy:
        case "cosine":
            return 1
        case "leave-one-out":
            return units
        case "greedy":
            return _greedy(units, depth)
        case "search":
            return beam_width(units, depth, evaluations) * _greedy(units, depth)
        case _:
            return 0


def _by_place(strategy: Strategy, scorer: Scorer, units: Units, depth: int) -> list[int]:
    """The units that a strategy keeps by their place alone, then the others."""
    if strategy == "ends":
        first = ends(len(units), depth)
    else:
        first = every_other([1] * len(units) if units.kind == "block" else layers_per_block(scorer.network), depth)
    return [*first, *(unit for unit in units.everything if unit not in first)]


def every_other(per_block: Sequence[int], depth: int) -> Layers:
    """Whole blocks spread evenly over depth, the first and the last among them; those of LayerDrop at one half.

    What is left over, less than a block, are the first layers of the middle one of the blocks that go.
    """
    kept: list[int] = []
    for number in range(1, len(per_block) + 1):
        more = evenly(per_block, number / len(per_block))
        kept = more if len(more) <= depth else kept
    first = [sum(per_block[:block]) for block in range(len(per_block) + 1)]
    gone = [block for block in range(len(per_block)) if first[block] not in kept]
    while len(kept) < depth:
        block = gone.pop(len(gone) // 2)
        kept += range(first[block], first[block + 1])[: depth - len(kept)]
    return tuple(sorted(kept))


def ends(total: int, depth: int) -> Layers:
    """The first half of the layers kept at the beginning of the network, the other at its end."""
    head = math.ceil(depth / 2)
    return (*range(head), *range(total - depth + head, total))


def layer_scales(network: nn.Module) -> list[float]:
    """The mean size of the LayerScale factors of each residual layer.

    Raises:
        InputError: if a layer has none.
    """
    found = []
    for block in blocks_of(network):
        for number, names in enumerate(block.branches):
            if number in block.cosub.absent:
                continue
            factors = [_factors(getattr(block, name, None), name) for name in names]
            found += [float(factor.detach().abs().mean()) for factor in factors if factor is not None][:1]
    if len(found) != sum(layers_per_block(network)):
        raise InputError("strategy: layerscale: this network has no LayerScale factors; take greedy")
    return found


def beam(scorer: Scorer, units: Units, depth: int, width: int) -> dict[int, Chosen]:
    """Take one unit after another away, and keep at each depth the `width` submodels with the lowest loss.

    Gives the best of each depth. With a width of 1 it is greedy.
    """
    bases = [units.everything]
    best = {len(units): units.everything}
    for remaining in range(len(units) - 1, depth - 1, -1):
        losses: dict[Chosen, float] = {}
        seen: set[Chosen] = set()
        for base in bases:
            candidates = [smaller for unit in base if units.may_remain(smaller := without(base, unit))]
            candidates = [candidate for candidate in candidates if candidate not in seen]
            seen |= set(candidates)
            layers = {units.layers_of(candidate): candidate for candidate in candidates}
            found = scorer.halve_candidates(units.layers_of(base), list(layers), width)
            losses |= {layers[kept]: loss for kept, loss in found.items()}
        bases = sorted(losses, key=lambda candidate: (losses[candidate], candidate))[:width]
        best[remaining] = bases[0]
    return best


def beam_width(units: int, depth: int, evaluations: int) -> int:
    """How wide a beam is that evaluates no more submodels than stated.

    Raises:
        InputError: if the evaluations do not suffice for a width of one.
    """
    greedy = _greedy(units, depth)
    if not evaluations:
        return _BUDGET
    if evaluations < greedy:
        raise InputError(f"evaluations: {evaluations}: greedy alone takes {greedy} from {units} to {depth}; give more")
    return evaluations // max(greedy, 1)


def _greedy(units: int, depth: int) -> int:
    return sum(range(depth + 1, units + 1))


def _sums(values: Sequence[float], units: Units) -> list[float]:
    """Of the values of each unit's layers."""
    return [sum(values[layer] for layer in layers) for layers in units.layers]


def _largest(scores: Sequence[float]) -> list[int]:
    """The units from the largest score to the smallest; of equal ones the first comes first."""
    return torch.tensor(scores).argsort(descending=True, stable=True).tolist()


def _factors(held: object, name: str) -> Tensor | None:
    if isinstance(held, LayerScale):
        return held.gamma
    return held if isinstance(held, nn.Parameter) and name.startswith("gamma") else None
