"""The registry tells the truth about every model, and costs no torch to read."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tdq_core.errors import InputError
from tdq_core.models.he_resnet import OptionAShortcut
from tdq_core.models.loading import load_model
from tdq_core.models.registry import MODELS, WEIGHTS_FOLDER, entry
from tdq_core.specs import ModelSpec

TORCHVISION_PARAMS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "googlenet": 6_624_904,
    "alexnet": 61_100_840,
}
ADAPTED_PARAMS = {"resnet18_cifar10": 11_173_962, "resnet34_cifar10": 21_282_122, "resnet50_cifar10": 23_520_842}
HE_PUBLISHED_MILLIONS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}


def random_model(name: str) -> torch.nn.Module:
    return load_model(ModelSpec(name, "random")).module


def params(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_turns_its_own_input_into_finite_logits(name: str) -> None:
    model = load_model(ModelSpec(name, "random"))
    with torch.inference_mode():
        logits = model.module(torch.randn(1, *model.preprocessing.input_shape))
    assert logits.shape == (1, MODELS[name].num_classes)
    assert 1e-3 < logits.std() < 100, "random weights must keep activations in the range of fp16"
    assert params(model.module) == TORCHVISION_PARAMS.get(name, params(model.module))
    assert params(model.module) == ADAPTED_PARAMS.get(name, params(model.module))


@pytest.mark.parametrize("depth", HE_PUBLISHED_MILLIONS)
def test_he_resnets_have_the_published_number_of_params(depth: int) -> None:
    n = (depth - 2) // 6
    stages = sum(9 * (c_in + (2 * n - 1) * c) * c + 4 * n * c for c_in, c in ((16, 16), (16, 32), (32, 64)))
    expected = 9 * 3 * 16 + 2 * 16 + stages + 64 * 10 + 10
    assert params(random_model(f"resnet{depth}_cifar10")) == expected
    assert expected / 1e6 == pytest.approx(HE_PUBLISHED_MILLIONS[depth], abs=0.03)


def test_an_option_a_shortcut_keeps_even_pixels_between_zero_channels() -> None:
    x = torch.randn(2, 4, 6, 5)
    y = OptionAShortcut(4)(x)
    assert y.shape == (2, 8, 3, 3) and torch.equal(y[:, 2:6, 1, 2], x[:, :, 2, 4])
    assert torch.equal(y[:, 2:6, 0, 0], x[:, :, 0, 0]) and not y[:, [0, 1, 6, 7]].any()


def test_the_embedded_default_is_small_and_has_every_kind_of_layer() -> None:
    net = random_model("digits_resnet")
    kernels = [tuple(m.kernel_size) for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert 100_000 < params(net) < 200_000
    assert kernels.count((3, 3)) >= 5 and kernels.count((1, 1)) >= 2
    assert any(m.stride == (2, 2) for m in net.modules() if isinstance(m, torch.nn.Conv2d))


@pytest.mark.parametrize("name", TORCHVISION_PARAMS)
def test_imagenet_entries_agree_with_torchvisions_weights(name: str) -> None:
    from tdq_core.system.torchvision_compat import torchvision

    known = MODELS[name]
    assert known.weights
    official = torchvision.models.get_weight(known.weights.torchvision)
    transform = official.transforms()
    assert official.url.endswith("/" + known.weights.file)
    assert (*transform.mean, *transform.std) == (*known.preprocessing.mean, *known.preprocessing.std)
    assert transform.resize_size == [known.preprocessing.resize]
    assert tuple(transform.crop_size * 2) == known.preprocessing.input_size


def test_googlenet_without_its_auxiliary_heads_computes_what_torchvisions_does() -> None:
    from tdq_core.system.torchvision_compat import torchvision

    torch.manual_seed(3)
    official = torchvision.models.GoogLeNet(aux_logits=True, transform_input=True, init_weights=False).eval()
    net = random_model("googlenet")
    kept = {k: v for k, v in official.state_dict().items() if not k.startswith(MODELS["googlenet"].ignored_keys)}
    net.load_state_dict(kept, strict=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(net(x), official(x))


def test_every_weight_says_where_it_comes_from() -> None:
    """And is here, but for the files that are too large to come along."""
    ignored = (Path(__file__).resolve().parents[2] / ".gitignore").read_text().split()
    stays = {Path(line).name for line in ignored if line.endswith(".safetensors")}
    assert stays == {"alexnet_cifar10.safetensors", "resnet34_cifar10.safetensors", "resnet50_cifar10.safetensors"}
    for known in MODELS.values():
        if weights := known.weights:
            assert weights.source and weights.licence and len(weights.sha256) >= 8
            assert len(weights.sha256) == 64 or not weights.shipped
            assert not weights.shipped or weights.file in stays or (WEIGHTS_FOLDER / weights.file).exists()


def test_an_unknown_name_lists_close_ones_and_how_to_bring_your_own() -> None:
    with pytest.raises(InputError, match=r"resnet20_cifar10.*file\.py:factory"):
        entry("resnet20_cifr10")


def test_reading_the_registry_and_the_data_grammar_imports_no_torch() -> None:
    code = "import sys, tdq_core.models.registry, tdq_core.data.refs; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torchvision_can_be_imported_by_a_model_of_your_own() -> None:
    code = (
        "from tdq_core.models.loading import load_model; from tdq_core.specs import ModelSpec; "
        "spec = ModelSpec('torchvision.models:squeezenet1_1', input_size=(64, 64)); "
        "assert load_model(spec).num_classes == 1000"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
