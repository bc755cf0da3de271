"""What a study of components shows, in words that are computed from its numbers: plain values, no streamlit."""

from collections.abc import Iterable
from typing import Any

from dashboard.words import text
from tdq_core.analysis.components import FEW_LEVELS, VARIANTS, Components, Inner, LayerComponents, Variant
from tdq_core.records.record import RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.specs.command import command_line

NEAR = 0.02
"""Shares of weights that round to zero which differ by less make no difference."""
CANCELS_FROM = 2.0
"""Sum of squared component norms over |W|^2 from which components are said to cancel each other."""


def study_label(study: Components) -> str:
    """A study in one line, for choosing among studies."""
    spec, calib = study.spec, study.provenance
    eta = spec.decomposition.eta if spec.decomposition else 0.0
    return f"{ranks_text(spec)}, eta {eta:g}, {calib.get('calib_n'):,} images of {calib.get('calib_split')}"


def what_is_seen(layer: LayerComponents) -> str:
    """One layer in plain words."""
    return " ".join((_norms(layer), _ranges(layer), _weights(layer)))


def _norms(layer: LayerComponents) -> str:
    als, epc = layer.variants["als"], layer.variants["epc"]
    before, after = sum_of_squares(als), sum_of_squares(epc)
    told = (
        "they cancel each other, and the rounding error that each of them takes does not cancel"
        if before >= CANCELS_FROM
        else "they hardly cancel each other, so that rounding is no special danger here"
    )
    return (
        f"After ALS the largest of the {layer.rank} components is {_short(max(als.norms))} times as large as the whole "
        f"kernel, and their squared norms add up to {_short(before)} times that of the kernel: {told}. With EPC they "
        f"add up to {_short(after)} times, and the relative error goes from {als.rel_error:.3f} to "
        f"{epc.rel_error:.3f}; equalising changes neither."
    )


def _ranges(layer: LayerComponents) -> str:
    worst = [worst_inner(layer.variants[v]) for v in VARIANTS]
    ratios, levels = [f"{i.ratio:.1f}" for i in worst], [f"{i.median_levels:.0f}" for i in worst]
    starved = [str(i.starved()) for i in worst]
    return (
        f"One INT8 scale serves all components of an inner activation; the widest component spans {_listed(ratios)} "
        f"times the range of the median one (ALS, EPC, equalised), which leaves the median component "
        f"{_listed(levels)} of the 255 levels; {_listed(starved)} of {layer.rank} components get fewer than "
        f"{FEW_LEVELS}."
    )


def _weights(layer: LayerComponents) -> str:
    stages = layer.variants["als"].stages
    name = max(stages, key=lambda s: stages[s].zeros)
    shares = [text.percent(layer.variants[v].stages[name].zeros, 1) for v in VARIANTS]
    fine = text.percent(stages[name].channel_zeros, 1)
    return (
        f"Of the weights of `{name}`, {_listed(shares)} would round to zero with one scale for all of them; "
        f"with one scale per output channel, ALS loses {fine}."
    )


def sum_of_squares(variant: Variant) -> float:
    """Sum of the squared component norms over |W|^2."""
    return sum(norm**2 for norm in variant.norms)


def worst_inner(variant: Variant) -> Inner:
    """The inner activation that leaves the median component the fewest levels."""
    return min(variant.inner.values(), key=lambda inner: inner.median_levels)


def _short(number: float) -> str:
    return f"{number:.3g}"


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


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
