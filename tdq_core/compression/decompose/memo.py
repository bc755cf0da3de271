"""Factors are kept for as long as the process lives: the next precision of the same model does not wait for them."""

import hashlib
from collections import OrderedDict

from torch import Tensor

from tdq_core.compression.decompose.methods import METHODS, Factors, Options

KEPT = 256
"""Layers whose factors are kept, the last ones asked for: three networks of ResNet-50's depth."""

_kept: OrderedDict[tuple[object, ...], Factors] = OrderedDict()


def factors_of(weight: Tensor, method: str, ranks: tuple[int, ...], options: Options) -> Factors:
    """The factors of `weight` (C_out, C_in, K_h, K_w) by `method`; computed once for the same arguments."""
    content = hashlib.sha256(weight.contiguous().numpy().tobytes()).hexdigest()
    key = (content, tuple(weight.shape), method, ranks, options)
    if key not in _kept:
        _kept[key] = METHODS[method](weight, ranks, options)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]
