"""The study's networks on CIFAR-10 (JPEG copy): which runs are shipped of each.

Tucker-2 over all layers and over the later ones first, CP by least squares and with EPC, and a method for each layer,
as they are and fitted to outputs, at six ratios; Tucker-2 in every precision and backend, the others in fp32 and INT8;
CP to INT8 without conditioning as well, which is how the study did it.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from tdq_core.specs import BACKENDS, RankRule, RunSpec
from tdq_core.specs.precision import deployed

DATA = "cifar10-jpeg"
NETWORKS = {
    "resnet20_cifar10": None,
    "alexnet_cifar10": None,
    "googlenet_cifar10": 1000,
    "resnet18_cifar10": 1000,
    "resnet34_cifar10": 1000,
    "resnet50_cifar10": 1000,
}
"""By model the test images of a run (None: all 5,000), smallest network first."""

RATIOS = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0)
LATER_DEPTH = 4.0
"""Of the policy `later`: at this exponent the first third of a network stays dense."""
CALIB_SAMPLES = {"resnet20_cifar10": 1000}
"""Calibration images; those of a run unless another number stands here."""
ALL_ALIKE = ("resnet20_cifar10",)
"""Networks whose layers all take Tucker-2 when the method is `auto`: it would measure the same models again."""
MATRICES = ("alexnet_cifar10", "googlenet_cifar10", "resnet50_cifar10")
"""Networks that hold much in 1x1 convolutions and linear layers, which Tucker-2 and CP leave dense."""
CP_RATIOS = {"alexnet_cifar10": (), "googlenet_cifar10": RATIOS[:3], "resnet50_cifar10": RATIOS[:2]}
"""Ratios that CP of the kernels alone can reach; all of them where no others stand here."""
COMPONENTS = {
    "alexnet_cifar10": RankRule("ratio", 2.0, budget="macs"),
    "resnet18_cifar10": RankRule("ratio", 4.0),
    "resnet34_cifar10": RankRule("ratio", 4.0),
    "resnet50_cifar10": RankRule("ratio", 1.5),
}
"""Rank rule of the study of components; 2x of the params where no other stands here."""
EVERYWHERE = tuple(itertools.product(deployed(), BACKENDS))
FP32_AND_INT8 = (("fp32", "torch"), *(("int8", backend) for backend in BACKENDS))


def tucker2_of(model: str) -> str:
    """The method that is Tucker-2 for kernels; where matrices hold much, the one that takes SVD for them."""
    return "auto" if model in MATRICES else "tucker2"


def dense_spec(model: str) -> RunSpec:
    """The untouched network in fp32, through torch."""
    usual = RunSpec.of(model, DATA, samples=NETWORKS[model])
    return usual.changed(calib_samples=CALIB_SAMPLES.get(model, usual.images.calib_samples))


def is_study_run(spec: RunSpec, dense: RunSpec | None) -> bool:
    """Whether the run is on the images and calibration images that those of `dense`, a network's, are on."""
    if dense is None or (spec.model, spec.seed) != (dense.model, dense.seed):
        return False
    return spec.images.data.partition(":")[0] == DATA and spec.images.elsewhere(DATA) == dense.images


def study_specs(model: str) -> Iterator[RunSpec]:
    """All runs of a network, those that the named figures need most first."""
    dense, tucker2 = dense_spec(model), tucker2_of(model)

    def at(method: str, policy: str = "uniform", depth: float = 1.0, **more: Any) -> list[RunSpec]:
        ratios = CP_RATIOS.get(model, RATIOS) if method == "cp" else RATIOS
        rules = [RankRule("ratio", ratio, policy=policy, depth=depth) for ratio in ratios]
        return [dense.changed(method=method, rule=rule, **more) for rule in rules]

    yield from _in([dense, *at(tucker2), *at(tucker2, "later", LATER_DEPTH)], EVERYWHERE)
    yield from _in([*at(tucker2, "global", calibrated=True), *at("cp")], FP32_AND_INT8)
    yield from _in([spec.changed(condition=False) for spec in at("cp")], FP32_AND_INT8[1:])
    yield from _in([*at("cp", epc=True), *at("cp", epc=True, calibrated=True)], FP32_AND_INT8)
    if tucker2 != "auto" and model not in ALL_ALIKE:
        yield from _in([*at("auto"), *at("auto", "global", calibrated=True)], FP32_AND_INT8)


def _in(treatments: Iterable[RunSpec], cells: Iterable[tuple[str, str]]) -> Iterator[RunSpec]:
    for treatment, (precision, backend) in itertools.product(treatments, tuple(cells)):
        yield treatment.changed(precision=precision, backend=backend)
