"""How ranks are chosen, as a frozen value that is checked when it is made. No torch here."""

import json
from collections.abc import Mapping
from numbers import Integral
from typing import Annotated, Any

from msgspec import Meta, field, structs

from tdq_core.errors import InputError
from tdq_core.specs.by_layer import by_layer_from_json
from tdq_core.specs.choices import BUDGETS, POLICIES, RULES, helps, labels
from tdq_core.specs.option import Option, require_choice, require_choices
from tdq_core.specs.value import Value, shown

Rank = int | tuple[int, ...] | None
"""A rank by hand: (rank_out, rank_in) for tucker2, one int otherwise, or None to leave the layer alone. Of a grouped
convolution each group has it."""

MOST = 2**31
"""Of a rank: no layer has as many channels."""
_IN_WORDS = {"energy": "kept energy", "vbmf": "VBMF weakening factor"}


class RankRule(Value, frozen=True):
    """How ranks are chosen.

    Attributes:
        kind: 'ratio' (`value` = whole-model params, original / compressed), 'energy' (`value` = share of each
            unfolding's squared singular values that is kept, in (0, 1]), 'vbmf' (`value` = weakening factor in
            (0, 1]: rank = full - value * (full - EVBMF rank)), or 'manual' (`ranks` by layer name).
        keep_ends: leave the first convolution and the classifier dense (small, and most sensitive);
            'manual' ignores it, for there every layer is named.
        policy: how a 'ratio' is shared out over the layers, see `tdq_core.ranks.policies`.
        budget: what a 'ratio' counts: 'params' or 'macs' of the whole model; 'bytes': those of the dense fp32 file over
            those of the packed file of simulated bits; 'latency': the time of the dense network at the run's precision
            over that of this one, as the layers were timed on this machine.
        multiple: ranks of a 'ratio' are multiples of this, which kernels like (1: any rank).
        batch, threads: of the budget 'latency': images a call, and threads of the runtime.
        depth: of the policy 'later': a layer at relative depth d in [0, 1] gives up its params with weight d ** depth.
    """

    kind: str
    value: float | None = None
    ranks: dict[str, Any] = field(default_factory=dict)
    keep_ends: bool = True
    policy: Annotated[
        str,
        Option(
            flag="--policy",
            label="Shared out by",
            choices=lambda: POLICIES,
            labels=lambda: labels(dict(POLICIES)),
            helps=lambda: helps(dict(POLICIES)),
            help="How a ratio is shared out over the layers.",
        ),
    ] = "uniform"
    budget: Annotated[
        str,
        Option(
            flag="--budget",
            label="Ratio of",
            choices=lambda: BUDGETS,
            labels=lambda: labels(BUDGETS),
            helps=lambda: helps(BUDGETS),
            help="What a ratio counts, of the whole model.",
        ),
    ] = "params"
    multiple: Annotated[
        Annotated[int, Meta(ge=1, le=64)],
        Option(flag="--multiple", label="Ranks", help="Ranks of a ratio are multiples of this."),
    ] = 1
    depth: Annotated[
        Annotated[float, Meta(ge=0, le=16)],
        Option(
            flag="--depth", label="Depth exponent", needs=lambda f: POLICIES[f["policy"]].has_depth,
            help="Policy later: a layer's weight is its relative depth ** DEPTH.",
        ),
    ] = 1.0  # fmt: skip
    batch: Annotated[
        Annotated[int, Meta(ge=1, le=4096)],
        Option(
            flag="--batch", label="Images a call", needs=lambda f: f["budget"] == "latency",
            help="Budget latency: images a call.",
        ),
    ] = 1  # fmt: skip
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)],
        Option(
            flag="--threads", label="Threads of a call", needs=lambda f: f["budget"] == "latency",
            help="Budget latency: threads of the runtime.",
        ),
    ] = 1  # fmt: skip

    def __post_init__(self) -> None:
        require_choice("rank rule", self.kind, RULES)
        if self.kind == "manual":
            if not isinstance(self.ranks, Mapping) or not all(isinstance(name, str) for name in self.ranks):
                raise InputError(f'Ranks by hand must be {{"layer": rank}}. Got {shown(self.ranks)}.')
            structs.force_setattr(self, "ranks", {n: checked_rank(n, r) for n, r in self.ranks.items()})
        super().__post_init__()
        require_choices(self)
        self._check_sharing()
        if self.kind == "manual":
            if not self.ranks:
                raise InputError('Ranks by hand must name at least one layer, as {"layer": rank}. Got none.')
        elif self.ranks:
            raise InputError(f"Ranks by layer go with the rank rule 'manual'. Got them with '{self.kind}'.")
        else:
            self._check_value()

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_dict(), sort_keys=True))

    def _check_sharing(self) -> None:
        if self.depth != 1 and not POLICIES[self.policy].has_depth:
            raise InputError(f"The 'depth' exponent is one of the policy 'later'. Got it with '{self.policy}'.")
        if (self.batch, self.threads) != (1, 1) and self.budget != "latency":
            raise InputError(
                f"A 'batch' and 'threads' are those of the budget 'latency'. Got them with '{self.budget}'."
            )
        if self.kind != "ratio" and self.sharing():
            raise InputError(
                f"The policy, the budget and the multiple share out a ratio, and the rank rule is '{self.kind}'. "
                f"Got {', '.join(f'{name} {value}' for name, value in self.sharing().items())}."
            )

    def sharing(self) -> dict[str, str | int | float]:
        """The fields that say how a ratio is shared out, where they are not at their defaults."""
        defaults = {"policy": "uniform", "budget": "params", "multiple": 1, "depth": 1.0, "batch": 1, "threads": 1}
        return {name: getattr(self, name) for name, usual in defaults.items() if getattr(self, name) != usual}

    def _check_value(self) -> None:
        if self.value is None:
            raise InputError(f"The rank rule '{self.kind}' needs one number. Got none.")
        if self.kind == "ratio" and self.value <= 1:
            raise InputError(
                "The 'ratio' is original / compressed params of the whole model and must be above 1 "
                f"(2.0 keeps half). Got {self.value:g}."
            )
        if self.kind != "ratio" and not 0 < self.value <= 1:
            raise InputError(f"The {_IN_WORDS[self.kind]} must be in (0, 1]. Got {self.value:g}.")

    def to_dict(self) -> dict[str, Any]:
        """As records hold it: `keep_ends` always, how a ratio is shared out where it is not the usual way."""
        if self.kind == "manual":
            return {"kind": self.kind, "ranks": {n: _plain_rank(r) for n, r in sorted(self.ranks.items())}}
        return {"kind": self.kind, "value": self.value, "keep_ends": self.keep_ends} | self.sharing()


def checked_rank(layer: str, rank: Any) -> Rank:
    """A rank by hand as a value; InputError where it is none."""
    if rank is None:
        return None
    parts = tuple(rank) if isinstance(rank, list | tuple) else (rank,)
    if not parts or any(isinstance(p, bool) or not isinstance(p, Integral) or not 1 <= int(p) <= MOST for p in parts):
        raise InputError(
            f"The 'rank' of layer '{layer}' must be an int of at least 1, a list of such ints "
            f"(tucker2: [rank_out, rank_in]) or null to leave the layer alone. Got {shown(rank)}."
        )
    whole = tuple(map(int, parts))  # numpy's are integers too
    return whole[0] if len(whole) == 1 else whole


def _plain_rank(rank: Rank) -> int | list[int] | None:
    return list(rank) if isinstance(rank, tuple) else rank


def ranks_from_json(text: str, source: str) -> Mapping[str, Any]:
    """Ranks by layer from JSON text; `source` is what an error calls it."""
    return by_layer_from_json(text, source, '{"layer": rank}')
