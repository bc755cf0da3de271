"""Three people on the pages, in headless Chromium: how many choices and seconds until each has an answer.

    python -m benchmarks.three_jobs [--axe] [--port 8631] [--shots FOLDER]

An engineer wants the smallest file of ResNet-18 that loses at most a point; a researcher wants to know whether drops
add up on ResNet-20, and why CP fails in INT8; a newcomer opens the first page. A choice is a page or an entry of a list
that is picked. `--axe`: instead every page at four widths, light and dark, is looked over by axe-core (the package
axe-playwright-python holds it), and the first chart is measured. `--shots`: keep a picture of all that is looked at.
"""

import argparse
import contextlib
import importlib
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dashboard.pages import PAGES
from tdq_core.cli.dashboard import server_command
from tdq_core.cli.terminal import say

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (1400, 1280, 933, 700)
HEIGHT = 800
SERIOUS = ("serious", "critical")
PATIENCE_MS = 60_000
_NOT_OURS = "[data-testid='stToolbar'], [data-testid='stDataFrame'], .js-plotly-plot"
"""Of Streamlit's own making: its tool bar, its canvas tables, and the inside of plotly's drawings."""


class Walk:
    """One person's way: choices are counted, and the time since the page was asked for; what is there is pressed,
    without waiting for the rest of a page that is left."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.choices, self._begun = page, 0, time.monotonic()
        page.goto(address)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def turn_to(self, title: str) -> None:
        """Another page, by its link."""
        self.choices += 1
        self.page.get_by_role("link", name=title, exact=True).first.click(timeout=PATIENCE_MS)
        self.page.wait_for_url(f"**/{next(p.address for p in PAGES if p.title == title)}?**", timeout=PATIENCE_MS)
        settle(self.page)

    def choose_subject(self, name: str) -> None:
        """An entry of the list in the head, unless it stands there already."""
        box = self.page.get_by_role("combobox", name="Network and images").first
        if name in (box.input_value() or ""):
            return
        self.choices += 1
        box.click()
        self.page.get_by_role("option").filter(has_text=name).first.click()
        self.page.wait_for_url(f"**subject={name}**", timeout=PATIENCE_MS)
        settle(self.page)

    def waits_for(self, text: str) -> str:
        """The first paragraph that holds this text."""
        found = self.page.locator("p, code").filter(has_text=text).first
        found.wait_for(timeout=PATIENCE_MS)
        return _plain(str(found.inner_text()))


def _plain(text: str) -> str:
    return " ".join(text.split())


def settle(page: Any) -> None:
    """Wait until the script has run and every widget is drawn."""
    wait_until(page, _SETTLED)


_SETTLED = """document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
&& !document.querySelector('[data-testid=stSkeleton]')"""


def wait_until(page: Any, condition: str, **told: Any) -> None:
    """Wait until JavaScript's `condition` of `told` holds, asked at every frame: a wait for a selector asks every half
    second in the end, which would be in the times."""
    page.wait_for_function(f"({{{', '.join(told)}}}) => {condition}", arg=told, timeout=PATIENCE_MS)


def engineer(page: Any, server: str) -> tuple[str, int, float, str]:
    walk = Walk(page, server)
    walk.turn_to("Find")
    walk.choose_subject("resnet18_cifar10")
    walk.waits_for("tdq run --model resnet18_cifar10")
    tiles = page.get_by_test_id("stMetric").all_inner_texts()
    told = "; ".join(_plain(tile) for tile in tiles[:3])
    return "engineer: ResNet-18, at most a point", walk.choices, walk.seconds, told


def researcher(page: Any, server: str) -> Iterator[tuple[str, int, float, str]]:
    walk = Walk(page, server)
    walk.turn_to("Additivity")
    walk.choose_subject("resnet20_cifar10")
    told = walk.waits_for("depart")
    yield "researcher: do the drops of ResNet-20 add up?", walk.choices, walk.seconds, told
    before = walk.choices
    walk.turn_to("Components")
    told = walk.waits_for("Rounding alone moves")
    yield "researcher: why CP fails in INT8, from there", walk.choices - before, walk.seconds, told


def newcomer(page: Any, server: str) -> tuple[str, int, float, str]:
    walk = Walk(page, server)
    settle(page)
    page.wait_for_selector(".js-plotly-plot .main-svg", timeout=PATIENCE_MS)
    top = page.locator(".js-plotly-plot").first.bounding_box()["y"]
    before = page.evaluate(
        """() => { const plot = document.querySelector('.js-plotly-plot').getBoundingClientRect();
        return [...document.querySelectorAll('[data-testid=stSelectbox], [data-testid=stPopover], '
          + '[data-testid=stToggle], [data-testid=stNumberInput], [data-testid=stButtonGroup], [data-testid=stSlider]')]
          .filter(e => e.getBoundingClientRect().top < plot.top).length }"""
    )
    words = page.get_by_role("link", name="The words").count()
    told = f"chart at y = {top:.0f}, {before} controls above it, glossary in reach: {'yes' if words else 'no'}"
    return "newcomer: the first screen", walk.choices, walk.seconds, told


def looked_over(browser: Any, server: str, shots: Path | None) -> Iterator[tuple[str, ...]]:
    """Each page at each width, light and dark: what axe-core finds serious, where the first chart stands, how wide."""
    Axe = importlib.import_module("axe_playwright_python.sync_playwright").Axe  # asked for with --axe alone
    for scheme in ("light", "dark"):
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
            for each in PAGES:
                page.goto(f"{server}/{each.address}")
                settle(page)
                page.wait_for_timeout(1500)
                found = Axe().run(page, context={"exclude": [[part.strip()] for part in _NOT_OURS.split(", ")]})
                bad = [v for v in found.response["violations"] if v["impact"] in SERIOUS]
                told = "; ".join(f"{v['id']} ({len(v['nodes'])}): {v['nodes'][0]['target']}" for v in bad)
                plots = page.locator(".js-plotly-plot")
                box = plots.first.bounding_box() if plots.count() else None
                where = f"y {box['y']:.0f}, {box['width']:.0f} wide" if box else ""
                yield scheme, str(width), each.title, where, told or "nothing serious"
                if shots:
                    page.screenshot(path=shots / f"{scheme}-{width}-{each.address}.png", full_page=True)
            page.close()


@contextlib.contextmanager
def _served(port: int) -> Iterator[str]:
    """The dashboard on the shipped runs alone."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"TDQ_RUNS": str(Path(folder) / "runs"), "STREAMLIT_SERVER_HEADLESS": "true"}
        command = server_command(port, ())
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    urllib.request.urlopen(f"http://localhost:{port}/_stcore/health").close()
                    break
                time.sleep(0.1)
            yield f"http://localhost:{port}"
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(prog="python -m benchmarks.three_jobs", description=__doc__.splitlines()[0])
    parser.add_argument("--axe", action="store_true", help="look over every page instead")
    parser.add_argument("--port", type=int, default=8631)
    parser.add_argument("--shots", type=Path, help="a folder for pictures")
    asked = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if asked.shots:
        asked.shots.mkdir(parents=True, exist_ok=True)
    with _served(asked.port) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if asked.axe:
            for row in looked_over(browser, server, asked.shots):
                say(" | ".join(row))
            return
        results = []
        for job in (engineer, researcher, newcomer):
            page = browser.new_page(viewport={"width": 1280, "height": HEIGHT})
            found = job(page, server)
            results += list(found) if isinstance(found, Iterator) else [found]
            if asked.shots:
                page.screenshot(path=asked.shots / f"{job.__name__}.png", full_page=True)
            page.close()
        for what, choices, seconds, told in results:
            say(f"{what}: {choices} choice{'s' * (choices != 1)}, {seconds:.1f} s")
            say(f"    {told}")


if __name__ == "__main__":
    main()
