"""What was found for one run and serves the next: factors, by the content of the kernels that they are of."""

import functools
import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tdq_core.compression.decompose.factors import Factors, Options
from tdq_core.compression.decompose.filed import from_bytes, to_bytes
from tdq_core.compression.methods import decompose, grows_from
from tdq_core.system.cache import Cache
from tdq_core.system.progress import Progress, silent
from tdq_core.system.side_by_side import side_by_side

KEPT = 256
"""Layers whose factors are kept in memory, the last ones asked for: three networks of ResNet-50's depth."""
WORTH = 0.05
"""Seconds from which on factors are worth a file."""


@dataclass(frozen=True)
class Wanted:
    """Factors that are asked for, of `weight` (C_out, C_in / groups, K_h, K_w) by `method`, each group at `ranks`."""

    weight: Tensor
    method: str
    ranks: tuple[int, ...]
    options: Options
    groups: int = 1

    @functools.cached_property
    def name(self) -> str:
        """Of all that the factors follow from: the numbers, what is asked, and the code that answers."""
        weight = self.weight.contiguous()
        asked = (tuple(weight.shape), str(weight.dtype), self.method, self.ranks, self.options, self.groups)
        digest = hashlib.sha256(weight.numpy().tobytes())
        digest.update(repr((asked, _code())).encode())
        return digest.hexdigest()

    @property
    def below(self) -> "Wanted | None":
        """What they grow from; None where they need no others."""
        lower = grows_from(self.method, self.ranks, self.options)
        return Wanted(self.weight, self.method, lower, self.options, self.groups) if lower else None

    @property
    def cost(self) -> float:
        return float(self.weight.numel() * max(self.ranks))


class Memory:
    """Factors that were found, here or by another process that keeps them in the same `cache`. Nothing in it is ever
    changed."""

    def __init__(self, cache: Cache | None = None) -> None:
        self._cache = cache
        self._kept: OrderedDict[str, Factors] = OrderedDict()

    def factors(
        self, weight: Tensor, method: str, ranks: tuple[int, ...], options: Options, *, groups: int = 1
    ) -> Factors:
        """Factors of one kernel; the same ones are found once."""
        return self.find([Wanted(weight, method, ranks, options, groups)])[0]

    def find(
        self, wanted: Sequence[Wanted], *, on_progress: Progress = silent, stage: str = "decompose"
    ) -> list[Factors]:
        """Factors of all these kernels, in their order; those that are not known yet are found side by side, after the
        ones that they grow from."""
        known = {each.name: self._known(each.name) for each in wanted}
        new = {each.name: each for each in wanted if known[each.name] is None}
        lower = {name: each.below for name, each in new.items() if each.below}
        found_below = dict(zip(lower, self.find(list(lower.values()), stage=stage), strict=True)) if lower else {}
        have = len(wanted) - len(new)

        def on_done(done: int) -> None:
            on_progress(stage, have + done, len(wanted))

        names = list(new)

        def on_result(which: int, found: tuple[Factors, float]) -> None:
            known[names[which]] = found[0]
            self._keep(names[which], *found)

        on_done(0)
        jobs = [(each, found_below.get(name)) for name, each in new.items()]
        costs = [each.cost for each in new.values()]
        side_by_side(_found, jobs, costs=costs, on_done=on_done, on_result=on_result)
        return [factors for each in wanted if (factors := known[each.name]) is not None]

    def _known(self, name: str) -> Factors | None:
        if name not in self._kept:
            content = self._cache.get(name) if self._cache else None
            factors = from_bytes(content) if content else None
            if factors is None:
                return None
            self._kept[name] = factors
        self._kept.move_to_end(name)
        return self._kept[name]

    def _keep(self, name: str, factors: Factors, seconds: float) -> None:
        self._kept[name] = factors
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        if self._cache and seconds >= WORTH and (content := to_bytes(factors)):
            self._cache.put(name, content)


def _found(job: tuple[Wanted, Factors | None]) -> tuple[Factors, float]:
    """The factors and the seconds that they took, from those below."""
    (wanted, below), begun = job, time.monotonic()
    factors = decompose(wanted.weight, wanted.method, wanted.ranks, wanted.options, groups=wanted.groups, below=below)
    return factors, time.monotonic() - begun


@functools.cache
def _code() -> str:
    """Of the sources that factors are found by, and of torch: other code may find others."""
    here = Path(__file__).parent
    digest = hashlib.sha256(torch.__version__.encode())
    for source in [here / "methods.py", *sorted((here / "decompose").glob("*.py"))]:
        digest.update(source.read_bytes())
    return digest.hexdigest()
