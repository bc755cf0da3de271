"""How ranks are chosen, as a frozen value that is checked when it is made. No torch here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tdq_core.errors import InputError

RANK_RULES = ("ratio", "manual", "energy", "vbmf")
POLICIES = ("uniform", "later", "energy", "vbmf", "global")
BUDGETS = ("params", "macs")

Rank = int | tuple[int, ...] | None
"""A rank by hand: one int (svd, cp), (rank_out, rank_in) for tucker2, or None to leave the layer alone."""


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"The '{name}' must be one of {', '.join(allowed)}. Got '{value}'.")


@dataclass(frozen=True)
class RankRule:
    """How ranks are chosen.

    Attributes:
        kind: 'ratio' (`value` = whole-model params, original / compressed), 'energy' (`value` = share of each
            unfolding's squared singular values that is kept, in (0, 1]), 'vbmf' (`value` = weakening factor in
            (0, 1]: rank = full - value * (full - EVBMF rank)), or 'manual' (`ranks` by layer name).
        keep_ends: leave the first convolution and the classifier dense (small, and most sensitive);
            'manual' ignores it, for there every layer is named.
        policy: how a 'ratio' is shared out over the layers, see `tdq_core.ranks.policies`.
        budget: what a 'ratio' counts: 'params' or 'macs' of the whole model.
        multiple: ranks of a 'ratio' are multiples of this, which kernels like (1: any rank).
        depth: of the policy 'later': a layer at relative depth d in [0, 1] gives up its params with weight d ** depth.
    """

    kind: str
    value: float | None = None
    ranks: Mapping[str, Rank] = field(default_factory=dict)
    keep_ends: bool = True
    policy: str = "uniform"
    budget: str = "params"
    multiple: int = 1
    depth: float = 1.0

    def __post_init__(self) -> None:
        require_choice("rank rule", self.kind, RANK_RULES)
        require_choice("policy", self.policy, POLICIES)
        require_choice("budget", self.budget, BUDGETS)
        self._check_sharing()
        if self.kind == "manual":
            object.__setattr__(self, "ranks", {name: _checked_rank(name, r) for name, r in self.ranks.items()})
            if not self.ranks:
                raise InputError('Ranks by hand must name at least one layer, as {"layer": rank}. Got none.')
            return
        if self.ranks:
            raise InputError(f"Ranks by layer go with the rank rule 'manual'. Got them with '{self.kind}'.")
        self._check_value()

    def _check_sharing(self) -> None:
        if isinstance(self.multiple, bool) or not isinstance(self.multiple, int) or not 1 <= self.multiple <= 64:
            raise InputError(f"The 'multiple' of ranks must be an int in [1, 64]. Got {self.multiple!r}.")
        if isinstance(self.depth, bool) or not isinstance(self.depth, int | float) or not 0 <= self.depth <= 16:
            raise InputError(f"The 'depth' exponent must be in [0, 16]. Got {self.depth!r}.")
        if self.depth != 1 and self.policy != "later":
            raise InputError(f"The 'depth' exponent is one of the policy 'later'. Got it with '{self.policy}'.")
        if self.kind != "ratio" and self._sharing():
            raise InputError(
                f"A policy, a budget and a multiple share out a ratio: give them with --ratio. Got '{self.kind}'."
            )

    def _sharing(self) -> dict[str, Any]:
        """The fields that say how a ratio is shared out, where they are not at their defaults."""
        defaults = {"policy": "uniform", "budget": "params", "multiple": 1, "depth": 1.0}
        return {name: getattr(self, name) for name, usual in defaults.items() if getattr(self, name) != usual}

    def _check_value(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or self.value != self.value:
            raise InputError(f"The rank rule '{self.kind}' needs one number. Got {self.value!r}.")
        if self.kind == "ratio" and not 1 < self.value < float("inf"):
            raise InputError(
                "The 'ratio' is original / compressed params of the whole model and must be above 1 "
                f"(2.0 keeps half). Got {self.value:g}."
            )
        if self.kind != "ratio" and not 0 < self.value <= 1:
            name = "kept energy" if self.kind == "energy" else "VBMF weakening factor"
            raise InputError(f"The {name} must be in (0, 1]. Got {self.value:g}.")

    def to_dict(self) -> dict[str, Any]:
        if self.kind == "manual":
            return {"kind": self.kind, "ranks": {n: _plain_rank(r) for n, r in sorted(self.ranks.items())}}
        plain = {"kind": self.kind, "value": self.value, "keep_ends": self.keep_ends}
        return plain | self._sharing()


def _checked_rank(layer: str, rank: Any) -> Rank:
    if rank is None:
        return None
    parts = tuple(rank) if isinstance(rank, list | tuple) else (rank,)
    if not parts or any(isinstance(p, bool) or not isinstance(p, int) or p < 1 for p in parts):
        raise InputError(
            f"The 'rank' of layer '{layer}' must be an int of at least 1, a list of such ints "
            f"(tucker2: [rank_out, rank_in]) or null to leave the layer alone. Got {json.dumps(rank)}."
        )
    return parts[0] if len(parts) == 1 else parts


def _plain_rank(rank: Rank) -> int | list[int] | None:
    return list(rank) if isinstance(rank, tuple) else rank
