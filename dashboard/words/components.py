"""What a study of components shows, in words that are computed from its numbers: plain values, no streamlit."""

from collections.abc import Callable, Iterable
from typing import Any

from dashboard.words import text
from dashboard.words.palette import STATES
from tdq_core.analysis.components import FEW_LEVELS, STAGES, VARIANTS, Components, Inner, LayerComponents, Variant
from tdq_core.records.record import RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.specs.command import command_line

NEAR = 0.02
"""Shares of weights that round to zero which differ by less make no difference."""
LEVELS = 255
"""Of a grid of 8 bits."""
CANCELS_FROM = 2.0
"""Sum of squared component norms over |W|^2 from which components are said to cancel each other."""


def study_label(study: Components) -> str:
    """A study in one line, for choosing among studies."""
    spec, calib = study.spec, study.provenance
    eta = spec.decomposition.eta if spec.decomposition else 0.0
    return f"{ranks_text(spec)}, eta {eta:g}, {calib.get('calib_n'):,} images of {calib.get('calib_split')}"


def what_is_seen(layer: LayerComponents) -> str:
    """What the components of one layer do, in a sentence."""
    als, epc = layer.variants["als"], layer.variants["epc"]
    before, after = sum_of_squares(als), sum_of_squares(epc)
    told = (
        "they cancel each other, and the rounding error that each of them takes does not cancel"
        if before >= CANCELS_FROM
        else "they hardly cancel each other, so that rounding is no special danger here"
    )
    return (
        f"After ALS the squared norms of the {layer.rank} components add up to **{_short(before)} times** that of the "
        f"kernel: {told}. With EPC they add up to {_short(after)} times."
    )


def state_rows(layer: LayerComponents) -> list[dict[str, str]]:
    """The numbers of one layer, a row for each: as ALS leaves it, with EPC, and equalised."""
    stage = max(STAGES, key=lambda name: layer.variants["als"].stages[name].zeros)
    facts: dict[str, Callable[[Variant], str]] = {
        "largest component / kernel": lambda v: _short(max(v.norms)),
        "squared norms, sum / kernel's": lambda v: _short(sum_of_squares(v)),
        "error of the kernel, relative": lambda v: f"{v.rel_error:.3f}",
        "widest range inside / median": lambda v: f"{worst_inner(v).ratio:.1f}",
        "INT8 levels of the median component": lambda v: f"{worst_inner(v).median_levels:.0f} of {LEVELS}",
        f"components under {FEW_LEVELS} levels": lambda v: f"{worst_inner(v).starved()} of {layer.rank}",
        f"weights to zero, {stage}, one scale": lambda v: text.percent(v.stages[stage].zeros, 1),
        f"weights to zero, {stage}, a scale per channel": lambda v: text.percent(v.stages[stage].channel_zeros, 1),
    }
    return [{"": name} | {STATES[v].label: fact(layer.variants[v]) for v in VARIANTS} for name, fact in facts.items()]


def sum_of_squares(variant: Variant) -> float:
    """Sum of the squared component norms over |W|^2."""
    return sum(norm**2 for norm in variant.norms)


def worst_inner(variant: Variant) -> Inner:
    """The inner activation that leaves the median component the fewest levels."""
    return min(variant.inner.values(), key=lambda inner: inner.median_levels)


def _short(number: float) -> str:
    return f"{number:.3g}"


def costs(study: Components, layer: LayerComponents) -> str:
    """Params and MACs of the model and the layer, and what its rank means for speed."""
    widest = max(layer.c_in, layer.c_out)
    taps = layer.kernel[0] * layer.kernel[1]
    line = (
        f"**Whole model** params {text.count(study.params)}: {text.both_ways(study.dense_params / study.params)}; "
        f"MACs per image {text.count(study.macs)}: {text.both_ways(study.dense_macs / study.macs)}.  \n"
        f"**This layer** params {text.count(layer.params)}: {text.both_ways(layer.dense_params / layer.params)}; "
        f"MACs {text.count(layer.macs)}: {text.both_ways(layer.dense_macs / layer.macs)}; "
        f"R = {layer.rank} components between {layer.c_in} and {layer.c_out} channels."
    )
    if layer.rank <= widest:
        return line
    return (
        f"{line} R is {layer.rank / widest:.1f} times the wider side: its depthwise part reads and writes {layer.rank} "
        f"channels for {taps} MACs a value, which memory bounds, so fewer MACs need not mean less time."
    )


def latencies(study: Components, records: Iterable[RunRecord]) -> dict[str, list[dict[str, Any]]]:
    """Measured latencies of the study's network, dense and by CP, as rows, fastest first: by the conditions that they
    were taken under, for no others can be compared; empty where none was measured."""
    found: dict[str, list[dict[str, Any]]] = {}
    for r in records:
        same = r.digests.get("model") == study.digests["model"] and r.spec.method in ("none", "cp")
        if same and r.metrics and r.metrics.latency:
            q = r.metrics.latency
            threads = f"{q.threads} thread{'s' * (q.threads != 1)}"
            under = f"batch {q.batch}, {threads}, {r.provenance.get('cpu')}, {text.backend(r.spec.precision.backend)}"
            found.setdefault(under, []).append(
                {
                    "run": text.treatment(r.spec),
                    "latency (ms)": q.median_ms,
                    "quartiles (ms)": f"{q.q1_ms:.2f} to {q.q3_ms:.2f}",
                    "params": r.metrics.params,
                    "MACs": r.metrics.macs,
                }
            )
    return {under: sorted(rows, key=lambda row: row["latency (ms)"]) for under, rows in found.items()}


def finds_nothing(layer: LayerComponents) -> str:
    """A sentence where neither ranges nor weights come near the grid's step; '' where they do."""
    starved = max(inner.starved() for v in layer.variants.values() for inner in v.inner.values())
    zeros = [max(stage.channel_zeros for stage in layer.variants[v].stages.values()) for v in VARIANTS]
    if starved or max(zeros) - min(zeros) > NEAR:
        return ""
    return (
        f"Not the cause: no component has fewer than {FEW_LEVELS} levels, and about as many weights round to zero with "
        "EPC as without. The histograms are in here."
    )


def most_cancelling(study: Components) -> str:
    """The layer whose components cancel each other most."""
    return max(study.layers, key=lambda la: sum_of_squares(la.variants["als"])).name


def latency_commands(study: Components) -> tuple[str, str]:
    """The commands that measure latency of the dense model and of this CP, both in the format that gets deployed."""
    small = study.spec.changed(precision="int8", backend="onnxruntime", latency=True)
    dense = study.spec.dense().changed(backend="onnxruntime", latency=True)
    return command_line(dense), command_line(small)
