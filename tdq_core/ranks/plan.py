"""From a rule to a plan: which layer gets which rank, and what the model will cost. Numbers only, no torch.

A plan is made before anything is built, instantly, so that the screen can show it while a slider moves;
the costs it promises equal those counted on the built model exactly (a test demands it).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tdq_core.errors import InputError, Refused
from tdq_core.layers.methods import METHODS, Chooser, Method, Modes, Ranks, method
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.layers.times import of_plan
from tdq_core.ranks.allocate import solve_with_bits
from tdq_core.ranks.bits import bits_by_hand
from tdq_core.ranks.budget import FP32, Budget
from tdq_core.ranks.costs import Cost, cost, dense_cost, ladder, max_ranks, method_for, refusal
from tdq_core.ranks.fronts import Taken
from tdq_core.ranks.modes import energy_rank, evbmf_modes, ranks_or_reason, weakened
from tdq_core.ranks.packed import END_BITS, Packed
from tdq_core.ranks.policies import share_out
from tdq_core.ranks.takers import takers_of, why_left
from tdq_core.specs.choices import POLICIES, RULES
from tdq_core.specs.precision import TORCH
from tdq_core.specs.precision_spec import PrecisionSpec, require_countable
from tdq_core.specs.rank_rule import Rank, RankRule


def needs_spectra(rule: RankRule | None) -> bool:
    """Whether a plan by `rule` needs the layers' spectra."""
    return rule is not None and (RULES[rule.kind].by_spectrum or POLICIES[rule.policy].by_spectrum)


@dataclass(frozen=True)
class LayerPlan:
    """What is to become of one layer; `method` is 'none' and `skipped_because` tells why where it is left alone.

    Attributes:
        bits: of its weights, where they are chosen or given layer by layer; None: those of the precision, and at the
            ends of the network the usual ones. Of a decomposed end the outermost weight keeps the usual ones too.
    """

    layer: Layer
    method: str
    ranks: Ranks
    cost: Cost
    skipped_because: str | None = None
    bits: int | None = None

    def __str__(self) -> str:
        """'64→128 3x3  tucker2 32 x 16, 7,000 of 73,728 params', or why it is left alone."""
        bits = f", {self.bits} bits" if self.bits else ""
        if self.method == "none":
            return f"{self.layer.shape_text}  left alone: {self.skipped_because}{bits}"
        ranks = self.layer.ranks_text(self.ranks)
        params = f"{self.cost.params:,} of {self.layer.params:,} params"
        return f"{self.layer.shape_text}  {self.method} {ranks}, {params}{bits}"


@dataclass(frozen=True)
class Plan:
    """A plan for every layer of a table, and the planned cost of the whole model.

    Attributes:
        bytes: of the packed file of simulated bits; None of other precisions, and where the table does not say what the
            network's files hold beside its layers.
        ns: of a call, as the layers were timed; None where they were not.
    """

    layers: tuple[LayerPlan, ...]
    params: int
    macs: int
    compression_ratio: float
    bytes: int | None = None
    ns: int | None = None

    @property
    def bits(self) -> dict[str, int]:
        """By layer those of its weights, where they are chosen or given layer by layer: what `--bits` takes."""
        return {p.layer.name: p.bits for p in self.layers if p.bits}

    def decomposed(self) -> tuple[LayerPlan, ...]:
        return tuple(p for p in self.layers if p.method != "none")

    def __str__(self) -> str:
        """A line a layer, and the whole."""
        wide = max((len(p.layer.name) for p in self.layers), default=0)
        lines = [f"{p.layer.name:<{wide}}  {p}" for p in self.layers]
        whole = f"{self.params:,} params ({self.compression_ratio:.2f}x smaller), {self.macs:,} MACs"
        whole += f", {self.bytes:,} bytes" if self.bytes else ""
        whole += f", {self.ns / 1e6:.3g} ms" if self.ns else ""
        return "\n".join([*lines, whole])


def lacks(table: LayerTable, rule: RankRule | None, precision: PrecisionSpec) -> bool:
    """Whether `table` was read without something that a plan by `rule` needs: what files hold, what rounding does."""
    if rule is None or rule.budget != "bytes":
        return False
    return table.files is None or (precision.bits == "auto" and not all(la.rounding for la in table.layers))


def make_plan(table: LayerTable, method: str, rule: RankRule | None, precision: PrecisionSpec = FP32) -> Plan:
    """Plan `method` with ranks by `rule` over the layers of `table`.

    Args:
        precision: of the file: bytes and bits follow from it, nothing else does.

    Raises:
        InputError: a rank by hand names an unknown layer or is out of its range; the policy cannot go with the method;
            the table lacks what bytes or bits are planned by.
        Refused: the ratio is out of reach, or no layer can be decomposed.
    """
    if method == "none" or rule is None:
        return whole(table, [left_alone(la, "the method is 'none'") for la in table.layers], precision)
    require_countable(rule.budget, precision.name, precision.backend)
    if needs_spectra(rule) and any(not (la.refusal or la.spectrum_out) for la in table.layers):
        raise InputError(f"The layer table of '{table.model}' has no spectra: read the layers anew.")
    _require_times(table, rule)
    if POLICIES[rule.policy].by_sensitivities and not any(la.changes for la in table.layers):
        raise InputError(
            f"The policy '{rule.policy}' goes by what each layer of '{table.model}' does to the answers, which was not "
            "measured: `tdq sensitivity` with the same model and images measures it."
        )
    plans = _PLANNERS[rule.kind](method, Budget(table, rule, precision))
    if not any(p.method != "none" or p.bits for p in plans):
        reasons = sorted({p.skipped_because or "" for p in plans})
        raise Refused(
            f"No layer of '{table.model}' is decomposed by {method} with this rank rule: {'; '.join(reasons)}. "
            "Choose another method or rule."
        )
    return whole(table, plans, precision)


def _require_times(table: LayerTable, rule: RankRule) -> None:
    if rule.budget == "latency" and (table.dense_ns is None or not any(la.times for la in table.layers)):
        raise InputError(
            f"The layers of '{table.model}' were not timed, which the budget 'latency' goes by: `tdq layer-times` with "
            "the same model, images and precision times them."
        )


def whole(table: LayerTable, plans: Sequence[LayerPlan], precision: PrecisionSpec) -> Plan:
    own = bits_by_hand(table, precision, {p.layer.name for p in plans if p.method != "none"})
    plans = [replace(p, bits=own[p.layer.name]) for p in plans] if own else plans
    params = table.params + sum(p.cost.params - p.layer.params for p in plans)
    macs = table.macs + sum(p.cost.macs - p.layer.macs for p in plans)
    if params < 1 or macs < 0:
        raise InputError(
            f"The layer table of '{table.model}' has more in its layers than in all: read the layers anew."
        )
    return Plan(tuple(plans), params, macs, table.params / params, _bytes(table, plans, precision), _ns(table, plans))


def _bytes(table: LayerTable, plans: Sequence[LayerPlan], precision: PrecisionSpec) -> int | None:
    if table.files is None or not precision.numbers.simulated or precision.backend != TORCH.name:
        return None
    file, usual = Packed(table, precision), precision.numbers.weight_bits
    return file.size([part for p in plans for part in file.parts(p.layer, p.method, p.ranks, p.bits or usual)])


def _ns(table: LayerTable, plans: Sequence[LayerPlan]) -> int | None:
    """What a call of the whole takes; None where it was not timed, or a layer not in its form."""
    if table.dense_ns is None:
        return None
    return of_plan(table.dense_ns, ((p.layer.times, p.method, p.ranks) for p in plans))


def left_alone(layer: Layer, reason: str, bits: int | None = None) -> LayerPlan:
    return LayerPlan(layer, "none", (), dense_cost(layer), reason, bits)


def taken(layer: Layer, method: str, ranks: Ranks, bits: int | None = None) -> LayerPlan:
    return LayerPlan(layer, method, ranks, cost(layer, method, ranks), bits=bits)


def _by_ratio(name: str, budget: Budget) -> list[LayerPlan]:
    table, rule, asked = budget.table, budget.rule, METHODS[name]
    if POLICIES[rule.policy].by_prediction and isinstance(asked, Method) and not asked.predicts:
        with_bits = " and give bits by hand" if budget.chooses_bits else ""
        raise InputError(
            f"The policy '{rule.policy}' predicts a layer's error from its spectra, and no spectrum predicts that of "
            f"{asked.label}: share the ratio out by 'uniform' or 'later'{with_bits}. Got '{name}'."
        )
    if isinstance(asked, Chooser) and asked.among and not POLICIES[rule.policy].finds_forms:
        able = " and ".join(row.name for row in POLICIES.values() if row.finds_forms)
        raise InputError(f"The method '{name}' goes with the policies {able}. Got '{rule.policy}'.")
    shares: dict[str, Taken | str] = {la.name: reason for la in table.layers if (reason := why_left(la, name, budget))}
    takers = takers_of(name, budget)
    if budget.precision.bits == "auto":
        return _with_bits(name, {n: s for n, s in shares.items() if isinstance(s, str)}, budget)
    if takers:
        shares |= share_out(takers, budget)
    return [_planned(la, shares[la.name]) for la in table.layers]


def _with_bits(name: str, left: Mapping[str, str], budget: Budget) -> list[LayerPlan]:
    """Ranks and bits chosen together; those that are `left` take bits alone."""
    layers = budget.table.layers
    if lacks(budget.table, budget.rule, budget.precision):
        raise InputError(
            f"The layer table of '{budget.table.model}' does not say what rounding does to its layers, which bits "
            "'auto' are chosen by: read the layers anew."
        )
    if budget.packed.files.tied:
        one, other = next(iter(budget.packed.files.tied.items()))
        raise InputError(
            f"Bits 'auto' are chosen for each layer by itself, and in '{budget.table.model}' the weight of '{one}' is "
            f"that of '{other}': give bits by hand."
        )
    takers = {la.name: method_for(la, name) for la in layers if la.name not in left}
    chosen = solve_with_bits(takers, budget)
    reason = f"at this ratio other layers give up {budget.unit} at a smaller predicted error"
    plans = []
    for la in layers:
        ranks, bits = chosen.get(la.name, ((), None))
        share = ranks or left.get(la.name, reason)
        form = share if isinstance(share, str) else Taken(takers[la.name], share)
        plans.append(replace(_planned(la, form), bits=END_BITS if la.end and not ranks and bits else bits))
    return plans


def _planned(layer: Layer, share: Taken | str) -> LayerPlan:
    return left_alone(layer, share) if isinstance(share, str) else taken(layer, *share)


def _by_spectrum(name: str, budget: Budget, modes_of: Callable[[Layer], Modes], least: int) -> list[LayerPlan]:
    plans = []
    for la in budget.table.layers:
        own = method_for(la, name)
        ranks = why_left(la, name, budget) or ranks_or_reason(la, own, modes_of(la), budget, least=least)
        plans.append(_planned(la, ranks if isinstance(ranks, str) else Taken(own, ranks)))
    return plans


def _by_energy(method: str, budget: Budget) -> list[LayerPlan]:
    energy = budget.rule.value
    assert energy is not None, "checked by RankRule"
    return _by_spectrum(
        method, budget, lambda la: (energy_rank(la.spectrum_out, energy), energy_rank(la.spectrum_in, energy)), 1
    )


def _by_vbmf(method: str, budget: Budget) -> list[LayerPlan]:
    factor = budget.rule.value
    assert factor is not None, "checked by RankRule"
    return _by_spectrum(method, budget, lambda la: weakened(la, evbmf_modes(la), factor), 2)


def _by_hand(method: str, budget: Budget) -> list[LayerPlan]:
    table, rule = budget.table, budget.rule
    for name in rule.ranks:
        if not table.has(name):
            raise InputError(f"The ranks name a layer '{name}' that '{table.model}' does not have; {table.near(name)}.")
    return [_one_by_hand(la, method, rule) for la in table.layers]


def _one_by_hand(layer: Layer, method: str, rule: RankRule) -> LayerPlan:
    if layer.name not in rule.ranks:
        return left_alone(layer, "the ranks by hand do not name it")
    rank = rule.ranks[layer.name]
    if rank is None:
        return left_alone(layer, "left alone by hand")
    method = method_for(layer, method)
    if reason := refusal(layer, method):
        return left_alone(layer, reason)
    return taken(layer, method, checked_ranks(layer, method, rank))


def checked_ranks(layer: Layer, name: str, rank: Rank) -> Ranks:
    """`rank` as the tuple that the method `name` takes (one int stands for all of them), or an InputError."""
    top = max_ranks(layer, name)
    given = rank if isinstance(rank, tuple) else (rank,) * len(top)
    fits = len(given) == len(top) and all(isinstance(r, int) and 1 <= r <= t for r, t in zip(given, top, strict=True))
    if fits:
        return tuple(r for r in given if r is not None)
    names = ", ".join(each.replace(" ", "_") for each in method(name).rank_names)
    several = f"[{names}] in {' and '.join(f'[1, {t}]' for t in top)}"
    rungs = ladder(layer, name)
    saves = f" It saves params up to {_shown(rungs[-1][0])}." if rungs else ""
    allowed = several if len(top) > 1 else f"an int in [1, {top[0]}]"
    which = f" of each of the {layer.groups} groups" if layer.groups > 1 else ""
    raise InputError(f"The {name} rank{which} of layer '{layer.name}' must be {allowed}. Got {_shown(given)}.{saves}")


def _shown(ranks: Sequence[int | None]) -> str:
    return str(ranks[0]) if len(ranks) == 1 else str(list(ranks))


_PLANNERS: dict[str, Callable[[str, Budget], list[LayerPlan]]] = {
    "ratio": _by_ratio,
    "energy": _by_energy,
    "vbmf": _by_vbmf,
    "manual": _by_hand,
}
