"""The budget of the plan, always in sight: params, MACs, bytes and the predicted drop, each against its target."""

import streamlit as st

from dashboard.facts.planning import planned_bytes
from dashboard.facts.targets import standing
from dashboard.panels.targets import Bounds
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.layers.table import LayerTable
from tdq_core.prediction.predictor import Prediction
from tdq_core.ranks.plan import Plan

PREDICTED = (
    "Nothing is built for it. How far the answers move when one layer alone is decomposed or rounded was measured once "
    "on unlabelled images; the plan's layers are added up, and the runs of this network say what such a sum costs."
)


def budget_strip(plan: Plan, table: LayerTable, precision: str, found: Prediction | None, bounds: Bounds) -> None:
    """Four numbers in a row. `found`: what is predicted, None where nothing was ever measured for it."""
    params, macs, size, drop = st.columns(4, gap="small")
    with params:
        help = f"{plan.params:,} of {table.params:,}"
        _tile("params", "Planned params", text.count(plan.params), plan.params, table.params, help, bounds)
    with macs:
        help = f"Per image: {plan.macs:,} of {table.macs:,}"
        _tile("macs", "Planned MACs", text.count(plan.macs), plan.macs, table.macs, help, bounds)
    with size:
        whole = plan.bytes or planned_bytes(plan, precision)
        told = "of the whole file" if plan.bytes else "a file also holds the graph and scales"
        dense = table.files.fp32 if plan.bytes and table.files else 4 * table.params
        label = "Planned bytes" if plan.bytes else "Weight bytes"
        _tile("bytes", label, text.file_size(whole), whole, dense, f"{whole:,} bytes; {told}.", bounds)
    with drop:
        _drop(found, bounds)


def _tile(name: str, label: str, shown: str, value: int, dense: int, help: str, bounds: Bounds) -> None:
    with st.container(gap=None):
        st.metric(label, shown, help=help)
        st.caption(standing(name, value, bounds.get(name)) or _times(dense / value if value else 1.0))


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x smaller" if ratio >= 1 else f"{1 / ratio:.2f}x larger"


def _drop(found: Prediction | None, bounds: Bounds) -> None:
    with st.container(gap=None):
        if found is None or found.drop is None or found.low is None or found.high is None:
            st.metric("Predicted drop", "\N{EN DASH}", help=PREDICTED)
            st.caption("not yet" if found is None else f"none: {plain(found.reason or '')}")
            return
        shown = "within noise" if found.within_noise else text.points(found.drop)
        st.metric("Predicted drop", shown, help=f"In points of top-1. {PREDICTED} {_basis(found)}")
        st.caption(standing("drop", found.high, bounds.get("drop")) or text.interval(found.low, found.high))


def _basis(found: Prediction) -> str:
    if not found.runs:
        return "The interval of 90 % is judged by other networks' runs."
    return f"The interval of 90 % is judged by {found.runs} run{'s' * (found.runs != 1)} of this network."
