"""Layers' spectra in the metric of what they compute: what energy, EVBMF and least-error plans share ranks out by."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.calibrate.moments import Moments, gain_of, with_ridge
from tdq_core.calibrate.patches import input_rows, output_places, output_rows, places
from tdq_core.condition.observe import Batches, following_norms
from tdq_core.layers import Layer, LayerTable
from tdq_core.progress import Progress, silent


def with_output_spectra(
    table: LayerTable, model: nn.Module, batches: Batches, images: int, *, on_progress: Progress = silent
) -> LayerTable:
    """`table` with the spectra of its layers in the metric of their outputs on `batches` of `images` unlabelled images.

    `spectrum_out` then holds the eigenvalues of E y y^T as far as the patches explain it: beyond rank r they sum to the
    squared error of the best layer of that rank. `spectrum_in` is that of the input channels, as if all taps saw the
    same channels. Outputs count as often as the batch norm that follows multiplies them.
    """
    names = [layer.name for layer in table.layers if not layer.refusal]
    sums = _collect(model, names, batches, images, on_progress)
    norms = following_norms(model, names, next(iter(batches()))[:1])
    layers = []
    for layer in table.layers:
        if layer.name in sums:
            module = model.get_submodule(layer.name)
            assert isinstance(module, nn.Conv2d | nn.Linear)
            seen = sums.pop(layer.name).finish(module.weight.detach())
            gain = gain_of(model.get_submodule(norms[layer.name]) if layer.name in norms else None, layer.c_out)
            layer = _with_spectra(layer, seen.weighted(gain))
        layers.append(layer)
    return dataclasses.replace(table, layers=tuple(layers))


def _with_spectra(layer: Layer, seen: Moments) -> Layer:
    out = torch.linalg.eigvalsh(seen.best @ seen.cross.T)
    if layer.taps == 1:
        spectra = [out, out]
    else:
        whitened = seen.whitened_by_channel()[0]
        spectra = [out, torch.linalg.eigvalsh(whitened.T @ whitened)]
    tops = min(layer.c_out, layer.c_in * layer.taps), min(layer.c_in, layer.c_out * layer.taps)
    first, second = (tuple(s.flip(0).clamp_min(0)[:top].tolist()) for s, top in zip(spectra, tops))
    return dataclasses.replace(layer, spectrum_out=first, spectrum_in=second)


class _Sums:
    """Second moments of one layer's patches and outputs, summed batch by batch: (C_in K)^2 values are kept."""

    def __init__(self) -> None:
        self.inputs = self.cross = self.squares = self.mean_in = self.mean_out = torch.zeros(())
        self.count = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        self.inputs = self.inputs + (x.T @ x).double()
        self.cross = self.cross + (y.T @ x).double()
        self.squares = self.squares + y.double().square().sum(0)
        self.mean_in, self.mean_out = self.mean_in + x.double().sum(0), self.mean_out + y.double().sum(0)
        self.count += len(x)

    def finish(self, weight: Tensor) -> Moments:
        mean_in, mean_out = self.mean_in / self.count, self.mean_out / self.count
        plain = Moments(
            self.inputs / self.count - mean_in[:, None] * mean_in,
            self.cross / self.count - mean_out[:, None] * mean_in,
            (self.squares / self.count - mean_out.square()).clamp_min(0),
            mean_in,
            mean_out,
            (weight.shape[1], *(weight.shape[2:] or (1, 1))),
        )
        return with_ridge(plain, weight)


def _collect(
    model: nn.Module, names: list[str], batches: Batches, images: int, on_progress: Progress
) -> dict[str, _Sums]:
    sums = {name: _Sums() for name in names}
    chosen: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if name not in chosen:
                chosen[name] = places(output_places(layer, output), images, seed=0)
            rows = output_rows(output, chosen[name], convolution=isinstance(layer, nn.Conv2d))
            sums[name].add(input_rows(layer, inputs[0], chosen[name]), rows)

        return hook

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in names]
    done = 0
    try:
        with torch.no_grad():
            for batch in batches():
                model(batch)
                done += len(batch)
                on_progress("covariances", done, images)
    finally:
        for handle in handles:
            handle.remove()
    return sums
