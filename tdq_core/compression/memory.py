"""What was found for one run and serves the next: factors, by the content of the kernels that they are of."""

import hashlib
from collections import OrderedDict

from torch import Tensor

from tdq_core.compression.decompose.factors import Factors, Options
from tdq_core.compression.methods import decompose

KEPT = 256
"""Layers whose factors are kept, the last ones asked for: three networks of ResNet-50's depth."""


class Memory:
    """Factors that were found, for as long as whoever holds it wants them. Nothing in it is ever changed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Factors] = OrderedDict()

    def factors(
        self, weight: Tensor, method: str, ranks: tuple[int, ...], options: Options, *, groups: int = 1
    ) -> Factors:
        """Factors of `weight` (C_out, C_in / groups, K_h, K_w) by `method`; the same arguments are computed once."""
        content = hashlib.sha256(weight.contiguous().numpy().tobytes()).hexdigest()
        key = (content, tuple(weight.shape), method, ranks, options, groups)
        if key not in self._kept:
            self._kept[key] = decompose(weight, method, ranks, options, groups=groups)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
