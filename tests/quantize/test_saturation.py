"""Pairs of 8-bit products in 16 bits: the law against the instruction, files against the law and the runtime."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from saturating import (
    X_SCALE,
    X_ZERO,
    Sums,
    by_instruction,
    by_the_runtime_without_vnni,
    convolution,
    one_by_one,
    save,
    two_with_one_scale,
)
from torch import nn

from tdq_core.compression.quantize import Artefact, Request
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.saturation.emulated import Emulated, Losses
from tdq_core.compression.quantize.saturation.pairs import lost, risky_pairs
from tdq_core.compression.quantize.saturation.seven_bits import keep_in_seven_bits
from tdq_core.errors import RunFailed
from tdq_core.system import machine


@pytest.fixture(scope="module")
def instruction(tmp_path_factory: pytest.TempPathFactory) -> Sums:
    return by_instruction(tmp_path_factory.mktemp("c"))


def exact(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return activations.astype(np.int32) @ weights.T.astype(np.int32)


def by_the_law(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Exact sums and what pairs lose."""
    found = lost(risky_pairs(weights), lambda k: activations[:, k], len(weights))
    return exact(activations, weights) + (0 if found is None else found.sums.T)


def random(p: int, n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    brightest, largest = draw.choice([90, 200, 256]), draw.choice([40, 90, 128])
    weights = draw.integers(-largest, largest, (n, k), dtype=np.int8)
    return draw.integers(0, brightest, (p, k), dtype=np.uint8), weights


SHAPES = [(50, 7, k) for k in (1, 2, 3, 27, 31, 64, 65, 576)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_law_is_the_instructions(instruction: Sums, shape: tuple[int, int, int]) -> None:
    for seed in range(12):
        activations, weights = random(*shape, seed)
        assert np.array_equal(by_the_law(activations, weights), instruction(activations, weights))


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_the_law_is_the_manuals(k: int) -> None:
    for seed in range(8):
        activations, weights = random(6, 4, k, seed)
        assert np.array_equal(by_the_law(activations, weights), one_by_one(activations, weights))


def test_the_ends_of_all_ranges() -> None:
    weights = np.array(list(itertools.product([-128, -127, -65, -64, -1, 0, 1, 64, 65, 127], repeat=2)), np.int8)
    activations = np.array(list(itertools.product([0, 1, 127, 128, 129, 254, 255], repeat=2)), np.uint8)
    found, expected = by_the_law(activations, weights), one_by_one(activations, weights)
    assert np.array_equal(found, expected) and not np.array_equal(found, exact(activations, weights))
    count = lost(risky_pairs(weights), lambda k: activations[:, k], len(weights))
    assert count and count.pairs == (found != exact(activations, weights)).sum()


def test_within_7_bits_nothing_is_lost() -> None:
    assert not risky_pairs(np.array([[64, 64, -64, -64, 64]], np.int8))
    assert risky_pairs(np.array([[64, 65]], np.int8)) and risky_pairs(np.array([[-65, -64]], np.int8))


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((16, 8, 3, 3), {"pads": [1, 1, 1, 1]}),
    "first layer": ((16, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "pointwise": ((24, 12, 1, 1), {}),
    "odd pointwise": ((5, 7, 1, 1), {"strides": [2, 2]}),
    "in groups": ((12, 3, 3, 3), {"pads": [1, 1, 1, 1], "group": 4}),
    "dilated": ((8, 4, 3, 3), {"dilations": [2, 2], "pads": [2, 1, 0, 2]}),
    "1 x k": ((8, 5, 1, 3), {"pads": [0, 1, 0, 1]}),
    "same": ((8, 4, 2, 3), {"auto_pad": "SAME_UPPER", "strides": [1, 2]}),
    "same, lower": ((8, 4, 4, 4), {"auto_pad": "SAME_LOWER"}),
    "of a line": ((8, 6, 3), {"pads": [1, 1]}),
    "of a block": ((4, 3, 2, 2, 2), {}),
}


def sides(kind: str) -> list[tuple[int, int]]:
    """What is padded before and behind; ONNX puts the odd one behind, or before."""
    (_, _, *kernel), attributes = CONVOLUTIONS[kind]
    if "auto_pad" in attributes:
        return {"same": [(0, 1), (0, 1)], "same, lower": [(2, 1), (2, 1)]}[kind]
    pads = np.reshape(attributes.get("pads", [0] * 2 * len(kernel)), (2, -1))
    return [(int(before), int(behind)) for before, behind in pads.T]


def made(folder: Path, kind: str) -> tuple[Path, np.ndarray, torch.Tensor]:
    """A file of one convolution, its weights, and images that make it saturate."""
    shape, attributes = CONVOLUTIONS[kind]
    draw = np.random.default_rng(len(kind))
    weights = draw.integers(-128, 128, shape, dtype=np.int8)
    path = convolution(folder / "file.onnx", weights, **attributes)
    images = draw.integers(-X_ZERO, 256 - X_ZERO, (3, shape[1] * attributes.get("group", 1), *[6] * (len(shape) - 2)))
    return path, weights, torch.tensor(images * X_SCALE, dtype=torch.float32)


@pytest.fixture
def no_loss_here() -> None:
    if machine.needs_reduced_range():
        pytest.skip("this CPU saturates: its own kernels are no reference for exact sums")


@pytest.mark.usefixtures("no_loss_here")
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_exact_sums_give_what_the_runtime_gives(kind: str, tmp_path: Path) -> None:
    path, _, images = made(tmp_path, kind)
    assert torch.equal(Emulated(path, 1).exact(images), session_predict(path, 1)(images))


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_pairs_are_taken_as_the_kernel_takes_them(kind: str, tmp_path: Path) -> None:
    """Channels innermost, as its images lie: the sums of a layer against pairs of neighbours in that order."""
    path, weights, images = made(tmp_path, kind)
    (layer,) = Emulated(path, 1).layers
    x = (images / X_SCALE).round().add(X_ZERO).to(torch.uint8).numpy()
    assert layer.window
    padded = np.pad(x, [(0, 0), (0, 0), *sides(kind)], constant_values=X_ZERO)
    groups, per = len(layer.weights), weights.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, [(k - 1) * d + 1 for k, d in zip(layer.window.kernel, layer.window.dilations, strict=True)],
        axis=tuple(range(2, x.ndim)),
    )  # fmt: skip
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in layer.window.strides),
                       *(slice(None, None, d) for d in layer.window.dilations))]  # fmt: skip
    found = layer.lost(x)
    assert found, "as the images are made"
    for group in range(groups):
        own = windows[:, group * per : (group + 1) * per]
        columns = np.moveaxis(own, 1, -1).reshape(-1, weights[0].size)  # (N, places, kernel, C) flat
        rows = np.moveaxis(weights.reshape(groups, -1, *weights.shape[1:])[group], 1, -1).reshape(-1, weights[0].size)
        expected = (one_by_one_fast(columns, rows) - exact(columns, rows)).reshape(len(x), -1, len(rows))
        given = found.sums[:, group * len(rows) : (group + 1) * len(rows)].reshape(len(x), len(rows), -1)
        assert np.array_equal(given.swapaxes(1, 2), expected)


@pytest.mark.long
def test_what_is_emulated_is_what_the_runtime_computes_without_vnni(
    woven: tuple[Artefact, torch.Tensor], tmp_path: Path
) -> None:
    """Every kind of convolution, and a network with all that is told apart, bit for bit."""
    shown: dict[Path, torch.Tensor] = {woven[0].path: 3 * woven[1]}
    for kind in CONVOLUTIONS:
        folder = tmp_path / kind
        folder.mkdir()
        path, _, images = made(folder, kind)
        shown[path] = images
    depthwise = [tmp_path / "5.onnx", tmp_path / "16.onnx"]  # for 16 channels there is a kernel of its own
    for path in depthwise:
        channels = int(path.stem)
        convolution(path, np.full((channels, 1, 3, 3), 127, np.int8), group=channels, pads=[1, 1, 1, 1])
        shown[path] = torch.linspace(2, 2.7, 2 * channels * 36).reshape(2, channels, 6, 6)
    answers = by_the_runtime_without_vnni({path: images.numpy() for path, images in shown.items()})
    for (path, images), answer in zip(shown.items(), answers, strict=True):
        emulated = Emulated(path, 1)
        assert np.array_equal(emulated.saturating()(images).numpy(), answer)
        exact = np.array_equal(emulated.exact(images).numpy(), answer)
        assert exact == (path in depthwise), "there is something to tell apart, but where products are widened first"


def one_by_one_fast(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`one_by_one` of many numbers."""
    beyond = activations.shape[1] % 2
    a, w = (np.pad(each.astype(np.int32), ((0, 0), (0, beyond))) for each in (activations, weights))
    products = a[:, None] * w[None]
    return products.reshape(*products.shape[:2], -1, 2).sum(-1).clip(-32768, 32767).sum(-1)


def test_what_is_lost_is_added_before_rounding(tmp_path: Path) -> None:
    path, weights, images = made(tmp_path, "odd pointwise")
    emulated, losses = Emulated(path, 1), dict[str, Losses]()
    given, x = emulated.saturating(losses)(images), images[:, :, ::2, ::2]
    a = (x / X_SCALE).round().add(X_ZERO).numpy().transpose(0, 2, 3, 1).reshape(-1, 7).astype(np.uint8)
    rows = weights.reshape(5, 7)
    sums = one_by_one(a, rows) - X_ZERO * rows.sum(1, dtype=np.int32) + 50 * np.arange(5)
    scale = np.float32(X_SCALE) * np.linspace(0.5, 1.5, 5, dtype=np.float32) / np.float32(X_SCALE * 127 * 16)
    y = np.rint((sums.astype(np.float32) * scale).clip(-9, 246))
    expected = (y * np.float32(X_SCALE * 127 * 16)).reshape(3, 3, 3, 5).transpose(0, 3, 1, 2)
    assert np.array_equal(given.numpy(), expected.astype(np.float32))
    assert not torch.equal(given, emulated.exact(images))
    (found,) = losses.values()
    assert found.outputs == given.numel() and found.pairs > 0 and 0 < found.share < 1


def test_depthwise_convolutions_lose_nothing(tmp_path: Path) -> None:
    weights = np.full((16, 1, 3, 3), 127, np.int8)
    path = convolution(tmp_path / "file.onnx", weights, group=16, pads=[1, 1, 1, 1])
    emulated, images = Emulated(path, 1), torch.full((2, 16, 6, 6), 9.9)
    assert not emulated.layers
    assert torch.equal(emulated.saturating()(images), emulated.exact(images))


class Woven(nn.Module):
    """Branches, a residual, groups, a product over the last axis of three, and one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.grouped, self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.Conv2d(16, 16, 3, groups=16, padding=1)
        self.mixed, self.last = nn.Linear(16, 16), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = x + self.twice(self.twice(x).relu())
        both = torch.cat([self.grouped(x), self.depth(x).sigmoid()], 1)
        mixed = self.mixed(both.flatten(2).transpose(1, 2)[..., :16]).relu().mean(1)
        return self.last(torch.cat([mixed, both[:, 16:].mean((2, 3))], 1))


@pytest.fixture(scope="module")
def woven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, torch.Tensor]:
    from tdq_core.compression.quantize import realise

    torch.manual_seed(3)
    net, images = Woven().eval(), torch.randn(32, 3, 8, 8)
    request = Request(images, lambda: [images], tmp_path_factory.mktemp("woven"), threads=1, reduce_range=False)
    return realise(net, "int8", "onnxruntime", request=request), images


@pytest.mark.usefixtures("no_loss_here")
def test_a_network_with_exact_sums_answers_as_its_file_does(woven: tuple[Artefact, torch.Tensor]) -> None:
    artefact, images = woven
    emulated = Emulated(artefact.path, 1)
    assert torch.equal(emulated.exact(images), artefact.predict(images))
    assert {layer.name for layer in emulated.layers} >= {"first", "twice", "grouped", "last"}
    assert len(emulated.layers) == 6 and "depth" not in {layer.name for layer in emulated.layers}


def test_layers_within_7_bits_answer_alike_everywhere(woven: tuple[Artefact, torch.Tensor], tmp_path: Path) -> None:
    artefact, images = woven
    before, target = Emulated(artefact.path, 1), tmp_path / "narrow.onnx"
    wide = images * 3  # brighter than what it was calibrated on: many activations at their ends
    assert not torch.equal(before.saturating()(wide), before.exact(wide))
    keep_in_seven_bits(artefact.path, target, {layer.weight for layer in before.layers})
    after = Emulated(target, 1)
    assert all(layer.in_seven_bits for layer in after.layers)
    assert torch.equal(after.saturating()(wide), after.exact(wide))
    off, spread = (after.exact(images) - before.exact(images)).abs().max(), before.exact(images).std()
    assert off < 0.2 * spread, "biases follow their weights, and one bit is rounded away"


@pytest.mark.parametrize("scale", [np.array([0.1, 0.02, 0.3], np.float32), np.array(0.05, np.float32)])
def test_steps_grow_by_what_a_channel_needs(scale: np.ndarray, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).integers(-128, 128, (3, 4, 3, 3), dtype=np.int8)
    weights[1] //= 2  # within 7 bits as it is
    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    images = torch.rand(2, 4, 6, 6) * 3
    before = session_predict(two_with_one_scale(source, weights, scale), 1)(images)
    assert not before.any(), "both are the same"
    keep_in_seven_bits(source, target, ["a"])
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(target).graph.initializer}
    assert np.array_equal(held["b"], weights) and np.array_equal(held["scale"], scale), "what others share stays"
    wide, bias = held["a_wide"], held["bias_wide"] * held["bias_scale_wide"]
    steps = np.broadcast_to(wide.reshape(-1, *[1] * 3 * wide.ndim), weights.shape)
    was = weights * scale.reshape(-1, *[1] * 3 * scale.ndim)
    assert np.abs(held["a"].astype(int)).max() == 64 and (np.abs(held["a"] * steps - was) <= steps * 0.5001).all()
    assert (np.abs(bias - held["bias"] * held["bias_scale"]) <= held["bias_scale_wide"] * 0.5001).all()
    if scale.ndim:
        assert np.array_equal(held["a"][1], weights[1]) and wide[1] == scale[1]
    off = session_predict(target, 1)(images)
    assert off.any() and off.abs().max() <= 36 * 3 * steps.max() / 2


def test_one_layer_alone_saturates(woven: tuple[Artefact, torch.Tensor]) -> None:
    emulated, images, losses = Emulated(woven[0].path, 1), 3 * woven[1], dict[str, Losses]()
    given = emulated.saturating(losses, only="grouped")(images)
    assert {name for name, each in losses.items() if each.pairs} == {"grouped"}
    assert not torch.equal(given, emulated.exact(images)) and not torch.equal(given, emulated.saturating()(images))


def test_only_the_layers_that_are_named_change(woven: tuple[Artefact, torch.Tensor], tmp_path: Path) -> None:
    artefact, _ = woven
    before = {layer.name: layer for layer in Emulated(artefact.path, 1).layers}
    keep_in_seven_bits(artefact.path, tmp_path / "narrow.onnx", [before["grouped"].weight])
    for layer in Emulated(tmp_path / "narrow.onnx", 1).layers:
        same = np.array_equal(layer.weights, before[layer.name].weights)
        assert (layer.in_seven_bits, same) == (layer.name == "grouped", layer.name != "grouped")


@pytest.mark.parametrize("kind", ["ConvInteger", "MatMulInteger"])
def test_operators_that_are_not_known_are_not_passed_over(kind: str, tmp_path: Path) -> None:
    weights = np.ones((4, 4, 1, 1) if kind == "ConvInteger" else (4, 4), np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["in", "scale", "zero"], ["x"]),
        helper.make_node(kind, ["x", "w"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["out"], to=1),
    ]
    given = {"scale": np.float32(0.1), "zero": np.uint8(3), "w": weights}
    path = save(tmp_path / "file.onnx", nodes, given, ("N", 4, 4, 4), 4)
    with pytest.raises(RunFailed, match=f"operator {kind} .*not known"):
        Emulated(path, 1)


def test_a_file_without_the_weights_is_refused(woven: tuple[Artefact, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="no int8 weights 'nowhere'"):
        keep_in_seven_bits(woven[0].path, tmp_path / "narrow.onnx", ["nowhere"])
