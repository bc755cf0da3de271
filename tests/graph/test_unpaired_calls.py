"""Layers whose calls cannot be paired are left dense with the reason, and what images decide is one sentence."""

import pytest
import torch
from fitting import FITS, off, plan_of
from repeated_nets import NETS, ByBatchStatistics, images, repeated
from torch import Tensor, nn
from torch.nn import functional

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.pairing import without_unpaired
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.decompose.factors import Options
from tdq_core.errors import RunFailed
from tdq_core.graph.calls import depends_on_batch, why_unpaired
from tdq_core.graph.layer_table import read_layers
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule


class Positions(nn.Module):
    """A Linear layer on tokens (positions, images, channels), (images, positions, channels) with "second", or flat with
    positions first."""

    def __init__(self, positions: str) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 8), nn.Linear(8, 5)
        self.positions = positions

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).permute(2, 0, 1)
        if self.positions == "second":
            x = self.body(x.transpose(0, 1)).transpose(0, 1)
        else:
            x = self.body(x.flatten(0, 1)).unflatten(0, x.shape[:2]) if self.positions == "flat" else self.body(x)
        return self.head(functional.gelu(x).mean(0))


class ByBatch(nn.Module):
    """Calls a layer once for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.body(image[None]) for image in functional.relu(self.stem(x))])
        return self.head(x.mean((2, 3)))


class Spread(nn.Module):
    """Applies a layer as often to each image as there are images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).mean((2, 3))
        return self.head(functional.gelu(self.body(x[:, None].expand(-1, len(x), -1))).mean(1))


class ByValue(nn.Module):
    """Calls a layer again as long as what comes out is large."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)
        self.most = 2.0

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        for _ in range(3 if float(x.max()) > self.most else 1):
            x = functional.relu(self.body(x))
        return self.head(x.mean((2, 3)))


class Pairs(nn.Module):
    """Compares every image with every other one of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).mean((2, 3))
        return self.head(functional.gelu(self.body(x[:, None] - x[None])).mean(1))


class Listed(nn.Module):
    """Reaches a layer through a plain list, where no name leads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)
        self.stages = [self.body]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages[0](functional.relu(self.stem(x))).mean((2, 3)))


ORDER = "one image after the other"


@pytest.mark.parametrize(
    "net, word",
    [(Positions("flat"), ORDER), (Pairs(), ORDER), (Spread(), ORDER),
     (ByBatch(), "called 2 times for 2 images and 3 times for 3")],
    ids=["positions first, flat", "all pairs", "as often as images", "a call an image"],
)  # fmt: skip
def test_a_layer_whose_calls_cannot_be_paired_is_left_dense_with_the_reason(net: nn.Module, word: str) -> None:
    net, some = net.eval().requires_grad_(False), images(300)
    batches = lambda: iter(some.split(128))  # noqa: E731
    table = without_unpaired(read_layers(net, some[:2], name="n", digest=""), net, batches)
    plan = make_plan(table, "svd", RankRule("manual", ranks={"stem": 8, "body": 4, "head": 5}))
    (body,) = [part for part in plan.layers if part.layer.name == "body"]
    assert body.method == "none" and word in (body.skipped_because or "")
    for made, layers in (
        apply_calibrated(net, plan, batches, options=Options()),
        apply_symmetric(net, plan, batches, len(some), options=Options()),
    ):
        assert "body" not in layers and off(made, net, some) < 1e-2


@pytest.mark.parametrize("name", NETS)
def test_layers_whose_calls_can_be_paired_are_not_refused(name: str) -> None:
    net = repeated(name)
    names = [layer.name for layer in read_layers(net, images(2), name="n", digest="").layers]
    for count in (1, 2, 3):
        assert why_unpaired(net, names, images(count)) == {}


def test_a_network_that_looks_at_its_batch_is_fitted_to_all_images_together() -> None:
    """Its targets would be those of other batches otherwise."""
    torch.manual_seed(0)
    net, some = ByBatchStatistics().eval().requires_grad_(False), images(30)
    assert depends_on_batch(net, some[:3]) and not depends_on_batch(net, some[:1])
    assert why_unpaired(net, ["stem", "body", "head"], some[:3]) == {}
    made, _ = apply_calibrated(net, plan_of(net, "svd", None), lambda: iter(some.split(4)), options=Options())
    assert off(made, net, some) < 1e-2


@pytest.mark.parametrize("name", NETS)
def test_other_networks_do_not_depend_on_their_batch(name: str) -> None:
    assert not depends_on_batch(repeated(name), images(3))


@pytest.mark.parametrize("times", [10.0, 0.0], ids=["more calls later", "fewer calls later"])
@pytest.mark.parametrize("fit", FITS)
def test_what_images_decide_is_told_in_one_sentence(fit: str, times: float) -> None:
    torch.manual_seed(0)
    net, some = ByValue().eval().requires_grad_(False), images(300)
    some[150:] *= times
    net.most = float(functional.relu(net.stem(some[:1])).max()) * (1.001 if times > 1 else 0.999)
    some[1:150] = some[:1]
    plan = plan_of(net, "svd", 3)
    with pytest.raises(RunFailed, match=r"'body' is called .*leave this layer dense") as caught:
        FITS[fit](net, plan, lambda: iter(some.split(150)), len(some))
    assert "\n" not in str(caught.value)


class BySize(ByValue):
    """Crops what is large."""

    def crops(self, x: Tensor) -> bool:
        return float(x.max()) > self.most

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        return self.head(functional.relu(self.body(x[:, :, 2:, 2:] if self.crops(x) else x)).mean((2, 3)))


class ByKind(BySize):
    """Crops where its first layer is not the one that it was made with."""

    def crops(self, x: Tensor) -> bool:
        return not isinstance(self.stem, nn.Conv2d)


@pytest.mark.parametrize("kind", [BySize, ByKind], ids=["from batch to batch", "in the compressed network alone"])
def test_sizes_that_something_else_decides_are_told_in_one_sentence(kind: type[BySize]) -> None:
    torch.manual_seed(0)
    net, some = kind().eval().requires_grad_(False), images(30)
    net.most = float(functional.relu(net.stem(some[:15])).max())
    some[15:] *= 10
    with pytest.raises(RunFailed, match=r"'body' is applied at 64 places of some images and at 36") as caught:
        apply_calibrated(net, plan_of(net, "svd", 1), lambda: iter(some.split(15)), options=Options())
    assert "\n" not in str(caught.value)


def test_tokens_with_positions_first_are_fitted_as_those_with_images_first() -> None:
    """The same function with the same weights, written in both layouts."""
    net, some = Positions("first").eval().requires_grad_(False), images(30)
    twin = Positions("second").eval().requires_grad_(False)
    twin.load_state_dict(net.state_dict())
    batches = lambda: iter(some.split(13))  # noqa: E731
    assert why_unpaired(net, ["body"], some[:3]) == {}
    fitted = []
    for each in (net, twin):
        table = read_layers(each, some[:2], name="n", digest="")
        plan = make_plan(table, "svd", RankRule("manual", ranks={"body": 4}))
        fitted.append([apply_calibrated(each, plan, batches, options=Options())[0](some),
                       apply_symmetric(each, plan, batches, len(some), options=Options())[0](some)])  # fmt: skip
    torch.testing.assert_close(*fitted, rtol=1e-4, atol=1e-4)


def test_a_layer_that_a_plain_list_holds_is_replaced_there_too() -> None:
    net, some = Listed().eval().requires_grad_(False), images(30)
    made, layers = apply_calibrated(net, plan_of(net, "svd", 3), lambda: iter([some]), options=Options())
    assert made.stages[0] is made.body is layers["body"].module
    assert net.stages[0] is net.body
