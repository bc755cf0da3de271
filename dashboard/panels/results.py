"""The chart of measured runs and the card of the run that is shown."""

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.facts.groups import Group, best_run, group_runs, left_out_text
from dashboard.facts.subject import placed, same_subject
from dashboard.figures.tradeoff import TradeoffInfo, better_corner, outside_text, tradeoff_figure, tradeoff_info
from dashboard.panels import blocks
from dashboard.panels.exports import export_panel
from dashboard.panels.speed import speed_panel
from dashboard.shelf.catalog import Runs
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import choice, flag, forget, record_choice, take_next
from dashboard.words.markup import plain
from dashboard.words.text import run_label
from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec

_NOTHING = "none"
_COLUMNS = (
    "run_id",
    "method",
    "ranks",
    "precision",
    "conditioned",
    "granularity",
    "ranges",
    "backend",
    "top1",
    "drop",
    "bytes",
    "bytes_ratio",
    "params",
    "compression_ratio",
    "macs",
)
_X_LABELS = {
    "bytes": "file size",
    "params": "params",
    "macs": "MACs",
    "size_ratio": "size ratio",
    "params_ratio": "param ratio",
}
_REACH = {"20": "20 points", "5": "5 points", "all": "all runs"}
_Y_LABELS = {"drop": "drop", "top1": "top-1"}


def results(runs: Runs, spec: RunSpec, offers: Offers) -> None:
    """Everything measured on one model and one set of images; the chosen model's runs come first."""
    group = _choose_group(runs, spec)
    if group is None:
        with st.container(border=True):
            st.markdown(f"**No run of {plain(spec.model.name)} on {plain(spec.images.data)} has been measured yet.**")
            st.markdown("Choose a method and ranks below and press **Run**: the first point appears here.")
        return
    _show_group(group, runs.values, spec, offers)


def _choose_group(runs: Runs, spec: RunSpec) -> Group | None:
    """One group of runs; the default is the sidebar's model and images, even where that has no run yet."""
    groups = [g for g in group_runs(runs.values) if g.complete]
    if (run_id := take_next("run")) and (record := runs.get(run_id)):
        _make_current(record, groups)
    own = [g for g in groups if same_subject(g.about, spec)]
    options = {g.key: g.label for g in own} or {_NOTHING: f"{spec.model.name} on {spec.images.data}: no run yet"}
    options |= {g.key: g.label for g in groups}
    if len(options) == 1:
        st.caption(plain(next(iter(options.values()))))
        return own[0] if own else None
    key = st.selectbox(
        "Runs of",
        list(options),
        format_func=options.__getitem__,
        on_change=forget,
        args=("run",),
        **record_choice("group", list(options)),
    )
    return next((g for g in groups if g.key == key), None)


def _make_current(record: RunRecord, groups: Sequence[Group]) -> None:
    """Turn to the group and the card of a run that has just been measured."""
    for group in groups:
        if any(r.run_id == record.run_id for r in (*group.complete, *group.unfinished)):
            st.session_state["group"], st.session_state["run"] = group.key, record.run_id


@st.fragment
def _show_group(group: Group, records: Sequence[RunRecord], spec: RunSpec, offers: Offers) -> None:
    by_id = {r.run_id: r for r in (*group.complete, *group.unfinished)}
    left, right = st.columns([3, 2], gap="medium")
    with right:
        shown = st.selectbox(
            "Run shown",
            list(by_id),
            format_func=lambda i: run_label(by_id[i]),
            **record_choice("run", list(by_id), default=best_run(group.complete)),
        )
        with st.container(border=True):
            blocks.run_card(by_id[shown])
            here = placed(by_id[shown].spec, spec)
            export_panel(by_id[shown], here, offers)
    with left:
        _chart_and_table(group, records, shown)
        speed_panel(by_id[shown], here, offers)


def _chart_and_table(group: Group, records: Sequence[RunRecord], shown: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = _one_of("Across", _X_LABELS, "x", 150)
        y = _one_of("Up", _Y_LABELS, "y", 110)
        reach = _one_of("Reach", _REACH, "reach", 130)
        bars = st.toggle("95 % intervals", **flag("intervals", False))
    span = None if reach == "all" else int(reach) / 100
    info = tradeoff_info(group.complete, x_axis=x, y_axis=y, chosen=shown, span=span)
    chart, table = st.tabs(["Chart", "Table"])
    with chart:
        _chart(info, intervals=bars)
        st.caption(f"{outside_text(info)} {left_out_text(group, records)}")
    with table:
        frame = blocks.runs_frame(group.complete, _COLUMNS)
        st.dataframe(frame, hide_index=True, column_config=blocks.RUN_COLUMNS, height=430)
    blocks.download_csv(group.complete, f"tdq-{group.about.model.name}", key="csv-curve")


def _one_of(label: str, labels: Mapping[str, str], key: str, width: int) -> str:
    options = list(labels)
    return st.selectbox(label, options, format_func=labels.__getitem__, width=width, **choice(key, options))


def _chart(info: TradeoffInfo, *, intervals: bool) -> None:
    buttons = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
    figure = tradeoff_figure(info, intervals=intervals)
    st.plotly_chart(figure, key="tradeoff", on_select=_pick, selection_mode="points", config=buttons)
    ringed = "Grey rings and the dotted line: the Pareto front."
    st.caption(f"{better_corner(info)}. {ringed} Press a point to see its run.")


def _pick() -> None:
    """A press on a point shows its run."""
    if points := st.session_state["tradeoff"].selection.points:
        run_id = points[0]["customdata"]
        st.session_state["run"] = run_id if isinstance(run_id, str) else run_id[0]
