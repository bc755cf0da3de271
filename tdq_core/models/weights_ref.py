"""How weights are asked for: a file or a folder, and which of several sets of weights in it. No torch here."""

from pathlib import Path
from typing import NamedTuple

SEPARATOR = "::"
RANKS, RECORD = "ranks.json", "record.json"
"""Beside the artefact in a folder that `tdq run --export` wrote: ranks by layer, and what was measured."""


class WeightsRef(NamedTuple):
    """`PATH` or `PATH::PART`.

    Attributes:
        part: the place inside the file, as 'state_dict_ema' or 'model.ema'; None: the only set, or the plain one.
    """

    path: Path
    part: str | None

    @classmethod
    def of(cls, text: str) -> "WeightsRef":
        """What `text` names; a file whose own name holds '::' is that file."""
        path, separator, part = text.rpartition(SEPARATOR)
        if not separator or not path or Path(text).exists():
            return cls(Path(text), None)
        return cls(Path(path), part.replace("/", ".").strip("."))


def stamp(text: str | None) -> list[object] | None:
    """What tells one version of the weights from another without reading them; what is not there stands for itself.

    A folder counts by all files in it, and a file by those beside it that say how it is built.
    """
    if text is None:
        return None
    ref = WeightsRef.of(text)
    if not ref.path.exists():
        return [text]
    files = sorted(f for f in ref.path.iterdir() if f.is_file()) if ref.path.is_dir() else [ref.path]
    files += [f for f in (ref.path.with_name(RANKS),) if not ref.path.is_dir() and f.is_file()]
    marks: list[object] = []
    for file in files:
        about = file.stat()
        marks += [str(file.resolve()), about.st_size, about.st_mtime_ns]
    return [*marks, ref.part] if ref.part else marks
