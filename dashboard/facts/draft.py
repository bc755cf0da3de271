"""A run as far as it is planned, as one frozen value, and what changes it: pure functions, no streamlit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dashboard.facts.planning import Hand, HandBits, hand_rule
from tdq_core.layers.methods import Ranks
from tdq_core.specs import PRECISIONS, ModelSpec, RankRule, RunSpec
from tdq_core.specs.bits import ANY
from tdq_core.specs.choices import POLICIES, RULES
from tdq_core.specs.option import Field
from tdq_core.specs.run import defaults

MANUAL = "manual"
"""The rank rule whose ranks are chosen layer by layer, and the same of bits."""
DEFAULT_RATIO = 2.0
"""Of a rule by ratio, and of the ranks that ranks by hand start from where no plan was made."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How ranks are chosen.

    Attributes:
        kind: of `tdq_core.specs.choices.RULES`; value: what it needs, None by hand.
        sharing: the fields of the rule that say how a ratio is shared out; empty with the other rules.
    """

    kind: str = "ratio"
    value: float | None = DEFAULT_RATIO
    keep_ends: bool = True
    sharing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_spectrum(self) -> bool:
        """Whether it needs the layers' spectra."""
        policy = self.sharing.get("policy")
        return RULES[self.kind].by_spectrum or (policy is not None and POLICIES[policy].by_spectrum)


@dataclass(frozen=True)
class Planned:
    """The ranks of the latest plan, and the bits of layers that had some; `place` says of which layers and by which
    method."""

    place: str
    ranks: Hand
    bits: HandBits = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A run that is being planned.

    Attributes:
        subject: the untouched model on its images.
        options: the fields of the spec that have an effect, by their names in JSON; the method among them.
        table: name of the layer table that it is planned on, see `on_table`.
        hands: ranks by hand, by place; bits: those of weights by hand, by the network that they belong to.
        planned: the ranks of the latest plan.
    """

    subject: RunSpec
    options: Mapping[str, Any] = field(default_factory=dict)
    ranking: Ranking = Ranking()
    table: str = ""
    hands: Mapping[str, Hand] = field(default_factory=dict)
    bits: Mapping[ModelSpec, HandBits] = field(default_factory=dict)
    planned: Planned | None = None

    @property
    def method(self) -> str:
        method: str = self.options.get("method", "none")
        return method

    @property
    def precision(self) -> str:
        precision: str = self.options.get("precision", defaults()["precision"])
        return precision

    @property
    def by_hand(self) -> bool:
        return self.ranking.kind == MANUAL

    @property
    def place(self) -> str:
        """What ranks by hand belong to: these layers, by this method."""
        return f"{self.table}:{self.method}"

    @property
    def hand(self) -> Hand | None:
        """The ranks by hand in this place; None where there are none yet."""
        return self.hands.get(self.place)

    @property
    def takes_bits(self) -> bool:
        """Whether layers may have bits of their own."""
        return "bits" in self.options

    @property
    def hand_bits(self) -> HandBits | None:
        """The bits of weights that are given by hand; None where they are not chosen so."""
        return self.bits.get(self.subject.model, {}) if self.options.get("bits") == MANUAL else None

    def rule(self) -> RankRule | None:
        """How ranks are chosen; None where nothing is decomposed.

        Raises:
            InputError: a value out of its bounds; by hand, no layer is named.
        """
        if self.method == "none":
            return None
        if self.by_hand:
            return hand_rule(self.hand or {})
        ranking = self.ranking
        return RankRule(ranking.kind, ranking.value, keep_ends=ranking.keep_ends, **ranking.sharing)

    def spec(self) -> RunSpec:
        """The run that is planned.

        Raises:
            InputError: see `rule`; or options that cannot go together.
        """
        return self.subject.changed(**spelt_out(self.options, self.hand_bits), rule=self.rule())

    def read_for(self) -> RunSpec:
        """The run whose layer table the plan is made from: the planned one where ranks follow from its outputs'
        spectra, else the untouched model, for everything else follows from its weights.

        Raises:
            InputError: see `spec`.
        """
        by_outputs = self.options.get("calibrated") and self.ranking.by_spectrum
        return self.spec() if by_outputs else self.subject


def on_table(draft: Draft, table: str) -> Draft:
    """Planned on the layer table of this name."""
    return replace(draft, table=table)


def spelt_out(options: Mapping[str, Any], bits: HandBits | None = None) -> dict[str, Any]:
    """Options as a spec takes them: where bits of weights are by hand these, the others being the precision's."""
    if options.get("bits") != MANUAL:
        return dict(options)
    return {**options, "bits": dict(bits or {ANY: PRECISIONS[options["precision"]].weight_bits})}


def as_planned(draft: Draft, ranks: Hand, bits: HandBits | None = None) -> Draft:
    """A plan was made, with these ranks and bits."""
    return replace(draft, planned=Planned(draft.place, dict(ranks), dict(bits or {})))


def bits_by_hand(draft: Draft, bits: HandBits) -> Draft:
    """These bits of weights by hand, in place of any that there were."""
    return replace(draft, bits={**draft.bits, draft.subject.model: dict(bits)})


def with_bits(draft: Draft, bits: HandBits) -> Draft:
    """These layers at these bits by hand, the others as they were: by hand before, or chosen with ranks."""
    before = draft.hand_bits
    if before is None:
        chosen = draft.planned is not None and draft.planned.place == draft.place
        before = draft.planned.bits if chosen and draft.planned else {}
    own = replace(draft, options={**draft.options, "bits": MANUAL})
    return bits_by_hand(own, {**before, **bits})


def started_by_hand(draft: Draft, ranks: Hand) -> Draft:
    """These ranks by hand, in place of any that there were."""
    return replace(draft, hands={**draft.hands, draft.place: dict(ranks)})


def goes_on_by_hand(draft: Draft) -> Draft:
    """From now on by hand, from the ranks of the latest plan; without one in this place, from those by hand before."""
    by_hand = replace(draft, ranking=replace(draft.ranking, kind=MANUAL, value=None, sharing={}))
    here = draft.planned is not None and draft.planned.place == draft.place
    return started_by_hand(by_hand, draft.planned.ranks) if here and draft.planned else by_hand


def with_ranks(draft: Draft, ranks: Mapping[str, Ranks | None]) -> Draft:
    """These layers at these ranks by hand, the others as they are planned; None: left alone."""
    ours = draft
    if not draft.by_hand:
        planned = draft.planned.ranks if draft.planned and draft.planned.place == draft.place else {}
        ours = goes_on_by_hand(started_by_hand(draft, planned))
    hand = {**(ours.hand or {}), **ranks}
    return started_by_hand(ours, {name: own for name, own in hand.items() if own is not None})


def in_effect(fields: list[Field], chosen: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """What of `chosen` (by name in JSON) has an effect beside the rest, everything else being as `usual`.

    What needs something that has none has none either, whichever stands first.
    """
    left = {f.key: chosen[f.key] for f in fields}
    for _ in fields:  # each round settles at least one field more
        flat = {**usual, **left}
        left = {f.key: chosen[f.key] for f in fields if worth_showing(f, flat)}
    return left


def worth_showing(field: Field, flat: Mapping[str, Any]) -> bool:
    """Whether the field has an effect beside the others, `flat` being all of them by their names in JSON."""
    needs, shown = field.option.needs, field.option.shown
    return (needs is None or needs(flat)) and (shown is None or shown(flat))
