"""The study's networks on CIFAR-10 (JPEG copy): which runs are shipped of each.

Tucker-2 over all layers and over the later ones first, CP by least squares and with EPC, and a method for each layer,
as they are and fitted to outputs, at six ratios; Tucker-2 in every precision and backend, the others in fp32 and INT8;
CP to INT8 without conditioning as well, which is how the study did it. They are written down in the sweep files beside
this one, `MODEL.toml`.
"""

from pathlib import Path

from tdq_core.specs import RankRule, RunSpec
from tdq_core.sweeps.grid import grid_of
from tdq_core.sweeps.spec import Sweep, read_sweep

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
CALIB_SAMPLES = {"resnet20_cifar10": 1000}
"""Calibration images; those of a run unless another number stands here."""
MATRICES = ("alexnet_cifar10", "googlenet_cifar10", "resnet50_cifar10")
"""Networks that hold much in 1x1 convolutions and linear layers, which Tucker-2 and CP leave dense."""
CP_RATIOS = {"alexnet_cifar10": (), "googlenet_cifar10": RATIOS[:3], "resnet50_cifar10": RATIOS[:2]}
"""Ratios that CP of the kernels alone can reach; all of them where no others stand here."""
COMPONENTS = {
    "alexnet_cifar10": (RankRule("ratio", 2.0, budget="macs"),),
    "resnet18_cifar10": (RankRule("ratio", 4.0), RankRule("ratio", 6.0)),
    "resnet20_cifar10": (RankRule("ratio", 2.0), RankRule("ratio", 4.0)),
    "resnet34_cifar10": (RankRule("ratio", 4.0),),
    "resnet50_cifar10": (RankRule("ratio", 1.5),),
}
"""Rank rules of the studies of components, the last one where INT8 takes most; 2x of the params where none stands."""


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


def study_specs(model: str) -> tuple[RunSpec, ...]:
    """All runs of a network: those of its sweep file."""
    return grid_of(sweep_of_model(model)).specs


def sweep_of_model(model: str) -> Sweep:
    """The sweep file of the runs that are shipped of a network."""
    return read_sweep(Path(__file__).parent / f"{model}.toml")
