"""Streamlit's own server, which gets ready what every page needs while the first browser is still loading.

    python -P dashboard/serve.py run dashboard/app.py [options of Streamlit's] -- [arguments]

Streamlit loads nothing of the pages before somebody asks for one: the modules, and what was measured, would be read
while that somebody waits. `tdq dashboard` starts this; `streamlit run dashboard/app.py` serves the same pages.
"""

import logging
import sys
import threading
import time
from pathlib import Path

from streamlit import runtime
from streamlit.web import cli

ROOT = str(Path(__file__).resolve().parent.parent)
_LOOK_S = 0.02


def main() -> None:
    """Serve, as `streamlit` with the same arguments does."""
    sys.path[:0] = [ROOT] * (ROOT not in sys.path)
    threading.Thread(target=_get_ready, name="get-ready", daemon=True).start()
    cli.main(prog_name="streamlit")


def _get_ready() -> None:
    """Once the server answers, so that it does so no later. What fails here fails on the page again, which tells it."""
    while not runtime.exists():
        time.sleep(_LOOK_S)
    try:
        from dashboard.panels import ready

        ready.read_ahead()
    except Exception:
        logging.getLogger("streamlit").debug("Getting ready has failed.", exc_info=True)


if __name__ == "__main__":
    main()
