"""What a run is asked to do, as frozen values that are checked when they are made. No torch here."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tdq_core.errors import InputError
from tdq_core.specs.rank_rule import RankRule, require_choice

METHODS = ("none", "tucker2", "cp", "svd", "auto")
PRECISIONS = ("fp32", "fp16", "int8")
SIMULATED = ("w8", "w6", "w4", "w8a8", "w6a6", "w4a8", "w4a4")
"""Bits of weights and of activations (none: fp32), simulated by torch: rounded to the grid, computed in fp32."""
GRANULARITIES = ("channel", "tensor")
RANGES = ("minmax", "mse")
BACKENDS = ("torch", "onnxruntime")
RANDOM_WEIGHTS = "random"
DEFAULT_ETA = 0.0


@dataclass(frozen=True)
class RunSpec:
    """One run: a model, images, a decomposition, a precision.

    Attributes:
        model: a registered name, 'path/to/file.py:factory', 'package.module:factory' or 'timm:NAME'.
        data: 'digits', 'cifar10[:ROOT]', 'cifar10-jpeg[:ROOT]', 'imagenet:ROOT' or 'folder:DIR'.
        calib: the same grammar; None: the data's own calibration split, see `tdq_core.data`.
        weights: None (the registered weights), a file, or 'random' (seeded; for cost and speed studies).
        samples: size of the seeded class-balanced subset that is evaluated; None: all images.
        calib_samples: at most this many calibration images.
        rule: how ranks are chosen; None exactly when `method` is 'none'.
        epc: correct CP's components at (nearly) the same error, see `tdq_core.compression.decompose.epc`.
        eta: the correction may raise a layer's error to (1 + eta) times that of the CP it starts from.
        condition: before int8 and below, bring the ranges of a decomposed layer's factors and inner activations into
            balance and correct its bias, see `tdq_core.compression.condition`; without effect at fp32 and fp16.
        calibrated: fit the factors to what each layer computes on the unlabelled calibration images, see
            `tdq_core.compression.calibrate`; otherwise to its weights alone.
        symmetric: the inputs of a calibrated fit are those of the original network, not of the compressed one: it
            loses more, and a second ratio is quick.
        finetune: steps of distillation from the dense model on the unlabelled calibration images, see
            `tdq_core.compression.finetune`; 0: none. Below fp16 the rounding is in the loop.
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
    calibrated: bool = False
    symmetric: bool = False
    finetune: int = 0
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
        if isinstance(self.finetune, bool) or not isinstance(self.finetune, int) or self.finetune < 0:
            raise InputError(f"The 'finetune' is a number of steps, an int of at least 0. Got {self.finetune!r}.")
        if self.symmetric and not self.calibrated:
            raise InputError("The option --symmetric is a way to calibrate: give --calibrated too, or leave it out.")
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
        if self.method == "none":
            self._check_left_whole()

    def _check_left_whole(self) -> None:
        """What follows a decomposition is not asked of a model that is not decomposed."""
        asked = {"--reestimate-bn": self.reestimate_bn, "--calibrated": self.calibrated, "--finetune": self.finetune}
        for option, value in asked.items():
            if value:
                raise InputError(f"The option {option} works on a decomposition: give a --method, or leave it out.")

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
        asked = self.reestimate_bn or self.calibrated or self.finetune > 0
        return (self.quantized and activations) or self.conditioned or asked

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
            calibrated=False,
            symmetric=False,
            finetune=0,
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
        correction = f"epc {self.eta:g}" if self.epc else ""
        steps = f"finetune {self.finetune}" if self.finetune else ""
        fitted = "symmetric" if self.symmetric else "calibrated" * self.calibrated
        return self.method, rule, correction, fitted, steps, "bn" * self.reestimate_bn

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
            kept["condition"] = "before fine-tuning" if self.finetune else True
        if self.method in _GENERATION:
            kept["generation"] = _GENERATION[self.method]
        if (self.precision, self.backend) in _FILE_GENERATION:
            kept["file_generation"] = _FILE_GENERATION[self.precision, self.backend]
        return kept | dict(digests)

    def run_id(self, digests: Mapping[str, str]) -> str:
        """16 hexadecimal digits of the SHA-256 of `identity`."""
        canonical = json.dumps(self.identity(digests), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


_GENERATION = {"cp": 2}
"""Raised when a method's factors change: an older run is not taken for one of today."""
_FILE_GENERATION = {("int8", "onnxruntime"): 2}
"""The same of what a backend writes."""
_LOCATIONS = ("model", "data", "calib", "weights", "samples", "calib_samples", "mean", "std", "input_size")
