"""Plan a run: method, precision, rank rule, ranks by layer; what it would cost; and the Run button."""

import contextlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import streamlit as st

from dashboard import catalog, text
from dashboard.offers import Offers
from dashboard.palette import BACKEND_LABELS, METHOD_LABELS, PRECISION_LABELS
from dashboard.panels import ranks
from dashboard.panels.jobs import submit
from dashboard.panels.subject import spec_of
from dashboard.planning import Hand, hand_from, hand_rule, planned_bytes, untouched
from dashboard.state import DEFAULT_RATIO, RULES, Subject, choice, flag, number
from tdq_core.errors import Refused, TDQError
from tdq_core.jobs import Request
from tdq_core.layer_files import layer_file_name
from tdq_core.layers import LayerTable
from tdq_core.ranks.plan import Plan
from tdq_core.specs import METHODS, RankRule, RunSpec


class Choices(NamedTuple):
    """What the controls say; `rule` is the kind of rank rule."""

    method: str
    precision: str
    backend: str
    rule: str
    value: float | None
    keep_ends: bool


@st.fragment
def planner(subject: Subject, offers: Offers) -> None:
    """Everything from the choice of a method to the Run button."""
    spec = spec_of(subject, offers)
    st.subheader("Plan a run")
    choices = _choose()
    table = _table_or_button(spec, offers)
    if table is None:
        return
    context = f"{layer_file_name(spec)}:{choices.method}"
    planned = _plan(spec, choices, context)
    _costs_and_run(spec, offers, choices, planned, table)
    ranks.layer_table_and_sliders(table, planned[1] if planned else untouched(table), choices.method, context)


def _choose() -> Choices:
    with st.container(horizontal=True, gap="medium"):
        method = _one_of("Method", {m: METHOD_LABELS[m] for m in METHODS}, "method", default="tucker2")
        precision = _one_of("Precision", PRECISION_LABELS, "precision", default="fp32")
        backend = _one_of("Runs on", BACKEND_LABELS, "backend", default="torch")
        st.toggle(
            "EPC",
            disabled=True,
            help="Error-preserving correction bounds the components of CP, so that they survive INT8. "
            "It is not switched on here yet; `tdq run --method cp --epc` measures it, and its runs are shown.",
        )
    if method == "none":
        return Choices(method, precision, backend, "ratio", None, True)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        rule = _one_of("Ranks by", RULES, "rule", default="ratio", on_change=_rule_changed)
        value = _value(rule)
        ends = st.toggle(
            "Keep first and last layer dense",
            disabled=rule == "manual",
            help="They are small and the most sensitive. By hand, every layer is its own choice.",
            **flag("ends", True),
        )
    return Choices(method, precision, backend, rule, value, ends)


def _one_of(
    label: str, labels: Mapping[str, str], key: str, *, default: str, on_change: Callable[[], None] | None = None
) -> str:
    options = tuple(labels)
    return st.segmented_control(
        label,
        options,
        format_func=labels.__getitem__,
        required=True,
        on_change=on_change,
        **choice(key, options, default=default),
    )


def _value(rule: str) -> float | None:
    if rule == "ratio":
        return st.number_input(
            "Params, original / compressed",
            1.01,
            1000.0,
            step=0.1,
            format="%.2f",
            width=230,
            help="Of the whole model: 2 keeps half.",
            **number("ratio", DEFAULT_RATIO, 1.01, 1000.0),
        )
    if rule == "energy":
        return st.slider(
            "Share of squared singular values kept", 0.50, 1.0, step=0.01, width=260, **number("energy", 0.9, 0.5, 1.0)
        )
    if rule == "vbmf":
        return st.slider(
            "Weakening",
            0.05,
            1.0,
            step=0.05,
            width=260,
            **number("vbmf", 1.0, 0.05, 1.0),
            help="rank = full - weakening x (full - EVBMF rank); 1 takes the EVBMF rank.",
        )
    return None


def _rule_changed() -> None:
    """Ranks by hand start from the ranks of the rule that was in force."""
    if st.session_state["rule"] == "manual" and (last := st.session_state.get("planned")):
        st.session_state.setdefault("hand", {})[last[0]] = dict(last[1])


def _table_or_button(spec: RunSpec, offers: Offers) -> LayerTable | None:
    try:
        table = catalog.layer_table(spec)
    except TDQError as error:
        st.error(str(error), icon=":material/broken_image:")
        return None
    if table is None:
        with st.container(border=True):
            st.markdown(
                f"**The layers of {spec.model} have not been read yet.** Planning needs their shapes and spectra."
            )
            if st.button("Read the layers", type="primary", icon=":material/layers:"):
                submit(Request("layers", spec, offers.allowed))
                st.rerun()
    return table


def _plan(spec: RunSpec, choices: Choices, context: str) -> tuple[RankRule | None, Plan] | None:
    """The rule and the plan that follows from it; None where it cannot be made, with the reason on the page."""
    try:
        rule = _rule(spec, choices, context)
        plan = catalog.plan(spec, choices.method, rule)
    except TDQError as error:
        st.warning(text.on_screen(str(error)), icon=":material/block:")
        return None
    st.session_state["planned"] = (context, hand_from(plan))
    return rule, plan


def _rule(spec: RunSpec, choices: Choices, context: str) -> RankRule | None:
    if choices.method == "none":
        return None
    if choices.rule == "manual":
        return hand_rule(_hand(spec, choices.method, context))
    return RankRule(choices.rule, choices.value, keep_ends=choices.keep_ends)


def _hand(spec: RunSpec, method: str, context: str) -> Hand:
    """The ranks by hand of this model and method; at first those of the default ratio."""
    hands: dict[str, Hand] = st.session_state.setdefault("hand", {})
    if context not in hands:
        hands[context] = {}
        with contextlib.suppress(Refused):  # a ratio out of reach: every layer is left alone at first
            hands[context] = hand_from(catalog.plan(spec, method, RankRule("ratio", DEFAULT_RATIO)))
    return hands[context]


def _costs_and_run(
    spec: RunSpec, offers: Offers, choices: Choices, planned: tuple[RankRule | None, Plan] | None, table: LayerTable
) -> None:
    *tiles, right = st.columns([2, 2, 2, 1], vertical_alignment="center")
    if planned:
        plan = planned[1]
        size = planned_bytes(plan, choices.precision)
        tiles[0].metric("Planned params", text.count(plan.params), help=f"{plan.params:,} of {table.params:,}")
        tiles[0].caption(text.both_ways(plan.compression_ratio))
        tiles[1].metric("Planned MACs per image", text.count(plan.macs), help=f"{plan.macs:,} of {table.macs:,}")
        tiles[1].caption(text.both_ways(table.macs / plan.macs))
        tiles[2].metric(
            "Planned bytes, weights only",
            text.file_size(size),
            help=f"{size:,} bytes; a file also holds the graph and scales.",
        )
        tiles[2].caption(text.both_ways(4 * table.params / size))
    if right.button("Run", type="primary", icon=":material/play_arrow:", width="stretch", disabled=planned is None):
        wanted = offers.model(st.session_state["model"]).spec(
            offers.images(spec.data),
            samples=spec.samples,
            method=choices.method,
            rule=planned[0] if planned else None,
            precision=choices.precision,
            backend=choices.backend,
        )
        submit(Request("run", wanted, offers.allowed))
        st.rerun()
