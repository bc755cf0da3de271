"""What a visitor may choose: models whose weights are at hand, images, and what the server's owner named at its start.

    tdq dashboard -- --model MODEL [--weights FILE|random] [--mean .. --std .. --input-size ..]
                                      --data DATA [--calib DATA]

Options repeat; --weights and the like belong to the --model before them, --calib to the --data before it. Whatever
a visitor sends is looked up among the offers: nothing that is typed or sent is ever imported or opened.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cached_runs.study import DATA as STUDY_DATA
from dashboard.facts.subject import model_name, why_not_on
from tdq_core.data.refs import parse_ref
from tdq_core.errors import InputError
from tdq_core.models.registry import MODELS, WEIGHTS_FOLDER, ModelEntry, damaged_cards
from tdq_core.models.weights_ref import WeightsRef
from tdq_core.specs import RANDOM_WEIGHTS, ImageSpec, ModelSpec, RunSpec
from tdq_core.specs.command import is_list, value_of
from tdq_core.specs.option import fields_of

Offer = TypeVar("Offer")


@dataclass(frozen=True)
class ModelOffer:
    """A model with its weights. `key` stands in the URL, `description` on the screen; `model` goes into the spec."""

    model: ModelSpec
    description: str = ""

    @property
    def key(self) -> str:
        return model_name(self.model)

    def spec(self, data: "DataOffer", *, samples: int | None = None) -> RunSpec:
        """The untouched model on these images (None: all of them)."""
        return RunSpec(self.model, ImageSpec(data.ref, calib=data.calib, samples=samples))


@dataclass(frozen=True)
class DataOffer:
    """Images to measure on, and those to calibrate on where they are kept elsewhere."""

    ref: str
    calib: str | None = None


@dataclass(frozen=True)
class Offers:
    """Everything that can be chosen.

    Attributes:
        allowed: models that are not registered but were named when the server started.
        without_weights: registered models that cannot be chosen, for their weights are not on this machine.
        damaged: a sentence for each card of weights that cannot be read.
    """

    models: tuple[ModelOffer, ...]
    data: tuple[DataOffer, ...]
    without_weights: tuple[str, ...] = ()
    allowed: tuple[str, ...] = field(default=())
    damaged: tuple[str, ...] = ()

    def model(self, key: str) -> ModelOffer:
        for offer in self.models:
            if offer.key == key:
                return offer
        raise InputError(f"The model '{key}' was neither registered nor named when the server started.")

    def images(self, ref: str) -> DataOffer:
        for offer in self.data:
            if offer.ref == ref:
                return offer
        raise InputError(f"The images '{ref}' were not named when the server started.")

    def subjects(self) -> tuple[RunSpec, ...]:
        """Every network that can be run, untouched, on all images of the sets that it was made for."""
        pairs = [(m, d) for m in self.models for d in self.data if not why_not_on(m.model, d.ref)]
        return tuple(m.spec(d) for m, d in pairs)

    def why_not(self, spec: RunSpec, *, images: bool = True) -> str:
        """Why a job on this subject cannot work here, in a sentence; '' where it can. `images`: whether it looks at
        any."""
        if spec.model not in [m.model for m in self.models]:
            name = model_name(spec.model)
            why = (
                "its weights are not on this machine" if spec.model.name in MODELS else "it was not named at the start"
            )
            return f"{name} cannot be run here: {why}. 'tdq dashboard -- --model NAME --weights FILE' names it."
        if unfit := why_not_on(spec.model, spec.images.data):
            return f"{unfit}: choose other images."
        return _absent(spec.images.data) if images else ""


_IMAGES = tuple(f for f in fields_of(ImageSpec) if f.key in ("data", "calib"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"The dashboard was started with arguments that it does not understand: {message}.")


class _Grouped(argparse.Action):
    """Collects --model and --data with the options that follow each."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        groups = namespace.groups = [*(getattr(namespace, "groups", None) or [])]
        if self.dest in ("model", "data"):
            groups.append({"kind": self.dest, self.dest: values})
            return
        owner = "data" if self.dest == "calib" else "model"
        if not groups or groups[-1]["kind"] != owner:
            raise InputError(f"The '{option}' belongs to a --{owner} and must follow it.")
        groups[-1][self.dest] = values


def read_arguments(arguments: Sequence[str]) -> Offers:
    """Registered offers and those that the server's arguments name.

    The study's images are always among them, so that its shipped runs can be looked at where the images are not.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for option in (*fields_of(ModelSpec), *_IMAGES):
        parser.add_argument(option.option.flag, action=_Grouped, dest=option.key)
    groups = getattr(parser.parse_args(list(arguments)), "groups", None) or []
    named = [_model_offer(g) for g in groups if g["kind"] == "model"]
    data = [_data_offer(g) for g in groups if g["kind"] == "data"]
    registered = [ModelOffer(ModelSpec(e.name), e.description) for e in MODELS.values() if weights_at_hand(e)]
    keys = Counter(m.key for m in _once([*registered, *named]))
    if twice := [key for key, times in keys.items() if times > 1]:
        raise InputError(f"Two models would be shown as '{twice[0]}': rename one of the weights files.")
    missing = tuple(e.name for e in MODELS.values() if not weights_at_hand(e))
    return Offers(
        _once([*registered, *named]),
        _once([DataOffer("digits"), DataOffer(STUDY_DATA), *data]),
        missing,
        tuple(dict.fromkeys(m.model.name for m in named if m.model.name not in MODELS)),
        damaged_cards(),
    )


def _once(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    return tuple(dict.fromkeys(offers))


def _model_offer(group: dict[str, str]) -> ModelOffer:
    name, weights = group["model"], group.get("weights")
    if weights not in (None, RANDOM_WEIGHTS) and not WeightsRef.of(weights).path.exists():
        raise InputError(f"The weights '{weights}' of the model '{name}' does not exist.")
    given: dict[str, Any] = {
        f.name: value_of(f, group.get(f.key)) if is_list(f) else group.get(f.key) for f in fields_of(ModelSpec)
    }
    return ModelOffer(ModelSpec(**given), MODELS[name].description if name in MODELS else "named at the start")


def _data_offer(group: dict[str, str]) -> DataOffer:
    for ref in filter(None, (group["data"], group.get("calib"))):
        parse_ref(ref)
    return DataOffer(group["data"], group.get("calib"))


def weights_at_hand(entry: ModelEntry) -> bool:
    """Whether the registered weights are on this machine, so that choosing the model downloads nothing."""
    weights = entry.usable_weights
    if weights is None:
        return False
    return ((WEIGHTS_FOLDER if weights.shipped else hub_folder()) / weights.file).exists()


def _absent(ref: str) -> str:
    """A sentence where these images are not on this machine; '' where they are, or are fetched when asked for."""
    try:
        parsed = parse_ref(ref)
    except InputError:
        return f"The images '{ref}' were given in Python, and cannot be opened here."
    if parsed.kind in ("digits", "cifar10"):
        return ""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdq"
    if (parsed.root or cache / parsed.kind).is_dir():
        return ""
    return (
        f"The images '{ref}' are not on this machine, so nothing new can be measured on them. "
        f"'tdq dashboard -- --data {parsed.kind}:FOLDER' says where they are."
    )


def hub_folder() -> Path:
    """Where torch.hub keeps checkpoints, found without importing torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
