"""One run as a value: a spec of specs, its flat form in JSON, and its name. No torch here."""

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import NODEFAULT, structs

from tdq_core.errors import InputError
from tdq_core.layers.methods import METHODS, chooses_forms
from tdq_core.specs.choices import POLICIES
from tdq_core.specs.option import Field, Flat, Option, fields_of
from tdq_core.specs.parts import Decomposition, ImageSpec, ModelSpec, Treatment
from tdq_core.specs.precision import BACKENDS
from tdq_core.specs.precision_spec import PrecisionSpec, require_choosable, require_countable
from tdq_core.specs.rank_rule import RankRule
from tdq_core.specs.value import Seed, Value, shown

Subject = tuple[ModelSpec, str, int | None]
"""What is measured: the network, the images, and how many of them (None: all)."""


class RunSpec(Value, frozen=True):
    """One run: a model, images, a decomposition, what is done to it, and a precision.

    Attributes:
        decomposition: None: every layer stays as it is.
        seed: of subsets, random weights and random starts.
        latency: also measure latency.
    """

    model: ModelSpec
    images: ImageSpec
    decomposition: Decomposition | None = None
    treatment: Treatment = Treatment()
    precision: PrecisionSpec = PrecisionSpec()
    seed: Annotated[
        Seed, Option(flag="--seed", named=True, help="Seed of subsets, random weights and random starts.")
    ] = 0
    latency: Annotated[bool, Option(flag="--latency", help="Also measure latency.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_effect(self.to_flat())

    @classmethod
    def of(cls, model: str, data: str, **options: Any) -> "RunSpec":
        """The run with these options by their names in JSON (`method`, `rule`, `precision`, `samples`, ...); those left
        out are at their defaults."""
        return cls.from_flat({"model": model, "data": data, **options})

    def changed(self, **options: Any) -> "RunSpec":
        """The same run with other options, by their names in JSON."""
        return self.from_flat(self.to_flat() | options)

    def to_flat(self) -> dict[str, Any]:
        """All fields by their names in JSON, as values."""
        values: dict[str, Any] = {}
        for field in fields():
            part = getattr(self, PARTS[field.part]) if field.part in PARTS else self
            values[field.key] = getattr(part, field.name) if part is not None else DENSE[field.key]
        values["rule"] = self.rule
        return values

    @classmethod
    def from_flat(cls, values: Flat) -> "RunSpec":
        """The inverse of `to_flat`; what is missing is at its default.

        Raises:
            InputError: an unknown field, a value that its field cannot have, one that would have no effect.
        """
        known = [*defaults(), "rule"]
        if unknown := sorted(set(values) - set(known)):
            raise InputError(
                f"A run has no field {', '.join(map(repr, unknown))}; known are {', '.join(sorted(known))}."
            )
        whole = {**defaults(), "rule": None, **values}
        if missing := [name for name, value in whole.items() if value is NODEFAULT]:
            raise InputError(f"A run needs a {' and a '.join(map(repr, missing))}. Got none.")
        _require_method_and_rule(whole)
        own: dict[type[Value], dict[str, Any]] = {}
        for field in fields():
            own.setdefault(field.part, {})[field.name] = whole[field.key]
        if whole["method"] == "none":
            _require_effect(whole)
            own.pop(Decomposition)
        else:
            own[Decomposition]["rule"] = whole["rule"]
        parts: dict[str, Any] = {PARTS[kind]: kind(**chosen) for kind, chosen in own.items() if kind in PARTS}
        return cls(**parts, **own[cls])

    @property
    def method(self) -> str:
        """The method's name; 'none' where nothing is decomposed."""
        return self.decomposition.method if self.decomposition else "none"

    @property
    def rule(self) -> RankRule | None:
        """How ranks are chosen; None where nothing is decomposed."""
        return self.decomposition.rule if self.decomposition else None

    @property
    def subject(self) -> Subject:
        """What is measured, whatever is done to it."""
        return self.model, self.images.data, self.images.samples

    @property
    def quantized(self) -> bool:
        """Whether values are integers on a grid: int8 and the simulated bits."""
        return self.precision.numbers.integer

    @property
    def conditioned(self) -> bool:
        """Whether conditioning is carried out: asked for, and there are factors that are quantized."""
        return self.treatment.condition and self.quantized and self.decomposition is not None

    @property
    def calibrated(self) -> bool:
        """Whether factors are fitted to outputs."""
        return self.decomposition is not None and self.decomposition.calibrated

    @property
    def needs_calibration(self) -> bool:
        """Whether the run looks at calibration images (weights alone need none, unless they are conditioned)."""
        fitted = self.calibrated or self.treatment.reestimate_bn or self.treatment.finetune > 0
        return self.precision.looks_at_images or self.conditioned or fitted

    def dense(self) -> "RunSpec":
        """The untouched fp32 model on the same images: what every drop is measured against."""
        images = ImageSpec(self.images.data, samples=self.images.samples)
        return RunSpec(self.model, images, seed=self.seed)

    def with_parts(self, **parts: Value | None) -> "RunSpec":
        """The same run with another `model`, `images`, `decomposition`, `treatment` or `precision`."""
        return structs.replace(self, **parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values by their flat names: those of schema 1 always, later ones where not at their defaults."""
        values, usual = self.to_flat(), defaults()
        shown = [key for key in values if key not in SCHEMA_1 and values[key] != usual[key]]
        return {key: _plain(values[key]) for key in (*SCHEMA_1, *shown)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "RunSpec":
        """The inverse of `to_dict`; an unknown field is an error, one that is missing is at its default."""
        rule = plain.get("rule")
        return cls.from_flat(dict(plain) | {"rule": RankRule(**rule) if isinstance(rule, Mapping) else rule})

    @classmethod
    def recorded(cls, plain: Mapping[str, Any]) -> "RunSpec":
        """`from_dict` of a spec that was written to a file by this or an earlier version."""
        old = {"condition": False} | dict(plain)  # runs that were recorded before there was conditioning
        if not old.get("epc"):
            old.pop("eta", None)  # it says nothing, and its default may have been another one
        return cls.from_dict(old)

    def identity(self, digests: Mapping[str, str]) -> dict[str, Any]:
        """What makes two runs the same run: every field that is not at its default, with `digests` (of the model's
        code and weights, the images, the calibration images) in place of the names and paths that stand for them."""
        plain, usual = self.to_dict(), {**defaults(), "rule": None}
        places = {field.key for field in fields() if not field.option.named}
        kept = {k: v for k, v in plain.items() if k not in places and v != _plain(usual[k])}
        kept.pop("condition", None)
        if self.conditioned:
            kept["condition"] = "before fine-tuning" if self.treatment.finetune else True
        if self.decomposition and (generation := METHODS[self.method].generation) > 1:
            kept["generation"] = generation
        written = BACKENDS[self.precision.backend].generation.get(self.precision.numbers.kind)
        if written:
            kept["file_generation"] = written
        return kept | dict(digests)

    def run_id(self, digests: Mapping[str, str]) -> str:
        """16 hexadecimal digits of the SHA-256 of `identity`."""
        canonical = json.dumps(self.identity(digests), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


PARTS: dict[type[Value], str] = {
    ModelSpec: "model", ImageSpec: "images", Decomposition: "decomposition", Treatment: "treatment",
    PrecisionSpec: "precision",
}  # fmt: skip
SCHEMA_1 = (
    "model", "data", "calib", "weights", "method", "rule", "epc", "eta", "precision", "backend", "condition",
    "calibrated", "symmetric", "finetune", "reestimate_bn", "granularity", "ranges", "samples", "calib_samples", "seed",
    "mean", "std", "input_size", "latency",
)  # fmt: skip
"""The fields that are always written, in the order in which they are."""
DENSE = {field.key: field.default for field in fields_of(Decomposition)} | {"method": "none"}
"""What the fields of a decomposition hold where there is none."""


@functools.cache
def fields() -> list[Field]:
    """Every field of a run that is an option, part by part; the rule has options of its own."""
    return [field for part in (*PARTS, RunSpec) for field in fields_of(part)]


@functools.cache
def defaults() -> Flat:
    """By its name in JSON what every field is where nobody says otherwise."""
    return {field.key: field.default for field in fields()} | {"method": "none"}


def _require_method_and_rule(whole: Flat) -> None:
    if whole["method"] == "none" and whole["rule"] is not None:
        raise InputError(
            f"The method 'none' takes no ranks: leave the rule out, or name a method ({', '.join(METHODS)})."
        )
    if whole["method"] != "none" and whole["rule"] is None:
        raise InputError(
            f"The method '{whole['method']}' needs one way to choose ranks: a ratio, ranks by hand, kept energy or "
            "VBMF."
        )
    name, rule = whole["method"], whole["rule"]
    if chooses_forms(name) and (rule.kind, POLICIES[rule.policy].finds_forms) != ("ratio", True):
        raise InputError(
            f"The method '{name}' takes for each layer the form that loses least, which a ratio with the "
            f"policy 'global' or 'predicted' finds. Got the rank rule '{rule.kind}' with the policy '{rule.policy}': "
            "ask for these, or for the method 'auto'."
        )
    if chooses_forms(name) and whole["bits"] == "auto":
        raise InputError(
            f"Bits are chosen by layer ('bits' auto) with one method. Got them with '{name}': ask for 'auto', "
            "for the same bits everywhere, or bits by hand."
        )


def _require_effect(whole: Flat) -> None:
    """InputError where a field is set that has no effect beside the others, or what a ratio counts is not known."""
    if whole["rule"] is not None:
        require_countable(whole["rule"].budget, whole["precision"], whole["backend"])
    require_choosable(whole)
    for field in fields():
        option, given = field.option, whole[field.key]
        usual = "none" if field.key == "method" else field.default
        if option.needs and given != usual and not option.needs(whole):
            told = shown(given) if isinstance(given, Mapping) else repr(given)
            raise InputError(f"{option.because} Got {field.key} = {told} with the method '{whole['method']}' "
                             f"and the precision '{whole['precision']}': leave it out.")  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, RankRule):
        return value.to_dict()
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
