"""Getting ready: what every page needs is there before it is asked for, and nothing hangs on it."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.facts.study_views import VIEWS, Line, _as_drawn
from dashboard.panels import ready
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, Store, shipped_folder
from tdq_core.specs import Decomposition, PrecisionSpec, Treatment

SERVING = """
import json, runpy, sys, threading, time
from streamlit import runtime
from streamlit.web import cli

def serve(prog_name):
    time.sleep(0.2)
    early = "dashboard.panels.head" in sys.modules
    runtime.exists = lambda: True
    next(t for t in threading.enumerate() if t.name == "get-ready").join()
    from dashboard.shelf import catalog
    from tdq_core.records.listing import Memory
    from tdq_core.records.store import RUNS
    calls = []
    whole = Memory.unknown
    Memory.unknown = lambda self, entries: calls.append(whole(self, entries)) or calls[-1]
    runs = catalog.read(RUNS).values
    heavy = [m for m in ("torch", "onnxruntime") if m in sys.modules]
    print(json.dumps({"name": prog_name, "early": early, "ready": "dashboard.panels.head" in sys.modules,
                      "runs": len(runs), "read again": sum(map(len, calls)), "heavy": heavy}))

cli.main, runtime.exists = serve, lambda: False
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def served(app: str, folder: Path, code: str = SERVING) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", code, str(Path(app).with_name("serve.py"))]
    environ = os.environ | {"TDQ_RUNS": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environ)


def test_once_it_answers_the_server_reads_what_pages_need(app: str, filled: Path) -> None:
    done = served(app, filled)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("runs") >= 7
    assert told == {"name": "streamlit", "early": False, "ready": True, "read again": 0, "heavy": []}


def test_what_fails_while_getting_ready_ends_no_server(app: str, filled: Path) -> None:
    broken = SERVING.replace(
        "runtime.exists = lambda: True",
        """import dashboard.panels.ready
    dashboard.panels.ready.read_ahead = lambda: 1 / 0
    runtime.exists = lambda: True""",
    )
    done = served(app, filled, broken)
    assert done.returncode == 0 and "ZeroDivisionError" not in done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["name"] == "streamlit"


ORDER = """
import sys
from streamlit.testing.v1 import AppTest
import dashboard.panels.ready as ready
ready.fetch_ahead = lambda: print("dashboard.panels.head" in sys.modules)
AppTest.from_file(sys.argv[1], default_timeout=60).run()
"""


def test_the_browser_is_asked_before_the_pages_are_read(app: str, filled: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ORDER, app], capture_output=True, text=True, check=False,
                          cwd=Path(app).parent.parent)  # fmt: skip
    assert done.stdout.splitlines() == ["False"], done.stderr[-1000:]


FIRST = """
import gc, json, sys
import dashboard.panels.ready as ready
ready._LATER_S = 0
ready.read_ahead()
ahead = "pandas" in sys.modules
from dashboard.shelf import catalog
from tdq_core.records.store import RUNS
runs = {id(run) for run in catalog.read(RUNS).values}
looked_through = gc.get_objects()
print(len(runs), sum(id(found) in runs for found in looked_through), gc.isenabled())
ready._rest()
print(json.dumps([ahead, "pandas.io.formats.style" in sys.modules, "dashboard.panels.study" in sys.modules]))
"""


def test_pandas_is_read_after_the_first_page_and_runs_are_no_garbage(app: str, filled: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=False,
                          cwd=Path(app).parent.parent)  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1]) == [False, True, True], done.stderr[-1000:]
    runs, looked_through, collects = done.stdout.splitlines()[0].split()
    assert int(runs) >= 7 and looked_through == "0" and collects == "True", "garbage is looked for elsewhere"


def test_the_rest_is_read_once_after_the_first_page(app: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(ready, "_READ_ON", threading.Event())
    monkeypatch.setattr(ready, "_rest", lambda: asked.append(None))
    page = AppTest.from_file(app, default_timeout=60)
    for _ in range(2):
        page.run()
        assert not page.exception and len(asked) == 1


AT_ONCE = """
import sys, threading, time
from streamlit.testing.v1 import AppTest
import dashboard.panels.ready as ready
with ready.READING:
    page = AppTest.from_file(sys.argv[1], default_timeout=60)
    threading.Thread(target=page.run).start()
    time.sleep(1.5)
    print("dashboard.panels.head" in sys.modules)
while not page.title:
    time.sleep(0.1)
print(page.title[0].value, len(page.exception))
"""


def test_a_page_waits_for_who_is_reading_its_modules(app: str, filled: Path) -> None:
    done = subprocess.run([sys.executable, "-c", AT_ONCE, app], capture_output=True, text=True, check=False,
                          cwd=Path(app).parent.parent)  # fmt: skip
    assert done.stdout.splitlines() == ["False", "What will it cost? 0"], done.stderr[-1000:]


def test_the_library_that_draws_charts_is_fetched_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    name = ready._library()
    assert name.startswith("PlotlyChart.") and name.endswith(".js")
    page = AppTest.from_function(_fetching).run()
    (script,) = page.get("html")
    assert f"import(new URL('{name}'" in script.proto.body and script.proto.unsafe_allow_javascript
    monkeypatch.setattr(ready, "_library", lambda: "")
    assert not AppTest.from_function(_fetching).run().get("html"), "elsewhere Streamlit fetches it when it needs it"


def _fetching() -> None:
    from dashboard.panels.ready import fetch_ahead

    fetch_ahead()


LINES = list(dict.fromkeys(line for view in VIEWS for line in view.lines))


def holds(line: Line, record: RunRecord) -> bool:
    """In plain words, each value made anew."""
    spec, made = record.spec, record.spec.decomposition
    same = spec.precision == PrecisionSpec(line.precision, line.backend)
    if record.state != "complete" or not same or spec.treatment != Treatment(condition=spec.treatment.condition):
        return False
    if made is None:
        return True
    plain = Decomposition(made.method, made.rule, epc=made.epc, eta=made.eta, calibrated=made.calibrated)
    shared = (made.rule.kind, made.rule.policy, made.rule.budget) == ("ratio", line.policy, "params")
    return (shared and line.condition in (None, spec.treatment.condition) and made == plain
            and _as_drawn(spec) == line.variant)  # fmt: skip


def test_a_line_holds_what_it_says() -> None:
    records = Store(RUNS, shipped_folder()).all()
    found = {(n, r.run_id) for n, line in enumerate(LINES) for r in records if line.holds(r)}
    assert found == {(n, r.run_id) for n, line in enumerate(LINES) for r in records if holds(line, r)}
    assert len({n for n, _ in found}) == len(LINES)
