"""Measure a whole curve: the planned run at several ratios, in several precisions."""

import streamlit as st

from dashboard.facts.draft import Draft
from dashboard.facts.sweeping import RATIOS, USUAL, grid_around, offered
from dashboard.panels.jobs import start_button, submit
from dashboard.shelf import catalog
from dashboard.shelf.offers import Offers
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.errors import InputError
from tdq_core.jobs.queue import Request
from tdq_core.records.store import RUNS
from tdq_core.specs import PRECISIONS, RunSpec
from tdq_core.sweeps.grid import Grid, grid_of
from tdq_core.sweeps.planned import Forecast, forecast
from tdq_core.sweeps.spec import sweep_of


def curve_button(draft: Draft, offers: Offers) -> None:
    """A popover that asks for which points, says what they cost, and starts a job for those that are missing."""
    if draft.method == "none":
        return
    popover = st.popover("Measure a curve", icon=":material/show_chart:", key="sweep", on_change="rerun")
    if not popover.open:
        return
    with popover:
        spec = draft.spec()
        ratios = st.multiselect("Original / compressed", RATIOS, list(USUAL), key="sweep-ratios")
        names = offered(spec)
        precisions = st.multiselect(
            "Precisions", names, [draft.precision], format_func=lambda name: PRECISIONS[name].label,
            key=f"sweep-precisions-{draft.precision}",
        )  # fmt: skip
        if not ratios or not precisions:
            st.caption("Choose at least one ratio and one precision.")
            return
        asked = grid_around(spec, sorted(ratios), precisions)
        try:
            grid = grid_of(sweep_of(asked))
        except InputError as error:
            st.warning(plain(text.on_screen(str(error))), icon=":material/block:")
            return
        _start(spec, asked, grid, offers)


def _start(spec: RunSpec, asked: dict[str, object], grid: Grid, offers: Offers) -> None:
    planned = forecast(grid, catalog.read(RUNS).values)
    missing = sum(map(len, planned.tasks))
    st.caption(_told(grid, planned, missing))
    if start_button(
        "Measure what is missing", spec, offers, type="primary", icon=":material/play_arrow:", disabled=not missing
    ):
        submit(Request(kind="sweep", spec=spec, allowed_models=offers.allowed, sweep=asked))
        st.rerun()


def _told(grid: Grid, planned: Forecast, missing: int) -> str:
    said = f"{len(grid.specs)} runs, {planned.measured} of them measured already."
    if not missing:
        return said
    dense = missing - (len(grid.specs) - planned.measured)
    more = f" With {dense} dense to compare with." if dense else ""
    unlike = planned.estimate.unknown
    if unlike == missing:
        return f"{said}{more} None like these was measured before: how long they take is not known."
    doubt = f", {unlike} that are like none before not counted" if unlike else ""
    return f"{said}{more} About {text.seconds(planned.estimate.seconds)} of one core, judged by runs like these{doubt}."
