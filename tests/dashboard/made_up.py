"""Hand-made records and a layer table for tests: never shown to anyone as results."""

import numpy as np

from tdq_core.analysis.components import STAGES, Components, Inner, LayerComponents, Stage, Variant, study_spec
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.recipes.by_time import ByTime
from tdq_core.recipes.choices import pick
from tdq_core.recipes.report import Report, write_up
from tdq_core.recipes.target import parse_target
from tdq_core.records.record import LayerRecord, Metrics, RunRecord
from tdq_core.specs import RankRule, RunSpec

N = 200


def record(
    name: str,
    *,
    right: int = N,
    size: int = 1000,
    method: str = "none",
    ratio: float | None = None,
    precision: str = "fp32",
    state: str = "complete",
    data: str = "1" * 64,
    reason: str | None = None,
) -> RunRecord:
    """A record whose first `right` of N images are right; the dense model has 1000 params and 4000 bytes."""
    rule = RankRule("ratio", ratio or 2.0) if method != "none" else None
    backend = "torch" if precision == "fp32" else "onnxruntime"
    spec = RunSpec.of("digits_resnet", "digits", method=method, rule=rule, precision=precision, backend=backend)
    correct = np.arange(N) < right
    dense = Metrics.measured(np.arange(N) < N - 4, params=1000, macs=9000, bytes=4000, dense_params=1000)
    own = Metrics.measured(correct, params=size, macs=9 * size, bytes=4 * size, dense_params=1000)
    done = state == "complete"
    layers = (
        LayerRecord(
            name="stem.0",
            method="none",
            ranks=(),
            params=288,
            macs=9,
            dense_params=288,
            dense_macs=9,
            skipped_because="the first convolution stays dense",
        ),
        LayerRecord(
            name="block1.conv1.0",
            method=method,
            ranks=(7, 5),
            params=300,
            macs=9,
            dense_params=600,
            dense_macs=18,
            rel_error=0.25,
        ),
    )
    provenance = {"split": "digits/test", "n": N, "weights": "made by hand", "cpu_flags": []}
    digests = {"model": "m" * 64, "data": data} | ({"calib": "c"} if precision == "int8" else {})
    return RunRecord(
        run_id=name * 16 if len(name) == 1 else name, state=state, spec=spec, metrics=own if done else None,
        baseline=dense if done else None, layers=layers if method != "none" else (),
        notes=("A note for the reader.",), digests=digests, provenance=provenance,
        reason=reason or (None if done else "It could not be done."),
    )  # fmt: skip


def four_cells() -> list[RunRecord]:
    """Dense, decomposed, quantized and both: drops 0, 5, 1 and 9 points."""
    return [
        record("a", right=N - 4),
        record("b", right=N - 14, size=500, method="tucker2"),
        record("c", right=N - 6, size=250, precision="int8"),
        record("d", right=N - 22, size=125, method="tucker2", precision="int8"),
    ]


def layer_table() -> LayerTable:
    """Three layers that stand for the real ones."""
    spectrum = tuple(float(2.0**-i) for i in range(64))
    layers = (
        Layer(
            "stem.0",
            "conv",
            32,
            1,
            (3, 3),
            64,
            64,
            False,
            end="first",
            spectrum_out=spectrum[:9],
            spectrum_in=spectrum[:1],
        ),
        Layer(
            "block1.conv1.0",
            "conv",
            32,
            32,
            (3, 3),
            64,
            64,
            False,
            spectrum_out=spectrum[:32],
            spectrum_in=spectrum[:32],
        ),
        Layer(
            "block2.conv1.0", "conv", 64, 32, (3, 3), 64, 16, False, spectrum_out=spectrum, spectrum_in=spectrum[:32]
        ),
        Layer(
            "head",
            "linear",
            10,
            64,
            (1, 1),
            1,
            1,
            True,
            end="classifier",
            spectrum_out=spectrum[:10],
            spectrum_in=spectrum[:10],
        ),
    )
    params = sum(la.params for la in layers) + 200
    return LayerTable("digits_resnet", "digest", params, sum(la.macs for la in layers), layers)


def study(name: str = "5", *, ratio: float = 2.0) -> Components:
    """A study of two layers: ALS cancels in the first and starves two of its four components, EPC mends that."""
    provenance = {"calib_split": "digits/train", "calib_n": 512, "weights": "made by hand"}
    spec = study_spec(RunSpec.of("digits_resnet", "digits"), rule=RankRule("ratio", ratio), eta=0.05)
    layers = (
        _layer("block1.conv1.0", (2.0, 2.0, 0.5, 0.1), (255.0, 100.0, 2.0, 1.0)),
        _layer("block2.conv1.0", (0.5, 0.5, 0.5, 0.5), (255.0, 250.0, 240.0, 230.0)),
    )
    digests = {"model": "m" * 64, "calib": "c"}
    return Components(
        study_id=name * 16, spec=spec, digests=digests, params=500, macs=4000, dense_params=1000, dense_macs=9000,
        layers=layers, notes=("A note on the study.",), provenance=provenance,
    )  # fmt: skip


def _layer(name: str, norms: tuple[float, ...], ranges: tuple[float, ...]) -> LayerComponents:
    even = (0.5, 0.5, 0.5, 0.5)
    variants = {
        "als": _variant(norms, 0.25, ranges),
        "epc": _variant(even, 0.26, (255.0, 200.0, 100.0, 60.0)),
        "equalised": _variant(even, 0.26, (255.0, 250.0, 245.0, 240.0)),
    }
    return LayerComponents(
        name=name, c_out=3, c_in=2, kernel=(3, 3), rank=4, params=60, macs=400, dense_params=54, dense_macs=900,
        bins=(-3.0, -2.0, -1.0, 0.0), variants=variants,
    )  # fmt: skip


def _variant(norms: tuple[float, ...], error: float, ranges: tuple[float, ...]) -> Variant:
    stage = Stage(
        largest=(1.0, 0.5, 0.25, 0.125), counts=(10, 20, 9), below=1, step=1 / 127, channel_step=0.5 / 127,
        zeros=0.125, channel_zeros=0.0625,
    )  # fmt: skip
    inner = Inner(low=(0.0,) * 4, high=ranges, step=1.0)
    return Variant(
        norms=norms, rel_error=error, stages=dict.fromkeys(STAGES, stage), inner=dict.fromkeys(STAGES[:2], inner)
    )


def recipe(target: str = "drop<=4%", by_time: ByTime | None = None) -> Report:
    """Made of the four cells: only the quantized one meets a drop of 4 %. `by_time`: told to take 2 and 1 ms."""
    dense, _, quantized, both = four_cells()
    wanted = parse_target(target)
    dense_ms, ms = (2.0, 1.0) if by_time else (None, None)
    tried = [
        (pick(quantized, "dense", None, wanted, told_ms=dense_ms), quantized),
        (pick(both, "mixed" if by_time else "study", 8.0, wanted, told_ms=ms), both),
    ]
    plain = RunSpec.of("digits_resnet", "digits")
    return write_up(wanted, plain, 0, pick(dense, "fp32", None, wanted), tried, by_time)
