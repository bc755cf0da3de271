"""What the survey of a network knows, on networks as people write them."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.errors import RunFailed
from tdq_core.graph.layer_table import count_macs, count_params, read_layers
from tdq_core.graph.opened import adopted, trimmed
from tdq_core.graph.replace import references, replace, require_replaced
from tdq_core.graph.uses import following_norms
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Odd(nn.Module):
    """A network of which `way` uses one layer in an unusual manner."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.body = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.way = way
        self.register_buffer("table", torch.randn(7, 8))
        if way == "closure":
            self.run_body = lambda x: self.body(x)
        if way == "tuple in a dict":
            self.parts = {"all": (self.body, [self.fc])}
        if way == "tied":
            self.other = nn.Linear(8, 8)
            self.other.weight = self.fc.weight
        if way == "hook":
            self.fc.register_forward_hook(lambda module, args, output: output * 2)
        if way == "patched":
            self.fc.forward = lambda x: functional.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        parts = self.parts["all"] if self.way == "tuple in a dict" else (self.body, [self.fc])
        x = self.run_body(x) if self.way == "closure" else parts[0](x)
        x = x.mean((2, 3))
        if self.way == "function":
            x = functional.linear(x, self.fc.weight, self.fc.bias)
        elif self.way == "constants":
            x = x + self.fc(self.table).mean(0)
        elif self.way == "values":
            x = self.fc(x) @ self.fc.weight
        elif self.way == "type":
            x = self.fc(x.to(self.fc.weight.dtype))
        elif self.way == "tied":
            x = self.other(self.fc(x))
        else:
            x = parts[1][0](x)
        return self.head(x)


def odd(way: str) -> Odd:
    return Odd(way).eval().requires_grad_(False)


LEFT = {
    "function": "linear() in the network's own forward computes with its weight",
    "values": "the network's own forward reads its weight",
    "tied": "its weight is shared with another layer ('other')",
    "hook": "it has forward hooks of its own",
    "patched": "its forward was replaced on the object itself",
}


@pytest.mark.parametrize("way", LEFT)
def test_a_layer_that_nothing_can_stand_for_is_left_with_the_reason(way: str) -> None:
    table = read_layers(odd(way), IMAGES[:2], name="n", digest="")
    assert LEFT[way] in (table.layer("fc").refusal or "") and table.layer("body").refusal is None


def test_what_a_closure_reaches_is_left_with_the_reason() -> None:
    table = read_layers(odd("closure"), IMAGES[:2], name="n", digest="")
    assert "closure" in (table.layer("body").refusal or "") and table.layer("fc").refusal is None


WAYS = ("plain", "closure", "tuple in a dict", "constants", "type", *LEFT)


@pytest.mark.parametrize("way", WAYS)
def test_every_param_is_in_a_layer_or_in_the_rest(way: str) -> None:
    net = odd(way)
    net.norm, net.alone = nn.BatchNorm2d(3), nn.Parameter(torch.zeros(5))
    table = read_layers(net, IMAGES[:2], name="n", digest="")
    shared = table.layer("other").params - 8 if table.has("other") else 0
    listed = sum(layer.params for layer in table.layers) - shared * (way == "tied")
    assert listed + sum(part.params for part in table.rest) == table.params == count_params(net)
    assert {part.name: part.why for part in table.rest} == {"": "no operation reads it", "norm": "no image reaches it"}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "closure"])
def test_planned_is_counted_however_the_network_is_written(way: str) -> None:
    net = odd(way)
    table = read_layers(net, IMAGES[:2], name="n", digest="")
    able = {layer.name: 3 for layer in table.layers if layer.refusal is None and layer.name != "stem"}
    plan = make_plan(table, "svd", RankRule("manual", ranks=able))
    made, _ = apply_plan(net, plan)
    assert (plan.params, plan.macs) == (count_params(made), count_macs(made, IMAGES[:2]))
    require_replaced(made, IMAGES[:2])


def test_a_table_of_constants_counts_once() -> None:
    table = read_layers(odd("constants"), IMAGES[:2], name="n", digest="")
    assert table.layer("fc").macs == 7 * 8 * 8
    assert table.macs == sum(layer.macs for layer in table.layers)


def test_a_module_is_replaced_in_dicts_and_tuples_too_and_copies_keep_their_own() -> None:
    net = odd("tuple in a dict")
    assert references(net, net.body) == ("body", "parts[all][0]")
    assert references(net, net.fc) == ("fc", "parts[all][1][0]")
    made = copy.deepcopy(net)
    new_body, new_fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 8)
    replace(made, {"body": new_body, "fc": new_fc})
    assert made.parts == {"all": (new_body, [new_fc])} and made.body is new_body
    assert net.parts["all"] == (net.body, [net.fc])


def test_what_still_runs_of_the_original_ends_the_run() -> None:
    net = odd("closure")
    made = replace(copy.deepcopy(net), {"body": nn.Conv2d(8, 8, 3, padding=1)})
    with pytest.raises(RunFailed, match="original network still run inside the compressed one"):
        require_replaced(made, IMAGES[:2])


class Listed(nn.Module):
    """Layers that no name reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = [nn.Conv2d(3, 8, 3), {"last": nn.Conv2d(8, 8, 3)}]
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages[1]["last"](self.stages[0](x)).mean((2, 3)))


def test_layers_in_plain_lists_alone_become_parts_of_the_network() -> None:
    net = Listed().eval().requires_grad_(False)
    before = net(IMAGES)
    assert count_params(net) == 36
    (note,) = adopted(net)
    assert "stages_0, stages_1_last" in note and adopted(net) == ()
    table = read_layers(net, IMAGES[:2], name="n", digest="")
    assert [layer.name for layer in table.layers] == ["stages_0", "stages_1_last", "head"]
    made, _ = apply_plan(net, make_plan(table, "svd", RankRule("manual", ranks={"stages_1_last": 8})))
    torch.testing.assert_close(made(IMAGES), before)
    assert made.stages[1]["last"] is made.stages_1_last


class Auxiliary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.aux = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        self.when = 1e9

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).mean((2, 3))
        return self.aux(x) if float(x.max()) > self.when else self.head(x)


def test_a_head_that_no_image_reaches_is_taken_out_and_says_so_should_one_come() -> None:
    net = Auxiliary().eval().requires_grad_(False)
    before = net(IMAGES)
    (note,) = trimmed(net, IMAGES[:2])
    assert "'aux' (Sequential, 108 params)" in note and trimmed(net, IMAGES[:2]) == ()
    assert count_params(net) == 3 * 8 * 9 + 8 + 36 and torch.equal(net(IMAGES), before)
    net.when = -1e9
    with pytest.raises(RunFailed, match=r"The part 'aux' \(Sequential\) ran"):
        net(IMAGES)


class Tokens(nn.Module):
    """A batch norm over eight positions, behind a linear layer of eight channels: not that layer's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.head = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.fc(x[:, 0])).mean(1))


def test_a_norm_over_positions_does_not_follow_the_layers_channels() -> None:
    assert following_norms(Tokens().eval(), ["fc"], IMAGES[:2]) == {}
