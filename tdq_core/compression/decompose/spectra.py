"""Spectra of layers' weights: what energy, EVBMF and least-error plans share ranks out by."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdq_core.compression.decompose.linalg import squared_singular_values
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.system.progress import Progress, silent


def with_weight_spectra(table: LayerTable, model: nn.Module, *, on_progress: Progress = silent) -> LayerTable:
    """`table` with the squared singular values of the weights of `model`, joined by the layers' names.

    It takes seconds on large layers; refused ones have no spectra.
    """
    layers = []
    on_progress("read layers", 0, len(table.layers))
    for done, layer in enumerate(table.layers, start=1):
        weight = model.get_parameter(f"{layer.name}.weight").detach()
        layers.append(layer if layer.refusal else _with_spectra(layer, weight))
        on_progress("read layers", done, len(table.layers))
    return dataclasses.replace(table, layers=tuple(layers))


def _with_spectra(layer: Layer, weight: Tensor) -> Layer:
    kernels = weight.chunk(layer.groups)
    out = _spectrum(kernels, 0)
    in_ = out if layer.taps == 1 else _spectrum(kernels, 1)  # a matrix has one spectrum
    return dataclasses.replace(layer, spectrum_out=out, spectrum_in=in_)


def _spectrum(kernels: Sequence[Tensor], mode: int) -> tuple[float, ...]:
    """Summed over the groups' kernels."""
    spectra = [squared_singular_values(kernel.movedim(mode, 0).flatten(1)) for kernel in kernels]
    return tuple(torch.stack(spectra).sum(0).tolist())
