"""What rounding does to each layer of a network at 8, 6, 4 and 3 bits: what bits are chosen by, layer by layer."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.moments import Moments, output_weights
from tdq_core.compression.calibrate.sums import collect, moments_of
from tdq_core.compression.quantize.aware.feedback import round_with_feedback
from tdq_core.compression.quantize.aware.quadratic import Quadratic
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.weight_grid import round_weight
from tdq_core.graph.observe import Batches
from tdq_core.graph.uses import following_norms
from tdq_core.layers.table import BITS, Layer, LayerTable
from tdq_core.system.progress import Progress, silent


def with_weight_rounding(table: LayerTable, model: nn.Module) -> LayerTable:
    """`table` with the relative squared errors of its layers' weights on the grids of `BITS`, one scale a channel."""
    return _each(table, lambda layer: dataclasses.replace(layer, rounding=_of_weights(_weight(model, layer))))


def with_output_rounding(
    table: LayerTable, model: nn.Module, batches: Batches, images: int, *, aware: bool, folder: Path | None = None,
    on_progress: Progress = silent,
) -> LayerTable:  # fmt: skip
    """The same in the metric of their outputs on `batches` of `images` unlabelled images, where layers have one: those
    that cannot be fitted to outputs have that of their weights.

    Args:
        aware: also with error feedback, which takes a while for large layers.
        folder: see `sums.collect`.
    """
    names = [layer.name for layer in table.layers if not layer.refusal]
    sums = collect(model, names, batches, images, folder=folder, on_progress=on_progress)
    norms = following_norms(model, names, next(iter(batches()))[:1])

    def measured(layer: Layer) -> Layer:
        weight = _weight(model, layer)
        if layer.name not in sums:
            return dataclasses.replace(layer, rounding=_of_weights(weight))
        norm = model.get_submodule(norms[layer.name]) if layer.name in norms else None
        gains = output_weights(norm, layer.c_out)
        seen = moments_of(sums.pop(layer.name), weight)
        parts = [part.weighted(gain) for part, gain in zip(seen, gains.chunk(len(seen)), strict=True)]
        rows = weight.double().flatten(1) * gains[:, None]
        fed = tuple(_missed(parts, _fed(parts, bits)) for bits in BITS) if aware else ()
        nearest = tuple(_missed(parts, _nearest(rows, bits), base=rows) for bits in BITS)
        return dataclasses.replace(layer, rounding=nearest, rounding_fed=fed)

    return _each(table, measured)


def _each(table: LayerTable, change: Callable[[Layer], Layer]) -> LayerTable:
    return dataclasses.replace(table, layers=tuple(change(layer) for layer in table.layers))


def _weight(model: nn.Module, layer: Layer) -> Tensor:
    return model.get_parameter(f"{layer.name}.weight").detach()


def _nearest(rows: Tensor, bits: int) -> Tensor:
    return round_weight(rows.float(), Scheme(bits, None)).to_weight().double()


def _of_weights(weight: Tensor) -> tuple[float, ...]:
    rows = weight.double().flatten(1)
    whole = float(rows.square().sum())
    return tuple(float((_nearest(rows, bits) - rows).square().sum()) / whole if whole else 0.0 for bits in BITS)


def _fed(parts: Sequence[Moments], bits: int) -> Tensor:
    """Rounded with error feedback, group by group, (C_out, C_in K)."""
    own = (Quadratic(part.inputs[None], part.best[None]) for part in parts)
    return torch.cat([round_with_feedback(error, Scheme(bits, None)).to_weight()[0] for error in own])


def _missed(parts: Sequence[Moments], rounded: Tensor, *, base: Tensor | None = None) -> float:
    """Relative squared error of the outputs; that of `base` itself, which no rounding makes, is taken off."""
    off, whole = 0.0, sum(part.square for part in parts)
    bases = base.chunk(len(parts)) if base is not None else [None] * len(parts)
    for part, rows, start in zip(parts, rounded.chunk(len(parts)), bases, strict=True):
        off += max(part.missed(rows) - (part.missed(start) if start is not None else 0.0), 0.0)
    return off / whole if whole > 0 else 0.0
