"""A control for a field of a spec, made from the field: its type, its option's label, help and choices.

How a field's control looks may be said in `LOOKS`; a field that is not there gets a plain one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import streamlit as st
from msgspec import Meta

from dashboard.facts.draft import MANUAL
from dashboard.shelf.state import Arguments, Setting, number_in, one_of, switch, words
from tdq_core.layers.methods import TUCKER2
from tdq_core.specs.option import Field

MOST_ETA = 0.2
MOST_STEPS = 100_000
_FAR = 10**9
_SHORT = 32
"""Choices that are longer than this together, in characters, stand in a list instead of side by side."""
Bounds = tuple[float, float]


class Look(NamedTuple):
    """How the control of one field differs from a plain one.

    Attributes:
        start: where it starts, if not at the field's default.
        range: of a number, if narrower than the field's bounds.
        slider: a number as a slider.
        steps: a number as one of a few, each with its label.
        help: where the command line's sentence is about the opposite.
        more: choices that the page alone offers, each with its label.
    """

    start: Any = None
    range: Bounds | None = None
    step: float | None = None
    width: int | None = None
    slider: bool = False
    steps: Mapping[str, str] | None = None
    help: str = ""
    more: Mapping[str, str] = {}


LOOKS: Mapping[str, Look] = {
    "method": Look(start=TUCKER2.name, width=112),
    "epc": Look(),
    "eta": Look(range=(0.0, MOST_ETA), step=0.01, width=220, slider=True),
    "budget": Look(),
    "policy": Look(start="predicted", width=172),
    "depth": Look(range=(0.0, 4.0), step=0.25, width=200, slider=True),
    "multiple": Look(steps={"1": "any", "4": "multiples of 4", "8": "multiples of 8"}),
    "precision": Look(width=145),
    "bits": Look(
        width=160,
        more={MANUAL: "by hand"},
        help="Of the weights of each layer: 2 to 8, by the sliders of the layers; the first and the last layer keep 8 "
        "unless theirs are moved.",
    ),
    "backend": Look(),
    "granularity": Look(width=240),
    "ranges": Look(width=200),
    "calibrated": Look(start=True),
    "symmetric": Look(),
    "solver": Look(),
    "condition": Look(
        help="Brings the ranges inside decomposed layers into balance, which leaves the float function as it is, "
        "and takes the mean shift of rounding back in biases.",
    ),
    "reestimate_bn": Look(),
    "finetune": Look(range=(0, MOST_STEPS), step=100, width=170),
}
"""By the field's name in JSON, in the order of the page; fields that are not here come after those that are."""


def in_order(fields: Iterable[Field]) -> list[Field]:
    """As the page shows them."""
    places = list(LOOKS)
    return sorted(fields, key=lambda f: places.index(f.key) if f.key in places else len(places))


def look(field: Field) -> Look:
    return LOOKS.get(field.key, Look())


def usual(field: Field) -> Any:
    """Where the control starts."""
    start = look(field).start
    return field.default if start is None else start


def names(field: Field) -> list[str]:
    """What can be chosen, where the control offers a few choices; [] where it takes any value of its type."""
    own = look(field)
    return [*field.option.choices(), *own.more] if field.option.choices else list(own.steps or ())


def setting(field: Field, options: Sequence[str] = ()) -> Setting:
    """The field's choice, with its place in the address: one of `options`, where the field has choices (none given:
    any of them)."""
    start = usual(field)
    if options := options or names(field):
        return one_of(field.key, options, default=str(start) if str(start) in options else options[0])
    kind = plain(field.kind)
    if kind is bool:
        return switch(field.key, start)
    if kind in (int, float):
        return number_in(field.key, start, *bounds(field))
    return words(field.key, start or "")


def value_of(field: Field, chosen: Any) -> Any:
    """What the control says, as the field takes it."""
    if look(field).steps:
        return plain(field.kind)(chosen)
    return field.default if chosen == "" else chosen


def draw(field: Field, options: Sequence[str] = ()) -> Any:
    """The control, with `options` to choose from where the field has choices; returns the field's value."""
    own, label, told = look(field), field.option.label, help_of(field)
    kind, kept = plain(field.kind), setting(field, options).settle()
    if options:
        labels = {name: text for name, text in _labels(field).items() if name in options}
        return value_of(field, _choice(field, labels, kept))
    if kind is bool:
        return st.toggle(label, help=told, **kept)
    if kind in (int, float):
        return _number(field, kept)
    return value_of(field, st.text_input(label, help=told, width=own.width or 200, **kept))


def _labels(field: Field) -> dict[str, str]:
    """Choices as people read them."""
    own = look(field)
    told = {**(field.option.labels() if field.option.labels else own.steps or {}), **own.more}
    return {name: told.get(name, name) for name in names(field)}


def _choice(field: Field, labels: Mapping[str, str], kept: Arguments) -> str:
    """Side by side where the choices are short together, else a list."""
    label, told, width = field.option.label, help_of(field), look(field).width
    lengths = [len(text) for text in labels.values()]
    if width is None and sum(lengths) <= _SHORT:
        return side_by_side(label, labels, kept, help=told)
    return st.selectbox(
        label, list(labels), format_func=labels.__getitem__, width=width or 90 + 6 * max(lengths), help=told, **kept
    )  # fmt: skip


def side_by_side(
    label: str, labels: Mapping[str, str], kept: Arguments, *, help: str | None = None,
    on_change: Callable[[], None] | None = None,
) -> str:  # fmt: skip
    """One of a few choices, which all stand on the page; returns its name."""
    chosen = st.segmented_control(
        label, list(labels), format_func=labels.__getitem__, required=True, help=help, on_change=on_change, **kept
    )  # fmt: skip
    assert chosen is not None, "one of them is always chosen"
    return chosen


def _number(field: Field, kept: Arguments) -> float | None:
    """A slider where the field's look says so, else a box; without ends where the field has none."""
    own, label, told = look(field), field.option.label, help_of(field)
    low, high = bounds(field)
    step = own.step or (1 if isinstance(low, int) else 0.1)
    if own.slider:
        return st.slider(label, low, high, step=step, width=own.width or 220, help=told, **kept)
    least, most = low if low > -_FAR else None, high if high < _FAR else None
    return st.number_input(label, least, most, step=step, width=own.width or 170, help=told, **kept)


def help_of(field: Field) -> str:
    """The option's sentence, and those on its choices."""
    option = field.option
    labels, helps = (option.labels or dict)(), (option.helps or dict)()
    told = [f"{labels.get(name, name)}: {sentence}." for name, sentence in helps.items()]
    return " ".join((look(field).help or option.help, *(t[0].upper() + t[1:] for t in told)))


def plain(kind: Any) -> Any:
    """A declared type without its bounds, and without None; of several the first."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    if get_origin(kind) is UnionType:
        return plain(next(k for k in get_args(kind) if k is not type(None)))
    return kind


def bounds(field: Field) -> Bounds:
    """Ends of a number, whole where it is: the control's, else those it is declared with."""
    if own := look(field).range:
        return own
    metas = [m for m in _extras(field.hint) if isinstance(m, Meta)]
    lows = [low for m in metas for low in (m.ge, m.gt) if low is not None]
    highs = [high for m in metas for high in (m.le, m.lt) if high is not None]
    number = plain(field.kind)
    return number(max(lows, default=-_FAR)), number(min(highs, default=_FAR))


def _extras(hint: Any) -> list[Any]:
    """What is annotated to a type, at any depth."""
    if get_origin(hint) is Annotated:
        inner, *own = get_args(hint)
        return [*own, *_extras(inner)]
    return [extra for kind in get_args(hint) for extra in _extras(kind)] if get_origin(hint) is UnionType else []
