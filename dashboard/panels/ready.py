"""Getting ready for the first visitor: what takes time and is the same for everybody.

The server's part happens once, before anybody asks (`dashboard.serve`). The browser's part is asked for as soon as the
page opens: the library that draws charts takes it as long as all that is drawn, and Streamlit fetches it only when the
first chart has come.
"""

import contextlib
import functools
import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import streamlit as st

READING = threading.Lock()
"""Of whoever reads the pages' modules for the first time: two that did so at once would do it twice, and could meet
modules that are half there."""
_READ_ON, _LATER_S = threading.Event(), 2.0
_LIBRARY = "static/static/js/PlotlyChart.*.js"
"""Among Streamlit's files, where it lies since it is built with Vite; elsewhere nothing is fetched ahead."""
_FETCH = """<script>
(() => {{
  const own = document.querySelector('script[type=module][src*="/static/js/"]');
  if (own) import(new URL('{name}', own.src)).catch(() => {{}});
}})();
</script>"""


@contextlib.contextmanager
def _to_stay() -> Iterator[None]:
    """What is made inside stays as long as the server: whoever collects garbage need not look through it, which takes
    a tenth of a second for thousands of runs, again and again while pages are drawn."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def read_ahead() -> None:
    """The modules of the first page, the runs, and what the chart says of each."""
    with READING, _to_stay():
        from dashboard.facts.groups import group_runs
        from dashboard.figures.tradeoff import tradeoff_figure, tradeoff_info
        from dashboard.panels import head, jobs, planner, results  # noqa: F401
        from dashboard.shelf import catalog
        from tdq_core.records.store import RUNS

        for group in group_runs(catalog.read(RUNS).values):
            drawn = tradeoff_info(group.complete)
            if group.complete:
                tradeoff_figure(drawn._replace(points=drawn.points[:1], front=()))


def read_on() -> None:
    """What other pages and all tables need, once the first page is there: its chart waits for none of it."""
    if not _READ_ON.is_set():
        _READ_ON.set()
        threading.Thread(target=_rest, name="read-on", daemon=True).start()


def _rest() -> None:
    time.sleep(_LATER_S)  # the browser draws now, often on the same machine
    with READING, _to_stay():
        import pandas.io.formats.style  # noqa: F401

        from dashboard.figures import additivity, study  # noqa: F401
        from dashboard.panels import budget, layer_map, track  # noqa: F401
        from dashboard.panels import study as figures  # noqa: F401


def fetch_ahead() -> None:
    """Have the browser load what draws charts, while the server works out what there is to draw."""
    if name := _library():
        with st.container(key="ahead"):  # which takes no room
            st.html(_FETCH.format(name=name), unsafe_allow_javascript=True)


@functools.cache
def _library() -> str:
    """Its name, which follows from its content; '' where there is none, or several."""
    found = list(Path(st.__file__).parent.glob(_LIBRARY))
    return found[0].name if len(found) == 1 else ""
