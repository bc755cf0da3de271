"""Networks that grow while they are trained: nothing jumps when blocks join, and nothing else than planned learns."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.models.cifar import resnet34_cifar10, resnet50_cifar10
from tdq_core.models.he_resnet import CifarResNet
from tdq_core.models.initial import he_initialise
from tdq_core.models.loading import load_model
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec
from tdq_core.system.progress import silent
from tdq_core.training import fit
from tdq_core.training.card import train
from tdq_core.training.depth import begin_shallow, set_depth
from tdq_core.training.fit import Done, Fit
from tdq_core.training.recipe import Recipe

GROWING = Recipe(epochs=4, sizes=((6, 1),), depths=((1, 1), (2, 2)))
STEPS = 16  # of 1,000 images in batches of 64


def grey_resnet() -> nn.Module:
    torch.manual_seed(0)
    net = CifarResNet(3)
    net.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
    return he_initialise(net, last_norm="bn2")


def growing(path: Path | None = None, recipe: Recipe = GROWING) -> Fit:
    digits = load_model(ModelSpec("digits_resnet", RANDOM_WEIGHTS))
    train_set, val = (open_images("digits", role=r, samples=None, seed=0, num_classes=10) for r in ("train", "val"))
    return Fit(dataclasses.replace(digits, module=grey_resnet()), train_set, val, recipe, "key", path)


@pytest.fixture(scope="module")
def straight() -> Fit:
    """Trained from beginning to end, with what it told in `straight.done`."""
    run = growing()
    run.run(silent, lambda entry, left: None)
    return run


def blocks(net: nn.Module, index: int) -> list[torch.Tensor]:
    stages = [net.layer1, net.layer2, net.layer3]
    return [p.detach().clone() for stage in stages for p in stage[index].parameters()]


def changed(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("build", [grey_resnet, resnet34_cifar10, resnet50_cifar10])
@pytest.mark.parametrize("training", [True, False])
def test_growing_changes_no_output(build, training):
    net = build().train(training)
    images = torch.randn(2, net.conv1.in_channels, 16, 16)
    with torch.no_grad():
        before = net(images)
        begin_shallow(net, 1)
        set_depth(net, 1)
        shallow = net(images)
        set_depth(net, None)
        whole = net(images)
    assert torch.equal(shallow, whole)
    assert not torch.allclose(before, whole), "the later blocks did something before"


def test_blocks_that_wait_are_skipped_and_do_not_learn(monkeypatch):
    depths: list[int | None] = []
    monkeypatch.setattr(fit, "set_depth", lambda net, blocks: depths.append(blocks) or set_depth(net, blocks))
    run = growing()
    starts = [blocks(run.module, i) for i in range(3)]
    learnt: list[list[bool]] = []

    def look(stage: str, done: int, total: int) -> None:
        if done % STEPS == 0:
            learnt.append([changed(blocks(run.module, i), starts[i]) for i in range(3)])

    done = run.run(look, lambda entry, left: None)
    assert depths == [1] * STEPS + [2] * 2 * STEPS + [None] * STEPS
    assert learnt == [[True, False, False], [True, True, False], [True, True, False], [True, True, True]]
    assert [entry["depth"] for entry in done.history] == [1, 2, 2, None]
    assert [entry["size"] for entry in done.history] == [6, None, None, None]
    assert [entry["val_top1"] is None for entry in done.history] == [True, True, True, False]


def test_the_time_left_goes_with_pixels_and_blocks():
    """Epochs of work: one of 6 px and a third of the blocks, two with two thirds, one whole."""
    told: list[float] = []
    run = growing()
    run.run(silent, lambda entry, left: told.append(left / run.done.seconds))
    work = [(6 / 8) ** 2 / 3, 2 / 3, 2 / 3, 1.0]
    assert told == pytest.approx([sum(work[n:]) / sum(work[:n]) for n in (1, 2, 3, 4)])


def test_a_trained_network_runs_all_its_blocks(straight):
    images, reference = torch.randn(3, 1, 8, 8), grey_resnet().eval()
    reference.load_state_dict(straight.module.state_dict())
    with torch.no_grad():
        assert torch.equal(straight.module(images), reference(images))


@pytest.mark.parametrize("at", [7, 16, 40], ids=["shallow", "as blocks join", "half grown"])
def test_a_killed_run_goes_on_at_its_depth(at, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_STATES", 0.0)

    def kill(stage: str, done: int, total: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    path = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        growing(path).run(kill, lambda entry, left: None)
    again = growing(path)
    done: Done = again.run(silent, lambda entry, left: None)
    wanted: dict[str, Any] = straight.module.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.module.state_dict().items())
    assert [entry["depth"] for entry in done.history] == [1, 2, 2, None]


def test_a_network_without_residual_stages_cannot_grow(tmp_path):
    with pytest.raises(InputError, match=r"rows of residual blocks.*Got DigitsResNet; leave 'depths' out"):
        train("digits_resnet", "digits", recipe=Recipe(epochs=3, depths=((1, 1),)), folder=tmp_path)


@pytest.mark.parametrize(
    "depths, words",
    [(((1, 4),), "at least one epoch for the full depth"), (((0, 1),), "1 of its unit"), (((1, 0),), "1 epoch")],
)
def test_depths_that_cannot_be_are_one_sentence(depths, words):
    with pytest.raises(InputError, match=f"The 'depths' of training.*{words}"):
        Recipe(epochs=4, depths=depths)
