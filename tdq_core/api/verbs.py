"""Plan, compress, quantize, measure: a step at a time, on a network and images in hand."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tdq_core.api.factor_choices import options_for
from tdq_core.api.image_sets import ImagePair
from tdq_core.api.networks import Network
from tdq_core.api.numbers import bits_of, numbers_of
from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.condition.apply import balance
from tdq_core.compression.condition.apply import condition as conditioned
from tdq_core.compression.condition.batch_norm import reestimate_batch_norms
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.quantize import Artefact, Request, realise
from tdq_core.data.images import Images, batch_size
from tdq_core.errors import InputError
from tdq_core.pipeline.evaluate import latency as time_of
from tdq_core.pipeline.evaluate import outcomes
from tdq_core.pipeline.inputs import EXAMPLE_IMAGES, fitted_table
from tdq_core.pipeline.session import Compressed
from tdq_core.ranks.plan import Plan, make_plan, needs_spectra
from tdq_core.records.record import Latency, Metrics
from tdq_core.specs import Decomposition, RankRule
from tdq_core.specs.rank_rule import Rank
from tdq_core.system.containment import contained
from tdq_core.system.progress import Progress, silent


def rank_rule(
    *,
    ratio: float | None = None,
    ranks: Mapping[str, Rank] | None = None,
    energy: float | None = None,
    vbmf: float | None = None,
    keep_ends: bool = True,
    policy: str = "uniform",
    budget: str = "params",
    multiple: int = 1,
    depth: float = 1.0,
) -> RankRule:
    """How ranks are chosen: by one of `ratio` (original / compressed), `ranks` (by layer), `energy` (the share that is
    kept) and `vbmf` (weakening, 1: none); see `tdq_core.specs.RankRule`."""
    ways = {"ratio": ratio, "energy": energy, "vbmf": vbmf, "manual": ranks}
    given = {kind: value for kind, value in ways.items() if value is not None}
    if len(given) != 1:
        raise InputError(f"Give one of ratio, ranks, energy and vbmf. Got {len(given)}: {', '.join(given) or 'none'}.")
    kind = next(iter(given))
    sharing = {"policy": policy, "budget": budget, "multiple": multiple, "depth": depth}
    if ranks is not None:
        return RankRule("manual", ranks=dict(ranks), **sharing)  # type: ignore[arg-type]
    return RankRule(kind, given[kind], keep_ends=keep_ends, **sharing)  # type: ignore[arg-type]


@contained()
def plan(
    network: Network, method: str, *, fit: Images | None = None, precision: str = "fp32",
    bits: Mapping[str, int] | None = None, on_progress: Progress = silent, **ranks: object,
) -> Plan:  # fmt: skip
    """Which layer takes which ranks, and what the network will cost: nothing is built. `print(plan)` shows it.

    Args:
        method: 'tucker2', 'cp', 'svd', 'spatial' or 'auto'.
        fit: unlabelled images; rules and policies that need spectra then take those of the outputs on them.
        precision: of the file whose bytes are counted.
        bits: of the weights of single layers, by name or pattern ('*': any text); None: those of the precision.
        ranks: see `rank_rule`: `ratio=2`, `ranks={"conv1": 8}`, `energy=0.9`, `vbmf=1`, `policy="global"`, ...

    InputError: an unknown method, layer or rank, bytes of no simulated bits. Refused: out of reach, or nothing to do.
    """
    rule = rank_rule(**ranks)  # type: ignore[arg-type]
    Decomposition(method, rule)
    numbers = numbers_of(precision, bits=bits)
    spectra = needs_spectra(rule)
    table = network.table(
        spectra=spectra and fit is None, files=rule.budget == "bytes" or bits is not None, on_progress=on_progress
    )
    if fit is not None:
        table = fitted_table(table, network.module, _batches(network, fit), len(fit), spectra=spectra,
                             on_progress=on_progress)  # fmt: skip
    return make_plan(table, method, rule, numbers)


@contained()
def compress(
    network: Network,
    plan: Plan,
    *,
    fit: Images | None = None,
    epc: bool = False,
    eta: float = 0.0,
    epc_optimum: bool = False,
    effort: str = "usual",
    symmetric: bool = False,
    solver: str = "tdq",
    reestimate_bn: Images | None = None,
    seed: int = 0,
    on_progress: Progress = silent,
) -> Network:
    """A copy of `network` whose layers are factorised as `plan` says.

    Args:
        fit: unlabelled images: factors are fitted to what layers compute on them, layer after layer; None: to weights.
        epc, eta: keep CP's components small, at an error of at most (1 + eta) times that of the CP.
        epc_optimum: solve that correction to its optimum.
        effort: how long CP is looked for: 'quick', 'usual' or 'thorough'.
        symmetric: fit each layer by itself, to its inputs in the original network.
        solver: 'tdq', or 'tensorly' (without `fit` and `epc`).
        reestimate_bn: unlabelled images on which batch norms are measured again; None: they stay.

    Raises:
        InputError: choices that do not go together.
        RunFailed: factors that are not finite.
    """
    options = options_for(plan, fitted=fit is not None, seed=seed, epc=epc, eta=eta, epc_optimum=epc_optimum,
                          effort=effort, symmetric=symmetric, solver=solver)  # fmt: skip
    if fit is None:
        done = apply_plan(network.module, plan, options=options, on_progress=on_progress)
    elif symmetric:
        done = apply_symmetric(
            network.module, plan, _batches(network, fit), len(fit), options=options, on_progress=on_progress
        )
    else:
        batches = _batches(network, fit)
        done = apply_calibrated(network.module, plan, batches, options=options, on_progress=on_progress)
    module, results = Compressed.of(*done)
    if reestimate_bn is not None:
        module = reestimate_batch_norms(module, _batches(network, reestimate_bn), on_progress=on_progress)
    return replace(network, module=module, results=results, ranks={p.layer.name: p.ranks for p in plan.decomposed()})


@dataclass(frozen=True)
class Quantized:
    """A network at one precision as a real file.

    Attributes:
        network: what was quantized.
        artefact: the file, the function that runs it, what was done.
    """

    network: Network
    artefact: Artefact

    @property
    def path(self) -> Path:
        return self.artefact.path

    @property
    def bytes(self) -> int:
        return self.artefact.bytes

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its numbers must know."""
        return self.artefact.notes

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) as the network takes them."""
        return self.artefact.predict(images)


@contained()
def quantize(
    network: Network,
    precision: str = "int8",
    *,
    backend: str = "torch",
    calib: Images | None = None,
    to: str | Path | None = None,
    condition: bool = True,
    granularity: str = "channel",
    ranges: str = "minmax",
    quantization_aware: bool = False,
    inner_bits: int | None = None,
    bits: Mapping[str, int] | None = None,
    on_progress: Progress = silent,
) -> Quantized:
    """`network` in `precision`, written as a file that `backend` runs.

    Args:
        precision: 'fp32', 'fp16', 'int8', or simulated bits: 'w8', 'w4a8', ...
        backend: 'torch' or 'onnxruntime'.
        calib: unlabelled images: ranges of activations, and conditioning of decomposed layers, need them.
        to: a folder; None: a temporary one, gone with what is returned.
        condition: balance decomposed layers and correct their biases before integers.
        granularity, ranges, quantization_aware, inner_bits: see `tdq_core.specs.PrecisionSpec`.
        bits: of the weights of single layers of the network as it was, as `plan.bits` has them; None: the precision's.

    Raises:
        InputError: an unknown precision or backend, or no calibration images where they are needed.
        Refused: a value that fp16 cannot hold.
        RunFailed: a file that does not compute what the network computes.
    """
    spec = numbers_of(precision, backend, granularity=granularity, ranges=ranges, bits=bits,
                    quantization_aware=quantization_aware, inner_bits=inner_bits)  # fmt: skip
    numbers, own = spec.numbers, bits_of(network, spec)
    folder = Path(tempfile.mkdtemp(prefix="tdq-") if to is None else to)
    batches = _batches(network, calib) if calib is not None else None
    request = Request(
        example=example_for(network, calib), calibration=batches, folder=folder, on_progress=on_progress,
        granularity=granularity, ranges=ranges, aware=quantization_aware, inner_bits=inner_bits,
        bits=own,
    )  # fmt: skip
    module = network.module
    if numbers.integer and network.results and condition:
        if batches is None:
            raise InputError("Conditioning decomposed layers needs images: give 'calib', or condition=False.")
        names, scheme = list(network.results), request.scheme(numbers)
        ready = balance if quantization_aware else conditioned
        module, _ = ready(module, names, batches, scheme, bits=own, on_progress=on_progress)
    made = Quantized(network, realise(module, precision, backend, request=request))
    if to is None:
        weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
    return made


@dataclass(frozen=True)
class Score:
    """What was measured.

    Attributes:
        metrics: top-1 with its interval, costs, per-image outcomes.
        drop, drop_low, drop_high: top-1 lost against another one on the same images (shares, 95 %, paired); None where
            there is none to compare with.
    """

    metrics: Metrics
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None

    @property
    def top1(self) -> float:
        """Share of images classified right (0-1)."""
        return self.metrics.top1

    @property
    def n(self) -> int:
        return self.metrics.n

    @property
    def latency(self) -> Latency | None:
        return self.metrics.latency


@contained()
def measure(
    what: Network | Quantized,
    images: ImagePair | Images,
    *,
    against: "Network | Quantized | Score | None" = None,
    latency: bool = False,
    on_progress: Progress = silent,
) -> Score:
    """Right or wrong for every image.

    Args:
        images: labelled ones.
        against: what the drop is taken from, on the same images; a `Score` saves measuring it again.
        latency: also time a batch of 16 images.

    Raises:
        InputError: images without labels, or fewer than two.
    """
    shown = images.eval if isinstance(images, ImagePair) else images
    if len(shown) < 2 or (shown.labels < 0).any():
        raise InputError(f"Measuring needs at least 2 labelled images. Got {len(shown)} in '{shown.ref}'.")
    before = measure(against, shown, on_progress=on_progress) if isinstance(against, Network | Quantized) else against
    network = what.network if isinstance(what, Quantized) else what
    correct = outcomes(what, shown, network.preprocessing, on_progress=on_progress)
    times = time_of(what, example_for(network, shown)) if latency else None
    size = what.bytes if isinstance(what, Quantized) else 4 * network.params
    params = before.metrics.params if before else network.params
    metrics = Metrics.measured(
        correct, params=network.params, macs=network.macs, bytes=size, dense_params=params, latency=times
    )
    return Score(metrics, *(metrics.drop_from(before.metrics) if before else ()))


def _batches(network: Network, images: Images) -> Callable[[], Iterator[Tensor]]:
    size = batch_size(network.preprocessing)
    return lambda: (batch for batch, _ in images.batches(network.preprocessing, batch_size=size))


def example_for(network: Network, images: Images | None) -> Tensor:
    """Images spread evenly over the set; where there is none, seeded noise."""
    if images is None:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(EXAMPLE_IMAGES, *network.preprocessing.input_shape, generator=generator)
    spread = np.linspace(0, len(images) - 1, min(EXAMPLE_IMAGES, max(2, len(images)))).round().astype(int)
    return next(iter(images.subset(spread).batches(network.preprocessing, batch_size=len(spread))))[0]
