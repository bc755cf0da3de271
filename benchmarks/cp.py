"""CP of all of ResNet-18's layer shapes beside tensorly's `parafac`: time to the same relative error, in one run.

Tensorly makes its sweeps from its default start, on the kernel as its users pass it (four ways) and with the taps
merged (three ways, as here); ours is timed from a random start to the error that tensorly ended with. Also: what a
sweep of the error-preserving correction costs in sweeps of least squares, and how long the correction of a whole
ResNet-18 takes. Kernels are random draws of torchvision's initialisation, ranks those of ratio 2.
"""

import warnings
from functools import partial

import tensorly
import torch
from tensorly.decomposition import parafac
from torch import Tensor

from benchmarks._side_by_side import planned, timed
from tdq_core.compression.decompose.als import als
from tdq_core.compression.decompose.cp import compress, random_start
from tdq_core.compression.decompose.epc import correct
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.methods import decompose
from tdq_core.system import machine

SWEEPS = 10
MOST = 50  # of our sweeps, should the error not be reached
COUNTED = 20  # sweeps of the comparison of correction and least squares


def main() -> None:
    layers = [(task.weight, *task.ranks) for task in planned("resnet18", "cp", weights="random")]
    print(
        f"{machine.cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"tensorly {tensorly.__version__} on numpy, {SWEEPS} sweeps of parafac"
    )
    print("tensorly s, error -> ours s, error: times faster")
    unique = {(tuple(weight.shape), rank): weight for weight, rank in layers}
    totals = {4: [0.0, 0.0], 3: [0.0, 0.0]}
    for (shape, rank), weight in unique.items():
        count = sum(tuple(w.shape) == shape and r == rank for w, r in layers)
        print(f"{count} x {'x'.join(map(str, shape))}, rank {rank}", end="", flush=True)
        for ways, total in totals.items():
            theirs, ours = race(weight, rank, ways)
            total[0], total[1] = total[0] + count * theirs, total[1] + count * ours
        print(flush=True)
    for ways, (theirs, ours) in totals.items():
        print(f"{ways}-way, all layers: tensorly {theirs:.1f} s, ours {ours:.1f} s, {theirs / ours:.1f}x")
    for (shape, rank), weight in unique.items():
        if max(shape) == 512:
            print(f"{'x'.join(map(str, shape))}, rank {rank}: {sweep_ratio(weight, rank)}", flush=True)
    seconds, _ = timed(lambda: [decompose(weight, "cp", (rank,), Options(eta=0.0)) for weight, rank in layers])
    print(f"CP with EPC of all {len(layers)} layers of ResNet-18 at ratio 2: {seconds:.0f} s")


def race(weight: Tensor, rank: int, ways: int) -> tuple[float, float]:
    """Seconds of tensorly, and of ours to the same error."""
    theirs, approximation = timed(partial(by_tensorly, weight if ways == 4 else weight.flatten(2), rank))
    target = rel_error(weight, approximation.reshape(weight.shape))
    ours, error = timed(partial(to_the_error, weight, rank, target))
    print(
        f" | {ways}-way {theirs:.2f}, {target:.4f} -> {ours:.2f}, {error:.4f}: {theirs / ours:.1f}x", end="", flush=True
    )
    return theirs, ours


def to_the_error(weight: Tensor, rank: int, target: float) -> float:
    """Sweep from a random start until the error is no larger than `target`; returns the error."""
    kernel = compress(weight, rank)
    factors, error = random_start(kernel.core, rank, 0, 0), 1.0
    for _ in range(MOST):
        fit = als(kernel.core, factors, lost=kernel.lost, sweeps=1, tol=0.0)
        factors, error = fit.factors, fit.errors[-1]
        if error <= target:
            break
    return error


def by_tensorly(weight: Tensor, rank: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = parafac(weight.numpy(), rank, n_iter_max=SWEEPS, tol=0, random_state=0)
        return torch.as_tensor(tensorly.cp_to_tensor(made))


def sweep_ratio(weight: Tensor, rank: int) -> str:
    """A sweep of the correction in sweeps of least squares, from the same factors, with the same products."""
    core = compress(weight, rank).core
    start = als(core, [torch.randn(n, rank, dtype=core.dtype) for n in core.shape], sweeps=5, tol=-1.0)
    bound = 1.02 * start.errors[-1] * float(torch.linalg.vector_norm(core))
    plain, _ = timed(partial(als, core, start.factors, sweeps=COUNTED, tol=-1.0))
    corrected, _ = timed(
        partial(correct, core, start.factors, bound, objective="sensitivity", sweeps=COUNTED, tol=-1.0)
    )
    return (
        f"a sweep of least squares {plain / COUNTED:.2f} s, of the correction {corrected / COUNTED:.2f} s, "
        f"{corrected / plain:.2f}x"
    )


if __name__ == "__main__":
    main()
