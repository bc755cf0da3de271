"""A sweep around a planned run: that run at other ratios and precisions, and nothing else."""

import itertools

import pytest

from dashboard.facts.sweeping import grid_around, offered
from tdq_core.specs import BACKENDS, PRECISIONS, RankRule, RunSpec
from tdq_core.sweeps.grid import grid_of
from tdq_core.sweeps.spec import sweep_of

PLAIN = RunSpec.of("digits_resnet", "digits", method="tucker2", rule=RankRule("ratio", 2.0))
PLANNED = [
    PLAIN,
    PLAIN.changed(method="cp", epc=True, calibrated=True, samples=50, calib_samples=64, seed=3),
    PLAIN.changed(rule=RankRule("ratio", 3.0, policy="later", depth=2.0, budget="macs", keep_ends=False)),
    PLAIN.changed(precision="int8", backend="onnxruntime", condition=False),
    PLAIN.changed(precision="w4a8", quantization_aware=True),
    PLAIN.changed(precision="w4a8", bits={"*": 3, "block1.*": 6}),
    RunSpec.of("net.py:make", "folder:some", mean=(0.5,), std=(0.25,), input_size=(8, 9), method="svd",
               rule=RankRule("energy", 0.9)),
]  # fmt: skip


@pytest.mark.parametrize("spec", PLANNED)
def test_every_point_is_the_planned_run_but_for_ratio_and_precision(spec: RunSpec) -> None:
    precisions, ratios = offered(spec), (1.5, 3.0)
    grid = grid_of(sweep_of(grid_around(spec, ratios, precisions)))
    assert len(grid.specs) == len(ratios) * len(precisions) and not grid.left_out
    own = spec.rule if spec.rule and spec.rule.kind == "ratio" else RankRule("ratio", 2.0)
    expected = set()
    for ratio, name in itertools.product(ratios, precisions):
        backend = next(b for b in (spec.precision.backend, *BACKENDS) if BACKENDS[b].carries_out(PRECISIONS[name]))
        rule = RankRule("ratio", ratio, keep_ends=own.keep_ends, **own.sharing())
        expected.add(spec.changed(precision=name, backend=backend, rule=rule))
    assert set(grid.specs) == expected


def test_what_the_planned_run_cannot_be_measured_in_is_not_offered() -> None:
    assert offered(PLAIN) == list(PRECISIONS)
    aware = offered(PLAIN.changed(precision="w4a8", quantization_aware=True))
    assert "fp32" not in aware and "w4" in aware
