"""What a run is asked to do, as frozen values that are checked when they are made. No torch here."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tdq_core.errors import InputError

METHODS = ("none", "tucker2", "cp", "svd", "auto")
PRECISIONS = ("fp32", "fp16", "int8")
SIMULATED = ("w8", "w6", "w4", "w8a8", "w6a6", "w4a8", "w4a4")
"""Bits of weights and of activations (none: fp32), simulated by torch: rounded to the grid, computed in fp32."""
GRANULARITIES = ("channel", "tensor")
RANGES = ("minmax", "mse")
BACKENDS = ("torch", "onnxruntime")
RANK_RULES = ("ratio", "manual", "energy", "vbmf")
RANDOM_WEIGHTS = "random"
DEFAULT_ETA = 0.0

Rank = int | tuple[int, ...] | None
"""A rank by hand: one int (svd, cp), (rank_out, rank_in) for tucker2, or None to leave the layer alone."""


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"The '{name}' must be one of {', '.join(allowed)}. Got '{value}'.")


@dataclass(frozen=True)
class RankRule:
    """How ranks are chosen.

    Attributes:
        kind: 'ratio' (`value` = whole-model params, original / compressed), 'energy' (`value` = share of each
            unfolding's squared singular values that is kept, in (0, 1]), 'vbmf' (`value` = weakening factor in
            (0, 1]: rank = full - value * (full - EVBMF rank)), or 'manual' (`ranks` by layer name).
        keep_ends: leave the first convolution and the classifier dense (small, and most sensitive);
            'manual' ignores it, for there every layer is named.
    """

    kind: str
    value: float | None = None
    ranks: Mapping[str, Rank] = field(default_factory=dict)
    keep_ends: bool = True

    def __post_init__(self) -> None:
        require_choice("rank rule", self.kind, RANK_RULES)
        if self.kind == "manual":
            object.__setattr__(self, "ranks", {name: _checked_rank(name, r) for name, r in self.ranks.items()})
            if not self.ranks:
                raise InputError('Ranks by hand must name at least one layer, as {"layer": rank}. Got none.')
            return
        if self.ranks:
            raise InputError(f"Ranks by layer go with the rank rule 'manual'. Got them with '{self.kind}'.")
        self._check_value()

    def _check_value(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or self.value != self.value:
            raise InputError(f"The rank rule '{self.kind}' needs one number. Got {self.value!r}.")
        if self.kind == "ratio" and not 1 < self.value < float("inf"):
            raise InputError(
                "The 'ratio' is original / compressed params of the whole model and must be above 1 "
                f"(2.0 keeps half). Got {self.value:g}."
            )
        if self.kind != "ratio" and not 0 < self.value <= 1:
            name = "kept energy" if self.kind == "energy" else "VBMF weakening factor"
            raise InputError(f"The {name} must be in (0, 1]. Got {self.value:g}.")

    def to_dict(self) -> dict[str, Any]:
        if self.kind == "manual":
            return {"kind": self.kind, "ranks": {n: _plain_rank(r) for n, r in sorted(self.ranks.items())}}
        return {"kind": self.kind, "value": self.value, "keep_ends": self.keep_ends}


def _checked_rank(layer: str, rank: Any) -> Rank:
    if rank is None:
        return None
    parts = tuple(rank) if isinstance(rank, list | tuple) else (rank,)
    if not parts or any(isinstance(p, bool) or not isinstance(p, int) or p < 1 for p in parts):
        raise InputError(
            f"The 'rank' of layer '{layer}' must be an int of at least 1, a list of such ints "
            f"(tucker2: [rank_out, rank_in]) or null to leave the layer alone. Got {json.dumps(rank)}."
        )
    return parts[0] if len(parts) == 1 else parts


def _plain_rank(rank: Rank) -> int | list[int] | None:
    return list(rank) if isinstance(rank, tuple) else rank


@dataclass(frozen=True)
class RunSpec:
    """One run: a model, images, a decomposition, a precision.

    Attributes:
        model: a registered name, 'path/to/file.py:factory', 'package.module:factory' or 'timm:NAME'.
        data: 'digits', 'cifar10[:ROOT]', 'imagenet:ROOT' or 'folder:DIR'.
        calib: the same grammar; None: the data's own calibration split, see `tdq_core.data`.
        weights: None (the registered weights), a file, or 'random' (seeded; for cost and speed studies).
        samples: size of the seeded class-balanced subset that is evaluated; None: all images.
        calib_samples: at most this many calibration images.
        rule: how ranks are chosen; None exactly when `method` is 'none'.
        epc: correct CP's components at (nearly) the same error, see `tdq_core.decompose.epc`.
        eta: the correction may raise a layer's error to (1 + eta) times that of the CP it starts from.
        condition: before int8 and below, bring the ranges of a decomposed layer's factors and inner activations into
            balance and correct its bias, see `tdq_core.condition`; without effect at fp32 and fp16.
        reestimate_bn: re-estimate the batch norms of the decomposed model on the unlabelled calibration images.
        granularity: one scale per output channel of a weight, or one per weight tensor; int8 and simulated bits.
        ranges: 'minmax', or 'mse' (the range of least squared rounding error); simulated bits only.
        mean, std, input_size: override the model's preprocessing (needed for models of your own).
        latency: also measure latency.
    """

    model: str
    data: str
    calib: str | None = None
    weights: str | None = None
    method: str = "none"
    rule: RankRule | None = None
    epc: bool = False
    eta: float = DEFAULT_ETA
    precision: str = "fp32"
    backend: str = "torch"
    condition: bool = True
    reestimate_bn: bool = False
    granularity: str = "channel"
    ranges: str = "minmax"
    samples: int | None = None
    calib_samples: int = 512
    seed: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_size: tuple[int, int] | None = None
    latency: bool = False

    def __post_init__(self) -> None:
        require_choice("method", self.method, METHODS)
        require_choice("precision", self.precision, PRECISIONS + SIMULATED)
        require_choice("backend", self.backend, BACKENDS)
        require_choice("granularity", self.granularity, GRANULARITIES)
        require_choice("ranges", self.ranges, RANGES)
        for name in ("samples", "calib_samples"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"The '{name}' must be an int of at least 1. Got {value!r}.")
        self._check_correction()
        self._check_quantizer()
        if self.method == "none" and self.rule is not None:
            raise InputError(
                "The method 'none' takes no ranks: drop --ratio/--ranks/--energy/--vbmf or name a method "
                "(tucker2, cp, svd, auto)."
            )
        if self.method != "none" and self.rule is None:
            raise InputError(
                f"The method '{self.method}' needs one way to choose ranks: "
                "--ratio X, --ranks FILE, --energy E or --vbmf."
            )

    def _check_correction(self) -> None:
        if self.epc and self.method != "cp":
            raise InputError(
                "The correction EPC shrinks components that cancel each other, and only CP has such components: "
                f"--epc goes with --method cp. Got '{self.method}'."
            )
        if isinstance(self.eta, bool) or not isinstance(self.eta, int | float) or not 0 <= self.eta < 1:
            raise InputError(
                f"The 'eta' of EPC must be in [0, 1): the share by which the error may grow. Got {self.eta!r}."
            )
        if self.eta != DEFAULT_ETA and not self.epc:
            raise InputError("The 'eta' belongs to the correction EPC: give --epc too, or leave --eta out.")

    def _check_quantizer(self) -> None:
        if self.precision in SIMULATED and self.backend != "torch":
            raise InputError(
                f"Simulated bits run with the backend torch: --precision {self.precision} goes with --backend torch, "
                f"and int8 with both. Got '{self.backend}'."
            )
        if self.granularity != "channel" and not self.quantized:
            raise InputError(
                "The 'granularity' is one of integer weights: give --precision int8 or below. "
                f"Got '{self.granularity}' with {self.precision}."
            )
        if self.ranges != "minmax" and self.precision not in SIMULATED:
            raise InputError(
                f"The ranges '{self.ranges}' are those of simulated bits ({', '.join(SIMULATED)}). "
                f"Got them with {self.precision}."
            )
        if self.reestimate_bn and self.method == "none":
            raise InputError(
                "Batch norms are re-estimated after a decomposition: give a --method, or leave --reestimate-bn out."
            )

    @property
    def quantized(self) -> bool:
        """Whether values are integers on a grid: int8 and the simulated bits."""
        return self.precision == "int8" or self.precision in SIMULATED

    @property
    def conditioned(self) -> bool:
        """Whether conditioning is carried out: asked for, and there are factors that are quantized."""
        return self.condition and self.quantized and self.method != "none"

    @property
    def needs_calibration(self) -> bool:
        """Whether the run looks at calibration images (weights alone need none, unless they are conditioned)."""
        activations = self.precision == "int8" or "a" in self.precision
        return (self.quantized and activations) or self.conditioned or self.reestimate_bn

    def dense(self) -> "RunSpec":
        """The untouched fp32 model on the same images: what every drop is measured against."""
        return dataclasses.replace(
            self,
            method="none",
            rule=None,
            epc=False,
            eta=DEFAULT_ETA,
            precision="fp32",
            backend="torch",
            condition=True,
            reestimate_bn=False,
            granularity="channel",
            ranges="minmax",
            calib=None,
            calib_samples=512,
            latency=False,
        )

    def treatment(self) -> tuple[str, ...]:
        """What decides the decomposition, beside model and seed, as comparable texts."""
        rule = json.dumps(self.rule.to_dict(), sort_keys=True) if self.rule else ""
        return self.method, rule, f"epc {self.eta:g}" if self.epc else "", "bn" if self.reestimate_bn else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field present."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain["rule"] = self.rule.to_dict() if self.rule else None
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "RunSpec":
        """The inverse of `to_dict`; an unknown field is an error."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(plain) - known):
            raise InputError(
                f"A run has no field {', '.join(map(repr, unknown))}; known are {', '.join(sorted(known))}."
            )
        plain = {"condition": False} | dict(plain)  # runs that were recorded before there was conditioning
        if not plain.get("epc"):
            plain.pop("eta", None)  # it says nothing, and its default may have been another one
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        if isinstance(values.get("rule"), Mapping):
            values["rule"] = RankRule(**values["rule"])
        return cls(**values)

    def identity(self, digests: Mapping[str, str]) -> dict[str, Any]:
        """What makes two runs the same run: every field that is not at its default, with `digests` (of the model's
        code and weights, the images, the calibration images) in place of the names and paths that stand for them."""
        plain = self.to_dict()
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        kept = {k: v for k, v in plain.items() if k not in _LOCATIONS and v != defaults[k]}
        kept.pop("condition", None)
        if self.conditioned:
            kept["condition"] = True
        if self.method in _GENERATION:
            kept["generation"] = _GENERATION[self.method]
        return kept | dict(digests)

    def run_id(self, digests: Mapping[str, str]) -> str:
        """16 hexadecimal digits of the SHA-256 of `identity`."""
        canonical = json.dumps(self.identity(digests), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


_GENERATION = {"cp": 2}
"""Raised when a method's factors change: an older run is not taken for one of today."""
_LOCATIONS = ("model", "data", "calib", "weights", "samples", "calib_samples", "mean", "std", "input_size")
