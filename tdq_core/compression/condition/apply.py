"""Conditioning of a whole model."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tdq_core.compression.condition.bias import correct_biases
from tdq_core.compression.condition.chain import Chain, sequential, write
from tdq_core.compression.condition.mixing import can_mix, mixed
from tdq_core.compression.condition.noise import predicted_noise
from tdq_core.compression.condition.observe import Observed, observe
from tdq_core.compression.condition.scales import choose_scales
from tdq_core.compression.decompose.factors import Details
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.graph.norms import gain_of
from tdq_core.graph.observe import Batches
from tdq_core.system.progress import Progress, silent

MIXING_SEED = 0
Bits = Mapping[str, int]


class Balance(Details, frozen=True):
    """How the inside of a layer was brought into balance.

    Attributes:
        mixed: whether inner channels were mixed.
        predicted_noise_before, predicted_noise_after: variance at the output over that of a channel of its own.
        spread_before, spread_after: largest over median range of the channels of each inner activation.
    """

    mixed: bool
    predicted_noise_before: float
    predicted_noise_after: float
    spread_before: list[float]
    spread_after: list[float]


class BiasCorrected(Details, frozen=True):
    """The parameter that took back the mean shift of rounding."""

    bias_corrected_in: str


@dataclass(frozen=True)
class Balanced:
    """What was done inside a layer, and the batch norm that alone takes its output (None: none does)."""

    balance: Balance
    batch_norm: str | None

    def corrected_in(self, parameter: str) -> tuple[Details, ...]:
        """What is told of the layer once `parameter` has taken back the mean shift."""
        return self.balance, BiasCorrected(bias_corrected_in=parameter)


@dataclass(frozen=True)
class Looked:
    """What flows inside decomposed layers on calibration images: the same whatever they are rounded to.

    Attributes:
        plain: by layer, as it is.
        turned, after: by layer whose inner channels may be mixed, its chain with them mixed, and what flows there then.
    """

    plain: Mapping[str, Observed]
    turned: Mapping[str, Chain]
    after: Mapping[str, Observed]


def look(model: nn.Module, names: Sequence[str], batches: Batches, *, on_progress: Progress = silent) -> Looked:
    """Two passes over `batches` at most: the decomposed layers `names` of `model` as they are, and mixed."""
    plain = observe(model, names, batches, on_progress=on_progress)
    turned = {n: mixed(c, MIXING_SEED) for n, c in _chains(model, names, plain).items() if can_mix(c)}
    if not turned:
        return Looked(plain, {}, {})
    other = copy.deepcopy(model)
    for name, chain in turned.items():
        write(chain, sequential(other, name))
    return Looked(plain, turned, observe(other, list(turned), batches, on_progress=on_progress))


def condition(
    model: nn.Module, names: Sequence[str], batches: Batches, scheme: Scheme, *, bits: Bits | None = None,
    looked: Looked | None = None, on_progress: Progress = silent,
) -> tuple[nn.Module, dict[str, tuple[Details, ...]]]:  # fmt: skip
    """A copy of `model` whose decomposed layers `names` are ready to be quantized by `scheme`.

    First the inner channels are scaled, and in Tucker-2 and SVD layers mixed where that is predicted to be better: the
    float function stays what it was. Then biases take back the mean shift that rounded weights will make: that moves
    the float function, by as much as rounding moves it the other way.

    Args:
        batches: gives a fresh pass over unlabelled calibration batches (N, C, H, W).
        bits: of the weights of layers that have others than those of `scheme`, by name.
        looked: what `look` gave for the same model and batches, where somebody has looked already.

    Returns:
        The model, and what is told of each layer.
    """
    schemes = {name: scheme.with_weights_of((bits or {}).get(name)) for name in names}
    balanced, told = balance(model, names, batches, scheme, bits=bits, looked=looked, on_progress=on_progress)
    norms = {name: each.batch_norm for name, each in told.items()}
    chains = {name: _chain(balanced, name, norms[name]) for name in names}
    taken = correct_biases(balanced, chains, {n: b for n, b in norms.items() if b}, batches, schemes)
    return balanced, {name: each.corrected_in(taken[name]) for name, each in told.items()}


def balance(
    model: nn.Module, names: Sequence[str], batches: Batches, scheme: Scheme, *, bits: Bits | None = None,
    looked: Looked | None = None, on_progress: Progress = silent,
) -> tuple[nn.Module, dict[str, Balanced]]:  # fmt: skip
    """The exact part: a copy that computes the same function, with the inner channels scaled and mixed."""
    seen = looked or look(model, names, batches, on_progress=on_progress)
    model = copy.deepcopy(model)
    details = {}
    for name, chain in _chains(model, names, seen.plain).items():
        ways = [(chain, seen.plain[name])] + ([(seen.turned[name], seen.after[name])] if name in seen.turned else [])
        own = scheme.with_weights_of((bits or {}).get(name))
        details[name] = Balanced(_settle(sequential(model, name), ways, own), seen.plain[name].batch_norm)
    return model, details


def _settle(module: nn.Sequential, ways: list[tuple[Chain, Observed]], scheme: Scheme) -> Balance:
    """Write the way of least predicted noise into `module`, and tell of it."""
    chain, observed = ways[0]
    before = float(predicted_noise(chain, observed, _ones(observed), scheme))
    scaled = [(way, choose_scales(*way, scheme)) for way in ways]
    noises = [float(predicted_noise(*way, scales, scheme)) for way, scales in scaled]
    best = min(range(len(ways)), key=noises.__getitem__)
    (chain, seen), scales = scaled[best]
    write(chain.scaled(scales), module)
    return Balance(
        mixed=best == 1,
        predicted_noise_before=before,
        predicted_noise_after=noises[best],
        spread_before=[_spread(span.widths) for span in observed.inner],
        spread_after=[_spread(span.scaled(s).widths) for span, s in zip(seen.inner, scales, strict=True)],
    )


def _spread(sizes: Tensor) -> float:
    """Largest over median, 1 where nothing flows."""
    return float(sizes.amax() / sizes.median()) if float(sizes.median()) > 0 else 1.0


def _ones(observed: Observed) -> tuple[Tensor, ...]:
    return tuple(torch.ones_like(span.low) for span in observed.inner)


def _chains(model: nn.Module, names: Sequence[str], observed: Mapping[str, Observed]) -> dict[str, Chain]:
    return {name: _chain(model, name, observed[name].batch_norm) for name in names}


def _chain(model: nn.Module, name: str, norm: str | None) -> Chain:
    return Chain.of(sequential(model, name), gain_of(model.get_submodule(norm)) if norm else None)
