"""Browsing starts at once: no page loads torch into the server's process."""

import json
import subprocess
import sys
from pathlib import Path

from dashboard.pages import PAGES

SCRIPT = """
import json, sys
from streamlit.testing.v1 import AppTest
app, pages = sys.argv[1], json.loads(sys.argv[2])
titles = []
for page in pages:
    at = AppTest.from_file(app, default_timeout=60).run()
    if page != pages[0]:
        at.switch_page(page).run()
    assert not at.exception, at.exception[0].stack_trace
    titles.append(at.title[0].value)
heavy = [m for m in ("torch", "torchvision", "onnxruntime", "onnx", "tensorly") if m in sys.modules]
print(json.dumps({"titles": titles, "heavy": heavy}))
"""


def test_no_page_imports_torch(app: str, pages: list[str], filled: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, app, json.dumps(pages)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(app).parent.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert len(set(seen["titles"])) == len(PAGES) and seen["heavy"] == []
