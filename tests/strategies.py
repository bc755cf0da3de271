"""Whole specs, drawn from what their fields are declared to hold: an option that is declared is drawn here too."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from hypothesis import strategies as st
from msgspec import Meta, structs

from tdq_core.layers.methods import METHODS
from tdq_core.specs.command import is_by_layer
from tdq_core.specs.option import Field, fields_of
from tdq_core.specs.precision import BACKENDS, PRECISIONS
from tdq_core.specs.precision_spec import TIMED, bits_can_be_chosen
from tdq_core.specs.rank_rule import RULES, RankRule
from tdq_core.specs.run import RunSpec, fields

Strategy = st.SearchStrategy[Any]
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)
"""What a name or a path can hold."""
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
BITS_BY_HAND = st.dictionaries(TEXTS | st.just("*"), st.integers(2, 8), min_size=1, max_size=3)
RANKS = st.one_of(st.none(), st.integers(1, 999), st.tuples(st.integers(1, 99), st.integers(1, 99)))


def values(hint: Any) -> Strategy:
    """Values of a declared type, within its bounds."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        bounds = [extra for extra in extras if isinstance(extra, Meta)]
        return bounded(inner, bounds[0]) if bounds else values(inner)
    if get_origin(hint) is tuple:
        size = (2, 2) if Ellipsis not in get_args(hint) else (1, 3)
        numbers = st.integers(1, 4096) if int in get_args(hint) else NUMBERS
        return st.lists(numbers, min_size=size[0], max_size=size[1]).map(tuple)
    if get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        return st.one_of(*map(values, get_args(hint)))
    return {bool: st.booleans(), int: st.integers(), float: NUMBERS, str: TEXTS, type(None): st.none()}[hint]


def bounded(kind: type, meta: Meta) -> Strategy:
    """Numbers within what is declared; an open end is included where it is whole."""
    if kind is float:
        return st.floats(meta.ge, meta.lt if meta.lt is not None else meta.le, exclude_max=meta.lt is not None)
    return st.integers(meta.ge, meta.lt - 1 if meta.lt is not None else meta.le)


def of_field(field: Field) -> Strategy:
    """What one field may hold: its default now and then, one of its choices, or any value of its type."""
    if is_by_layer(field):
        return st.sampled_from(list(field.option.choices())) | BITS_BY_HAND
    if field.option.choices:
        return st.sampled_from([c for c in field.option.choices() if c is not None])
    drawn = values(field.hint)
    return drawn | st.just(field.option.shorthand[1]) if field.option.shorthand else drawn


@st.composite
def rules(draw: st.DrawFn, kind: str) -> RankRule:
    """A rank rule of this kind, with what goes with it."""
    if kind == "manual":
        return RankRule(kind, ranks=draw(st.dictionaries(TEXTS, RANKS, min_size=1, max_size=3)))
    ends = draw(st.booleans())
    if kind != "ratio":
        return RankRule(kind, draw(st.floats(0, 1, exclude_min=True)), keep_ends=ends)
    sharing = {field.name: draw(of_field(field)) for field in fields_of(RankRule)}
    for field in fields_of(RankRule):
        if field.option.needs and not field.option.needs(sharing):
            sharing.pop(field.name)
    return RankRule(kind, draw(st.floats(1, 1e6, exclude_min=True)), keep_ends=ends, **sharing)


@st.composite
def normalisations(draw: st.DrawFn) -> Mapping[str, Any]:
    """Mean and std of 1 or 3 channels of pixels in [0, 1], or one of them, or none."""
    size = draw(st.sampled_from((1, 3)))
    shares = {"mean": st.floats(0, 1), "std": st.floats(0, 1, exclude_min=True)}
    return {name: draw(st.none() | st.tuples(*[each] * size)) for name, each in shares.items()}


@st.composite
def flat_specs(draw: st.DrawFn, kinds: Sequence[str | None] = (None, *RULES)) -> Mapping[str, Any]:
    """The fields of a run by their names in JSON; where one has no effect beside the others, its default.

    Args:
        kinds: of rank rules; None: nothing is decomposed.
    """
    kind = draw(st.sampled_from(kinds))
    given = draw(normalisations())
    flat = {field.key: draw(of_field(field)) for field in fields() if field.key not in given} | given
    flat["method"] = draw(st.sampled_from([*METHODS])) if kind else "none"
    if not BACKENDS[flat["backend"]].carries_out(PRECISIONS[flat["precision"]]):
        flat["backend"] = "torch"
    for field in fields():
        if field.option.needs and not field.option.needs(flat):
            flat[field.key] = field.default
    rule = draw(rules(kind)) if kind else None
    if rule and rule.budget == "bytes" and not (PRECISIONS[flat["precision"]].simulated and flat["backend"] == "torch"):
        rule = structs.replace(rule, budget="params")
    if rule and rule.budget == "latency" and not timed(flat):
        rule = structs.replace(rule, budget="macs", batch=1, threads=1)
    if flat["method"] == "mixed" and not (rule and rule.kind == "ratio" and rule.policy in ("global", "predicted")):
        flat["method"] = "auto"
    if flat["bits"] == "auto" and (flat["method"] == "mixed" or not bits_can_be_chosen(flat | {"rule": rule})):
        flat["bits"] = "same"
    return flat | {"rule": rule}


def timed(flat: Mapping[str, Any]) -> bool:
    """Whether layers can be timed at the precision of the run."""
    return flat["backend"] == "onnxruntime" and PRECISIONS[flat["precision"]].kind in TIMED


def specs() -> st.SearchStrategy[RunSpec]:
    """Whole runs."""
    return flat_specs().map(RunSpec.from_flat)
