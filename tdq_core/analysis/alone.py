"""One layer in another form while the rest of the network stays as it is."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.moments import Moments
from tdq_core.compression.calibrate.refit import Place
from tdq_core.compression.calibrate.sums import collect, moments_of
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import factorize
from tdq_core.compression.memory import Memory
from tdq_core.compression.quantize.activation_grid import Range
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.weight_grid import round_weight
from tdq_core.graph.replay import Forward
from tdq_core.graph.uses import following_norms
from tdq_core.layers.methods import METHODS, Method, Ranks
from tdq_core.layers.table import Layer
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.prediction.sensitivity import CP_EFFORT
from tdq_core.ranks.costs import cost
from tdq_core.ranks.plan import LayerPlan
from tdq_core.specs.choices import EFFORTS

Ways = Mapping[str, Forward]
"""By name of a module what it computes instead."""


@dataclass(frozen=True)
class Form:
    """A method; `name` is 'cp+epc' where CP has the correction."""

    name: str
    method: str

    @property
    def slow(self) -> bool:
        """Whether its factors take long to find."""
        return self.method == "cp"

    @property
    def fits_of(self) -> str:
        """The form whose points in floats are its own too: the correction keeps the error."""
        return "cp+epc" if self.name == "cp" else self.name

    @property
    def options(self) -> Options:
        effort = EFFORTS[CP_EFFORT]
        eta = 0.0 if self.name.endswith("+epc") else None
        return Options(eta=eta, effort=effort.times, climbs=effort.climbs, short_fits=True)


FORMS = tuple(Form(name, method) for method, row in METHODS.items() if isinstance(row, Method)
              for name in ((method, f"{method}+epc") if method == "cp" else (method,)))  # fmt: skip


@dataclass(frozen=True)
class Alone:
    """Makes what stands in the place of single layers.

    Attributes:
        norms: the batch norm that alone takes a layer's output.
        latest: what was seen by the layer that was last asked for, in the network as it is.
    """

    inputs: RunInputs
    norms: Mapping[str, str]
    memory: Memory
    latest: dict[str, tuple[Moments, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: RunInputs, names: list[str], memory: Memory) -> "Alone":
        norms = following_norms(inputs.model.module, names, next(iter(inputs.calibration()))[:1])
        return cls(inputs, {n: norm for n, norm in norms.items() if norm}, memory)

    @property
    def model(self) -> nn.Module:
        return self.inputs.model.module

    def decomposed(self, layer: Layer, form: Form, ranks: Ranks, fit: str) -> dict[str, nn.Module]:
        """What stands in the place of the layer; where it is fitted to outputs, also in that of its batch norm."""
        if fit == "weights":
            return {layer.name: self._of_weights(layer, form, ranks)}
        holder = copy.deepcopy(self.model)
        norm = self.norms.get(layer.name)
        place = Place(self.model, holder, layer.name, norm)
        with torch.no_grad():
            made = place.settle(_plan(layer, form, ranks), self._seen(place), form.options, self.memory)
        return {layer.name: made.module.eval()} | ({norm: holder.get_submodule(norm)} if norm else {})

    def _seen(self, place: Place) -> tuple[Moments, ...]:
        """What the layer there sees; of the last one it is remembered, with what does not depend on ranks."""
        if self.latest.get(place.name) is None:
            self.latest.clear()
            calib, weight = self.inputs.calib, place.layer.weight.detach()
            assert calib is not None, "opened with the run"
            sums = collect(
                self.model, [place.name], self.inputs.calibration, len(calib), folder=self.inputs.sums_folder
            )
            self.latest[place.name] = moments_of(sums[place.name], weight, centred=place.centred)
            for part in self.latest[place.name]:
                _ = part.best  # known from here on
        return self.latest[place.name]

    def _of_weights(self, layer: Layer, form: Form, ranks: Ranks) -> nn.Module:
        own = self.model.get_submodule(layer.name)
        assert isinstance(own, nn.Conv2d | nn.Linear), "it is in the layer table"
        return factorize(own, form.method, ranks, options=form.options, memory=self.memory).module.eval()


def rounding(
    stages: Sequence[nn.Module], weights: int | None = None, activations: int | None = None, *, corrected: bool = False
) -> Forward:
    """`stages` one after another, their weights and what each of them takes rounded to so many bits (None: they stay),
    as simulated bits are.

    Args:
        corrected: the mean shift of each output by rounded weights is taken back, as biases do before integers.
    """
    own = [_rounded(stage, weights) if weights else stage for stage in stages]

    def forward(x: Tensor) -> Tensor:
        made = _passed(own, x, activations)
        if corrected and weights:
            shift = made - _passed(stages, x, activations)
            over = [d for d in range(made.ndim) if d != (1 if made.ndim == 4 else made.ndim - 1)]
            made = made - shift.mean(over, keepdim=True)
        return made

    return forward


def _passed(stages: Sequence[nn.Module], x: Tensor, bits: int | None) -> Tensor:
    for stage in stages:
        x = stage(_on_grid(x, bits) if bits else x)
    return x


def _rounded(stage: nn.Module, bits: int) -> nn.Module:
    copied = copy.deepcopy(stage)
    weight = copied.get_parameter("weight")
    weight.data = round_weight(weight, Scheme(bits, None)).to_weight()
    return copied


def _on_grid(values: Tensor, bits: int) -> Tensor:
    seen = Range()
    seen.add(values)
    return seen.grid(2**bits - 1).round(values)


def _plan(layer: Layer, form: Form, ranks: Ranks) -> LayerPlan:
    return LayerPlan(layer, form.method, ranks, cost(layer, form.method, ranks))
