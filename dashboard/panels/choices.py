"""The controls of a planned run: method, ranks, precision, and what is done between decomposition and integers.

All but the rank rule's follow from the fields of the specs: a field with a label in its option has a control here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.facts.draft import DEFAULT_RATIO, MANUAL, Draft, Ranking, goes_on_by_hand, in_effect, spelt_out
from dashboard.panels import controls
from dashboard.shelf.state import choice, flag, held_draft, hold, number
from tdq_core.errors import InputError
from tdq_core.layers.methods import METHODS, Method, chooses_forms
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.choices import POLICIES, RULES, Policy
from tdq_core.specs.option import Field, fields_of
from tdq_core.specs.run import defaults, fields

_FIRST = ("method", "epc", "eta")
"""Fields that stand before the ranks."""
_IN_SIGHT = (*_FIRST, "precision", "bits", "policy", "calibrated")
"""What most plans are made with; the other fields stand behind a button."""
Said = Mapping[str, Any]
"""Options by their names in JSON, as far as they have been said."""
PLAN_KEYS = (
    "rule", "ends", *RULES, *(f.key for f in (*fields(), *fields_of(RankRule)) if f.option.label),
)  # fmt: skip
"""What the controls below hold, by their keys."""


class Rows(NamedTuple):
    """Where controls stand: what is made of layers and numbers, how ranks are chosen, switches, and what is rarely
    needed."""

    top: DeltaGenerator
    ranks: DeltaGenerator
    switches: DeltaGenerator
    more: DeltaGenerator

    def of(self, field: Field) -> DeltaGenerator:
        if field.key not in _IN_SIGHT:
            return self.more
        return self.switches if controls.plain(field.kind) is bool else self.top


def _rows() -> Rows:
    across: dict[str, Any] = {"horizontal": True, "gap": "small", "vertical_alignment": "bottom"}
    top, ranks, switches = st.container(**across), st.container(**across), st.container(**across)
    return Rows(top, ranks, switches, switches.popover("More", icon=":material/tune:", help="Other options"))


def choose(subject: RunSpec, *, foretold: bool) -> Draft:
    """The controls; each is there only where it has an effect. What they say, as the session's draft. `foretold`:
    whether the network's sensitivities are known."""
    shown, rows = [f for f in fields() if f.option.label], _rows()
    effective = in_effect(shown, _chosen(shown), defaults())
    first = [f for f in shown if f.key in effective and f.key in _FIRST]
    last = [f for f in shown if f.key in effective and f.key not in _FIRST]

    def spec(said: Said, sharing: Said | None = None) -> RunSpec:
        rule = RankRule("ratio", DEFAULT_RATIO, **(sharing or {}))
        return subject.changed(**spelt_out(said), rule=None if said["method"] == "none" else rule)

    def some_way(said: Said) -> RunSpec:
        """With a way to share ranks out that goes with it; which one is chosen afterwards."""
        ways = [{"policy": name} for name in POLICIES]
        return spec(said, next((way for way in ways if _goes(way, lambda way: spec(said, way))), None))

    options = _drawn(first, {}, some_way, rows)
    dense = options["method"] == "none"
    ranking = (
        Ranking(value=None)
        if dense
        else _ranking(
            lambda p: _can_share(p, options["method"], foretold=foretold),
            ["ratio"] if chooses_forms(options["method"]) else list(RULES),
            rows,
        )
    )
    options = _drawn(last, options, lambda said: spec(said, ranking.sharing), rows)
    held = held_draft() or Draft(subject=subject)
    return replace(held, subject=subject, options=options, ranking=ranking)


def _chosen(those: list[Field]) -> dict[str, Any]:
    """What the controls of these fields would say, whether they are there or not."""
    return {f.key: controls.value_of(f, controls.setting(f).value()) for f in those}


def _drawn(those: list[Field], said: Said, make: Callable[[Said], object], rows: Rows) -> dict[str, Any]:
    """Controls, each in its row, in the order of the page, and what they say beside what was `said` before; of choices
    those with which the value that `make` makes of everything can be had."""
    said = dict(said)
    for field in controls.in_order(those):
        options = [name for name in controls.names(field) if _goes({**said, field.key: name}, make)]
        with rows.of(field):
            said[field.key] = controls.draw(field, options or controls.names(field))
    return said


def _goes(said: Said, make: Callable[[Said], object]) -> bool:
    try:
        make(said)
    except InputError:
        return False
    return True


def _can_share(policy: Policy, method: str, *, foretold: bool) -> bool:
    """Whether there is what the policy shares a ratio out by."""
    asked = METHODS[method]
    if chooses_forms(method) and not policy.finds_forms:
        return False
    if policy.by_prediction and isinstance(asked, Method) and not asked.predicts:
        return False
    return not policy.by_sensitivities or foretold


def _ranking(can_share: Callable[[Policy], bool], kinds: list[str], rows: Rows) -> Ranking:
    labels = {name: RULES[name].label for name in kinds}
    with rows.ranks:
        kind = controls.side_by_side("Ranks by", labels, choice("rule", list(labels)), on_change=_rule_changed)
        value = _value(kind)
    sharing = _sharing(can_share, rows) if kind == "ratio" else {}
    with rows.switches:
        ends = st.toggle(
            "Keep first and last layer dense",
            disabled=kind == MANUAL,
            help="They are small and the most sensitive. By hand, every layer is its own choice.",
            **flag("ends", True),
        )
    return Ranking(kind=kind, value=value, keep_ends=ends, sharing=sharing)


def _sharing(can_share: Callable[[Policy], bool], rows: Rows) -> dict[str, Any]:
    """What a ratio counts, and how it is shared out over the layers."""

    def rule(said: Said) -> RankRule:
        if not can_share(POLICIES[said.get("policy", usual["policy"])]):
            raise InputError("Nothing is known here that this policy could go by.")
        return RankRule("ratio", DEFAULT_RATIO, **said)

    shown = [f for f in fields_of(RankRule) if f.option.label]
    usual = {f.key: f.default for f in fields_of(RankRule)}
    effective = in_effect(shown, _chosen(shown), usual)
    return _drawn([f for f in shown if f.key in effective], {}, rule, rows)


def _value(kind: str) -> float | None:
    """The number that the rank rule needs."""
    if kind == MANUAL:
        return None
    if kind == "ratio":
        return st.number_input(
            "Original / compressed",
            1.01,
            1000.0,
            step=0.1,
            format="%.2f",
            width=150,
            help="Of the params or MACs of the whole model, or of the bytes of its file: 2 keeps half.",
            **number("ratio", DEFAULT_RATIO, 1.01, 1000.0),
        )
    if kind == "energy":
        return st.slider(
            "Share of squared singular values kept", 0.50, 1.0, step=0.01, width=260, **number("energy", 0.9, 0.5, 1.0)
        )
    if kind == "vbmf":
        return st.slider(
            "Weakening",
            0.05,
            1.0,
            step=0.05,
            width=260,
            **number("vbmf", 1.0, 0.05, 1.0),
            help="rank = full - weakening x (full - EVBMF rank); 1 takes the EVBMF rank.",
        )
    label = RULES[kind].label
    return st.slider(
        label[0].upper() + label[1:], 0.01, 1.0, step=0.01, width=260, help=RULES[kind].help,
        **number(kind, 0.5, 0.01, 1.0),
    )  # fmt: skip


def _rule_changed() -> None:
    """Ranks by hand start from the ranks of the rule that was in force."""
    if st.session_state["rule"] == MANUAL and (draft := held_draft()):
        hold(goes_on_by_hand(draft))
