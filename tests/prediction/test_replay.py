"""Replaying a pass with modules changed gives what the network gives with these modules in their places."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tdq_core.graph.replace import replace
from tdq_core.graph.replay import Replay


class Woven(nn.Module):
    """Branches, a layer called twice, changes in place, a functional step, a module that gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.left, self.right, self.twice = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.pair = Pair()
        self.tail = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.twice(self.left(x)).add_(1)
        z = self.twice(torch.relu_(self.right(x)))
        a, b = self.pair(y + z)
        return self.tail(a - b)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x), x


NAMES = ("stem.0", "stem.1", "stem", "left", "right", "twice", "pair.inner", "tail.1", "tail")


def net() -> nn.Module:
    torch.manual_seed(0)
    return Woven().eval()


def other(module: nn.Module) -> nn.Module:
    """One that computes something else."""
    changed = copy.deepcopy(module)
    for parameter in changed.parameters():
        parameter.data = parameter.data * 1.3 + 0.1
    return changed


@pytest.mark.parametrize("names", [*((name,) for name in NAMES), ("left", "tail.1"), ("pair.inner", "stem.1")])
def test_as_with_the_modules_in_their_places(names: tuple[str, ...]) -> None:
    model, x = net(), torch.randn(4, 3, 7, 7)
    replay = Replay(model, x)
    changed = {name: other(model.get_submodule(name)) for name in names}
    expected = replace(copy.deepcopy(model), copy.deepcopy(changed))
    with torch.no_grad():
        assert torch.equal(replay.logits, model(x))
        assert torch.equal(replay.changed(changed), expected(x))
        assert torch.equal(replay.changed(changed), expected(x)), "a second time, after changes in place"
        assert torch.equal(replay.changed({}), model(x))
        assert torch.equal(replay.logits, model(x))


def test_a_way_may_use_the_module_itself() -> None:
    model, x = net(), torch.randn(2, 3, 7, 7)
    own: Callable[..., Tensor] = model.get_submodule("right")
    replay = Replay(model, x)
    assert torch.equal(replay.changed({"right": lambda given: own(given)}), replay.logits)
    assert not torch.equal(replay.changed({"right": lambda given: own(given) + 1}), replay.logits)


def test_what_lies_before_is_not_computed_again() -> None:
    model, x = net(), torch.randn(2, 3, 7, 7)
    ran: list[str] = []
    for name in ("stem.0", "left", "tail.1"):
        module = model.get_submodule(name)
        module.forward = lambda given, n=name, f=module.forward: (ran.append(n), f(given))[1]  # type: ignore[method-assign]
    replay = Replay(model, x)
    ran.clear()
    replay.changed({"right": model.get_submodule("right")})
    assert ran == ["tail.1"]
    assert "forward" in vars(model.get_submodule("left")), "a forward of its own is put back"


def test_bytes_are_those_of_what_is_held() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 8)), nn.Linear(8, 2))
    assert Replay(model, torch.zeros(10, 4)).bytes == 4 * 10 * (8 + 2)
