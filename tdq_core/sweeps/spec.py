"""A sweep as a TOML file: options of `tdq run` by their names; a list is an axis. No torch here.

    model = "resnet20_cifar10"
    data = "cifar10-jpeg"
    precision = ["fp32", "int8"]

    [[grid]]
    method = ["tucker2", "cp"]
    ratio = [1.5, 2, 3]

What stands in a table holds for all tables inside it (`[[grid]]`, `[[grid.grid]]`, ...), and each innermost table is a
grid: every combination of its axes. A table without lists is one run.
"""

import difflib
import functools
import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, NamedTuple

from tdq_core.data.refs import parse_ref
from tdq_core.errors import InputError
from tdq_core.specs import RankRule
from tdq_core.specs.bits import checked_bits, read_bits
from tdq_core.specs.choices import PRESETS
from tdq_core.specs.command import is_by_layer, is_list, is_size, value_of
from tdq_core.specs.option import Field, fields_of, require_choice
from tdq_core.specs.preprocessing import require_normalisation, require_size
from tdq_core.specs.rank_choice import RankChoice
from tdq_core.specs.run import fields
from tdq_core.specs.value import checked
from tdq_core.system.plain_text import printable

GRID = "grid"
PRESET = "preset"
LARGEST_FILE = 1 << 20
"""Bytes of a sweep file."""
DEEPEST = 8
"""Tables within tables."""


class Table(NamedTuple):
    """Some options of a grid, and what is added to them.

    Attributes:
        where: for sentences: '[[grid]] 2'.
        axes: by option its values, each of them checked.
        tables: those inside it; none: the table is a grid itself.
    """

    where: str
    axes: Mapping[str, tuple[Any, ...]]
    tables: tuple["Table", ...]


class Sweep(NamedTuple):
    """A sweep file that was read: its name for people, and its outermost table."""

    name: str
    table: Table


def read_sweep(path: Path) -> Sweep:
    """The sweep of a file.

    Raises:
        InputError: it cannot be read, is not TOML, or says something that no run can have; names the place.
    """
    named = f"The sweep file '{path}'"
    try:
        if not path.is_file():
            raise fault(f"{named} cannot be read: {'it is no file' if path.exists() else 'it is not there'}.")
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise fault(f"{named} may have {LARGEST_FILE:,} bytes at most. Got {size:,}.")
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        raise fault(f"{named} cannot be read as text: {error}.") from error
    return parse_sweep(text, named)


def parse_sweep(text: str, named: str = "The sweep") -> Sweep:
    """The sweep of a file's text; `named` is what a sentence calls it."""
    try:
        plain = tomllib.loads(text.replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise fault(f"{named} is not TOML: {said}.") from error
    return sweep_of(plain, named)


def sweep_of(plain: Mapping[str, Any], named: str = "The sweep") -> Sweep:
    """The sweep that plain values describe, as a TOML file holds them."""
    return Sweep(named, _table(plain, (), named, named, 0))


def _table(plain: Any, above: tuple[str, ...], place: str, named: str, depth: int) -> Table:
    if not isinstance(plain, Mapping):
        raise fault(f"{place}: '{GRID}' holds tables of options, written [[{GRID}]]. Got {_shown(plain)}.")
    if depth > DEEPEST:
        raise fault(f"{named} has tables {depth} deep: {DEEPEST} at most.")
    axes = {key: _axis(key, value, above, place) for key, value in plain.items() if key != GRID}
    inner = plain.get(GRID, [])
    if not isinstance(inner, list) or (GRID in plain and not inner):
        raise fault(f"{place}: '{GRID}' must be tables, written [[{GRID}]]. Got {_shown(inner)}.")
    known = (*above, *axes)
    tables = [
        _table(each, known, f"{place}, [[{'.'.join([GRID] * (depth + 1))}]] {number}", named, depth + 1)
        for number, each in enumerate(inner, start=1)
    ]
    return Table(place, axes, tuple(tables))


def _axis(key: str, value: Any, above: tuple[str, ...], place: str) -> tuple[Any, ...]:
    """The values of one option, checked; what is not a list is one value."""
    if key not in options():
        near = difflib.get_close_matches(key.replace("-", "_"), options(), n=1)
        hint = f": did you mean '{near[0]}'?" if near else f"; known are {', '.join(sorted(options()))}."
        raise fault(f"{place} has the key {_shown(key)}, which is no option of a run{hint}")
    if key in above:
        raise fault(f"{place} says '{key}' again, which a table around it says already: say it in one of them.")
    values = value if isinstance(value, list) and not _is_one(options()[key], value) else [value]
    if not values:
        raise fault(f"{place}, key '{key}', is an empty list: give at least one value, or leave the key out.")
    return tuple(_checked(key, each, place) for each in values)


def _is_one(field: Field | None, value: list[Any]) -> bool:
    """Whether a list is one value: of an option that is itself a list of numbers."""
    return field is not None and is_list(field) and bool(value) and not any(isinstance(v, list | str) for v in value)


def _checked(key: str, value: Any, place: str) -> Any:
    try:
        return _value(key, value)
    except InputError as error:
        raise fault(f"{place}, key '{key}': {error}") from error


def _value(key: str, value: Any) -> Any:
    """A value that is right by itself, whatever stands beside it."""
    if isinstance(value, date | time) or (isinstance(value, Mapping) and key not in ("ranks", "bits")):
        raise fault(f"It takes no {'table' if isinstance(value, Mapping) else 'date or time'}. Got {value!s:.80}.")
    field = options()[key]
    if field is None:
        require_choice(PRESET, value, PRESETS)
        return value
    if field.part is RankChoice:
        return _rank_value(key, value)
    if is_list(field) and isinstance(value, str | int) and not isinstance(value, bool):
        value = value_of(field, str(value))
    if is_by_layer(field):
        return checked_bits(value) if isinstance(value, Mapping) else read_bits(checked(key, str, value))
    value = checked(key, field.hint, value)
    if field.option.choices:
        require_choice(key, value, tuple(field.option.choices()))
    if key in ("data", "calib"):
        parse_ref(value)
    if is_size(field):
        require_size(value)
    elif is_list(field):
        require_normalisation(*((value, None) if key == "mean" else (None, value)))
    return value


def _rank_value(key: str, value: Any) -> Any:
    if key == "ranks" and isinstance(value, Mapping):
        value = json.dumps(value, default=str)
    choice = RankChoice(**{key: value} if key not in ("vbmf_weakening", "decompose_ends") else {})
    choice.rule()
    if key == "vbmf_weakening":
        return RankRule("vbmf", value).value
    return checked(key, bool, value) if key == "decompose_ends" else getattr(choice, key)


@functools.cache
def options() -> dict[str, Field | None]:
    """Every key of a table: by its name the field of the option; None: the preset."""
    return dict(_options())


def _options() -> Iterator[tuple[str, Field | None]]:
    yield from ((field.key, field) for field in fields())
    yield from ((field.name, field) for part in (RankChoice, RankRule) for field in fields_of(part))
    yield PRESET, None


def fault(sentence: str) -> InputError:
    """What is wrong with a sweep, on one line whatever it quotes."""
    return InputError(printable(sentence))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
