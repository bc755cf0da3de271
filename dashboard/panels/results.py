"""The chart of measured runs, and the card of the run that is shown."""

from collections.abc import Mapping
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.facts.budget import Budget
from dashboard.facts.groups import Group, best_run, left_out_text
from dashboard.facts.subject import Subject, placed
from dashboard.figures.frame import Frame, blank
from dashboard.figures.tradeoff import (
    X_AXES,
    TradeoffInfo,
    better_corner,
    frame_of,
    outside_text,
    tradeoff_figure,
    tradeoff_info,
)
from dashboard.panels import blocks, charts, tables
from dashboard.panels.exports import export_panel
from dashboard.panels.speed import speed_panel
from dashboard.panels.zoom import KEY, beyond_text, give_up, take, zoom_switch, zoomed
from dashboard.shelf import catalog
from dashboard.shelf.catalog import Runs
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import Arguments, choice, flag, fragment, record_choice, take_next
from dashboard.words.markup import plain
from dashboard.words.text import run_label
from tdq_core.layers.table import LayerTable
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
    "quantization_aware",
    "bits",
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


class Drawn(NamedTuple):
    """A chart that stands, and the place over it for what moves with the sliders."""

    frame: Frame
    over: DeltaGenerator


def first_shown(subject: Subject) -> str:
    """The run that is shown before one is chosen: the best for a point, else the nearest to it."""
    best = catalog.smallest(subject, Budget(1.0))
    return best.run_id if best else best_run(subject.runs)


def choose_run(subject: Subject) -> Arguments | None:
    """Settle which run is shown, before anything that depends on it is drawn; None where there is none."""
    if subject.group is None or not subject.group.complete:
        return None
    names = list(_by_id(subject.group))
    if (made := take_next("run")) in names:
        st.session_state["run"] = made
    return record_choice("run", names, default=first_shown(subject))


def _by_id(group: Group) -> dict[str, RunRecord]:
    return {r.run_id: r for r in (*group.complete, *group.unfinished)}


def chart(subject: Subject, runs: Runs, table: LayerTable | None) -> Drawn | None:
    """Everything measured of the subject, with a place over it; without a run, empty axes as soon as its layers are
    known. It stands first, what it shows is chosen below it."""
    group = subject.group
    if group is None or not group.complete:
        with st.container(border=True):
            name, images = plain(subject.spec.model.name), plain(subject.spec.images.data)
            st.markdown(f"**No run of {name} on {images} has been measured yet.**")
            st.markdown("Choose a method and ranks in the plan and press **Run**: the first point appears here.")
        if table is None:
            return None
    with st.container(key="chart"):
        place, over = st.container(), st.container(key="over")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = _one_of("X axis", _X_LABELS, "x", 130)
        y = _one_of("Y axis", _Y_LABELS, "y", 110)
        reach = _one_of("Drops up to", _REACH, "reach", 120)
        bars = st.toggle("95 % intervals", **flag("intervals", False))
        zooming = zoom_switch()
    span = None if reach == "all" else int(reach) / 100
    records = group.complete if group else ()
    info = tradeoff_info(records, x_axis=x, y_axis=y, chosen=st.session_state.get("run"), span=span)
    frame = zoomed(frame_of(info) if records else _blank(info, table))
    key = "-".join(filter(None, ("tradeoff", st.session_state[KEY])))  # a chart of its own: nothing is chosen in it yet
    figure = tradeoff_figure(info, frame, intervals=bars)
    if zooming:
        figure.update_layout(dragmode="select")
    with place:
        charts.draw(
            figure, key,
            f"Top-1 {_Y_LABELS[y]} against {_X_LABELS[x]} of {len(records)} measured runs",
            "the table of these runs, at the end of the page, holds them", on_pick=lambda: _pick(key), bare=True,
        )  # fmt: skip
    told = beyond_text(info.points, frame) or outside_text(info), left_out_text(group, runs.values) if group else ""
    st.caption(f"{better_corner(info)}. {_SIGNS} {' '.join(filter(None, told))}")
    return Drawn(frame, over)


_SIGNS = (
    "Grey rings: the Pareto front, which no other run beats. Dashed, in its band of 90 %: what is predicted of the "
    "plan's method and numbers. Orange dot: this plan. Press a point to see its run."
)


def _blank(info: TradeoffInfo, table: LayerTable | None) -> Frame:
    dense = {"bytes": 4 * table.params, "params": table.params, "macs": table.macs} if table else {}
    fewer = X_AXES[info.x_axis].small_is_good
    span = 0.2 if info.span is None else info.span
    return blank(info.x_axis, info.y_axis, dense.get(info.x_axis, 1), fewer=fewer, span=span, top1=info.dense)


def _one_of(label: str, labels: Mapping[str, str], key: str, width: int) -> str:
    options = list(labels)
    return st.selectbox(label, options, format_func=labels.__getitem__, width=width, on_change=give_up,
                        **choice(key, options))  # fmt: skip


def _pick(key: str) -> None:
    """A press on a point shows its run; a drag over a part, where that is on, shows it larger."""
    selection = st.session_state[key].selection
    if selection.get("box"):
        take(selection.box)
    elif points := selection.points:
        run_id = points[0]["customdata"]
        st.session_state["run"] = run_id if isinstance(run_id, str) else run_id[0]


def shown_run(subject: Subject, chosen: Arguments | None, offers: Offers) -> None:
    """The card of the run that is marked in the chart, what can be done with it, and the table of all."""
    group = subject.group
    if group is None or chosen is None:
        return
    by_id = _by_id(group)
    with st.container(key="beside-run"):
        left, right = st.columns([2, 3], gap="medium")
    with left:
        shown = st.selectbox(
            "Run shown", list(by_id), format_func=lambda i: run_label(by_id[i]), **chosen,
            help="At first the smallest file that keeps a drop of at most a point, as the page Find judges.",
        )  # fmt: skip
        blocks.link("find", "The best of these for a budget: page Find")
    with right:
        _actions(by_id[shown], subject, offers)
    with left, st.container(border=True):
        blocks.run_card(by_id[shown])
    with right:
        table = st.expander(f"Table of these {len(group.complete)} runs", key="runs_table", on_change="rerun")
    if not table.open:  # of thousands of runs it is long to make
        return
    with table:
        frame = blocks.runs_frame(group.complete, _COLUMNS)
        tables.show(frame, blocks.RUN_COLUMNS, height=430)
        blocks.download_csv(group.complete, f"tdq-{group.about.model.name}", key="csv-curve")


@fragment
def _actions(record: RunRecord, subject: Subject, offers: Offers) -> None:
    here = placed(record.spec, subject.spec)
    export_panel(record, here, offers)
    speed_panel(record, here, offers)
