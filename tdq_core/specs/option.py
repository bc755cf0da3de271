"""What a field of a spec is called on the command line and on the page: declared once, beside the field."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from tdq_core.errors import InputError
from tdq_core.specs.value import Value, declared

Flat = Mapping[str, Any]
"""A spec's fields by their names in JSON, as values."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One field, as people meet it; it stands in the field's annotation.

    Attributes:
        flag: on the command line; of a switch that is on by default, what switches it off.
        help: a sentence for `--help`, the docs and the page.
        choices: the names that it may take, asked for when they are needed; None: any value of its type.
        labels: the same for people, by name; helps: a sentence on those that need one.
        label: the page's name of the control; '' where the page offers it in a way of its own, or not at all.
        needs: when it has an effect, given the flat fields; elsewhere it keeps its default.
        because: the sentence for who asks for it where it has none.
        shown: when the page offers it, where it may be said more often than it has an effect.
        key: its name in JSON, where that is not the field's.
        shorthand: another flag, without a value, and the value that it stands for.
        named: whether it is part of a run's name; places are not: what lies there enters the name by content.
    """

    flag: str
    help: str
    choices: Callable[[], Iterable[str]] | None = None
    labels: Callable[[], Mapping[str, str]] | None = None
    helps: Callable[[], Mapping[str, str]] | None = None
    label: str = ""
    needs: Callable[[Flat], bool] | None = None
    because: str = ""
    shown: Callable[[Mapping[str, Any]], bool] | None = None
    key: str = ""
    named: bool = True
    shorthand: tuple[str, Any] | None = None
    shorthand_help: str = ""


@dataclass(frozen=True)
class Field:
    """A field with its option.

    Attributes:
        part: the value that it belongs to; name: in that value; key: in JSON.
        kind: its type without what is annotated to it; hint: with it.
    """

    part: type[Value]
    name: str
    key: str
    kind: Any
    hint: Any
    default: Any
    option: Option


@functools.cache
def fields_of(part: type[Value]) -> list[Field]:
    """The fields of one part of a spec that are options, in their order."""
    found = []
    for name, (hint, default) in declared(part).items():
        extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        option = next((e for e in extras if isinstance(e, Option)), None)
        if option:
            found.append(Field(part, name, option.key or name, get_args(hint)[0], hint, default, option))
    return found


def require_choices(value: Value) -> None:
    """InputError where a field that has choices holds another name than theirs."""
    for field in fields_of(type(value)):
        given = getattr(value, field.name)
        if field.option.choices and isinstance(given, str):
            require_choice(field.key, given, tuple(field.option.choices()))


def require_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    allowed = tuple(allowed)
    if value not in allowed:
        raise InputError(f"The '{name}' must be one of {', '.join(allowed)}. Got '{value}'.")
