"""Tucker-2 of all of ResNet-50's layer shapes, beside tensorly's `partial_tucker`: equal sweeps, equal error, one run.

Claim: several times faster at the same error, because Gram matrices of the channel modes replace SVDs of unfoldings.
Every shape is timed once per side, alternating; tensorly runs on its numpy and on its torch backend.
"""

import warnings
from collections import Counter
from functools import partial

import tensorly
import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor

from benchmarks._side_by_side import timed
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.decompose.tucker2 import decompose_tucker2
from tdq_core.models.loading import load_model
from tdq_core.specs import ModelSpec
from tdq_core.system import machine

SWEEPS = 5
SHARE = 0.5  # of each channel mode's rank


def layer_weights() -> list[tuple[Tensor, int]]:
    """One weight of every shape in ResNet-50 (Linear as 1x1), with the number of layers that have it."""
    model = load_model(ModelSpec("resnet50", "random")).module
    weights = [p[:, :, None, None] if p.dim() == 2 else p for p in model.parameters() if p.dim() in (2, 4)]
    counts = Counter(tuple(w.shape) for w in weights)
    first = {tuple(w.shape): w for w in reversed(weights)}
    return [(first[shape].contiguous(), count) for shape, count in counts.items()]


def ranks(weight: Tensor) -> tuple[int, int]:
    """Half of each mode, and no more than the other mode and the taps can feed."""
    o, i, taps = weight.shape[0], weight.shape[1], weight.shape[2] * weight.shape[3]
    rank_out = max(1, int(o * SHARE))
    rank_in = max(1, int(i * SHARE))
    return min(rank_out, rank_in * taps), min(rank_in, rank_out * taps)


def ours(weight: Tensor) -> Tensor:
    return decompose_tucker2(weight, *ranks(weight), sweeps=SWEEPS, tol=-1.0).to_weight()


def on_numpy(weight: Tensor) -> Tensor:
    return theirs(weight, "numpy")


def on_torch(weight: Tensor) -> Tensor:
    return theirs(weight, "pytorch")


def theirs(weight: Tensor, backend: str) -> Tensor:
    with tensorly.backend_context(backend), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = weight if backend == "pytorch" else weight.numpy()
        (core, factors), _ = partial_tucker(
            tensor, rank=list(ranks(weight)), modes=[0, 1], n_iter_max=SWEEPS, tol=0, init="svd"
        )
        core, out, in_ = (torch.as_tensor(part) for part in (core, *factors))
    return torch.einsum("pqhw,op,iq->oihw", core.double(), out.double(), in_.double())


def main() -> None:
    machine_line = f"{machine.cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{machine_line}, tensorly {tensorly.__version__}, {SWEEPS} sweeps, rank = {SHARE:.0%} of each mode")
    print(f"{'shape':<20}{'layers':>7}{'ours s':>9}{'numpy s':>9}{'torch s':>9}{'error':>9}{'numpy':>9}{'torch':>9}")
    ours_s = numpy_s = torch_s = 0.0
    for weight, count in layer_weights():
        results = [timed(partial(side, weight)) for side in (ours, on_numpy, on_torch)]
        seconds, errors = [s for s, _ in results], [rel_error(weight, w) for _, w in results]
        ours_s, numpy_s, torch_s = (a + count * b for a, b in zip((ours_s, numpy_s, torch_s), seconds, strict=True))
        numbers = "".join(f"{s:>9.3f}" for s in seconds) + "".join(f"{e:>9.5f}" for e in errors)
        print(f"{'x'.join(map(str, weight.shape)):<20}{count:>7}{numbers}", flush=True)
    print(f"all layers: ours {ours_s:.1f} s; tensorly on numpy {numpy_s:.1f} s, {numpy_s / ours_s:.1f}x; "
          f"on torch {torch_s:.1f} s, {torch_s / ours_s:.1f}x")  # fmt: skip
