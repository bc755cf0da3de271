"""The options of `tdq run` as a table in Markdown, written from where they are declared."""

from collections.abc import Iterator

from tdq_core.records.logs import LOGS
from tdq_core.specs import Decomposition, ImageSpec, ModelSpec, PrecisionSpec, RunSpec, Treatment
from tdq_core.specs.choices import PRESETS
from tdq_core.specs.command import is_by_layer
from tdq_core.specs.option import Field, fields_of
from tdq_core.specs.rank_choice import RankChoice
from tdq_core.specs.rank_rule import RankRule

PARTS = {
    "model": ModelSpec,
    "images": ImageSpec,
    "decomposition": Decomposition,
    "ranks": RankChoice,
    "how a ratio is shared out": RankRule,
    "before rounding": Treatment,
    "numbers": PrecisionSpec,
    "the run": RunSpec,
}
OTHERS = (
    ("`--export DIR`", "", "Write the artefact there, scored again in a new process, with its ranks, record and card."),
    ("`--again`", "", "Measure it though it was measured before: the new record takes the old one's place."),
    ("`--log LOG`", "", f"Also tell others' tools of what was measured: {LOGS}."),
    ("`--json`", "", "Print JSON and nothing else on stdout."),
)


def options_table() -> str:
    """Every option of `tdq run` with its default and what it does, part by part."""
    lines = ["| | option | default | what it does |", "|---|---|---|---|"]
    for part, kind in PARTS.items():
        for number, field in enumerate(fields_of(kind)):
            lines += [_row(part if number == 0 else "", *cells) for cells in _cells(field)]
    presets = " ".join(f"`{name}`: {preset.help}" for name, preset in PRESETS.items())
    lines += [_row("", *cells) for cells in (*OTHERS, ("`--preset NAME`", "", f"Options that go together. {presets}"))]
    return "\n".join(lines)


def _row(part: str, option: str, default: str, text: str) -> str:
    return f"| {part} | {option} | {default} | {text.replace('|', '/')} |"


def _cells(field: Field) -> Iterator[tuple[str, str, str]]:
    option = field.option
    names = ", ".join(f"`{name}`" for name in option.choices()) if option.choices and not is_by_layer(field) else ""
    text = f"{option.help} One of {names}." if names else option.help
    usual = "none" if field.key == "method" else field.default
    shown = f"`{usual}`" if isinstance(usual, str | int | float) and not isinstance(usual, bool) else ""
    yield f"`{option.flag}`", shown, text
    if option.shorthand:
        yield f"`{option.shorthand[0]}`", "", option.shorthand_help
