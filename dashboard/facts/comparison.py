"""Two to four runs side by side: plain values, no streamlit."""

from collections.abc import Mapping, Sequence

from dashboard.facts.groups import best_run
from dashboard.words import text
from tdq_core.records.record import LayerRecord, Metrics, RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.specs import BACKENDS, PrecisionSpec
from tdq_core.specs.choices import GRANULARITIES, RANGES

MOST = 4
AGAINST = "lost against the first (points, paired)"
Fact = tuple[float | None, str]
"""A number with its text, or None and a word."""


def first_compared(runs: Sequence[RunRecord]) -> list[str]:
    """Ids of what is compared before anything is chosen: the dense network, and the best that is decomposed."""
    dense = [r.run_id for r in runs if not r.spec.decomposition and r.spec.precision == PrecisionSpec()]
    decomposed = [r for r in runs if r.spec.decomposition]
    return list(dict.fromkeys([*dense[:1], best_run(decomposed or runs)]))


def comparison(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """Rows of facts, a column for each of the complete `records`; in numbers, the difference against the first."""
    columns = [_facts(r, records[0]) for r in records]
    names = [f"{i}. {short_name(r)}" for i, r in enumerate(records, start=1)]
    return [
        {"": fact, **{n: _marked(fact, c[fact], columns[0][fact]) for n, c in zip(names, columns, strict=True)}}
        for fact in columns[0]
    ]


def short_name(record: RunRecord) -> str:
    """'CP + EPC, ratio 3, INT8', over the run's column."""
    spec = record.spec
    return ", ".join(filter(None, (text.method_label(spec), ranks_text(spec), spec.precision.numbers.label)))


def _facts(record: RunRecord, first: RunRecord) -> dict[str, Fact]:
    """By name: the number (None: a word) and its text."""
    spec, m = record.spec, _metrics(record)
    numbers, integers = spec.precision, spec.quantized
    drop, low, high = record.drop()
    return {
        "run": (None, record.run_id[:8]),
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
        AGAINST: (None, _against(m, _metrics(first))),
        "time": (None, _time(record, first)),
        "file size": (m.bytes, text.file_size(m.bytes)),
        "size ratio": (record.bytes_ratio(), text.both_ways(record.bytes_ratio())),
        "params": (m.params, text.count(m.params)),
        "param ratio": (m.compression_ratio, text.both_ways(m.compression_ratio)),
        "MACs per image": (m.macs, text.count(m.macs)),
    }


def _against(own: Metrics, first: Metrics) -> str:
    """What is lost against the first run on the same images, paired by image."""
    if own is first:
        return "the first"
    lost, low, high = own.drop_from(first)
    real = "more is lost" if low > 0 else "less is lost" if high < 0 else "no difference is shown"
    return f"{text.points(lost)} {text.interval(low, high)}: {real}"


def _time(record: RunRecord, first: RunRecord) -> str:
    """A batch's time, and how many times the first one's where it was taken under the same conditions."""
    told = text.latency(record)
    if not told or record is first or not text.latency(first):
        return told or "not measured"
    if conditions(record) != conditions(first):
        return f"{told}: other conditions, cannot be compared"
    own, before = _metrics(record).latency, _metrics(first).latency
    assert own and before, "both were measured"
    return f"{told}: {times(own.median_ms / before.median_ms)}"


def conditions(record: RunRecord) -> tuple[object, ...] | None:
    """What two latencies must share to be compared: batch, threads, machine, and what runs them; None where none was
    measured."""
    measured = record.metrics.latency if record.metrics else None
    if measured is None:
        return None
    known = record.provenance
    return measured.batch, measured.threads, known.get("cpu"), record.spec.precision.backend


def times(ratio: float) -> str:
    """Of a time over another: 'takes 1.20x as long (slower)'."""
    word = "slower" if ratio > 1.005 else "faster" if ratio < 0.995 else "as fast"
    return f"takes {ratio:.2f}x as long ({word})"


def _metrics(record: RunRecord) -> Metrics:
    assert record.metrics, "only complete runs are compared"
    return record.metrics


def _marked(name: str, here: Fact, first: Fact) -> str:
    """The text, and how far it is from the first run's: a factor for sizes, a mark for words. What needs an interval,
    or equal conditions, has said it already."""
    if here == first or name in ("run", "top-1", "drop (points)", AGAINST, "time"):
        return here[1]
    if here[0] is None or first[0] is None:
        return f"{here[1]}  \N{NOT EQUAL TO}"
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
        cells[f"{number}. error"] = _error(layer) if layer else ""
    return cells


def _error(layer: LayerRecord) -> str:
    """Of what was fitted: outputs where factors were fitted to them, for weights may then lie far off; else weights."""
    if (of_outputs := layer.detail.get("output_error")) is not None:
        return f"{of_outputs:.4f} of outputs"
    return f"{layer.rel_error:.4f} of weights" if layer.rel_error is not None else ""
