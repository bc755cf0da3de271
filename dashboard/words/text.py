"""Numbers and runs as people read them; rounding happens here and nowhere else."""

from collections.abc import Mapping
from typing import Any

from tdq_core.records.record import RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.specs import BACKENDS, Decomposition, PrecisionSpec, RunSpec, Treatment
from tdq_core.specs.choices import BITS
from tdq_core.specs.option import Field, fields_of
from tdq_core.specs.run import defaults
from tdq_core.specs.variant import variant_of
from tdq_core.stats import sizes

_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"


def percent(share: float, digits: int = 2) -> str:
    """0.8125 as '81.25 %', never broken into two lines."""
    return f"{100 * share:.{digits}f}{_SPACE}%"


def points(share: float) -> str:
    """A difference of shares in percentage points, signed: 0.0125 as '+1.25'."""
    text = f"{100 * share:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", _MINUS)


def interval(low: float, high: float) -> str:
    return f"[{points(low)}, {points(high)}]"


LOCALIZED, SHARE = "localized", "percent"


def number(value: float, form: str = LOCALIZED) -> str:
    """A number of a table: 'localized' is 12,345, 'percent' a share, else a format of one number, as '%+.2f' or
    '%.2fx'. What rounds to zero has no sign."""
    if form == SHARE:
        said = percent(value)
    elif form == LOCALIZED:
        said = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.10g}"
    else:
        said = form % value
    return said.replace("-", _MINUS) if any(digit in said for digit in "123456789n") else said.lstrip("+-")


def count(number: float) -> str:
    """1234567 as '1.23 M'; steps of a thousand: k, M, G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            digits = f"{number / size:.3g}" if abs(number) < 999.5 * size else f"{number / size:.0f}"
            return f"{digits}{_SPACE}{unit}"
    return f"{number:.0f}"


def file_size(number: float) -> str:
    """Bytes in decimal units: 1 MB is a million bytes."""
    text = count(number)
    return f"{text}B" if _SPACE in text else f"{text}{_SPACE}B"


def both_ways(ratio: float) -> str:
    """original / compressed, said both ways: 2.0 as '2.00x smaller, 50.0 % kept', never broken before the sign."""
    return sizes.both_ways(ratio, space=_SPACE)


def seconds(duration: float) -> str:
    return f"{duration:.0f} s" if duration < 60 else f"{int(duration // 60)} min {duration % 60:02.0f} s"


def backend(name: str) -> str:
    """What runs a model, as people call it; a name that nobody knows stays as it is."""
    return BACKENDS[name].label if name in BACKENDS else name


def latency(record: RunRecord) -> str:
    """'0.65 ms a batch of 16, 1 thread', or '' where it was not measured."""
    measured = record.metrics.latency if record.metrics else None
    if measured is None:
        return ""
    threads = f"{measured.threads} thread{'s' * (measured.threads != 1)}"
    return f"{measured.median_ms:.2f}{_SPACE}ms a batch of {measured.batch}, {threads}"


_IN_THE_VARIANT = ("method", "epc", "calibrated", "condition")
"""Options that a treatment names already: in its variant, and beside its precision."""
_SAID: Mapping[str, str] = {
    "eta": "eta {:g}",
    "finetune": "fine-tuned {} steps",
    "reestimate_bn": "batch norms re-estimated",
}
"""How options are told that do not read well by their labels."""


def method_label(spec: RunSpec) -> str:
    """'CP + EPC, batch norms re-estimated': the variant, and every option of what is done that is not the usual one."""
    flat, usual = spec.to_flat(), defaults()
    options = [f for part in (Decomposition, Treatment) for f in fields_of(part) if f.key not in _IN_THE_VARIANT]
    told = [option_text(f, flat[f.key]) for f in options if flat[f.key] != usual[f.key]]
    return ", ".join((variant_of(spec).label, *told))


def option_text(field: Field, value: Any) -> str:
    """A field's value as a treatment tells it: 'each layer by itself', 'fine-tuned 300 steps', 'solver: tensorly'."""
    if field.key in _SAID:
        return _SAID[field.key].format(value)
    label = field.option.label or field.key
    name = label[0].lower() + label[1:]
    if field.kind is bool:
        return name if value else f"no {name}"
    if isinstance(value, Mapping):
        return f"{name} by hand"
    return f"{name}: {field.option.labels()[value] if field.option.labels else value}"


def treatment(spec: RunSpec) -> str:
    """What was done to the model: 'Tucker-2, ratio 2, INT8, conditioned, ONNX Runtime'."""
    numbers = spec.precision
    where = BACKENDS[numbers.backend].label
    parts = (method_label(spec), ranks_text(spec), numbers.numbers.label, *quantizer(spec), where)
    return ", ".join(filter(None, parts))


def quantizer(spec: RunSpec) -> tuple[str, ...]:
    """How integers were found, where there are any and it is not what everybody expects; conditioning always."""
    flat, usual = spec.to_flat(), defaults()
    options = [f for f in fields_of(PrecisionSpec) if f.key not in ("precision", "backend")]
    return (
        conditioning(spec),
        *(
            f.option.labels()[flat[f.key]]
            if f.option.labels and isinstance(flat[f.key], str)
            else option_text(f, flat[f.key])
            for f in options
            if flat[f.key] != usual[f.key]
        ),
    )


def bits(spec: RunSpec) -> str | None:
    """How the bits of weights were given; None where all layers have those of the precision."""
    if spec.precision.bits_by_hand is not None:
        return "by hand"
    return None if spec.precision.bits == defaults()["bits"] else BITS[str(spec.precision.bits)].label


def conditioning(spec: RunSpec) -> str:
    """'conditioned', 'not conditioned', or '' where there are no factors that are quantized."""
    if not spec.quantized or spec.decomposition is None:
        return ""
    return "conditioned" if spec.treatment.condition else "not conditioned"


def run_label(record: RunRecord) -> str:
    """A run in one line, for choosing among runs."""
    return record.remembered(_run_label)


def _run_label(record: RunRecord) -> str:
    top1 = f", top-1 {percent(record.metrics.top1)}" if record.metrics else f", {record.state}"
    return f"{treatment(record.spec)}{top1} ({record.run_id[:8]})"


def on_screen(sentence: str) -> str:
    """The engine's sentence with the page's control in place of the command line's option."""
    return sentence.replace("(--decompose-ends)", "(switch off 'Keep first and last layer dense')")
