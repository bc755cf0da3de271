"""Second moments of layers' patches and outputs in the original network: collected once, then read for every ratio."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.kept import keep_tensors, kept_tensors
from tdq_core.compression.calibrate.moments import Moments, with_ridge
from tdq_core.compression.calibrate.sample import Sample
from tdq_core.compression.decompose.groups import groups_of
from tdq_core.graph.observe import Batches, Call
from tdq_core.system import cache_folders
from tdq_core.system.progress import Progress, silent
from tdq_core.system.threads import one_thread

FOLDERS = 2
"""Folders of sums that stay on disk, the latest used ones: one is a model on its calibration images, half a gigabyte
of ResNet-50."""

_FIELDS = ("inputs", "cross", "squares", "mean_in", "mean_out")


class Sums:
    """Second moments of one layer, or of one group of it, summed batch by batch: about (C_in K)^2 values are kept.

    Attributes:
        inputs: (C_in K, C_in K), sum of x x^T; cross: (C_out, C_in K), of y x^T; squares: (C_out,), of y^2;
            mean_in: (C_in K,), of x; mean_out: (C_out,), of y; float64.
        count: patches.
    """

    def __init__(self) -> None:
        self.inputs = self.cross = self.squares = self.mean_in = self.mean_out = torch.zeros(())
        self.count = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Patches (n, C_in K) and outputs (n, C_out)."""
        with one_thread():  # so that the sums do not depend on how many cores are free
            self.inputs = self.inputs + (x.T @ x).double()
            self.cross = self.cross + (y.T @ x).double()
        self.squares = self.squares + y.double().square().sum(0)
        self.mean_in, self.mean_out = self.mean_in + x.double().sum(0), self.mean_out + y.double().sum(0)
        self.count += len(x)

    def moments(self, weight: Tensor, *, centred: bool = True) -> Moments:
        """As `moments.moments` makes them of all patches of a layer with `weight` (C_out, C_in[, K_h, K_w])."""
        mean_in, mean_out = (m / self.count * centred for m in (self.mean_in, self.mean_out))
        plain = Moments(
            self.inputs / self.count - mean_in[:, None] * mean_in,
            self.cross / self.count - mean_out[:, None] * mean_in,
            (self.squares / self.count - mean_out.square()).clamp_min(0),
            mean_in,
            mean_out,
            (weight.shape[1], *(weight.shape[2:] or (1, 1))),
        )
        return with_ridge(plain, weight)

    def rounded(self) -> dict[str, Tensor]:
        """The means as float32, and the count: what is kept on disk, and what all fits are made from."""
        means = {name: (getattr(self, name) / self.count).float() for name in _FIELDS}
        return means | {"count": torch.tensor(self.count)}

    @classmethod
    def of(cls, kept: dict[str, Tensor]) -> "Sums":
        """The inverse of `rounded`."""
        made = cls()
        made.count = int(kept["count"])
        means = (kept[name].double() * made.count for name in _FIELDS)
        made.inputs, made.cross, made.squares, made.mean_in, made.mean_out = means
        return made


Groups = tuple[Sums, ...]
"""Those of each group of a layer."""


def moments_of(sums: Groups, weight: Tensor, *, centred: bool = True) -> tuple[Moments, ...]:
    """The moments of each group of a layer with `weight` (C_out, C_in / groups[, K_h, K_w])."""
    kernels = weight.chunk(len(sums))
    return tuple(part.moments(kernel, centred=centred) for part, kernel in zip(sums, kernels, strict=True))


def collect(
    model: nn.Module,
    names: list[str],
    batches: Batches,
    images: int,
    *,
    folder: Path | None = None,
    on_progress: Progress = silent,
) -> dict[str, Groups]:
    """The sums of the layers `names`, group by group, over `batches` of `images` unlabelled images.

    Args:
        folder: belongs to this model on these images: what is there is read, what is not is collected and left there.
    """
    sample = Sample.of(model, names, next(iter(batches()))[:1], images)
    if folder and names:
        cache_folders.use(folder, FOLDERS)
    paths = {name: _path(folder, name, sample.calls(name)) for name in names} if folder else {}
    kept = _read(paths, sample)
    missing = [name for name in names if name not in kept]
    if missing:
        for name, sums in _passed(model, missing, sample, batches, images, on_progress).items():
            kept[name] = _stacked(sums)
            if folder:
                keep_tensors(paths[name], kept[name])
    return {name: _unstacked(kept.pop(name)) for name in names}


def _stacked(sums: Groups) -> dict[str, Tensor]:
    """What is kept of a layer: that of its groups on top of each other, where there are several."""
    parts = [part.rounded() for part in sums]
    return parts[0] if len(parts) == 1 else {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def _unstacked(kept: dict[str, Tensor]) -> Groups:
    """The inverse of `_stacked`."""
    if kept["count"].ndim == 0:
        return (Sums.of(kept),)
    groups = len(kept["count"])
    return tuple(Sums.of({name: tensor[group] for name, tensor in kept.items()}) for group in range(groups))


def _passed(
    model: nn.Module, names: list[str], sample: Sample, batches: Batches, images: int, on_progress: Progress
) -> dict[str, Groups]:
    sums = {name: tuple(Sums() for _ in range(groups_of(sample.layers[name]))) for name in names}
    done = 0

    def see(call: Call) -> None:
        if call.name in sums:
            groups = sums[call.name]
            x, y = sample.inputs(call.name, call.index, call.input), sample.outputs(call)
            for part, own_x, own_y in zip(groups, x.chunk(len(groups), 1), y.chunk(len(groups), 1), strict=True):
                part.add(own_x, own_y)

    def after(batch: Tensor) -> None:
        nonlocal done
        done += len(batch)
        on_progress("covariances", done, images)

    sample.show(model, batches, see, after=after)
    return sums


def _path(folder: Path, name: str, calls: int) -> Path:
    """Of a layer that is called several times, sums of all its calls: another file than that of one call."""
    return folder / (f"{name}.safetensors" if calls == 1 else f"{name}.{calls}-calls.safetensors")


def _read(paths: dict[str, Path], sample: Sample) -> dict[str, dict[str, Tensor]]:
    """By layer the tensors that are there, whole, and of this layer; what is not is collected anew."""
    found = {name: kept_tensors(path, _shapes(sample.layers[name])) for name, path in paths.items()}
    return {name: tensors for name, tensors in found.items() if tensors is not None}


def _shapes(layer: nn.Conv2d | nn.Linear) -> dict[str, tuple[int, ...]]:
    """Of what is kept of a layer: see `Sums`; where it has several groups, theirs on top of each other."""
    weight, groups = layer.weight, groups_of(layer)
    out, patch = weight.shape[0] // groups, weight[0].numel()
    one: Iterable[tuple[str, tuple[int, ...]]] = (
        ("inputs", (patch, patch)), ("cross", (out, patch)), ("squares", (out,)), ("mean_in", (patch,)),
        ("mean_out", (out,)), ("count", ()),
    )  # fmt: skip
    return {name: shape if groups == 1 else (groups, *shape) for name, shape in one}
