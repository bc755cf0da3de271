"""A model is asked when it is opened: what it takes, where its logits are, and whether it says the same again."""

import random
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from tdq_core.errors import InputError
from tdq_core.graph.wrappers import without_wrappers
from tdq_core.models.loading import LoadedModel
from tdq_core.models.wrapped import wrapped

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # what torch.compile loads

Way = Callable[["Net", Tensor], Any]
Two = namedtuple("Two", "aux logits")


class Net(nn.Module):
    def __init__(self, way: Way | None = None, channels: int = 3) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(channels, 6, 3), nn.BatchNorm1d(6), nn.Linear(6, 4)
        self.way = way

    def body(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().mean((2, 3)) + self.norm.bias  # zeros, so that the norm is used

    def plain(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))

    def forward(self, x: Tensor) -> Any:
        return self.way(self, x) if self.way else self.plain(x)


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)))


def opened(way: Way | None = None, **options: Any) -> LoadedModel:
    return wrapped(Net(way), size=8, **options)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_those_that_the_model_takes(channels: int) -> None:
    assert wrapped(Net(channels=channels), size=8).preprocessing.channels == channels


@pytest.mark.parametrize(
    "way, given",
    [
        (lambda net, x: net.plain(x.repeat(1, 3, 1, 1)), 1),
        (lambda net, x: net.plain(torch.cat([x[:, :1], x[:, 1:]], 1)), 3),
        (lambda net, x: net.plain(x.mean(1, keepdim=True).repeat(1, 3, 1, 1)), 1),
        (lambda net, x: net.plain(x.mean(1, keepdim=True).repeat(1, 3, 1, 1)), 3),
    ],
)
def test_as_many_values_of_mean_as_are_given_decide(way: Way, given: int) -> None:
    assert opened(way, mean=(0.5,) * given).preprocessing.channels == given
    assert opened(way, std=(0.5,) * given).preprocessing.channels == given


@pytest.mark.parametrize(
    "module, says",
    [
        (Net(channels=5), "does not take two images of 3 or 1 channels and 8x8 pixels"),
        (nn.Sequential(nn.Embedding(9, 5), nn.Flatten(), nn.Linear(40, 3)), r"takes whole numbers \(tokens\)"),
        (Net(lambda net, x: net.plain(x).view(1, 4)), "takes one image and not two at once"),
        (Net(lambda net, x: net.body(x).mean(1)), r"into logits \(N, classes\). Got \(2,\)"),
        (Net(lambda net, x: net.conv(x)), r"Got \(2, 6, 6, 6\)"),
        (Net(lambda net, x: (net.body(x), net.plain(x))), r"tuple of \(2, 6\), \(2, 4\): give a factory"),
        (Net(lambda net, x: {"mask": net.conv(x)}), "give a factory whose model returns logits alone"),
        (Net(lambda net, x: None), "Got NoneType"),
        (Net().to("meta"), "hold no values"),
        (scripted(), "made by TorchScript"),
        (torch.export.export(Net().eval(), (torch.zeros(2, 3, 8, 8),)).module(), "made by torch.export"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(module: nn.Module, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        wrapped(module, size=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: (net.plain(x),),
        lambda net, x: [net.plain(x), None],
        lambda net, x: (net.plain(x), 2 * net.plain(x)),
        lambda net, x: {"features": net.body(x), "logits": net.plain(x)},
        lambda net, x: {"out": net.plain(x), "aux": net.body(x)},
        lambda net, x: OrderedDict(loss=x.sum(), scores=net.plain(x)),
        lambda net, x: Two(net.body(x), net.plain(x)),
    ],
)
def test_clear_logits_are_taken_with_a_note_and_parts_keep_their_names(way: Way) -> None:
    torch.manual_seed(0)
    module = Net(way).eval()
    model, x = wrapped(module, size=8), torch.randn(3, 3, 8, 8)
    assert torch.equal(model.module(x), module.plain(x)) and model.num_classes == 4
    assert list(model.module.state_dict()) == list(module.state_dict())
    assert len(model.notes) == 1 and "is taken for the logits" in model.notes[0]


def _inside(module: Net) -> nn.Module:
    module.conv = nn.DataParallel(nn.Sequential(nn.DataParallel(module.conv)))
    return module


@pytest.mark.parametrize(
    "wrap, kinds",
    [
        (nn.DataParallel, "DataParallel"),
        (AveragedModel, "AveragedModel"),
        (torch.compile, "OptimizedModule"),
        (lambda net: nn.DataParallel(torch.compile(net)), "DataParallel, OptimizedModule"),
        (_inside, "DataParallel"),
    ],
)
def test_wrappers_are_taken_off_with_a_note(wrap: Callable[[nn.Module], nn.Module], kinds: str) -> None:
    torch.manual_seed(0)
    module = Net().eval()
    x = torch.randn(3, 3, 8, 8)
    expected = module(x)
    model = wrapped(wrap(module), size=8)
    assert model.notes == (f"The model came wrapped ({kinds}): what is inside is measured.",)
    assert isinstance(model.module, Net) and not any("module." in name for name in model.module.state_dict())
    torch.testing.assert_close(model.module(x), expected, rtol=0, atol=0)


def test_what_is_compiled_in_place_is_compiled_no_more() -> None:
    module = nn.Sequential(Net())
    module[0].compile()
    assert without_wrappers(module) == ("Module.compile",) and without_wrappers(module) == ()


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: net.fc(functional.dropout(net.body(x), 0.2, training=True)),
        lambda net, x: net.plain(x if random.random() < 0.5 else x.flip(-1) + 1),
        lambda net, x: net.plain(x + 1e-2 * torch.randn_like(x)),
    ],
)
def test_a_model_that_answers_differently_each_time_says_so(way: Way) -> None:
    model = opened(way)
    assert not model.repeatable and "answers differently each time" in model.notes[-1]


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: net.fc(net.body(x) - net.body(x).mean(0)),
        lambda net, x: net.fc(functional.batch_norm(net.body(x), None, None, training=True)),
        lambda net, x: net.fc(functional.batch_norm(net.body(x), net.norm.running_mean, net.norm.running_var,
                                                    training=True)),
        lambda net, x: net.plain(x) / net.plain(x).norm(),
    ],
)  # fmt: skip
def test_a_model_that_answers_by_its_batch_says_so(way: Way) -> None:
    module = Net(way)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = wrapped(module, size=8)
    assert model.repeatable and not model.batch_free and "with batches of 128" in model.notes[-1]
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_rounding_and_idle_draws_are_no_reason_for_a_note() -> None:
    for way in (None, lambda net, x: net.plain(functional.dropout(x, 0.0, training=True)), lambda net, x: net.plain(x)):
        model = opened(way)
        assert model.repeatable and model.batch_free and not model.notes


@pytest.mark.parametrize(
    "options, says",
    [
        ({"mean": (127.5,) * 3, "std": (0.5,) * 3}, "'mean' of a model is that of pixels in .* by 255"),
        ({"mean": (0.5,) * 3, "std": (64.0,) * 3}, "'std' of a model is that of pixels in .* by 255"),
        ({"mean": (-0.1,)}, r"must lie in \[0, 1\]"),
        ({"std": (0.0,)}, r"must lie in \(0, 1\]"),
        ({"std": (float("nan"),)}, "must be finite"),
        ({"mean": 0.5}, "'mean' must be"),
        ({"mean": (0.5, 0.5)}, "both have 1 or 3 values"),
        ({"mean": (0.5,), "std": (0.5,) * 3}, "both have 1 or 3 values"),
        ({"size": 0}, "'input_size' must be a height and a width"),
        ({"size": (8, 10**9)}, "'input_size' must be a height and a width"),
        ({"name": "a\nb"}, "without line breaks"),
    ],
)
def test_inputs_are_checked_before_work(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        wrapped(Net(), **({"size": 8} | options))
