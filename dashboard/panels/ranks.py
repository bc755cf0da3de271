"""Sliders of ranks and bits for the layers of a group, and the table of all layers on demand."""

from collections.abc import Collection, Mapping, Sequence

import streamlit as st

from dashboard.facts.draft import MANUAL, Draft, with_ranks
from dashboard.facts.layer_groups import ALL, Groups, among, kernels, stages
from dashboard.facts.planning import at_share, can_be_decomposed, layer_rows, saving_limit, starting_ranks, takes_bits
from dashboard.figures.plan import plan_bars, plan_figure
from dashboard.panels import charts, tables
from dashboard.panels.layer_bits import bits_of_many, bits_slider
from dashboard.shelf.state import choice, flag, held_draft, hold, number
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.layers.methods import Ranks
from tdq_core.layers.methods import method as method_of
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.ranks.costs import max_ranks, method_for
from tdq_core.ranks.plan import LayerPlan, Plan

WIDE, NARROW = 205, 158
"""Of a slider of ranks; the narrow one has one of bits beside it."""
RANKS = 2 * NARROW
"""Of what stands beside a slider of bits."""
MOST_SLIDERS = 6
"""Layers with sliders at a time: what is sent whenever one of them moves."""
_COLUMNS = {
    "params": st.column_config.NumberColumn("params", format="localized"),
    "share": st.column_config.NumberColumn("share", format="percent", help="Of the params of the whole model"),
    "ranks": st.column_config.TextColumn("ranks", help="Tucker-2: out x in; of each group, where there are several"),
    "planned": st.column_config.NumberColumn("planned", format="localized"),
    "bits": st.column_config.NumberColumn("bits", help="Of its weights"),
    "why": st.column_config.TextColumn("left alone because", width="large"),
}


def layers_and_sliders(table: LayerTable, plan: Plan, draft: Draft, *, drawn: bool = True) -> None:
    """Which layers, their sliders, and the table of them. `drawn`: whether there is a plan to draw."""
    names = _chosen(table)
    if not names:
        return
    if draft.method != "none" or draft.takes_bits:
        shown = [p for p in plan.layers if p.layer.name in names]
        bits = {p.layer.name for p in shown if draft.takes_bits and takes_bits(table, p.layer)}
        own = [p for p in shown if p.layer.name in bits or can_be_decomposed(p.layer, draft.method)]
        _sliders(sorted(own, key=lambda p: -p.layer.params), draft, bits)
        _apply_to_many([p.layer for p in own], draft, bits)
    if st.toggle("Table of these layers", **flag("layers", False)):
        rows = [row for row in layer_rows(table, plan) if row["layer"] in names]
        tables.show(rows, _COLUMNS, height="content" if len(names) <= 12 else 440)
        if draft.method != "none" and drawn:
            st.markdown("**What each layer keeps**")
            kept = plan_bars(p for p in plan.layers if p.layer.name in names)
            charts.draw(
                plan_figure(kept), "plan_bars", "Share of its params that each layer keeps",
                "the table before holds them", bare=True,
            )  # fmt: skip


def _chosen(table: LayerTable) -> list[str]:
    """Names of the layers in the chosen stage, of the chosen kernel size, with the words in their names."""
    by_stage, by_kernel = stages(table.layers), kernels(table.layers)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        stage = _group("Stage", "stage", by_stage)
        kernel = _group("Kernel", "kernel", by_kernel)
        words = st.text_input(
            "Name contains", placeholder="any", key="layers_shown", persist_state="session", width=140
        )
    wanted = [among(by_stage, stage), among(by_kernel, kernel)]
    found = [
        la.name for la in table.layers
        if all(names is None or la.name in names for names in wanted) and (words or "").lower() in la.name.lower()
    ]  # fmt: skip
    if not found and words:
        st.info(f"None of the {len(table.layers)} layers there has {plain(words)} in its name.")
    elif not found:
        st.info("There is no such layer in that stage.")
    return found


def _group(label: str, key: str, groups: Groups) -> str:
    told = {ALL: "all"} | {name: f"{name} ({len(names)})" for name, names in groups.items()}
    return st.selectbox(label, list(told), format_func=told.__getitem__, width=140, **choice(key, list(told)))


def _apply_to_many(group: Sequence[Layer], draft: Draft, bits: Collection[str]) -> None:
    able = [layer for layer in group if can_be_decomposed(layer, draft.method)]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if draft.method != "none":
            st.slider("Share of full rank (%)", 1, 100, **number("share", 50, 1, 100), width=230)
            st.button(
                f"Apply to {len(able)} shown", on_click=_apply, args=(able, draft.method), disabled=not able,
                help="Sets the ranks of the layers of this group by hand.",
            )  # fmt: skip
        if draft.takes_bits:
            bits_of_many([layer for layer in group if layer.name in bits])


def _sliders(layers: Sequence[LayerPlan], draft: Draft, bits: Collection[str]) -> None:
    """Of the largest layers of the group; those of `bits` have a slider of these too."""
    for planned in layers[:MOST_SLIDERS]:
        _one_layer(planned, draft, with_bits=planned.layer.name in bits)
    told = "None of these layers can be decomposed by this method." if not layers else ""
    if len(layers) > MOST_SLIDERS:
        told = f"The {MOST_SLIDERS} largest of {len(layers)} layers: a stage, a kernel size or a name shows others."
    if layers and not draft.by_hand and draft.method != "none":
        told += " Moving a rank goes on by hand, from the ranks of the rule."
    if told:
        st.caption(told)


def _one_layer(planned: LayerPlan, draft: Draft, *, with_bits: bool) -> None:
    layer, method = planned.layer, draft.method
    if not can_be_decomposed(layer, method):
        with st.container(border=True, horizontal=True, vertical_alignment="center", gap="medium"):
            st.markdown(f"**{plain(layer.name)}** {layer.shape_text}, {text.count(layer.params)} params", width=RANKS)
            bits_slider(planned, draft)
        return
    taken = planned.method != "none"
    own = planned.method if taken else method_for(layer, method)
    key = f"take:{draft.place}:{layer.name}"
    st.session_state[key] = taken
    kept = f"{text.percent(planned.cost.params / layer.params, 1)} of {text.count(layer.params)} kept"
    with st.container(border=True, gap="small"):
        st.checkbox(
            f"**{plain(layer.name)}** {layer.shape_text}, {own}: {kept}", key=key, on_change=_take,
            args=(layer, method, key), help=f"{planned.cost.params:,} of {layer.params:,} params; "
            f"{saving_limit(layer, method)}",
        )  # fmt: skip
        if taken:
            _rank_sliders(planned, own, draft, with_bits=with_bits)
        else:
            with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
                st.caption(f"Left alone: {plain(planned.skipped_because)}.", width=RANKS if with_bits else "stretch")
                if with_bits:
                    bits_slider(planned, draft)


def _rank_sliders(planned: LayerPlan, own: str, draft: Draft, *, with_bits: bool) -> None:
    layer, tops = planned.layer, max_ranks(planned.layer, own)
    keys = [f"rank:{draft.place}:{layer.name}:{i}" for i in range(len(tops))]
    names = method_of(own).names_of_ranks(layer)
    width = NARROW if with_bits else WIDE
    with st.container(horizontal=True, gap="small" if with_bits else "medium"):
        for name, key, top, rank in zip(names, keys, tops, planned.ranks, strict=True):
            if st.session_state.get(key) != rank:
                st.session_state[key] = rank
            if top > 1:
                st.slider(
                    f"{name} (of {top}), {plain(layer.name)}",
                    1,
                    top,
                    key=key,
                    on_change=_moved,
                    args=(layer.name, keys),
                    width=width,
                )
            else:
                st.caption(f"{name}: 1 of 1")
        if with_bits:
            bits_slider(planned, draft)


def _set(ranks: Mapping[str, Ranks | None]) -> None:
    """These ranks by hand; the control of the rank rule follows."""
    if draft := held_draft():
        hold(with_ranks(draft, ranks))
        st.session_state["rule"] = MANUAL


def _moved(name: str, keys: list[str]) -> None:
    _set({name: tuple(st.session_state[key] for key in keys)})


def _take(layer: Layer, method: str, key: str) -> None:
    _set({layer.name: starting_ranks(layer, method) if st.session_state[key] else None})


def _apply(group: Sequence[Layer], method: str) -> None:
    share = st.session_state["share"] / 100
    _set({layer.name: at_share(layer, method, share) for layer in group})
