"""The chart of measured runs and the card of the run that is shown."""

from collections.abc import Mapping

import streamlit as st

from dashboard.facts.budget import Budget
from dashboard.facts.groups import Group, best_run, left_out_text
from dashboard.facts.subject import Subject, placed
from dashboard.figures.tradeoff import (
    TradeoffInfo,
    better_corner,
    outside_text,
    tradeoff_figure,
    tradeoff_info,
)
from dashboard.panels import blocks, charts
from dashboard.panels.exports import export_panel
from dashboard.panels.speed import speed_panel
from dashboard.shelf import catalog
from dashboard.shelf.catalog import Runs
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import choice, flag, fragment, record_choice, take_next
from dashboard.words.markup import plain
from dashboard.words.text import run_label
from tdq_core.records.record import RunRecord

_COLUMNS = (
    "method",
    "ranks",
    "precision",
    "drop",
    "bytes",
    "bytes_ratio",
    "top1",
    "latency",
    "conditioned",
    "granularity",
    "ranges",
    "backend",
    "params",
    "compression_ratio",
    "macs",
    "run_id",
)
_X_LABELS = {
    "bytes": "file size",
    "params": "params",
    "macs": "MACs",
    "size_ratio": "size ratio",
    "params_ratio": "param ratio",
}
_REACH = {"3": "3 points", "10": "10 points", "all": "all runs"}
_Y_LABELS = {"drop": "drop", "top1": "top-1"}


def results(subject: Subject, runs: Runs, offers: Offers) -> None:
    """Everything measured of the subject."""
    group = subject.group
    if group is None or not group.complete:
        with st.container(border=True):
            name, images = plain(subject.spec.model.name), plain(subject.spec.images.data)
            st.markdown(f"**No run of {name} on {images} has been measured yet.**")
            st.markdown("Choose a method and ranks below and press **Run**: the first point appears here.")
        return
    made = take_next("run")
    if made and any(r.run_id == made for r in (*group.complete, *group.unfinished)):
        st.session_state["run"] = made
    _show_group(group, runs, subject, offers)


def first_shown(subject: Subject) -> str:
    """The run that is shown before one is chosen: the best for a point, else the nearest to it."""
    best = catalog.answer(subject, Budget(1.0)).best
    return best.record.run_id if best else best_run(subject.runs)


@fragment
def _show_group(group: Group, runs: Runs, subject: Subject, offers: Offers) -> None:
    by_id = {r.run_id: r for r in (*group.complete, *group.unfinished)}
    with st.container(key="beside"):
        left, right = st.columns([3, 2], gap="medium")
    with right:
        shown = st.selectbox(
            "Run shown",
            list(by_id),
            format_func=lambda i: run_label(by_id[i]),
            help="At first the smallest file that keeps a drop of at most a point, as the page Find judges.",
            **record_choice("run", list(by_id), default=first_shown(subject)),
        )
        here = placed(by_id[shown].spec, subject.spec)
        with st.container(border=True):
            blocks.run_card(by_id[shown])
            export_panel(by_id[shown], here, offers)
    with left:
        _chart(group, runs, by_id[shown])
        speed_panel(by_id[shown], here, offers)
    blocks.link("find", "The best of these for a budget: page Find")


def _chart(group: Group, runs: Runs, shown: RunRecord) -> None:
    """The chart stands first, what it shows is chosen below it."""
    place = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = _one_of("X axis", _X_LABELS, "x", 150)
        y = _one_of("Y axis", _Y_LABELS, "y", 110)
        reach = _one_of("Drops up to", _REACH, "reach", 130)
        bars = st.toggle("95 % intervals", **flag("intervals", False))
    span = None if reach == "all" else int(reach) / 100
    info = tradeoff_info(group.complete, x_axis=x, y_axis=y, chosen=shown.run_id, span=span)
    with place:
        _draw(info, intervals=bars)
    st.caption(f"{outside_text(info)} {left_out_text(group, runs.values)}")
    with st.expander(f"Table of these {len(group.complete)} runs"):
        frame = blocks.runs_frame(group.complete, _COLUMNS)
        st.dataframe(frame, hide_index=True, column_config=blocks.RUN_COLUMNS, height=430)
        blocks.download_csv(group.complete, f"tdq-{group.about.model.name}", key="csv-curve")


def _one_of(label: str, labels: Mapping[str, str], key: str, width: int) -> str:
    options = list(labels)
    return st.selectbox(label, options, format_func=labels.__getitem__, width=width, **choice(key, options))


def _draw(info: TradeoffInfo, *, intervals: bool) -> None:
    charts.draw(tradeoff_figure(info, intervals=intervals), "tradeoff", on_pick=_pick)
    ringed = "Grey rings and the dotted line: the Pareto front, which no other run beats; the rest is faded."
    st.caption(f"{better_corner(info)}. {ringed} Press a point to see its run.")


def _pick() -> None:
    """A press on a point shows its run."""
    if points := st.session_state["tradeoff"].selection.points:
        run_id = points[0]["customdata"]
        st.session_state["run"] = run_id if isinstance(run_id, str) else run_id[0]
