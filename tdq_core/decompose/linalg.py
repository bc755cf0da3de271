"""Linear algebra that the decompositions share: symmetric eigenproblems of small Gram matrices, never a full SVD.

The Gram matrix of the shorter side of an unfolding has at most C x C entries, so nothing ever grows with the
longer side: a full SVD of a 4-way unfolding, by contrast, has asked for hundreds of gigabytes elsewhere.
"""

import torch
from torch import Tensor


def squared_singular_values(matrix: Tensor) -> Tensor:
    """All min(m, n) squared singular values of `matrix` (m, n), largest first, in float64."""
    matrix = matrix.double()
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return torch.linalg.eigvalsh(gram).flip(0).clamp_min(0)


def leading_left(matrix: Tensor, rank: int) -> Tensor:
    """The `rank` leading left singular vectors of `matrix` (m, n) as columns: (m, rank), orthonormal.

    Where the matrix has a lower rank than asked for, the basis is completed by arbitrary orthonormal columns.
    """
    rows, columns = matrix.shape
    if rows <= columns:
        return _top(matrix @ matrix.T, rank)
    right = _top(matrix.T @ matrix, min(rank, columns))
    scaled = torch.linalg.qr(matrix @ right).Q
    return scaled if scaled.shape[1] == rank else _completed(scaled, rank)


def _top(gram: Tensor, rank: int) -> Tensor:
    return torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1)


def _completed(basis: Tensor, rank: int) -> Tensor:
    rows, have = basis.shape
    padded = torch.cat([basis, torch.eye(rows, rank - have, dtype=basis.dtype)], dim=1)
    return torch.linalg.qr(padded).Q


def rel_error(weight: Tensor, approximation: Tensor) -> float:
    """|W - W~| / |W| (Frobenius), in float64; 0 for a zero weight that is met exactly, inf for one that is not."""
    missed = float(torch.linalg.vector_norm(weight.double() - approximation.double()))
    norm = float(torch.linalg.vector_norm(weight.double()))
    return missed / norm if norm > 0 else (0.0 if missed == 0 else float("inf"))
