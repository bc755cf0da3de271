"""Damaged files: strategies of JSON values and texts near a good one, and whatever else may have a file's name."""

import copy
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SCALARS = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-300, 1e300, 2**31, 2**53, 2**63, 2**64, 10**30, -(10**30), "", " ",
    "a", "é", "\x00", "\n", "\ud800", "[x](http://a)", "none", "cp", "svd", "ratio", "../../etc", "A" * 300, [], {},
    [[]], [None], {"": None}, [1, 2], ["a"], {"a": 1},
)  # fmt: skip
"""Values that are near what files hold, or far from it."""
TEXTS = (
    "", " ", "{", "[]", "null", "1", '"a"', "[" * 100_000, "9" * 5000, "NaN", "[1e999]", '{"a":' * 3000, "\ufeff{}",
    "\x00",
)  # fmt: skip
"""Whole contents that are no value of ours."""

Place = tuple[Any, ...]


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """The way to every part of a JSON value, itself first."""
    yield here
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(part, (*here, key))


_SCALAR = st.sampled_from(SCALARS).map(copy.deepcopy)
"""Of its own: what is changed later must not change what others draw."""


@st.composite
def near(draw: Any, good: Mapping[str, Any]) -> bytes:
    """The content of a file that was `good`: parts changed, lost, added or swapped; then perhaps torn or spoilt."""
    value = copy.deepcopy(dict(good))
    for _ in range(draw(st.integers(0, 3))):
        _change(draw, value)
    data = json.dumps(value).encode()
    how = draw(st.sampled_from(("whole",) * 9 + ("torn", "spoilt", "other")))
    if how == "torn":
        return data[: draw(st.integers(0, len(data)))]
    if how == "spoilt":
        at = draw(st.integers(0, len(data)))
        return data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at + draw(st.integers(0, 4)) :]
    if how == "other":
        return draw(st.sampled_from(TEXTS).map(str.encode) | st.binary(max_size=40))
    return data


def _change(draw: Any, value: dict[str, Any]) -> None:
    *way, last = draw(st.sampled_from([place for place in places(value) if place] or [("a",)]))
    parent: Any = value
    for key in way:
        parent = parent[key]
    how = draw(st.sampled_from(("other", "other", "near", "lost", "more")))
    if how == "lost":
        parent.pop(last)
    elif how == "more":
        parent.update(stranger=1) if isinstance(parent, dict) else parent.append(draw(_SCALAR))
    elif how == "near":
        parent[last] = _near(draw, parent[last])
    else:
        parent[last] = draw(_SCALAR | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9))


def _near(draw: Any, value: Any) -> Any:
    """Of the same type, as a slip would make it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return draw(st.sampled_from((-value, value + 1, value * 10, value / 3, value * 1e9, 0)))
    if isinstance(value, str):
        return draw(st.sampled_from((value[:-1], value + "a", value.upper(), value[::-1])))
    if isinstance(value, list):
        return draw(st.sampled_from((value[:-1], value[::-1], value * 2, [value])))
    return draw(st.sampled_from(({}, [value]))) if isinstance(value, dict) else "a"


def _socket(path: Path) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{short}/s")  # an address has at most about a hundred bytes
        Path(f"{short}/s").rename(path)


NON_FILES: dict[str, Callable[[Path], object]] = {
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "socket": _socket,
}
"""What may have the name of a file and is none."""
