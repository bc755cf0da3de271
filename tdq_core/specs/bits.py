"""Bits of weights layer by layer, by hand: names or patterns with a number of bits each. No torch here.

A name is that of one layer; in a pattern every '*' stands for any text, and '*' alone for every layer. A full name
counts more than a pattern, and of patterns that fit the one that says most. The first convolution and the last layer
keep their bits unless they are named in full.
"""

import json
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from tdq_core.errors import InputError
from tdq_core.specs.by_layer import by_layer_from_json
from tdq_core.specs.choices import BITS
from tdq_core.specs.value import shown

FEWEST_BY_HAND, MOST_BY_HAND = 2, 8
"""Of a weight in a packed file."""
ANY = "*"
FORM = '{"layer": bits}'
_REST = ', with "*" for all layers but the first and the last'

ByLayer = Mapping[str, int]
"""Bits by layer name or pattern."""


def checked_bits(given: Any) -> dict[str, int]:
    """Bits by hand as a value, in the order of names; InputError where they are none."""
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(f"Bits by hand must be {FORM}. Got {shown(given)}.")
    if not given:
        raise InputError(f"Bits by hand must name at least one layer: write it as {FORM}{_REST}. Got none.")
    for name, bits in given.items():
        if not isinstance(bits, Integral) or not FEWEST_BY_HAND <= int(bits) <= MOST_BY_HAND:
            raise InputError(
                f"The 'bits' of layer {shown(name)} must be an int in [{FEWEST_BY_HAND}, {MOST_BY_HAND}]. "
                f"Got {shown(bits)}."
            )
    return {name: int(given[name]) for name in sorted(given)}


def read_bits(text: str) -> str | dict[str, int]:
    """What a command says of bits: the name of a choice, JSON text, or the name of a JSON file."""
    if text in BITS:
        return text
    if text.lstrip().startswith("{"):
        return _from_json(text, "The bits given")
    source = f"The bits file '{text}'"
    try:
        return _from_json(Path(text).read_text(), source)
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        raise InputError(
            f"The 'bits' must be one of {', '.join(BITS)}, JSON text as '{FORM}', or a JSON file of it. Got '{text}', "
            f"which cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from error


def bits_text(bits: ByLayer) -> str:
    """Bits by hand as a command writes them."""
    return json.dumps(dict(bits), separators=(",", ":"))


def said_of(bits: ByLayer, name: str, *, end: bool = False) -> int | None:
    """The bits of the layer `name`; None where nothing is said of it.

    Args:
        end: whether it is at an end of the network: patterns do not reach it.

    Raises:
        InputError: two patterns say as much of it, and something else.
    """
    if name in bits:
        return bits[name]
    fitting = [pattern for pattern in bits if ANY in pattern and not end and fits(pattern, name)]
    longest = max(map(_says, fitting), default=0)
    found = {bits[pattern]: pattern for pattern in fitting if _says(pattern) == longest}
    if len(found) > 1:
        raise InputError(
            f"The bits of layer '{name}' are said twice, by {' and '.join(map(repr, found.values()))}: name it in "
            f"full. Got {' and '.join(map(str, found))}."
        )
    return next(iter(found), None)


def fits(pattern: str, name: str) -> bool:
    """Whether `pattern`, in which every '*' stands for any text, is `name`."""
    first, *parts = pattern.split(ANY)
    if not parts:
        return pattern == name
    if not name.startswith(first) or len(name) < len(first) + len(parts[-1]) or not name.endswith(parts[-1]):
        return False
    at, end = len(first), len(name) - len(parts[-1])
    for part in parts[:-1]:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _says(pattern: str) -> int:
    return len(pattern.replace(ANY, ""))


def _from_json(text: str, source: str) -> dict[str, int]:
    return checked_bits(by_layer_from_json(text, source, FORM, more=_REST))
