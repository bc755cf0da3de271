"""Watching, changing and replacing modules by name."""

import copy

import pytest
import torch
from repeated_nets import Loop, TwoNames, images, repeated
from torch import Tensor, nn

from tdq_core.compression.finetune.features import distance, watched
from tdq_core.errors import RunFailed
from tdq_core.graph.change import change_inputs, change_leaves, inputs_changed
from tdq_core.graph.ends import ends
from tdq_core.graph.layer_table import read_layers
from tdq_core.graph.modules import leaves, of_kind, plain_layers
from tdq_core.graph.norms import gain_of, with_statistics
from tdq_core.graph.observe import Call, run_over, watch
from tdq_core.graph.replace import replace, skip
from tdq_core.graph.walk import settle_in_turn


def hooked(model: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_every_call_is_shown_with_its_number_in_the_pass() -> None:
    net, seen = repeated("three sizes, by keyword"), []

    def see(call: Call) -> None:
        seen.append((call.name, call.index, tuple(call.input.shape[1:])))
        torch.testing.assert_close(call.output, nn.functional.conv2d(
            call.input, call.module.weight, call.module.bias, padding=call.module.padding))  # fmt: skip

    with watch(net, ["body", "between"], see):
        run_over(net, lambda: iter([images(3), images(2)]), "look")
    sizes = [(3, 10, 10), (8, 5, 5), (3, 4, 3), (8, 4, 3), (3, 5, 5), (3, 4, 3)]
    names = ["body", "between", "body", "between", "body", "body"]
    assert seen == [*zip(names, [0, 0, 1, 1, 2, 3], sizes, strict=True)] * 2
    assert not hooked(net)


def test_nothing_stays_when_the_network_stops() -> None:
    net = Loop(2)
    with (
        pytest.raises(RuntimeError),
        watch(net, ["body"], lambda call: None),
        inputs_changed(net, {"body": torch.relu}),
    ):
        net(torch.zeros(1, 4, 5, 5))
    assert not hooked(net)


def test_the_number_begins_anew_with_every_pass() -> None:
    net, seen = Loop(3).eval(), []
    with watch(net, ["body"], lambda call: seen.append(call.index)):
        for _ in range(2):
            net(images(1))
    assert seen == [0, 1, 2] * 2


@pytest.mark.parametrize("name", ["three times", "three sizes, by keyword", "two names", "tokens"])
def test_inputs_are_changed_in_every_call(name: str) -> None:
    net, some = repeated(name), images(3)
    halved = copy.deepcopy(net)
    halved.body.weight *= 0.5
    for_good = copy.deepcopy(net)
    change_inputs(for_good, {"body": lambda x: x / 2})
    torch.testing.assert_close(for_good(some), halved(some))
    with inputs_changed(net, {"body": lambda x: x / 2}):
        torch.testing.assert_close(net(some), halved(some))
    assert not torch.allclose(net(some), halved(some)) and not hooked(net)


def test_leaves_are_changed_whatever_they_take_and_give() -> None:
    """Floating-point tensors are, in lists, tuples and dicts; sizes and indices pass as they are."""

    class Leaf(nn.Module):
        def forward(self, many: list[Tensor], at: Tensor, *, size: int, pair: dict[str, Tensor]) -> object:
            return {"sum": (many[0] + many[1])[:size], "pair": (pair["x"], at)}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaf = Leaf()

        def forward(self, x: Tensor) -> object:
            return self.leaf([x, x], torch.arange(3), size=2, pair={"x": x})

    net, x = Net(), torch.full((4,), 1.0)
    change_leaves(net, lambda value: value + 1)
    found = net(x)
    assert found["sum"].tolist() == [5.0, 5.0] and found["pair"][0].tolist() == [3.0] * 4
    assert found["pair"][1].tolist() == [0, 1, 2]


def test_a_module_is_replaced_under_every_name() -> None:
    net, some = repeated("two names"), images(2)
    assert isinstance(net, TwoNames)
    made = nn.Conv2d(8, 8, 3, padding=1)
    wanted = net.head(net.rest[2](made(net.rest[0](made(net.stem(some))))).mean((2, 3)))
    assert replace(net, {"body": made}) is net
    assert net.body is made and net.rest[1] is made
    torch.testing.assert_close(net(some), wanted)
    assert replace(net, {"": made}) is made


def test_a_skipped_module_passes_on_and_computes_again() -> None:
    layer, x = nn.ReLU(), torch.tensor([-1.0, 2.0])
    skip(layer, True)
    skip(layer, True)
    assert layer(x).tolist() == [-1.0, 2.0]
    skip(layer, False)
    assert layer(x).tolist() == [0.0, 2.0] and "forward" not in vars(layer)


def test_layers_settle_in_turn_on_what_the_settled_ones_send() -> None:
    """Doubling each layer: what comes after sees doubled values, other calls of the layer itself do not yet."""
    net, some = repeated("three sizes, by keyword"), images(4)
    original, doubled = copy.deepcopy(net), copy.deepcopy(net)
    told: list[tuple[str, int]] = []
    seen: dict[tuple[str, int], Tensor] = {}
    expected: dict[tuple[str, int], Tensor] = {}

    def see(name: str, index: int, inputs: Tensor) -> None:
        told.append((name, index))
        seen[name, index] = inputs

    def settle(name: str) -> nn.Module:
        with watch(doubled, [name], lambda call: expected.setdefault((call.name, call.index), call.input)):
            doubled(some)
        for layer in (doubled.get_submodule(name), made := copy.deepcopy(original.get_submodule(name))):
            layer.weight *= 2
        return made

    settle_in_turn(net, some, {"head": 1, "body": 4, "between": 2}, see=see, settle=settle)
    assert told == [("body", 0), ("body", 1), ("body", 2), ("body", 3), ("between", 0), ("between", 1), ("head", 0)]
    assert seen.keys() == expected.keys() and all(torch.equal(seen[key], expected[key]) for key in seen)
    assert torch.equal(net(some), doubled(some)) and not torch.equal(net(some), original(some))
    assert [type(m) for m in net.modules()] == [type(m) for m in original.modules()] and not hooked(net)


@pytest.mark.parametrize("calls", [{"body": 1}, {"body": 5}, {"unused": 1}], ids=str)
def test_calls_that_are_other_than_told_are_one_sentence(calls: dict[str, int]) -> None:
    net = repeated("three sizes, by keyword")
    net.unused = nn.Conv2d(3, 3, 1)
    settled: list[str] = []

    def settle(name: str) -> nn.Module:
        settled.append(name)
        return nn.Conv2d(3, 8, 3, padding=1)

    with pytest.raises(RunFailed, match="leave this layer dense, or decompose by the weights alone") as caught:
        settle_in_turn(net, images(2), calls, see=lambda *_: None, settle=settle)
    assert "\n" not in str(caught.value)
    assert settled == (["body"] if calls == {"body": 1} else []), "nothing is settled on fewer calls than there are"


ENDS = {
    "usual": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(144, 5), nn.Linear(5, 5)),
              ("0", "4")),
    "no linear layer": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 5, 3), nn.Flatten()),
                        ("0", "2")),
    "one layer": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), ("0",)),
    "no convolution": (nn.Sequential(nn.Flatten(), nn.Linear(300, 4), nn.Linear(4, 5)), ("2",)),
    "called last, not made last": (repeated("three times"), ("stem", "head")),
    "called last for the second time": (repeated("tokens"), ("head",)),
    "no layers": (nn.Flatten(), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_table_and_quantizers_mean_the_same_ends(name: str) -> None:
    model, expected = ENDS[name]
    model = model.eval()
    assert ends(model, images(2)).names == expected
    table = read_layers(model, images(2), name="n", digest="")
    told = {layer.end: layer.name for layer in table.layers if layer.end}
    assert tuple(dict.fromkeys(told.get(end, "") for end in ("first", "classifier") if end in told)) == expected


def test_the_gain_is_what_a_batch_norm_multiplies_by() -> None:
    torch.manual_seed(0)
    for affine in (True, False):
        norm = nn.BatchNorm2d(6, affine=affine).eval()
        norm.running_var.uniform_(0.1, 3)
        if affine:
            norm.weight.data.normal_()
        x, step = torch.randn(2, 6, 3, 3), torch.rand(6, 1, 1)
        moved = (norm(x + step) - norm(x)).detach()
        torch.testing.assert_close(moved, (gain_of(norm)[:, None, None] * step).expand(2, 6, 3, 3))


def test_norms_without_statistics_are_not_among_those_with() -> None:
    net = nn.Sequential(
        nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False), nn.Sequential(nn.BatchNorm2d(2))
    )
    assert list(with_statistics(net)) == ["0", "2.0"]


def test_modules_by_kind() -> None:
    class Own(nn.Conv2d):
        pass

    net = nn.Sequential(nn.Conv2d(1, 1, 1), Own(1, 1, 1), nn.Sequential(nn.Linear(1, 1), nn.ReLU()))
    net.register_module("nothing", None)
    assert list(of_kind(net, nn.Conv2d)) == ["0", "1"] and list(of_kind(net, nn.Linear, nn.ReLU)) == ["2.0", "2.1"]
    assert list(plain_layers(net)) == ["0", "2.0"] and list(leaves(net)) == ["0", "1", "2.0", "2.1"]
    net[2][1].register_module("nothing", None)
    assert "2.1" in leaves(net)


def test_features_are_compared_call_by_call() -> None:
    net, other = repeated("with its norm"), repeated("with its norm")
    other.stem.weight *= 1.1
    with watched(net, ["norms.0"]) as wanted:
        net(images(8))
    with watched(other, ["norms.0"]) as made:
        other(images(8))
    assert [*wanted] == [*made] == [("norms.0", 0), ("norms.0", 1)]
    shares = [float((made[key] - wanted[key]).square().mean() / wanted[key].var()) for key in wanted]
    assert float(distance(made, wanted)) == pytest.approx(sum(shares) / 2) and min(shares) > 0
