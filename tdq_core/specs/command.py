"""A run as the command that measures it again, and the texts of a command as values. No torch here."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tdq_core.errors import InputError
from tdq_core.specs.bits import bits_text, read_bits
from tdq_core.specs.option import Field, fields_of
from tdq_core.specs.rank_choice import RankChoice
from tdq_core.specs.rank_rule import RankRule
from tdq_core.specs.run import RunSpec, fields


def command_line(spec: RunSpec) -> str:
    """The `tdq run ...` command that asks for `spec`, quoted for a POSIX shell; defaults are left out."""
    return shlex.join(["tdq", "run", *words_of(spec)])


def recipe_command(spec: RunSpec, target: str, finetune: int, more: Iterable[str] = ()) -> str:
    """The `tdq recipe ...` command that asks for `target` on the model and images of `spec`, `more` behind it."""
    steps = ("--finetune", str(finetune)) if finetune else ()
    return shlex.join(["tdq", "recipe", *words_of(spec.changed(latency=False)), "--target", target, *steps, *more])


def words_of(spec: RunSpec) -> Iterator[str]:
    """The options that ask for `spec`, those at their defaults left out."""
    flat = spec.to_flat()
    for field in fields():
        usual = "none" if field.key == "method" else field.default
        if flat[field.key] != usual:
            yield from option_words(field, flat[field.key])
    yield from _rule_words(spec.decomposition.rule if spec.decomposition else None)


def _rule_words(rule: RankRule | None) -> Iterator[str]:
    choice = RankChoice.of(rule)
    for field in fields_of(RankChoice):
        if (value := getattr(choice, field.name)) != field.default:
            yield from option_words(field, value)
    for field in fields_of(RankRule):
        if rule and (value := getattr(rule, field.name)) != field.default:
            yield from option_words(field, value)


def option_words(field: Field, value: Any) -> tuple[str, ...]:
    """One option as it stands in a command, its value not being the default."""
    if field.kind is bool:
        return (field.option.flag,)
    if field.option.shorthand and value == field.option.shorthand[1]:
        return (field.option.shorthand[0],)
    return field.option.flag, text_of(field, value)


def text_of(field: Field, value: Any) -> str:
    """A value as a command writes it."""
    if isinstance(value, Mapping):
        return bits_text(value)
    if isinstance(value, tuple):
        return ("x" if is_size(field) else ",").join(map(repr, value))
    return repr(value) if isinstance(value, float) else str(value)


def value_of(field: Field, text: str | None) -> Any:
    """The inverse of `text_of` for what `is_told_as_text`, which a command line hands over as text."""
    if text is None:
        return None
    if is_by_layer(field):
        return read_bits(text)
    return _size(field, text) if is_size(field) else _numbers(field, text)


def is_told_as_text(field: Field) -> bool:
    """Whether a command line says it as text that is read: several numbers, or numbers by layer."""
    return is_list(field) or is_by_layer(field)


def is_by_layer(field: Field) -> bool:
    """Whether the field may hold bits by layer."""
    return "dict[" in str(field.kind)


def is_list(field: Field) -> bool:
    """Whether the field holds several numbers."""
    return "tuple[" in str(field.kind)


def is_size(field: Field) -> bool:
    """Whether the field holds a height and a width."""
    return "tuple[int, int]" in str(field.kind)


def _numbers(field: Field, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"The '{field.option.flag}' must be numbers with commas between, as 0.5,0.5,0.5. Got '{text}'."
        ) from error


def _size(field: Field, text: str) -> tuple[int, int]:
    """'224' or '224x160' (height x width) as (height, width)."""
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})?", text):
        got = f"{text:.60}" + "..." * (len(text) > 60)
        raise InputError(f"The '{field.option.flag}' must be pixels, as 224 or 224x160 (height x width). Got '{got}'.")
    height, _, width = text.partition("x")
    return int(height), int(width or height)
