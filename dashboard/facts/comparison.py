"""Two to four runs side by side: plain values, no streamlit."""

from collections.abc import Mapping, Sequence

from dashboard.words import text
from tdq_core.records.record import LayerRecord, Metrics, RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.specs import BACKENDS
from tdq_core.specs.choices import GRANULARITIES, RANGES

MOST = 4
Fact = tuple[float | None, str]
"""A number with its text, or None and a word."""


def comparison(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """Rows of facts, a column for each of the complete `records`; in numbers, the difference against the first."""
    columns = [_facts(r) for r in records]
    names = [f"{i}. {r.run_id[:8]}" for i, r in enumerate(records, start=1)]
    return [
        {"": fact, **{n: _marked(fact, c[fact], columns[0][fact]) for n, c in zip(names, columns, strict=True)}}
        for fact in columns[0]
    ]


def _facts(record: RunRecord) -> dict[str, Fact]:
    """By name: the number (None: a word) and its text."""
    spec, m = record.spec, _metrics(record)
    numbers, integers = spec.precision, spec.quantized
    drop, low, high = record.drop()
    return {
        "model": (None, spec.model.name),
        "images": (None, f"{record.provenance.get('split', spec.images.data)}, n = {m.n:,}"),
        "method": (None, text.method_label(spec)),
        "ranks": (None, ranks_text(spec) or "none"),
        "precision": (None, numbers.numbers.label),
        "conditioning": (None, text.conditioning(spec) or "none to do"),
        "scales of weights": (None, GRANULARITIES[numbers.granularity].label if integers else "no integers"),
        "integer ranges": (None, RANGES[numbers.ranges].label if integers else "no integers"),
        "runs on": (None, BACKENDS[numbers.backend].label),
        "top-1": (
            m.top1,
            f"{text.percent(m.top1)} [{text.percent(m.top1_low)}, {text.percent(m.top1_high)}]",
        ),
        "drop (points)": (drop, f"{text.points(drop)} {text.interval(low, high)}"),
        "file size": (m.bytes, text.file_size(m.bytes)),
        "size ratio": (record.bytes_ratio(), text.both_ways(record.bytes_ratio())),
        "params": (m.params, text.count(m.params)),
        "param ratio": (m.compression_ratio, text.both_ways(m.compression_ratio)),
        "MACs per image": (m.macs, text.count(m.macs)),
    }


def _metrics(record: RunRecord) -> Metrics:
    assert record.metrics, "only complete runs are compared"
    return record.metrics


def _marked(name: str, here: Fact, first: Fact) -> str:
    """The text, and how far it is from the first run's: points for accuracies, a factor for sizes."""
    if here == first:
        return here[1]
    if here[0] is None or first[0] is None:
        return f"{here[1]}  \N{NOT EQUAL TO}"
    if name in ("top-1", "drop (points)"):
        return f"{here[1]}  ({text.points(here[0] - first[0])} points)"
    return f"{here[1]}  (x {here[0] / first[0]:.2f})"


def layers_side_by_side(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """A row for each layer that any of the runs decomposed: ranks and relative error of each run."""
    names = dict.fromkeys(la.name for r in records for la in r.layers if la.method != "none")
    by_run = [{la.name: la for la in r.layers} for r in records]
    return [{"layer": name, **_cells(name, by_run)} for name in names]


def _cells(name: str, by_run: Sequence[Mapping[str, LayerRecord]]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for number, layers in enumerate(by_run, start=1):
        layer = layers.get(name)
        cells[f"{number}. ranks"] = layer.ranks_text or "dense" if layer else "no such layer"
        cells[f"{number}. error"] = f"{layer.rel_error:.4f}" if layer and layer.rel_error is not None else ""
    return cells
