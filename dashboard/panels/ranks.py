"""The table of layers, and rank sliders for the rows that are selected."""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard.facts.draft import MANUAL, Draft, with_ranks
from dashboard.facts.planning import (
    at_share,
    can_be_decomposed,
    largest,
    layer_rows,
    saving_limit,
    starting_ranks,
)
from dashboard.figures.plan import plan_bars, plan_figure
from dashboard.panels import charts
from dashboard.shelf.state import held_draft, hold, number
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.layers.methods import Ranks
from tdq_core.layers.methods import method as method_of
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.ranks.costs import max_ranks, method_for
from tdq_core.ranks.plan import LayerPlan, Plan

MOST_SLIDERS = 8
_COLUMNS = {
    "params": st.column_config.NumberColumn("params", format="localized"),
    "share": st.column_config.NumberColumn("share", format="percent", help="Of the params of the whole model"),
    "ranks": st.column_config.TextColumn("ranks", help="Tucker-2: out x in; of each group, where there are several"),
    "planned": st.column_config.NumberColumn("planned", format="localized"),
    "bits": st.column_config.NumberColumn("bits", help="Of its weights, chosen with the ranks"),
    "why": st.column_config.TextColumn("left alone because", width="large"),
}


def layer_table_and_sliders(table: LayerTable, plan: Plan, draft: Draft, *, drawn: bool = True) -> None:
    """All layers as a table; sliders for the selected ones, or for the largest where none is selected. `drawn`: whether
    there is a plan whose layers can be drawn."""
    containing = st.text_input(
        "Layers whose name contains", placeholder="all layers", key="layers_shown", persist_state="session", width=260
    )
    method, place = draft.method, draft.place
    rows = layer_rows(table, plan, containing=containing or "")
    if not rows:
        st.info(f"None of the {len(table.layers)} layers has {plain(containing)} in its name.")
        return
    left, right = st.columns([5, 3], gap="medium")
    with left:
        selected = _table(rows, place, containing)
        if method != "none" and drawn:
            with st.expander("What each layer keeps", expanded=True):
                shown_bars = plan_bars(_among(plan, [str(row["layer"]) for row in rows]))
                charts.draw(plan_figure(shown_bars), "plan_bars", bare=True)
    if method == "none":
        return
    shown = [str(row["layer"]) for row in rows]
    with right:
        _apply_to_many(table, method, selected=selected, shown=shown)
        _sliders(plan, draft, selected or [n for n in (largest(_among(plan, shown)),) if n] or shown[:1])


def _among(plan: Plan, names: list[str]) -> list[LayerPlan]:
    return [p for p in plan.layers if p.layer.name in names]


def _table(rows: list[dict[str, object]], place: str, containing: str | None) -> list[str]:
    """The names of the selected rows."""
    event = st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config=_COLUMNS,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"layers:{place}:{containing}",
        height="content" if len(rows) <= 12 else 440,
    )
    st.caption(f"{len(rows)} layers. Select rows for their rank sliders.")
    return [str(rows[i]["layer"]) for i in event.selection.rows if i < len(rows)]


def _apply_to_many(table: LayerTable, method: str, *, selected: list[str], shown: list[str]) -> None:
    names = selected or shown
    group = [table.layer(n) for n in names if can_be_decomposed(table.layer(n), method)]
    which = "selected" if selected else "shown"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.slider("Share of full rank (%)", 1, 100, **number("share", 50, 1, 100), width=230)
        st.button(
            f"Apply to {len(group)} {which}",
            on_click=_apply,
            args=(group, method),
            disabled=not group,
            help="Sets the ranks of these layers by hand.",
        )


def _sliders(plan: Plan, draft: Draft, names: list[str]) -> None:
    by_name = {p.layer.name: p for p in plan.layers}
    for name in names[:MOST_SLIDERS]:
        _one_layer(by_name[name], draft)
    if len(names) > MOST_SLIDERS:
        st.caption(f"Sliders for the first {MOST_SLIDERS} of {len(names)} selected layers; the share above sets all.")
    if not draft.by_hand:
        st.caption("Moving a slider goes on by hand, from the ranks of the rule.")


def _one_layer(planned: LayerPlan, draft: Draft) -> None:
    layer, method = planned.layer, draft.method
    with st.container(border=True):
        if not can_be_decomposed(layer, method):
            st.markdown(f"**{plain(layer.name)}** {layer.shape_text}")
            st.caption(f"Left alone: {plain(planned.skipped_because)}.")
            return
        own = method_for(layer, method)
        taken = planned.method != "none"
        key = f"take:{draft.place}:{layer.name}"
        st.session_state[key] = taken
        name = plain(layer.name)
        st.checkbox(f"**{name}** {layer.shape_text}, {own}", key=key, on_change=_take, args=(layer, method, key))
        if not taken:
            st.caption(f"Left alone: {plain(planned.skipped_because)}.")
            return
        _rank_sliders(planned, own, draft.place)
        kept = text.percent(planned.cost.params / layer.params, 1)
        st.caption(f"{planned.cost.params:,} of {layer.params:,} params ({kept}); {saving_limit(layer, method)}")


def _rank_sliders(planned: LayerPlan, own: str, place: str) -> None:
    layer, tops = planned.layer, max_ranks(planned.layer, own)
    keys = [f"rank:{place}:{layer.name}:{i}" for i in range(len(tops))]
    names = method_of(own).names_of_ranks(layer)
    for column, name, key, top, rank in zip(st.columns(len(tops)), names, keys, tops, planned.ranks, strict=True):
        if st.session_state.get(key) != rank:
            st.session_state[key] = rank
        if top > 1:
            column.slider(f"{name} (of {top})", 1, top, key=key, on_change=_moved, args=(layer.name, keys))
        else:
            column.caption(f"{name}: 1 of 1")


def _set(ranks: Mapping[str, Ranks | None]) -> None:
    """These ranks by hand; the control of the rank rule follows."""
    if draft := held_draft():
        hold(with_ranks(draft, ranks))
        st.session_state["rule"] = MANUAL


def _moved(name: str, keys: list[str]) -> None:
    _set({name: tuple(st.session_state[key] for key in keys)})


def _take(layer: Layer, method: str, key: str) -> None:
    _set({layer.name: starting_ranks(layer, method) if st.session_state[key] else None})


def _apply(group: list[Layer], method: str) -> None:
    share = st.session_state["share"] / 100
    _set({layer.name: at_share(layer, method, share) for layer in group})
