"""Frozen values that are checked when they are made, whoever makes them."""

import functools
import json
import math
import numbers
import unicodedata
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from tdq_core.errors import InputError

Count = Annotated[int, Meta(ge=1)]
Steps = Annotated[int, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=0, lt=2**32)]


class Value(Struct, frozen=True, forbid_unknown_fields=True):
    """A value whose fields have the types and bounds that they are declared with.

    Numbers become what their field says (2 becomes 2.0 in a float), lists become tuples: equal values are written
    alike.

    Raises:
        InputError: a field of another type, out of its bounds, not finite, or text that is blank or
            holds control characters.
    """

    def __post_init__(self) -> None:
        for name, (hint, usual) in declared(type(self)).items():
            given = getattr(self, name)
            if given is not usual:
                msgspec.structs.force_setattr(self, name, checked(name, hint, given))


@functools.cache
def declared(kind: type) -> dict[str, tuple[Any, Any]]:
    """By field its declared type, with what is annotated to it, and its default."""
    return {f.name: (f.type, f.default) for f in msgspec.structs.fields(kind)}


def checked(name: str, hint: Any, given: Any) -> Any:
    """`given` as a value of the type `hint`; InputError names the field `name` and what it may be."""
    if type(given) is hint:  # most fields: quick
        return given if hint not in (float, str) else _sane(name, given)
    if isinstance(given, numbers.Number) and type(given) not in (bool, int, float):  # numpy's are numbers too
        given = int(given) if isinstance(given, numbers.Integral) else float(given)  # type: ignore[arg-type]
    try:
        value = msgspec.convert(given, hint)
    except (msgspec.ValidationError, TypeError) as error:
        raise InputError(f"The '{name}' must be {wanted(hint)}. Got {given!r}.") from error
    return _sane(name, value)


def _sane(name: str, value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or any(unicodedata.category(sign) == "Cc" for sign in value)):
        raise InputError(f"The '{name}' must be text without line breaks or other control characters. Got {value!r}.")
    if any(isinstance(v, float) and not math.isfinite(v) for v in (value if isinstance(value, tuple) else (value,))):
        raise InputError(f"The '{name}' must be finite. Got {value!r}.")
    return tuple(map(_unsigned_zero, value)) if isinstance(value, tuple) else _unsigned_zero(value)


def _unsigned_zero(value: Any) -> Any:
    """-0.0 equals 0.0 and would be written otherwise."""
    return value + 0.0 if isinstance(value, float) else value


def shown(value: Any) -> str:
    """What was given, on a line and not for ever."""
    try:
        text = json.dumps(value, default=repr)
    except (ValueError, RecursionError, TypeError):  # an int of thousands of digits; a list in itself; odd keys
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}..."


def wanted(hint: Any) -> str:
    """A declared type in words: 'an int of at least 1', 'a number in [0, 1)', 'true or false'."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        bounds = next((m for m in extras if isinstance(m, Meta)), None)
        return wanted(inner) + (_bounds(bounds) if bounds else "")
    if get_origin(hint) is tuple:
        kinds = [k for k in get_args(hint) if k is not Ellipsis]
        return f"a list of {'ints' if int in kinds else 'numbers'}"
    options = [o for o in get_args(hint) if o is not type(None)]
    if options:
        return " or ".join(dict.fromkeys(map(wanted, options)))
    return {int: "an int", float: "a number", bool: "true or false", str: "text"}.get(hint, f"a {hint.__name__}")


def _bounds(meta: Meta) -> str:
    low, high = (meta.ge if meta.ge is not None else meta.gt), (meta.le if meta.le is not None else meta.lt)
    if low is None and high is None:
        return ""
    if high is None:
        return f" of at least {low:g}" if meta.ge is not None else f" above {low:g}"
    if low is None:
        return f" of at most {high:g}" if meta.le is not None else f" below {high:g}"
    return f" in {'[' if meta.ge is not None else '('}{low:g}, {high:g}{']' if meta.le is not None else ')'}"
