"""What TDQ keeps in a folder of runs beside the records, and makes again when it is gone. No torch here."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from tdq_core.errors import NotNow


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        folder: inside a folder of runs.
        help: what they are, and what saves whom which work.
    """

    folder: Path
    help: str


CACHES: dict[str, Kind] = {
    "factors": Kind(Path("cache") / "factors", "factors of weights, by content: no layer is decomposed twice"),
    "moments": Kind(Path("moments"), "what layers see on calibration images, for symmetric fits and output spectra"),
    "layers": Kind(Path("layers"), "layer tables, for planning without the model"),
    "answers": Kind(Path("cache") / "answers", "logits of dense networks, from which runs tell how far theirs moved"),
    "changes": Kind(Path("cache") / "changes", "layers whose sensitivities are measured, until all of a network are"),
    "finetune": Kind(Path("finetune"), "where fine-tuning that was interrupted goes on"),
}


@dataclass(frozen=True)
class Usage:
    """How many files, and bytes of them."""

    files: int
    bytes: int


def usage(runs: Path) -> dict[str, Usage]:
    """Of every kind in a folder of runs."""
    return {name: _usage(runs / kind.folder) for name, kind in CACHES.items()}


def _usage(folder: Path) -> Usage:
    sizes = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process takes files away meanwhile
            if path.is_file():
                sizes.append(path.stat().st_size)
    return Usage(len(sizes), sum(sizes))


def clear(runs: Path, name: str) -> Usage:
    """Remove all files of one kind; what they were.

    Raises:
        NotNow: the system does not let them be removed.
    """
    folder = runs / CACHES[name].folder
    found = _usage(folder)
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise NotNow(f"'{folder}' cannot be removed: {error.strerror or error}.") from error
    return found
