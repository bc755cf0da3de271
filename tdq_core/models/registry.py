"""Every model that TDQ knows by name. No torch here: factories are named, and imported when a model is built."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tdq_core.errors import InputError
from tdq_core.records.bounds import Amount, Positive, Share
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.reading import Damaged, read_json

WEIGHTS_FOLDER = Path(__file__).resolve().parent / "weights"
"""Weights that come with the project: `<model>.safetensors` beside its card `<model>.json`, written by `tdq train`."""

BRING_YOUR_OWN = (
    "a model of your own is 'path/to/file.py:factory', 'package.module:factory' or 'timm:NAME' (`tdq models` lists all)"
)


@dataclass(frozen=True)
class WeightsEntry:
    """Where the registered weights of a model come from.

    Attributes:
        source: a sentence for people.
        file: file name; hosted files live in torch.hub's checkpoints folder, shipped ones in `WEIGHTS_FOLDER`.
        sha256: hexadecimal digits that the file's SHA-256 starts with: all 64 for shipped files, the 8 that its
            publisher put in the file name for hosted ones (the full digest is computed when the file is loaded).
        licence: of the weights.
        url: where a hosted file is downloaded from; None for shipped files.
        torchvision: name of torchvision's weights entry, which knows the URL; None for other sources.
        card: of files made by `tdq train`: recipe, scores, seconds, machine.
    """

    source: str
    file: str
    sha256: str
    licence: str
    url: str | None = None
    torchvision: str | None = None
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def shipped(self) -> bool:
        return self.url is None and self.torchvision is None


@dataclass(frozen=True)
class ModelEntry:
    """One registered model.

    Attributes:
        factory: 'module:function', called without arguments, returns a `torch.nn.Module`.
        hosted: weights on the network, None where there are none.
        ignored_keys: prefixes of keys in published state dicts that are of no use at inference.
        images: kinds of image sources (see `tdq_core.data.refs`) with the classes that it was made for.
    """

    name: str
    factory: str
    preprocessing: Preprocessing
    num_classes: int
    description: str
    hosted: WeightsEntry | None = None
    ignored_keys: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    @property
    def weights(self) -> WeightsEntry | None:
        """The shipped weights if the project has a card for this model, else the hosted ones, else None; InputError
        where the card cannot be read."""
        return _read_card(WEIGHTS_FOLDER / f"{self.name}.json") or self.hosted

    @property
    def usable_weights(self) -> WeightsEntry | None:
        """The same; None also where the card cannot be read, which `damaged_cards` tells."""
        try:
            return self.weights
        except InputError:
            return None


class _Score(Struct, frozen=True):
    top1: Share
    top1_low: Share
    top1_high: Share
    n: Positive


class _Recipe(Struct, frozen=True):
    epochs: Positive
    sizes: tuple[tuple[int, int], ...] | None = ()
    depths: tuple[tuple[int, int], ...] | None = ()


class Card(Struct, frozen=True):
    """What is told of a card, which holds more."""

    file: Annotated[str, Meta(pattern=r"^[^/\\\x00]+$")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    source: str
    licence: str
    scores: dict[str, _Score] = msgspec.field(default_factory=dict)
    recipe: _Recipe | None = None
    seconds: Amount = 0.0
    device: str = "cpu"
    threads: Positive | None = None
    cpu: str = ""


def _read_card(path: Path) -> WeightsEntry | None:
    try:
        card = read_json(path)
        told = msgspec.convert(card, Card)
        if "eval" in told.scores and not (told.recipe and told.seconds):
            raise Damaged("it has scores, and does not say how they came about")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(
            f"The weights card '{path}' cannot be read ({error}): write it anew with `tdq train`."
        ) from error
    return WeightsEntry(told.source, told.file, told.sha256, told.licence, card=card)


def damaged_cards() -> tuple[str, ...]:
    """A sentence for each card of a registered model that cannot be read: all other models are as they were."""
    sentences = []
    for known in MODELS.values():
        try:
            known.weights  # noqa: B018
        except InputError as error:
            sentences.append(str(error))
    return tuple(sentences)


def is_known_code(name: str) -> bool:
    """Whether a network is registered or one of timm's: other people's code is run for those only who name it."""
    return name in MODELS or name.startswith("timm:")


def entry(name: str) -> ModelEntry:
    """The registered model of this name; an unknown one is an error that lists the closest names."""
    if name in MODELS:
        return MODELS[name]
    close = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.5)
    hint = f"close to it are {', '.join(close)}; " if close else ""
    raise InputError(f"No model is called '{name}': {hint}{BRING_YOUR_OWN}.")


_IMAGENET = Preprocessing((224, 224), resize=256)
_CIFAR = Preprocessing((32, 32))
_DIGITS = Preprocessing((8, 8), mean=(0.305,), std=(0.376,))
_CIFAR_IMAGES = ("cifar10-jpeg", "cifar10")


def _imagenet(name: str, weights: str, file: str, *, ignored_keys: tuple[str, ...] = ()) -> ModelEntry:
    hosted = WeightsEntry(
        source=f"torchvision {weights}.IMAGENET1K_V1",
        file=file,
        sha256=file.removesuffix(".pth").rsplit("-", 1)[1],
        licence="BSD-3-Clause (torchvision); trained on ImageNet, whose images are for non-commercial research",
        torchvision=f"{weights}.IMAGENET1K_V1",
    )
    return ModelEntry(name, f"tdq_core.models.imagenet:{name}", _IMAGENET, 1000,
                      f"torchvision {name}, ImageNet, 224 x 224", hosted, ignored_keys, ("imagenet",))  # fmt: skip


def _cifar(name: str, description: str) -> ModelEntry:
    return ModelEntry(f"{name}_cifar10", f"tdq_core.models.cifar:{name}_cifar10", _CIFAR, 10, description,
                      images=_CIFAR_IMAGES)  # fmt: skip


def _he(depth: int, digits: str) -> ModelEntry:
    file = f"resnet{depth}-{digits}.th"
    hosted = WeightsEntry(
        source=f"Y. Idelbayev, pytorch_resnet_cifar10, {file}",
        file=file,
        sha256=digits,
        licence="BSD-2-Clause",
        url=f"https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/{file}",
    )
    return ModelEntry(f"resnet{depth}_cifar10", f"tdq_core.models.he_resnet:resnet{depth}_cifar10", _CIFAR, 10,
                      f"ResNet-{depth} of He et al. 2015, section 4.2, CIFAR-10, 32 x 32", hosted,
                      images=_CIFAR_IMAGES)  # fmt: skip


_ENTRIES = (
    ModelEntry(
        "digits_resnet",
        "tdq_core.models.digits:digits_resnet",
        _DIGITS,
        10,
        "small residual network on scanned digits, 8 x 8: the embedded default",
        images=("digits",),
    ),
    _he(20, "12fca82f"),
    _he(32, "d509ac18"),
    _he(44, "014dd654"),
    _he(56, "4bfd9763"),
    _he(110, "1d1ed7c2"),
    _cifar("resnet18", "ResNet-18 with a 3 x 3 stride-1 stem and no max-pool, CIFAR-10, 32 x 32"),
    _cifar("resnet34", "ResNet-34 with a 3 x 3 stride-1 stem and no max-pool, CIFAR-10, 32 x 32"),
    _cifar("resnet50", "ResNet-50 with a 3 x 3 stride-1 stem and no max-pool, CIFAR-10, 32 x 32"),
    _cifar("googlenet", "GoogLeNet with a 3 x 3 stem straight into inception 3a, CIFAR-10, 32 x 32"),
    _cifar("alexnet", "AlexNet with 3 x 3 kernels in the stem and a 2 x 2 last map, CIFAR-10, 32 x 32"),
    _imagenet("resnet18", "ResNet18_Weights", "resnet18-f37072fd.pth"),
    _imagenet("resnet34", "ResNet34_Weights", "resnet34-b627a593.pth"),
    _imagenet("resnet50", "ResNet50_Weights", "resnet50-0676ba61.pth"),
    _imagenet("googlenet", "GoogLeNet_Weights", "googlenet-1378be20.pth", ignored_keys=("aux1.", "aux2.")),
    _imagenet("alexnet", "AlexNet_Weights", "alexnet-owt-7be5be79.pth"),
    _imagenet("vit_b_16", "ViT_B_16_Weights", "vit_b_16-c867db91.pth"),
)

MODELS: dict[str, ModelEntry] = {e.name: e for e in _ENTRIES}
