"""The ways to compress that are compared: each takes a network and calibration images, and leaves a file.

None looks at labels and none trains. Those that make a smaller network and no integers are put into INT8 by ONNX
Runtime's own static quantization, as the first row is.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import tdq_core as tdq
from tdq_core.data.images import Images
from tdq_core.pipeline.layer_times import measure
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.preprocessing import Preprocessing

BATCH = 32


@dataclass(frozen=True)
class Subject:
    """What is compressed.

    Attributes:
        net: the dense network; calib: images that may be looked at, without labels; spec: both by name, dense.
        ratio: of params that a compressor is asked for, dense / compressed.
        speed: time of the dense INT8 network / that of the one that TDQ plans by time.
        folder: of the file.
        begun: when the work did, in seconds of CPU.
    """

    net: tdq.Network
    calib: Images
    spec: RunSpec
    ratio: float
    speed: float
    folder: Path
    begun: list[float] = field(default_factory=lambda: [time.process_time()])

    def begin(self) -> None:
        """What was before was a search, and no part of the way."""
        self.begun[:] = [time.process_time()]

    @property
    def module(self) -> nn.Module:
        """A copy, to be taken apart; others trace it by its gradients."""
        return copy.deepcopy(self.net.module).eval().requires_grad_()

    @property
    def prepared(self) -> Preprocessing:
        return self.net.preprocessing

    def batches(self) -> list[Tensor]:
        return [images for images, _ in self.calib.batches(self.prepared, batch_size=BATCH)]


Make = Callable[[Subject], Path]


@dataclass(frozen=True)
class Way:
    """One row.

    Attributes:
        name: of the row; packages: what it takes, as it is installed; what: for readers.
        before: what is done once for a network, whose time is not that of the way.
    """

    name: str
    packages: tuple[str, ...]
    what: str
    make: Make
    before: Callable[[Subject], object] | None = None


def onnx_file(module: nn.Module, subject: Subject, name: str = "model.onnx") -> Path:
    """The module as torch exports it, batches of any size."""
    path = subject.folder / name
    example = subject.batches()[0][:2]
    torch.onnx.export(
        module, (example,), path, dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False,
        input_names=["images"], output_names=["logits"], verbose=False,
    )  # fmt: skip
    return path


def static_int8(module: nn.Module, subject: Subject) -> Path:
    """ONNX Runtime's static quantization as its guide says for x86: QDQ, unsigned activations, signed weights with a
    scale per output channel; min-max ranges on the calibration images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(subject.batches())

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {"images": batch.numpy()}

    fp32, ready, path = (subject.folder / name for name in ("fp32.onnx", "ready.onnx", "int8.onnx"))
    onnx_file(module, subject, fp32.name)
    quant_pre_process(str(fp32), str(ready))
    quantize_static(
        str(ready), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    fp32.unlink()
    ready.unlink()
    return path


def by_ratio(
    make: Callable[[float], nn.Module],
    subject: Subject,
    *,
    steps: int = 5,
    alike: Callable[[float], nn.Module] | None = None,
) -> nn.Module:
    """What `make` gives at the least share in (0, 1) that reaches the ratio of params: more share, fewer params. It is
    looked for first, and made anew, which is what is timed.

    Args:
        alike: what is looked at in the search: of the same shapes, and sooner made.

    Raises:
        RunFailed: no share reaches it.
    """
    dense, low, high, best = _params(subject.net.module), 0.0, 1.0, None
    for _ in range(steps):
        share = (low + high) / 2
        made = (alike or make)(share)
        if dense / _params(made) >= subject.ratio and _runs(made, subject):
            high, best = share, share
        else:
            low = share
    if best is None:
        raise tdq.RunFailed(f"No share of it makes the network {subject.ratio:g} times smaller.")
    subject.begin()
    return make(best)


def _runs(module: nn.Module, subject: Subject) -> bool:
    """Whether it still computes something."""
    try:
        return bool(torch.isfinite(module(subject.batches()[0][:2])).all())
    except RuntimeError:  # shapes that do not fit each other any more
        return False


def _params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def dense_fp32(subject: Subject) -> Path:
    return onnx_file(subject.module, subject)


def onnxruntime_alone(subject: Subject) -> Path:
    return static_int8(subject.module, subject)


def torch_pruning(subject: Subject) -> Path:
    """Channels of least L2 norm over the whole network, groups by its dependency graph; the classifier stays."""
    import torch_pruning as tp

    example = subject.batches()[0][:2]

    def pruned(share: float) -> nn.Module:
        module = subject.module
        last = [m for m in module.modules() if isinstance(m, nn.Linear)][-1]
        pruner = tp.pruner.MagnitudePruner(
            module, example, importance=tp.importance.GroupMagnitudeImportance(p=2), global_pruning=True,
            pruning_ratio=share, max_pruning_ratio=0.9, round_to=8, ignored_layers=[last],
        )  # fmt: skip
        pruner.step()
        return module

    return static_int8(by_ratio(pruned, subject), subject)


def nncf_openvino(subject: Subject) -> Path:
    """NNCF's post-training quantization of the OpenVINO model, at its defaults but for the number of images."""
    import nncf
    import openvino as ov

    shape = [-1, *subject.prepared.input_shape]
    model = ov.convert_model(subject.module, example_input=subject.batches()[0][:2], input=[shape])
    batches = [batch[at : at + 1].numpy() for batch in subject.batches() for at in range(len(batch))]
    done = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
    path = subject.folder / "model.xml"
    ov.save_model(done, path)
    return path


def fasterai(subject: Subject) -> Path:
    """Its Tucker decomposition of every convolution but the first, the same share of all ranks."""
    from fasterai.misc.conv_decomposer import Conv_Decomposer

    first = next(name for name, m in subject.net.module.named_modules() if isinstance(m, nn.Conv2d))

    def decomposed(share: float, turns: int = 10) -> nn.Module:
        asked = {"percent_removed": min(share, 0.99), "exclude": [first], "n_iter": turns}
        return Conv_Decomposer().decompose(subject.module, **asked).eval()

    return static_int8(by_ratio(decomposed, subject, alike=lambda share: decomposed(share, turns=0)), subject)


def tensorly(subject: Subject) -> Path:
    """Factors by tensorly's `partial_tucker`, ranks of one share of every layer; what puts them into the network is
    TDQ's."""
    plan = tdq.plan(subject.net, "tucker2", ratio=subject.ratio)
    return static_int8(tdq.compress(subject.net, plan, solver="tensorly").module, subject)


def spatial_svd(subject: Subject) -> Path:
    """Jaderberg et al. 2014, ranks of one share of every layer, by TDQ's own `spatial` of weights."""
    plan = tdq.plan(subject.net, "spatial", ratio=subject.ratio)
    return static_int8(tdq.compress(subject.net, plan).module, subject)


def aimet(subject: Subject) -> Path:
    """AIMET's spatial SVD in its manual mode, the same share of every convolution but the first."""
    from tdq_core.system import torchvision_compat  # noqa: F401  (aimet imports torchvision)

    from aimet_torch.common.defs import CompressionScheme, CostMetric  # isort: skip
    from aimet_torch.compress import ModelCompressor  # isort: skip
    from aimet_torch.defs import ModuleCompRatioPair, SpatialSvdParameters  # isort: skip

    shape = (1, *subject.prepared.input_shape)

    def decomposed(share: float) -> nn.Module:
        module = subject.module
        pairs = [ModuleCompRatioPair(m, 1 - share) for m in _inner_convolutions(module)]
        manual = SpatialSvdParameters.ManualModeParams(pairs)
        asked = SpatialSvdParameters(SpatialSvdParameters.Mode.manual, manual)
        made, _ = ModelCompressor.compress_model(
            module, lambda *_: 0.0, 1, shape, CompressionScheme.spatial_svd, CostMetric.memory, asked
        )
        return made.eval()

    return static_int8(by_ratio(decomposed, subject), subject)


def _inner_convolutions(module: nn.Module) -> list[nn.Module]:
    found = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return [m for m in found[1:] if max(m.kernel_size) > 1]


def tdq_int8(subject: Subject) -> Path:
    return _tdq_file(subject.net, subject)


def tdq_same_size(subject: Subject) -> Path:
    """Tucker-2 fitted to outputs, ranks of least output error."""
    plan = tdq.plan(subject.net, "tucker2", fit=subject.calib, ratio=subject.ratio, policy="global")
    return _tdq_file(tdq.compress(subject.net, plan, fit=subject.calib), subject)


def tdq_by_time(subject: Subject) -> Path:
    """The form of least output error for its time, layer by layer, fitted to outputs."""
    rule = RankRule("ratio", subject.speed, policy="global", keep_ends=False, budget="latency")
    done = tdq.run(_int8(subject).changed(method="mixed", calibrated=True, rule=rule), export=subject.folder)
    if done.artefact is None:
        raise tdq.RunFailed(done.record.reason or "It was not measured.")
    return done.artefact.path


def layers_timed(subject: Subject) -> object:
    return measure(_int8(subject))


def _int8(subject: Subject) -> RunSpec:
    return subject.spec.changed(precision="int8", backend="onnxruntime")


def _tdq_file(net: tdq.Network, subject: Subject) -> Path:
    return tdq.quantize(net, "int8", backend="onnxruntime", calib=subject.calib, to=subject.folder).path


WAYS = (
    Way("dense fp32", ("onnxruntime",), "the network as it is, in ONNX Runtime", dense_fp32),
    Way("ONNX Runtime INT8", ("onnxruntime",), "static quantization alone", onnxruntime_alone),
    Way("NNCF INT8, OpenVINO", ("nncf", "openvino"), "post-training quantization, run by OpenVINO", nncf_openvino),
    Way("TDQ INT8", ("tdq",), "nothing decomposed", tdq_int8),
    Way("Torch-Pruning + INT8", ("torch-pruning",), "channels of least norm over the whole network", torch_pruning),
    Way("fasterai + INT8", ("fasterai",), "its Tucker decomposition of weights", fasterai),
    Way("tensorly + INT8", ("tensorly",), "factors by partial_tucker, put into the network by TDQ", tensorly),
    Way("AIMET spatial SVD + INT8", ("aimet-torch",), "its manual mode, one share of every layer", aimet),
    Way("TDQ spatial of weights + INT8", ("tdq",), "the published algorithm of spatial SVD", spatial_svd),
    Way("TDQ Tucker-2, same size", ("tdq",), "fitted to outputs, ranks of least output error", tdq_same_size),
    Way("TDQ mixed, by time", ("tdq",), "Tucker-2, SVD or spatial, whatever loses least for its time", tdq_by_time,
        layers_timed),
)  # fmt: skip
