"""The whole story in a real browser: move a slider, press Run, and the measured point appears; cancel works."""

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up import study

from tdq_core.analysis.components import STUDIES
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.queue import Request
from tdq_core.records.store import RunStore, Store
from tdq_core.specs import RankRule, RunSpec

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[test]'")

PROJECT = Path(__file__).resolve().parent.parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
SAMPLES = 100
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=f"needs a browser: none of {', '.join(BROWSERS)} is on the PATH"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer table and the dense run of the embedded model, made by the real worker, and a study made up by hand."""
    folder = tmp_path_factory.mktemp("browser") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDQ_RUNS", str(folder))
        spec = RunSpec.of("digits_resnet", "digits", samples=SAMPLES)
        made = [jobs.submit(Request(kind=kind, spec=spec)) for kind in ("layers", "run")]
        while jobs.running():
            time.sleep(0.1)
        assert [jobs.poll(job).state for job in made] == ["done", "done"]
        Store(STUDIES).put(study())
    return folder


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[str]:
    """The dashboard's address; started as a person would, from the project's root."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.headless", "true",
               "--server.port", str(port)]  # fmt: skip
    log = (runs.parent / "server.log").open("w")
    process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"TDQ_RUNS": str(runs)}, stdout=log, stderr=log)
    try:
        _wait_for(f"http://localhost:{port}/_stcore/health")
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(address):
            return
        time.sleep(0.1)
    raise TimeoutError(address)


@pytest.fixture
def page(server: str) -> Iterator["playwright.Page"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.goto(f"{server}/?model=digits_resnet&samples={SAMPLES}")
        settle(opened)
        opened.wait_for_selector(".js-plotly-plot .main-svg", timeout=60_000)
        yield opened
        browser.close()


def settle(page: "playwright.Page") -> None:
    """Wait until the script has run and every widget is drawn."""
    page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']", timeout=60_000)
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')", timeout=60_000)


def planned(page: "playwright.Page") -> str:
    return (
        page.get_by_test_id("stMetric").filter(has_text="Planned params").get_by_test_id("stMetricValue").inner_text()
    )


def points(page: "playwright.Page") -> int:
    """Measured points in the chart: the hoverable markers, neither rings nor legend."""
    return page.evaluate(
        "document.querySelector('.js-plotly-plot').data.filter(t => t.hovertemplate)"
        ".reduce((n, t) => n + t.customdata.length, 0)"
    )


def move_slider(page: "playwright.Page", key: str, *, presses: int) -> None:
    before = planned(page)
    slider = page.get_by_test_id("stSlider").filter(has_text="rank out").get_by_role("slider").first
    slider.focus()
    for _ in range(presses):
        page.keyboard.press(key)
    page.wait_for_function(
        "old => ![...document.querySelectorAll('[data-testid=stMetric]')].some("
        "m => m.innerText.includes('Planned params') && m.innerText.includes(old))", arg=before,
    )  # fmt: skip
    settle(page)


def test_a_moved_slider_a_pressed_button_and_a_measured_point(page: "playwright.Page", runs: Path) -> None:
    before, recorded, plan = points(page), len(list(runs.glob("*.json"))), planned(page)
    assert before == recorded == 1
    move_slider(page, "ArrowRight", presses=4)
    assert planned(page) != plan
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Done in").wait_for(timeout=180_000)
    settle(page)
    page.wait_for_function("document.querySelector('.js-plotly-plot').data.some(t => t.name === 'run shown')")
    assert points(page) == before + 1
    new = [r for r in RunStore(runs).all() if r.spec.method == "tucker2"]
    assert len(new) == 1 and new[0].state == "complete"
    assert isinstance(new[0].spec.rule, RankRule) and new[0].spec.rule.kind == "manual"
    assert f"run={new[0].run_id}" in page.url
    marked = "document.querySelector('.js-plotly-plot').data.find(t => t.name === 'run shown').customdata[0]"
    assert page.evaluate(marked) == new[0].run_id


def test_a_run_is_found_again_after_a_reload_and_cancelled(page: "playwright.Page", runs: Path) -> None:
    recorded = len(list(runs.glob("*.json")))
    move_slider(page, "ArrowLeft", presses=6)
    with (runs / "jobs" / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # somebody else's turn: the run cannot end before it is cancelled
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_text("Waiting for its turn").wait_for(timeout=30_000)
        page.reload()
        settle(page)
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Cancelled: nothing was recorded.").wait_for(timeout=30_000)
    assert len(list(runs.glob("*.json"))) == recorded


def test_the_components_of_a_chosen_layer_are_drawn(page: "playwright.Page", server: str) -> None:
    first, second = study().layers
    own = f"subject=digits_resnet@digits@{SAMPLES // 2}&study={study().study_id}"  # nothing is measured on so few
    page.goto(f"{server}/components?{own}&layer={first.name}")
    settle(page)
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length >= 4", timeout=60_000)
    page.get_by_text("2 of 4 under 8 levels").first.wait_for()
    page.get_by_test_id("stSelectbox").filter(has_text="Layer").get_by_role("combobox").click()
    page.get_by_role("option", name=second.name).click()
    page.wait_for_url(f"**layer={second.name}**")
    settle(page)
    page.get_by_text("they hardly cancel each other").wait_for()
    bars = "() => document.querySelectorAll('.js-plotly-plot')[1]?.data.filter(t => t.type === 'bar').length === 3"
    page.wait_for_function(bars, timeout=60_000)
    assert page.get_by_test_id("stException").count() == 0
    page.go_back()
    page.get_by_text("they cancel each other").wait_for()
    assert f"layer={second.name}" not in page.url, "one step back"
