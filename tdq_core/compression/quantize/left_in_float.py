"""What an integer file holds in floats all the same: read from the file, whatever the quantizer says of itself."""

from collections.abc import Mapping

from torch import Tensor

SHOWN = 8
"""Names in a note."""


def left_in_float(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Name -> numbers of the floating-point tensors of two dimensions or more; biases, scales and norms have one."""
    return {n: t.numel() for n, t in tensors.items() if t.is_floating_point() and t.ndim > 1 and t.numel() > 1}


def left_in_float_note(left: Mapping[str, int]) -> tuple[str, ...]:
    """What a reader must know of weights that were not quantized."""
    if not left:
        return ()
    names = [f"{name} ({count:,})" for name, count in left.items()]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (f"Not quantized by this backend, and so left in fp32: {', '.join(names[:SHOWN])}{more}.",)
