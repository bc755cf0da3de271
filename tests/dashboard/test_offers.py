"""What can be chosen comes from the registry and from the server's own arguments, never from a visitor."""

from pathlib import Path

import pytest

from dashboard.shelf import catalog
from dashboard.shelf.offers import DataOffer, ModelOffer, read_arguments
from tdq_core.errors import InputError
from tdq_core.models.registry import MODELS, WEIGHTS_FOLDER
from tdq_core.specs import ImageSpec, ModelSpec


def test_without_arguments_only_models_with_weights_at_hand_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    offers = read_arguments([])
    here = [e.name for e in MODELS.values() if (WEIGHTS_FOLDER / f"{e.name}.safetensors").exists()]
    assert [m.model.name for m in offers.models] == here and {"digits_resnet", "resnet20_cifar10"} <= set(here)
    assert offers.data == (DataOffer("digits"), DataOffer("cifar10-jpeg"))
    assert set(offers.without_weights) == set(MODELS) - set(here) and offers.allowed == ()
    hosted = MODELS["resnet20_cifar10"].weights
    assert hosted
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / hosted.file).touch()
    assert "resnet20_cifar10" in [m.model.name for m in read_arguments([]).models]


def test_arguments_name_models_with_their_weights_and_images_with_their_calibration(tmp_path: Path) -> None:
    weights = tmp_path / "w.th"
    weights.touch()
    offers = read_arguments(
        [
            "--model",
            "resnet20_cifar10",
            "--weights",
            str(weights),
            "--model",
            "a.py:make",
            "--mean",
            "0.5",
            "--std",
            "0.2",
            "--input-size",
            "8",
            "--data",
            "folder:x",
            "--calib",
            "folder:y",
            "--data",
            "cifar10",
            "--model",
            "resnet50",
            "--weights",
            "random",
        ]
    )
    own = offers.model("a.py:make").model
    assert own == ModelSpec("a.py:make", mean=(0.5,), std=(0.2,), input_size=(8, 8))
    assert offers.model("resnet20_cifar10 (w.th)").model.weights == str(weights)
    assert offers.data[2:] == (DataOffer("folder:x", "folder:y"), DataOffer("cifar10"))
    assert offers.allowed == ("a.py:make",)
    spec = offers.model("resnet50 (random)").spec(offers.images("folder:x"), samples=5)
    assert spec.model.weights == "random" and spec.images == ImageSpec("folder:x", calib="folder:y", samples=5)


@pytest.mark.parametrize(
    "arguments,sentence",
    [
        (["--weights", "w.th"], "belongs to a --model"),
        (["--data", "digits", "--weights", "w.th"], "belongs to a --model"),
        (["--calib", "digits"], "belongs to a --data"),
        (["--data", "folder:"], "need a folder"),
        (["--model", "resnet20_cifar10", "--weights", "no/such.th"], "no/such.th"),
        (["--upload"], "does not understand"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_arguments(arguments)


def test_two_models_under_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.th").touch()
    named = [
        part for f in ("a", "b") for part in ("--model", "resnet20_cifar10", "--weights", str(tmp_path / f / "w.th"))
    ]
    with pytest.raises(InputError, match="rename one"):
        read_arguments(named)


def test_what_was_not_offered_cannot_be_had() -> None:
    offers = read_arguments([])
    for name in ("/tmp/evil.py:make", "os:system", "resnet50 (random)", "timm:vit"):
        with pytest.raises(InputError, match="neither registered nor named"):
            offers.model(name)
    with pytest.raises(InputError, match="were not named"):
        offers.images("folder:/etc")
    assert ModelOffer(ModelSpec("digits_resnet")).key == "digits_resnet"


def test_arguments_count_only_where_the_router_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pytest", "--model", "x"])
    assert catalog.server_arguments() == ()
    monkeypatch.setattr("sys.argv", [str(catalog.ROUTER), "--model", "x"])
    assert catalog.server_arguments() == ("--model", "x")
