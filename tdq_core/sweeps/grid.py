"""The runs of a sweep: every combination of its axes; what makes no sense is left out and counted. No torch here."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tdq_core.errors import InputError
from tdq_core.specs import RunSpec
from tdq_core.specs.choices import PRESETS
from tdq_core.specs.option import fields_of
from tdq_core.specs.rank_choice import SHARING, RankChoice
from tdq_core.sweeps.spec import PRESET, Sweep, Table, fault

MOST = 20_000
"""Combinations of a sweep."""
_RANKS = tuple(field.name for field in fields_of(RankChoice))


class Grid(NamedTuple):
    """The runs of a sweep.

    Attributes:
        specs: each of them once, in the order of the file.
        repeated: how many combinations ask for one of them again.
        left_out: by reason how many combinations make no run.
    """

    specs: tuple[RunSpec, ...]
    repeated: int
    left_out: Mapping[str, int]


def grid_of(sweep: Sweep) -> Grid:
    """All runs of `sweep`.

    Raises:
        InputError: too many combinations; a table of which no run is left; no model or no images.
    """
    grids = list(_grids(sweep.table, {}))
    count = sum(math.prod(map(len, axes.values())) for _, axes in grids)
    if count > MOST:
        raise fault(f"{sweep.name} has {count:,} combinations: {MOST:,} at most. Take some axes apart.")
    specs: dict[RunSpec, None] = {}
    left_out: Counter[str] = Counter()
    made = 0
    for where, axes in grids:
        _require_subject(where, axes)
        found, reasons = _combined(axes)
        if not found:
            raise fault(f"{where} leaves no run of {sum(reasons.values())}: {next(iter(reasons))}")
        made += len(found)
        specs |= dict.fromkeys(found)
        left_out += reasons
    return Grid(tuple(specs), made - len(specs), dict(left_out))


def _grids(table: Table, above: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, dict[str, tuple[Any, ...]]]]:
    """The innermost tables, each with what holds for it."""
    axes = {**above, **table.axes}
    if not table.tables:
        yield table.where, axes
    for inner in table.tables:
        yield from _grids(inner, axes)


def _require_subject(where: str, axes: Mapping[str, object]) -> None:
    for key, example in (("model", "digits_resnet"), ("data", "digits")):
        if key not in axes:
            raise fault(f"{where} names no '{key}', which every run needs, as {key} = \"{example}\".")


def _combined(axes: Mapping[str, tuple[Any, ...]]) -> tuple[list[RunSpec], Counter[str]]:
    found, reasons = [], Counter[str]()
    for values in itertools.product(*axes.values()):
        try:
            found.append(_spec(dict(zip(axes, values, strict=True))))
        except InputError as error:
            reasons[str(error).partition(" Got ")[0]] += 1
    return found, reasons


def _spec(given: dict[str, Any]) -> RunSpec:
    """One combination as a run. Dense models take no ranks: those of the other methods beside them are theirs alone."""
    preset = given.pop(PRESET, None)
    values = {**(PRESETS[preset].options if preset else {}), **given}
    ranks = {name: values.pop(name) for name in _RANKS if name in values}
    sharing = {name: values.pop(name) for name in SHARING if name in values}
    if values.get("method") == "none":
        return RunSpec.from_flat(values)
    return RunSpec.from_flat(values | {"rule": RankChoice(**ranks, sharing=sharing).rule()})
