"""Layers' spectra in the metric of what they compute: what energy, EVBMF and least-error plans share ranks out by."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.moments import Moments, output_weights
from tdq_core.compression.calibrate.sums import collect, moments_of
from tdq_core.errors import InputError, NotNow
from tdq_core.graph.observe import Batches
from tdq_core.graph.uses import following_norms
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.system.files import write_atomically
from tdq_core.system.progress import Progress, silent

TABLE = "spectra.json"


def with_output_spectra(
    table: LayerTable,
    model: nn.Module,
    batches: Batches,
    images: int,
    *,
    folder: Path | None = None,
    on_progress: Progress = silent,
) -> LayerTable:
    """`table` with the spectra of its layers in the metric of their outputs on `batches` of `images` unlabelled images.

    `spectrum_out` then holds the eigenvalues of E y y^T as far as the patches explain it: beyond rank r they sum to the
    squared error of the best layer of that rank. `spectrum_in` is that of the input channels, as if all taps saw the
    same channels. Outputs count as often as the batch norm that follows multiplies them. `folder`: see `sums.collect`;
    the table is kept there too.
    """
    kept = folder / TABLE if folder else None
    if kept and (found := _kept(kept)) and _without_spectra(found) == _without_spectra(table):
        return found
    names = [layer.name for layer in table.layers if not layer.refusal]
    sums = collect(model, names, batches, images, folder=folder, on_progress=on_progress)
    norms = following_norms(model, names, next(iter(batches()))[:1])
    layers = []
    for layer in table.layers:
        if layer.name in sums:
            module = model.get_submodule(layer.name)
            assert isinstance(module, nn.Conv2d | nn.Linear)
            seen = moments_of(sums.pop(layer.name), module.weight.detach())
            norm = model.get_submodule(norms[layer.name]) if layer.name in norms else None
            gains = output_weights(norm, layer.c_out).chunk(layer.groups)
            layer = _with_spectra(layer, [part.weighted(gain) for part, gain in zip(seen, gains, strict=True)])
        layers.append(layer)
    table = dataclasses.replace(table, layers=tuple(layers))
    if kept:
        with contextlib.suppress(NotNow):
            write_atomically(kept, table.to_json())
    return table


def _kept(path: Path) -> LayerTable | None:
    """The table that is kept; None where there is none, or none that can be read: it is made again."""
    with contextlib.suppress(InputError):
        return LayerTable.read(path) if path.exists() else None
    return None


def _without_spectra(table: LayerTable) -> LayerTable:
    layers = (dataclasses.replace(layer, spectrum_out=(), spectrum_in=()) for layer in table.layers)
    return dataclasses.replace(table, layers=tuple(layers))


def _with_spectra(layer: Layer, seen: Sequence[Moments]) -> Layer:
    """Those of the groups, each seen by itself, summed up."""
    out = _summed([part.best @ part.cross.T for part in seen])
    if layer.taps == 1:
        spectra = [out, out]
    else:
        whitened = [part.whitened_by_channel()[0] for part in seen]
        spectra = [out, _summed([w.T @ w for w in whitened])]
    one = layer.one_group
    tops = min(one.c_out, one.c_in * one.taps), min(one.c_in, one.c_out * one.taps)
    first, second = (tuple(s[:top].tolist()) for s, top in zip(spectra, tops, strict=True))
    return dataclasses.replace(layer, spectrum_out=first, spectrum_in=second)


def _summed(grams: Sequence[Tensor]) -> Tensor:
    """Their eigenvalues, largest first, summed up by their place."""
    return torch.stack([torch.linalg.eigvalsh(gram).flip(0).clamp_min(0) for gram in grams]).sum(0)
