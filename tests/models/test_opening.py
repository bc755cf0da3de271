"""A network that is opened answers as before, by plain layers alone, and says what was done to it."""

import copy
import functools
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_nets import COMPUTED, HOOKED, LEFT, NORMS, OPENED, PADDED, PLAIN_LAYERS, Net
from torch import Tensor, nn

from tdq_core.graph.layer_table import count_params
from tdq_core.graph.modules import of_kind
from tdq_core.graph.oddities import copied, oddities
from tdq_core.models.opening import opened

PLAIN = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def made(build: object, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(build()).eval().requires_grad_(False)


def odd(net: nn.Module) -> list[str]:
    """What is left that may be no plain layer; a Sequential may have a hook."""
    found = of_kind(net, nn.Conv2d, nn.Linear, nn.modules.batchnorm._NormBase).values()
    return [word for module in found for word in oddities(module, PLAIN)]


@pytest.mark.parametrize("kind", OPENED)
def test_what_is_opened_computes_the_same_by_plain_layers(kind: str) -> None:
    net, x = made(OPENED[kind]), images(2, 3, 9, 12)
    others = images(3, 3, 14, 11)
    before = copied(net)
    net, notes = opened(net, x)
    assert not odd(net) and notes and not [note for note in notes if "stays as it is" in note]
    with torch.no_grad():
        for batch in (x, others):
            assert torch.allclose(net(batch), before(batch), atol=1e-5)
    names = [id(tensor) for tensor in net.parameters()]
    assert len(names) == len(set(names)) and count_params(net) == sum(
        t.numel() for n, t in net.state_dict().items() if n in dict(net.named_parameters())
    )


@pytest.mark.parametrize("kind", [*PADDED, *PLAIN_LAYERS, *COMPUTED, *NORMS])
def test_an_opened_network_is_as_any_other(kind: str) -> None:
    """Opened again it is itself, without a word; it is copied and pickled, and takes its own state dict."""
    x = images(2, 3, 9, 12)
    net, _ = opened(made(OPENED[kind]), x)
    again, notes = opened(net, x)
    assert again is net and not notes
    middle = copy.deepcopy(net) if kind == "noise when it trains" else pickle.loads(pickle.dumps(net))
    assert torch.equal(middle(x), net(x)) and torch.equal(copy.deepcopy(net)(x), net(x))
    fresh, _ = opened(made(OPENED[kind], seed=1), x)
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), net(x))


@pytest.mark.parametrize("kind", LEFT)
def test_what_computes_otherwise_is_left_with_the_reason(kind: str) -> None:
    build, why = LEFT[kind]
    net, x = made(build), images(2, 3, 9, 12)
    whole = {name: id(module) for name, module in net.named_modules()}
    net, notes = opened(net, x)
    assert {name: id(module) for name, module in net.named_modules()} == whole
    assert len(notes) == 1 and f"stays as it is, since it {why}: 'middle" in notes[0]


def test_nothing_of_the_original_is_called_any_more() -> None:
    """What stands in does not hold it."""
    for kind, build in OPENED.items():
        net, x = made(build), images(2, 3, 9, 12)
        layers = of_kind(net, nn.Conv2d, nn.Linear, nn.modules.batchnorm._NormBase)
        was = {id(m): name for name, m in layers.items() if oddities(m, PLAIN)}
        keep = dict(layers)  # so that no new module has the id of an old one
        net, _ = opened(net, x)
        assert not [name for m in net.modules() if (name := was.get(id(m)))], kind
        del keep


@given(st.lists(st.sampled_from(sorted(OPENED)), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=25)
def test_kinds_beside_each_other_are_opened_together(kinds: list[str], seed: int) -> None:
    """And a module that is there twice stays there twice."""
    torch.manual_seed(seed)
    modules = [OPENED[kind]() for kind in kinds]
    net = Net(nn.Sequential(*modules, modules[0])).eval().requires_grad_(False)
    x = images(2, 3, 12, 12).clamp(-1, 1)
    expected = copied(net)(x)
    net, _ = opened(net, x)
    assert not odd(net) and net.middle[0] is net.middle[len(kinds)]
    spread = float(expected.max() - expected.min())
    assert torch.allclose(net(x), expected, rtol=0, atol=1e-4 * max(spread, float(expected.abs().max())))


def test_a_pruned_network_costs_what_its_weights_cost_and_says_how_many_are_zero() -> None:
    net, notes = opened(made(COMPUTED["pruned twice"]), images(2, 3, 9, 9))
    zeros = int((net.middle.weight == 0).sum())
    assert f"Pruning masks were applied: {zeros} of 576 weights are zero." in notes
    assert set(net.state_dict()) == set(made(nn.Identity).state_dict()) | {"middle.weight", "middle.bias"}


def test_params_that_change_are_told() -> None:
    _, notes = opened(made(COMPUTED["weight norm"]), images(2, 3, 9, 9))
    assert "So it has 853 params; with the modules replaced it was built with 861." in notes


def test_a_tied_weight_stays_tied() -> None:
    first, second = PLAIN_LAYERS["noise when it trains"](), PLAIN_LAYERS["casting"]()
    second.layer.weight = first.layer.weight
    net = Net(nn.Sequential(first, second)).eval().requires_grad_(False)
    net, _ = opened(net, images(2, 3, 9, 9))
    assert net.middle[0].layer.weight is net.middle[1].layer.weight


def test_a_hook_goes_on_seeing_what_it_saw() -> None:
    seen: list[Tensor] = []
    net, x = made(HOOKED["a hook after it"]), images(2, 3, 9, 9)
    net.middle.register_forward_hook(lambda _, __, y: seen.append(y))
    net(x)
    expected = seen.pop()
    net, _ = opened(net, x)
    seen.clear()
    net(x)
    assert len(seen) == 1 and torch.allclose(seen[0], expected, atol=1e-6)


def test_a_network_whose_code_asks_for_more_than_a_plain_layer_has_keeps_it() -> None:
    class Asking(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * len(self.middle.act.__class__.__name__) * self.middle.running_mean.numel()

    torch.manual_seed(0)
    net = Asking(NORMS["norm, then activation"]()).eval().requires_grad_(False)
    x = images(2, 3, 9, 9)
    expected = net(x)
    net, _ = opened(net, x)
    assert torch.allclose(net(x), expected, atol=1e-5)  # what stands in answers for the norm

    class Testing(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (2 if isinstance(self.middle, nn.SyncBatchNorm) else 1)

    net = Testing(NORMS["synchronised"]()).eval().requires_grad_(False)
    net, notes = opened(net, x)
    assert isinstance(net.middle, nn.SyncBatchNorm)
    assert notes == ("A SyncBatchNorm stays as it is, since it cannot be replaced: the network would answer otherwise, "
                     "or stop: 'middle'.",)  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated:DeprecationWarning")
def test_wrappers_are_taken_off_and_scripted_parts_are_named() -> None:
    x = images(2, 3, 9, 9)
    plain = made(nn.Identity)
    expected = plain(x)
    scripted = Net(torch.jit.trace(nn.Conv2d(8, 8, 1), torch.randn(1, 8, 4, 4))).eval()
    compiled = functools.partial(torch.compile, backend="eager")
    for wrap in (nn.DataParallel, torch.optim.swa_utils.AveragedModel, compiled):
        net, notes = opened(wrap(Net(wrap(copy.deepcopy(plain.middle))).eval()), x)
        assert not notes and type(net) is Net and type(net.middle) is nn.Identity
        net, _ = opened(wrap(copy.deepcopy(plain)), x)
        assert torch.equal(net(x), expected)
    _, notes = opened(scripted, x)
    assert len(notes) == 1 and notes[0].endswith("stays as it is, since it is scripted: 'middle'.")
