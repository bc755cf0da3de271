"""`tdq cache`: what is kept beside the runs so that nothing is computed twice, and how to be rid of it."""

from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import say, say_json, say_table
from tdq_core.records import caches
from tdq_core.records.caches import CACHES, Usage
from tdq_core.records.store import runs_folder
from tdq_core.specs.option import require_choice
from tdq_core.system.cache import limit

ALL = "all"
Clear = Annotated[str | None, typer.Option(help=f"Remove one kind, or all: {', '.join((*CACHES, ALL))}.")]


def cache(clear: Clear = None, as_json: JsonFlag = False) -> None:
    """Show what is kept beside the runs and can be made again: how much of what, and where."""
    runs = runs_folder()
    if clear is not None:
        require_choice("clear", clear, (*CACHES, ALL))
        _clear(list(CACHES) if clear == ALL else [clear])
        return
    found = caches.usage(runs)
    if as_json:
        say_json({name: {"files": u.files, "bytes": u.bytes, "folder": str(runs / CACHES[name].folder)}
                  for name, u in found.items()})  # fmt: skip
        return
    rows = [(name, f"{u.files:,}", _size(u), str(runs / CACHES[name].folder), CACHES[name].help)
            for name, u in found.items()]  # fmt: skip
    say_table(("kind", "files", "size", "folder", "note"), rows, right=("files", "size"))
    say("", f"Of factors the latest used {limit() / 1e9:g} GB stay (TDQ_CACHE_GB says otherwise).")


def _clear(names: list[str]) -> None:
    for name in names:
        say(f"{name}: {_told(caches.clear(runs_folder(), name))} removed.")


def _told(found: Usage) -> str:
    return f"{found.files:,} files, {_size(found)}"


def _size(found: Usage) -> str:
    return f"{found.bytes / 1e6:,.1f} MB"
