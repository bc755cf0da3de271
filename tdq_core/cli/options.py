"""Commands take their options from the specs' fields: a field that is declared there is an option here."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin

import typer
from msgspec import structs

from tdq_core.cli.terminal import tell
from tdq_core.errors import InputError
from tdq_core.records.logs import LOGS
from tdq_core.specs.choices import PRESETS, USUAL_PRESET
from tdq_core.specs.command import is_by_layer, is_list, is_told_as_text, value_of
from tdq_core.specs.option import Field, Flat, fields_of, require_choice
from tdq_core.specs.parts import Decomposition, ModelSpec
from tdq_core.specs.rank_choice import SHARING, RankChoice
from tdq_core.specs.rank_rule import RankRule
from tdq_core.specs.run import RunSpec
from tdq_core.specs.value import Value

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
LogFlag = Annotated[
    list[str] | None, typer.Option("--log", help=f"Also tell others' tools of what was measured: {LOGS}.")
]
Command = Callable[..., None]
STAND_IN = 2.0
"""The ratio of a spec whose ranks are found afterwards."""
_PRESET_HELP = " ".join(f"{name}: {preset.help}" for name, preset in PRESETS.items())


def takes_spec(*parts: type[Value], without: tuple[str, ...] = (), aim: str = "") -> Callable[[Command], Command]:
    """A command whose first parameter is a `RunSpec`: its options are the fields of `parts` but those `without`, then
    its own parameters. With `Decomposition` among the parts, the ways to choose ranks are options too; a parameter of
    its own may take their place, `aim`: where it is given, ranks may be left out."""
    chosen = [field for part in parts for field in fields_of(part) if field.key not in without]
    ranks = [*fields_of(RankChoice), *fields_of(RankRule)] if Decomposition in parts else []

    def spec_of(given: Flat) -> tuple[RunSpec]:
        values = {field.key: _value(field, given) for field in chosen}
        if ranks:
            aimed = bool(given.get(aim))
            preset = _preset(given, aimed=aimed)
            rule = _rule({**given, **preset}, aimed=aimed)
            values |= {key: value for key, value in preset.items() if key in values} | {"rule": rule}
        return (RunSpec.from_flat(values),)

    preset = _parameter("preset", str | None, None, "--preset", _PRESET_HELP)
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    more = [preset, context] if ranks else []
    return lambda command: _taking(command, [*chosen, *ranks], spec_of, more)


def takes_model(command: Command) -> Command:
    """A command whose first parameters are a `ModelSpec` and a seed."""
    seed = next(field for field in fields_of(RunSpec) if field.key == "seed")

    def model_of(given: Flat) -> tuple[ModelSpec, int]:
        return ModelSpec(**{f.name: _value(f, given) for f in fields_of(ModelSpec)}), given["seed"]

    return _taking(command, [*fields_of(ModelSpec), seed], model_of)


def _preset(given: Flat, *, aimed: bool) -> Flat:
    """The options of a preset, but for those that the command names itself. Where it asks for a ratio or a target and
    for no method, the usual one is taken, and that is said."""
    context, name = given["context"], given["preset"]
    if name is None and (given["ratio"] is not None or aimed) and not _is_named("method", context):
        name = USUAL_PRESET
        tell(f"No method is named: --preset {name}, {PRESETS[name].help}")
    if name is None:
        return {}
    require_choice("preset", name, PRESETS)
    return {key: value for key, value in PRESETS[name].options.items() if not _is_named(key, context)}


def _is_named(key: str, context: typer.Context) -> bool:
    """Whether the command names the option itself."""
    source = context.get_parameter_source(key)
    return source is not None and source.name == "COMMANDLINE"


def _taking(
    command: Command,
    fields: list[Field],
    make: Callable[[Flat], tuple[Any, ...]],
    more: Sequence[inspect.Parameter] = (),
) -> Command:
    """`command` with options for `fields` in place of its first parameters, which are made from what was given."""
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        made = make(given)
        command(*made, **{p.name: given[p.name] for p in parameters[len(made) :]})

    own = [p for p in parameters if p.annotation not in (RunSpec, ModelSpec) and p.name not in _names(fields)]
    _sign(with_options, [*_parameters(fields), *more, *own])
    return with_options


def _names(fields: Iterable[Field]) -> set[str]:
    return {field.key for field in fields}


def _sign(command: Command, parameters: Iterable[inspect.Parameter]) -> None:
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    command.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in keyword}


def _parameters(fields: Iterable[Field]) -> Iterable[inspect.Parameter]:
    for field in fields:
        option = field.option
        default = _usual(field)
        yield _parameter(field.key, _kind(field), default, option.flag, _help(field))
        if option.shorthand:
            yield _parameter(_shorthand(field), bool, False, option.shorthand[0], option.shorthand_help)


def _parameter(name: str, kind: Any, default: Any, flag: str, text: str) -> inspect.Parameter:
    annotation = Annotated[kind, typer.Option(flag, help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _usual(field: Field) -> Any:
    """The default of the option: of a switch, that it is not thrown."""
    if field.kind is bool:
        return False
    if field.key == "method":
        return "none"
    required = field.default is not None and not isinstance(field.default, str | int | float)
    return inspect.Parameter.empty if required else field.default


def _kind(field: Field) -> Any:
    """The type that typer reads: text for lists, and no bounds, for the specs say in a sentence what they miss."""
    if is_told_as_text(field):
        return str | None if is_list(field) else str
    return _bare(field.kind)


def _bare(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    options = get_args(kind)
    return functools.reduce(lambda a, b: a | b, map(_bare, options)) if options else kind


def _help(field: Field) -> str:
    names = ", ".join(field.option.choices()) if field.option.choices and not is_by_layer(field) else ""
    return f"{field.option.help} One of {names}." if names else field.option.help


def _shorthand(field: Field) -> str:
    assert field.option.shorthand
    return field.option.shorthand[0].strip("-").replace("-", "_")


def _value(field: Field, given: Flat) -> Any:
    value = given[field.key]
    if field.option.shorthand and given[_shorthand(field)]:
        if value is not None:
            raise InputError(f"Give either {field.option.flag} or {field.option.shorthand[0]}, not both.")
        return field.option.shorthand[1]
    if field.kind is bool:
        return field.default != value
    return value_of(field, value) if is_told_as_text(field) else value


def _rule(given: Flat, *, aimed: bool) -> RankRule | None:
    ways = {field.name: given[field.key] for field in fields_of(RankChoice)}
    choice = RankChoice(**ways, sharing={name: given[name] for name in SHARING})
    if aimed and (ways := choice.ways()):
        raise InputError(f"Give either --target or --{next(iter(ways))}: a target finds the ranks. Got both.")
    if aimed and given["method"] != "none":
        return structs.replace(choice, ratio=STAND_IN).rule()
    return choice.rule()
