"""What every decomposition asks of a kernel and its ranks before any work."""

from collections.abc import Sequence

from torch import Tensor

from tdq_core.errors import InputError


def shown(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def require_finite(kernel: Tensor) -> None:
    """Raises InputError where `kernel` (any shape) holds NaN or infinite values."""
    if bad := int((~kernel.isfinite()).sum()):
        raise InputError(
            f"A kernel of {shown(kernel.shape)} cannot be decomposed: {bad} of its "
            f"{kernel.numel()} values are NaN or infinite; check the weights file."
        )


def require_ranks(method: str, shape: Sequence[int], ranks: tuple[int, ...], tops: tuple[int | None, ...]) -> None:
    """Raises InputError unless every rank is at least 1 and at most its top (None: as large as one likes)."""
    if all(1 <= rank and (top is None or rank <= top) for rank, top in zip(ranks, tops, strict=True)):
        return
    allowed = " and ".join("at least 1" if top is None else f"in [1, {top}]" for top in tops)
    name, given = ("rank", str(ranks[0])) if len(ranks) == 1 else ("ranks [out, in]", str(list(ranks)))
    raise InputError(f"The {method} {name} of a kernel of {shown(shape)} must be {allowed}. Got {given}.")
