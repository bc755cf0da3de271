"""From a spec to a model: public checkpoints fit, your own models load, and what cannot be loaded says why."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.models import loading, registry
from tdq_core.models.loading import load_model
from tdq_core.models.preprocess import overridden
from tdq_core.specs import ModelSpec
from tdq_core.system import download
from tdq_core.system.files import file_sha256
from tdq_core.system.torchvision_compat import torchvision

OWN_MODEL = """
import torch
from helper import CHANNELS

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(CHANNELS, 4, 3)
        self.head = torch.nn.Linear(4, 7)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

def net():
    return Net()

def configured():
    model = Net()
    model.default_cfg = {"input_size": (3, 20, 24), "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0),
                         "crop_pct": 0.8, "interpolation": "bicubic", "license": "mit"}
    return model

def broken():
    raise ValueError("the moon is\\nfull")

def not_a_model():
    return 3

def pixelwise():
    return torch.nn.Conv2d(CHANNELS, 4, 3)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("CHANNELS = 3\n")
    (tmp_path / "own.py").write_text(OWN_MODEL)
    yield tmp_path / "own.py"
    sys.modules.pop("helper", None)


def spec(model: str, **changes: object) -> ModelSpec:
    return ModelSpec(model, **changes)  # type: ignore[arg-type]


def test_public_checkpoints_load_with_every_key_and_score_as_a_plain_loop(shared: Path) -> None:
    weights = shared / "weights" / "resnet20_cifar10.th"
    model = load_model(spec("resnet20_cifar10", weights=str(weights)))
    images = open_images(f"folder:{shared}/cifar10-jpeg/test", role="eval", samples=500, seed=0, num_classes=10)
    t = torchvision.transforms
    to_tensor = t.Compose([t.ToTensor(), t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    with torch.inference_mode():
        right = sum(int((model.module(x).argmax(1) == y).sum()) for x, y in images.batches(model.preprocessing))
        loaded = torch.stack([to_tensor(Image.open(path)) for path in images.pictures])
        plain = int((model.module(loaded).argmax(1).numpy() == images.labels).sum())
    assert right == plain and right / len(images) > 0.7
    assert model.weights_sha256 == file_sha256(weights) and model.weights_source == "resnet20_cifar10.th"
    published = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    ours = {f"module.{k}" for k in model.module.state_dict() if not k.endswith("num_batches_tracked")}
    assert ours <= set(published), "every key of ours is in the public file"


@pytest.mark.parametrize("depth", [20, 32])
def test_the_hosted_file_of_the_registry_is_the_public_checkpoint(
    shared: Path, depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(registry, "WEIGHTS_FOLDER", tmp_path)  # shipped weights come before hosted ones
    hosted = registry.entry(f"resnet{depth}_cifar10").weights
    assert hosted
    place = tmp_path / "hub" / "checkpoints" / hosted.file
    place.parent.mkdir(parents=True)
    place.write_bytes((shared / "weights" / f"resnet{depth}_cifar10.th").read_bytes())
    model = load_model(spec(f"resnet{depth}_cifar10"))
    assert model.weights_sha256 == file_sha256(place) and model.licence == "BSD-2-Clause"
    place.write_bytes(b"something else")
    with pytest.raises(InputError, match="is not the registered one"):
        load_model(spec(f"resnet{depth}_cifar10"))


def test_a_model_is_ready_to_be_measured() -> None:
    model = load_model(spec("digits_resnet", weights="random"))
    assert not model.module.training and not any(p.requires_grad for p in model.module.parameters())
    assert model.notes == ("Weights are random (seed 0): accuracy is chance, costs and speed are real.",)
    assert model.weights_source == "random, seed 0" and model.weights_sha256 is None


def test_random_weights_follow_the_seed_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_model(spec("digits_resnet", weights="random"), seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert load_model(spec("digits_resnet", weights="random"), seed=1).digest == first.digest
    assert load_model(spec("digits_resnet", weights="random"), seed=2).digest != first.digest


def test_the_digest_knows_the_preprocessing() -> None:
    plain = load_model(spec("digits_resnet", weights="random"))
    shifted = load_model(spec("digits_resnet", weights="random", mean=(0.25,)))
    assert shifted.digest != plain.digest and shifted.preprocessing.mean == (0.25,)
    assert any("prepared otherwise" in note for note in shifted.notes)


def test_a_larger_input_keeps_the_proportion_of_resize_and_crop() -> None:
    changed, _ = overridden(registry.MODELS["resnet18"].preprocessing, spec("resnet18", input_size=(112, 112)))
    assert changed.input_size == (112, 112) and changed.resize == 128


def test_a_model_file_of_your_own(own: Path) -> None:
    model = load_model(spec(f"{own}:net", input_size=(16, 16)))
    assert model.num_classes == 7 and model.preprocessing.input_shape == (3, 16, 16)
    assert any("are assumed" in note for note in model.notes) and any("factory made" in note for note in model.notes)
    given = load_model(spec(f"{own}:net", input_size=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3))
    assert not any("assumed" in note for note in given.notes)
    assert str(own.parent) not in sys.path


def test_the_digest_of_your_own_model_follows_its_code(own: Path) -> None:
    before = load_model(spec(f"{own}:net", input_size=(16, 16)))
    own.write_text(own.read_text().replace(".mean((2, 3))", ".amax((2, 3))"))
    assert load_model(spec(f"{own}:net", input_size=(16, 16))).digest != before.digest


def test_a_model_may_describe_its_own_inputs(own: Path) -> None:
    model = load_model(spec(f"{own}:configured"))
    assert model.preprocessing.input_size == (20, 24) and model.preprocessing.mean == (0.1, 0.2, 0.3)
    assert model.preprocessing.resize == 25 and model.licence == "mit"
    assert any("bicubic" in note for note in model.notes)


def test_weights_go_into_your_own_model(own: Path, tmp_path: Path) -> None:
    state = {k: torch.zeros_like(v) for k, v in load_model(spec(f"{own}:configured")).module.state_dict().items()}
    torch.save(state, tmp_path / "zero.pt")
    model = load_model(spec(f"{own}:configured", weights=str(tmp_path / "zero.pt")))
    assert not any(v.any() for v in model.module.state_dict().values())


@pytest.mark.parametrize(
    "factory, says",
    [
        ("net", "as the input size, for example 224x224"),
        ("broken", "ValueError: the moon is full"),
        ("not_a_model", "must return a torch.nn.Module. Got int"),
        ("absent", "has no function 'absent'"),
        ("net-work", "names no factory"),
    ],
)
def test_a_factory_that_fails_is_one_sentence(own: Path, factory: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load_model(spec(f"{own}:{factory}"))
    assert "\n" not in str(caught.value)


def test_a_model_without_logits_is_refused(own: Path) -> None:
    with pytest.raises(InputError, match=r"into logits \(N, classes\). Got \(2, 4, 14, 14\)"):
        load_model(spec(f"{own}:pixelwise", input_size=(16, 16)))


@pytest.mark.parametrize(
    "model, says",
    [
        ("resnet21", "No model is called"),
        ("missing.py:net", "does not exist"),
        ("no_such_package.models:net", "ModuleNotFoundError"),
        ("own.py:", "names no factory"),
    ],
)
def test_a_model_that_is_not_there(model: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_model(spec(model))


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="pip install timm"):
        load_model(spec("timm:resnet18"))


def test_a_visitor_cannot_make_the_server_import_code(own: Path) -> None:
    own.write_text("raise SystemExit('imported')\n")
    name = f"{own}:net"
    with pytest.raises(InputError, match="neither registered nor named"):
        load_model(spec(name), allowed=())
    with pytest.raises(InputError, match="ended the program"):
        load_model(spec(name), allowed=(name,))
    assert load_model(spec("digits_resnet", weights="random"), allowed=()).name == "digits_resnet"


def test_offline_the_missing_file_its_place_and_the_way_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(loading, "_url", lambda weights: "http://127.0.0.1:9/resnet18.pth")
    with pytest.raises(InputError, match=r"resnet18-f37072fd\.pth.*checkpoints.*give a file or 'random' as 'weights'"):
        load_model(spec("resnet18"))
    assert not list((tmp_path / "hub" / "checkpoints").iterdir()), "nothing half-written stays"


def test_a_download_reports_progress_and_is_checked(tmp_path: Path) -> None:
    source, seen = tmp_path / "source.bin", []
    source.write_bytes(bytes(1000))
    wanted = {"way_out": "try elsewhere", "on_progress": lambda *step: seen.append(step)}
    path = download.fetch(source.as_uri(), tmp_path / "a" / "got.bin", sha256=file_sha256(source)[:8], **wanted)
    assert path.read_bytes() == source.read_bytes() and seen[-1] == ("download got.bin", 1000, 1000)
    with pytest.raises(InputError, match="SHA-256 does not start with ffff: try elsewhere"):
        download.fetch(source.as_uri(), tmp_path / "b" / "got.bin", sha256="ffff", **wanted)
    assert not (tmp_path / "b" / "got.bin").exists()


def test_a_card_makes_weights_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (registry, loading):
        monkeypatch.setattr(module, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(InputError, match="has no weights yet: train them with `tdq train`"):
        load_model(spec("digits_resnet"))
    file = tmp_path / "digits_resnet.pt"
    random = load_model(spec("digits_resnet", weights="random"))
    torch.save(random.module.state_dict(), file)
    card = {"file": file.name, "sha256": file_sha256(file), "source": "here", "licence": "MIT"}
    (tmp_path / "digits_resnet.json").write_text(json.dumps(card))
    shipped = load_model(spec("digits_resnet"))
    assert (shipped.weights_source, shipped.licence, shipped.digest) == ("here", "MIT", random.digest)
    (tmp_path / "digits_resnet.json").write_text("{}")
    with pytest.raises(InputError, match="weights card"):
        load_model(spec("digits_resnet"))
