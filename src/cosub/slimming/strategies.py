"""Which residual layers to keep: seven ways, each for several depths at once."""

import math
from collections.abc import Sequence

import torch
from timm.layers.layer_scale import LayerScale
from torch import Tensor, nn

from cosub.attachment import layers_per_block
from cosub.choices import Strategy
from cosub.errors import InputError
from cosub.slimming.scoring import Layers, Scorer, blocks_of
from cosub.submodel import evenly

_BUDGET = 4  # of the search, unless said otherwise: times what greedy takes


def choose(strategy: Strategy, scorer: Scorer, depths: Sequence[int], evaluations: int = 0) -> dict[int, Layers]:
    """The layers to keep for each depth; for a whole network all of them.

    Raises:
        InputError: for a network without LayerScale, or fewer evaluations than a search needs.
    """
    total = scorer.num_layers
    match strategy:
        case "every-other":
            per_block = layers_per_block(scorer.network)
            return {depth: every_other(per_block, depth) for depth in depths}
        case "ends":
            return {depth: ends(total, depth) for depth in depths}
        case "layerscale":
            return _largest(layer_scales(scorer.network), depths)
        case "cosine":
            return _largest(scorer.cosine_distances(), depths)
        case "leave-one-out":
            full = scorer.everything
            return _largest(scorer.losses(full, [_without(full, layer) for layer in full]), depths)
        case "greedy":
            width = 1
        case "search":
            width = beam_width(total, min(depths), evaluations)
    best = beam(scorer, min(depths), width)
    return {depth: best[depth] for depth in depths}


def cost(strategy: Strategy, layers: int, depth: int, evaluations: int = 0) -> int:
    """How many submodels a strategy evaluates, at most, to choose so many of the layers."""
    match strategy:
        case "cosine":
            return 1
        case "leave-one-out":
            return layers
        case "greedy":
            return _greedy(layers, depth)
        case "search":
            return beam_width(layers, depth, evaluations) * _greedy(layers, depth)
        case _:
            return 0


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


def beam(scorer: Scorer, depth: int, width: int) -> dict[int, Layers]:
    """Take one layer after another away, and keep at each depth the `width` submodels with the lowest loss.

    Gives the best of each depth. With a width of 1 it is greedy.
    """
    bases = [scorer.everything]
    best = {scorer.num_layers: scorer.everything}
    for remaining in range(scorer.num_layers - 1, depth - 1, -1):
        losses: dict[Layers, float] = {}
        seen: set[Layers] = set()
        for base in bases:
            candidates = [_without(base, layer) for layer in base]
            candidates = [candidate for candidate in candidates if candidate not in seen]
            seen |= set(candidates)
            losses |= scorer.halve_candidates(base, candidates, width)
        bases = sorted(losses, key=lambda candidate: (losses[candidate], candidate))[:width]
        best[remaining] = bases[0]
    return best


def beam_width(layers: int, depth: int, evaluations: int) -> int:
    """How wide a beam is that evaluates no more submodels than stated.

    Raises:
        InputError: if the evaluations do not suffice for a width of one.
    """
    greedy = _greedy(layers, depth)
    if not evaluations:
        return _BUDGET
    if evaluations < greedy:
        raise InputError(
            f"evaluations: {evaluations}: greedy alone takes {greedy} from {layers} layers to {depth}; give more"
        )
    return evaluations // max(greedy, 1)


def _greedy(layers: int, depth: int) -> int:
    return sum(range(depth + 1, layers + 1))


def _largest(scores: Sequence[float], depths: Sequence[int]) -> dict[int, Layers]:
    order = torch.tensor(scores).argsort(descending=True, stable=True).tolist()
    return {depth: tuple(sorted(order[:depth])) for depth in depths}


def _without(layers: Layers, one: int) -> Layers:
    return tuple(layer for layer in layers if layer != one)


def _factors(held: object, name: str) -> Tensor | None:
    if isinstance(held, LayerScale):
        return held.gamma
    return held if isinstance(held, nn.Parameter) and name.startswith("gamma") else None
