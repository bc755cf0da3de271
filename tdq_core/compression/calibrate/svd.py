"""SVD in the metric of a layer's moments: exact, by reduced-rank regression (Izenman 1975)."""

import torch
from torch import Tensor

from tdq_core.compression.calibrate.moments import Moments
from tdq_core.compression.decompose.svd import Svd


def fit_svd(seen: Moments, rank: int) -> Svd:
    """The two factors of least E |y - out inner x|^2."""
    out, inner = leading(seen.best, seen.inputs, seen.cross, rank)
    return Svd(out, inner.reshape(rank, *seen.kernel))


def leading(best: Tensor, inputs: Tensor, cross: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """out (C_out, rank) with orthonormal columns and inner (rank, n), from the `best` weight (C_out, n) of any rank.

    The outputs that it explains have the covariance best cross^T = best inputs best^T; its leading eigenvectors are
    kept. Where there are more outputs than inputs, they come from the smaller Gram matrix of best inputs^(1/2).
    """
    if best.shape[0] > best.shape[1] >= rank:
        lower, failed = torch.linalg.cholesky_ex(inputs)
        if not failed:
            root = best @ lower
            _, vectors = torch.linalg.eigh(root.T @ root)
            out = torch.linalg.qr(root @ vectors[:, -rank:].flip(1)).Q
            return out, out.T @ best
    _, vectors = torch.linalg.eigh(best @ cross.T)
    out = vectors[:, -rank:].flip(1)
    return out, out.T @ best
