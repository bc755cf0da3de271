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
    return leading_left_energy(matrix, rank)[0]


def leading_left_energy(matrix: Tensor, rank: int) -> tuple[Tensor, float]:
    """`leading_left`, and the sum of the squared singular values that it captures."""
    rows, columns = matrix.shape
    if rows <= columns:
        squares, left = torch.linalg.eigh(matrix @ matrix.T)
        return left[:, -rank:].flip(1), float(squares[-rank:].clamp_min(0).sum())
    kept = min(rank, columns)
    squares, right = torch.linalg.eigh(matrix.T @ matrix)
    squares, right = squares[-kept:].flip(0), right[:, -kept:].flip(1)
    return _orthonormal(matrix @ right, squares, rank), float(squares.clamp_min(0).sum())


def leading_pair(matrix: Tensor, rank_left: int, rank_right: int) -> tuple[Tensor, Tensor]:
    """Leading left and right singular vectors of `matrix` (m, n), as columns: (m, rank_left) and (n, rank_right)."""
    if matrix.shape[0] > matrix.shape[1]:
        right, left = leading_pair(matrix.T, rank_right, rank_left)
        return left, right
    squares, left = torch.linalg.eigh(matrix @ matrix.T)
    squares, left = squares.flip(0), left.flip(1)
    kept = min(rank_right, len(matrix))
    return left[:, :rank_left], _orthonormal(matrix.T @ left[:, :kept], squares[:kept], rank_right)


def khatri_rao(one: Tensor, two: Tensor) -> Tensor:
    """The columns of `one` (m, r) times those of `two` (n, r), each with each: (m n, r)."""
    return (one[:, None] * two[None]).flatten(0, 1)


def of_components(one: Tensor, two: Tensor, three: Tensor) -> Tensor:
    """The tensor (m, n, k) that is the sum of the outer products of columns; `three` is the shortest of them.

    One product with the Khatri-Rao product of the last two: einsum would write down an m x n matrix for every column,
    which takes 15 times as long and a gigabyte for 512 x 512 x 9 and 500 columns.
    """
    return (one @ khatri_rao(two, three).T).view(len(one), len(two), len(three))


def _orthonormal(scaled: Tensor, squares: Tensor, rank: int) -> Tensor:
    """Columns `scaled` = left singular vectors times singular values, made orthonormal and `rank` in number."""
    missing = rank - scaled.shape[1]
    if missing == 0 and squares[-1] > torch.finfo(squares.dtype).eps ** 0.5 * squares[0]:
        return scaled / squares.sqrt()  # much cheaper than QR, and as good where no column is tiny
    filler = torch.eye(len(scaled), missing, dtype=scaled.dtype)
    return torch.linalg.qr(torch.cat([scaled, filler], dim=1)).Q


def rel_error(weight: Tensor, approximation: Tensor) -> float:
    """|W - W~| / |W| (Frobenius), in float64; 0 for a zero weight that is met exactly, inf for one that is not."""
    missed = float(torch.linalg.vector_norm(weight.double() - approximation.double()))
    norm = float(torch.linalg.vector_norm(weight.double()))
    return missed / norm if norm > 0 else (0.0 if missed == 0 else float("inf"))
