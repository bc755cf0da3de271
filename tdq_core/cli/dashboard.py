"""`tdq dashboard`: the pages, served on this machine from wherever TDQ is installed."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tdq_core.system.extras import require_extra

ROUTER = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
"""Beside the engine, in a checkout as in an installed package; its look and safety lie in `.streamlit/` beside it."""


def dashboard(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where http://localhost answers.")] = 8501,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- ARGUMENTS", help="What to offer: --model NAME --weights FILE --data DATA and so on."
        ),
    ] = None,
) -> None:
    """Open the dashboard in the browser; runs are kept in the folder that it is started from."""
    require_extra("dashboard")
    command = server_command(port, arguments or ())
    sys.stdout.flush()
    os.execv(command[0], command)  # the server takes this process over: its signals and exit code are its own


def server_command(port: int, arguments: Sequence[str]) -> list[str]:
    """The command that serves the pages; -P keeps the packages of the folder it is started from out of them."""
    serving = [sys.executable, "-P", str(ROUTER.with_name("serve.py")), "run", str(ROUTER), "--server.port", str(port)]
    return [*serving, "--", *arguments]
