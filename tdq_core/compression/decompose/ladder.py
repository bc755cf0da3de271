"""CP at a rank grown from CP at about half of it: what one rank has cost serves all ranks above.

The rungs are 8, 16, 32, ...: a rank grows from the rung below it, which grew from the one below that. New components
are fitted to what is left of the kernel, then all move together. So factors at a rank follow from the kernel and the
rank alone, whatever was asked before, and where the rungs are kept, each rank costs only its last step.
"""

import torch
from torch import Tensor

from tdq_core.compression.decompose.als import als
from tdq_core.compression.decompose.components import spread
from tdq_core.compression.decompose.cp import Cp, compress, made_of, random_start
from tdq_core.compression.decompose.linalg import of_components

LOWEST = 8
NEW_SWEEPS, ALL_SWEEPS, TOL = 20, 25, 1e-6
"""Sweeps of least squares for the new components alone, and for all of them."""


def rung_below(rank: int) -> int | None:
    """The highest rung under `rank`; None where it is at the lowest one or under it."""
    rung = LOWEST
    while 2 * rung < rank:
        rung *= 2
    return rung if rung < rank else None


def grow(weight: Tensor, below: Cp, rank: int, *, seed: int = 0, sweeps: int = ALL_SWEEPS) -> Cp:
    """A CP of `weight` (C_out, C_in, K_h, K_w) at `rank` from one at a lower rank."""
    kernel = compress(weight, rank)
    if kernel.norm == 0:
        return made_of(kernel, als(kernel.core, random_start(kernel.core, rank, seed, 0), sweeps=1, tol=TOL), weight,
                       starts=1)  # fmt: skip
    own = [basis.T @ f for basis, f in zip(kernel.bases, (below.out, below.in_, below.spatial), strict=True)]
    own = [f / kernel.norm ** (1 / 3) for f in spread(own)]
    left = kernel.core - of_components(*own)
    start = random_start(kernel.core, rank - own[0].shape[1], seed, 0)
    new = als(left, start, sweeps=NEW_SWEEPS, tol=TOL).factors
    start = spread([torch.cat(pair, dim=1) for pair in zip(own, new, strict=True)])
    fit = als(kernel.core, start, lost=kernel.lost, sweeps=sweeps, tol=TOL)
    return made_of(kernel, fit, weight, starts=1)
