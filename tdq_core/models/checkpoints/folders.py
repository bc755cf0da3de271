"""Folders with weights, and weights in several files."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tdq_core.errors import InputError
from tdq_core.models.checkpoints.formats import format_of
from tdq_core.models.checkpoints.reading import Content, read_file
from tdq_core.system.reading import read_json

INDEX = ".index.json"
USUAL = ("model.safetensors", "pytorch_model.bin")
"""What a folder of the Hugging Face hub calls its weights, the better one first."""
SHARD = re.compile(r"-\d{3,}-of-(\d{3,})\.")


class Files(NamedTuple):
    """Where weights lie.

    Attributes:
        several: the index of weights in several files; None: there is one file.
        notes: what else lay there.
    """

    paths: tuple[Path, ...]
    several: Path | None = None
    notes: tuple[str, ...] = ()


def files_of(path: Path) -> Files:
    """The files with the weights that `path` names: a file, the index of several, or a folder that holds either.

    Raises:
        InputError: nothing is there, or a folder has no weights, or several without a usual name.
    """
    if not path.exists():
        raise InputError(f"The weights '{path}' does not exist: give a file or a folder that does.")
    if not path.is_dir():
        return _sharded(path) if path.name.endswith(INDEX) else Files((path,))
    try:
        present = {each.name: each for each in sorted(path.iterdir()) if not each.is_dir()}
    except OSError as error:
        raise InputError(f"The folder '{path}' cannot be opened: {error.strerror or error}.") from error
    indexes = [each for name, each in present.items() if name.endswith(INDEX)]
    usual = [present[name] for name in USUAL if name in present]
    usual += [i for name in USUAL for i in indexes if i.name == name + INDEX]
    found = usual or indexes or _with_weights(present)
    if not found:
        raise InputError(f"The folder '{path}' has no weights: give the file, or a folder that holds one.")
    if len(found) > 1 and not usual:
        raise InputError(
            f"The folder '{path}' has several files of weights, {', '.join(each.name for each in found[:5])}: name one."
        )
    notes: tuple[str, ...] = ()
    if len(found) > 1:
        notes = (f"Of the weights in '{path}', {found[0].name} was taken; {found[1].name} is there too: name it to "
                 "take it.",)  # fmt: skip
    first = found[0]
    return _sharded(first, notes) if first.name.endswith(INDEX) else Files((first,), None, notes)


def _with_weights(present: Mapping[str, Path]) -> list[Path]:
    return [path for path in present.values() if _holds_weights(path)]


def _holds_weights(path: Path) -> bool:
    try:
        format_of(path)
    except InputError:
        return False
    return True


def _sharded(index: Path, notes: tuple[str, ...] = ()) -> Files:
    names = sorted(set(_weight_map(index).values()))
    for name in names:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or not pure.parts:
            raise InputError(f"The index '{index}' names '{name}', which lies outside of its folder: it is not read.")
    paths = tuple(index.parent / name for name in names)
    if missing := [path.name for path in paths if not path.is_file()]:
        raise InputError(
            f"The index '{index}' names {len(paths)} files, and {missing[0]} is not beside it"
            f"{f', nor are {len(missing) - 1} others' if len(missing) > 1 else ''}: download what is missing."
        )
    return Files(paths, index, notes)


def _weight_map(index: Path) -> dict[str, str]:
    try:
        told = read_json(index)
        found = told["weight_map"]
        if found and all(isinstance(k, str) and isinstance(v, str) for k, v in found.items()):
            return dict(found)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        pass
    raise InputError(f"The file '{index}' is no index of weights: it has no 'weight_map' from tensors to files.")


def read_files(files: Files) -> Content:
    """The content of all files together.

    Raises:
        InputError: see `read_file`; a tensor is not in the file that the index names for it.
    """
    if files.several is None:
        return read_file(files.paths[0])
    contents = {path.relative_to(files.several.parent).as_posix(): read_file(path) for path in files.paths}
    held: dict[str, Any] = {}
    for name, where in _weight_map(files.several).items():
        shard = contents[PurePosixPath(where).as_posix()].held
        if not isinstance(shard, Mapping) or name not in shard:
            raise InputError(
                f"The index '{files.several}' says that '{name}' is in {where}, and it is not: download both again."
            )
        held[name] = shard[name]
    return Content(held, {})


def lone_shard(path: Path) -> str | None:
    """What to say of a file that is one of several; None where its name does not say so."""
    found = SHARD.search(path.name)
    return f"it is one of {int(found[1])} files: give the folder, or its index" if found else None
