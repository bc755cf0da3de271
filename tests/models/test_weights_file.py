"""Weights in whatever people keep them load as the plain state dict does."""

import argparse
import pathlib
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import Harmful, State, digest_after, load, small_net
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tdq_core.errors import InputError
from tdq_core.graph.state import state_digest


def under(*parts: str) -> Callable[[State], State]:
    return lambda state: {".".join((*parts, name)): value for name, value in state.items()}


def wrapped_in(key: str) -> Callable[[Any], Any]:
    return lambda held: {key: held, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "lr": 0.1}}


PREFIXES = st.lists(st.sampled_from(["module", "_orig_mod", "model", "net", "backbone", "student"]), max_size=3)
WRAPPERS = st.lists(
    st.sampled_from(["state_dict", "model", "net", "model_state_dict", "state_dict_ema", "ema", "weights"]), max_size=3
)


@given(prefixes=PREFIXES, wrappers=WRAPPERS, beside=st.booleans(), seed=st.integers(0, 3))
@settings(max_examples=60)
def test_any_nesting_of_dicts_and_wrapping_modules_loads_as_the_plain_state_dict(
    tmp_path_factory: pytest.TempPathFactory, prefixes: list[str], wrappers: list[str], beside: bool, seed: int
) -> None:
    net = small_net(seed)
    held: Any = under(*prefixes)(net.state_dict()) if prefixes else dict(net.state_dict())
    if beside and prefixes:
        held |= {"n_averaged": torch.tensor(5), "loss.weight": torch.ones(3)}
    for key in wrappers:
        held = wrapped_in(key)(held)
    path = tmp_path_factory.mktemp("w") / "w.bin"
    torch.save(held, path)
    other = small_net(seed + 10)
    taken = load(other, path)
    assert state_digest(other) == state_digest(net)
    assert len(taken.notes) == (1 if beside and prefixes else 0), "a loss that is left out is told, a count is not"


@pytest.mark.parametrize("suffix", ["pt", "pth", "th", "tar", "pth.tar", "ckpt", "bin", "safetensors", "weights", ""])
@pytest.mark.parametrize("writer", ["zip", "legacy", "safetensors"])
def test_the_content_says_what_a_file_is_and_its_name_does_not(tmp_path: Path, suffix: str, writer: str) -> None:
    net, path = small_net(), tmp_path / f"w.{suffix}"
    if writer == "safetensors":
        safetensors.torch.save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=writer == "zip")
    assert digest_after(path) == state_digest(net)


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")  # type: ignore[return-value]


WRAPPED: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "averaged, compiled": lambda net: torch.optim.swa_utils.AveragedModel(compiled(net)),
    "a part compiled": lambda net: nn.Sequential(compiled(net[0]), nn.DataParallel(net[1]), net[2]),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
def test_what_torchs_own_wrappers_save_is_loaded(tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.save(wrap(small_net()).state_dict(), tmp_path / "w.pt")
    assert digest_after(tmp_path / "w.pt") == state_digest(small_net())


def test_a_network_that_is_wrapped_itself_takes_plain_weights(tmp_path: Path) -> None:
    torch.save(small_net().state_dict(), tmp_path / "w.pt")
    assert digest_after(tmp_path / "w.pt", nn.DataParallel(small_net(1))) == state_digest(nn.DataParallel(small_net()))


def test_names_that_differ_by_a_wrappers_name_alone_are_told_apart(tmp_path: Path) -> None:
    def twins(seed: int) -> nn.Module:
        return nn.ModuleDict({"module": nn.ModuleDict({"conv": small_net(seed)[0]}), "conv": small_net(seed + 1)[0]})

    torch.save({"state_dict": twins(0).state_dict()}, tmp_path / "w.pt")
    assert digest_after(tmp_path / "w.pt", twins(5)) == state_digest(twins(0))


class OwnDict(dict[str, Any]):
    pass


class OwnList(list[Any]):
    pass


def test_a_training_scripts_other_objects_are_passed_over_and_never_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net = small_net()
    beside = {"args": argparse.Namespace(lr=1), "best": np.float64(0.9), "to": pathlib.PurePosixPath("x"), "set": {1}}
    beside |= {"config": OwnDict(a=OwnList([1])), "logs": defaultdict(list, {"loss": [0.1]})}
    torch.save({"model": net.state_dict(), **beside}, tmp_path / "w.pth")
    torch.save(OwnDict(model=OwnDict(net.state_dict())), tmp_path / "own.pth")
    assert digest_after(tmp_path / "w.pth") == digest_after(tmp_path / "own.pth") == state_digest(net)
    torch.save({"model": net.state_dict(), "hook": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match=r"needs '\w+\.system' to be run .* runs no code"):
        load(small_net(), tmp_path / "bad.pth")
    assert "harmful" not in capfd.readouterr().out


def two_sets(tmp_path: Path) -> Path:
    torch.save(
        {"state_dict_ema": under("module")(small_net(2).state_dict()), "state_dict": small_net(0).state_dict()},
        tmp_path / "two.pt",
    )
    return tmp_path / "two.pt"


def test_of_two_sets_the_plain_one_is_taken_a_note_says_so_and_the_other_can_be_chosen(tmp_path: Path) -> None:
    path, net = two_sets(tmp_path), small_net(9)
    taken = load(net, path)
    assert state_digest(net) == state_digest(small_net(0)) and taken.source == "two.pt"
    assert re.search("2 sets.*'state_dict' was taken; 'two.pt::state_dict_ema' takes the other", *taken.notes)
    chosen = load(net, f"{path}::state_dict_ema")
    assert state_digest(net) == state_digest(small_net(2))
    assert (chosen.source, chosen.notes, chosen.sha256) == ("two.pt::state_dict_ema", (), taken.sha256)
    with pytest.raises(InputError, match="nothing called 'teacher': state_dict_ema, state_dict are there"):
        load(net, f"{path}::teacher")


def test_two_networks_of_one_state_dict_are_two_sets(tmp_path: Path) -> None:
    both = under("model")(small_net(0).state_dict()) | under("ema_model")(small_net(2).state_dict())
    torch.save({"state_dict": both}, tmp_path / "w.ckpt")
    assert digest_after(tmp_path / "w.ckpt") == state_digest(small_net(0))
    assert digest_after(f"{tmp_path / 'w.ckpt'}::state_dict/ema_model") == state_digest(small_net(2))


def test_equal_sets_are_nothing_to_tell(tmp_path: Path) -> None:
    state = small_net().state_dict()
    torch.save({"state_dict": state, "best_state_dict": dict(state)}, tmp_path / "w.pt")
    assert load(small_net(1), tmp_path / "w.pt").notes == ()


def test_a_file_whose_name_looks_like_a_choice_is_that_file(tmp_path: Path) -> None:
    torch.save(small_net().state_dict(), tmp_path / "a::b.pt")
    assert digest_after(tmp_path / "a::b.pt") == state_digest(small_net())


class Renamed(nn.Module):
    """Says itself how its old files are read: by names, and by the version that they tell of."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

    def _load_from_state_dict(self, state: State, prefix: str, about: dict[str, Any], *args: Any) -> None:
        for name in [n for n in state if n.startswith(prefix + "begin.")]:
            state[prefix + "first." + name.removeprefix(prefix + "begin.")] = state.pop(name)
        if about.get("version") == 1:
            state[prefix + "last.bias"] = -state[prefix + "last.bias"]
        super()._load_from_state_dict(state, prefix, about, *args)


@pytest.mark.parametrize("wrap", [dict, under("module"), wrapped_in("state_dict"), under("_orig_mod", "model")])
def test_a_module_translates_its_old_names_itself(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    torch.manual_seed(0)
    net = Renamed()
    old = {name.replace("first.", "begin."): value for name, value in net.state_dict().items()}
    torch.save(wrap(old), tmp_path / "w.pt")
    assert digest_after(tmp_path / "w.pt", Renamed()) == state_digest(net)


def test_a_modules_version_survives_the_wrapping(tmp_path: Path) -> None:
    net = Renamed()
    state: OrderedDict[str, Tensor] = OrderedDict(under("module")(net.state_dict()))
    state._metadata = OrderedDict({"": {"version": 1}, "module": {"version": 1}})  # type: ignore[attr-defined]
    torch.save({"net": state}, tmp_path / "w.pt")
    other = Renamed()
    load(other, tmp_path / "w.pt")
    assert torch.equal(other.last.bias, -net.last.bias) and torch.equal(other.first.weight, net.first.weight)


def test_weights_of_the_old_weight_norm_go_into_the_new_one(tmp_path: Path) -> None:
    def normed(norm: Any) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(norm(nn.Conv2d(1, 4, 3)), nn.Linear(4, 2))

    with pytest.warns(FutureWarning):
        old = normed(nn.utils.weight_norm)
    torch.save(wrapped_in("model")(under("module")(old.state_dict())), tmp_path / "w.pt")
    new = normed(parametrizations.weight_norm)
    with torch.no_grad():
        new[1].weight.zero_()
    load(new, tmp_path / "w.pt")
    images = torch.randn(2, 1, 3, 3)
    assert torch.equal(new[0](images), old[0](images)) and torch.equal(new[1].weight, old[1].weight)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.two = nn.Sequential(self.one, nn.ReLU())


def test_a_tied_tensor_may_be_stored_once_or_twice_but_not_with_two_values(tmp_path: Path) -> None:
    net = Tied()
    safetensors.torch.save_model(net, str(tmp_path / "once.safetensors"))
    torch.save(net.state_dict(), tmp_path / "twice.pt")
    only_second = {name: value for name, value in net.state_dict().items() if name.startswith("two.")}
    torch.save(under("model")(only_second), tmp_path / "second.pt")
    for name in ("once.safetensors", "twice.pt", "second.pt"):
        assert digest_after(tmp_path / name, Tied()) == state_digest(net), name
    other = {name: value + 1 for name, value in only_second.items()}
    torch.save({"model": only_second, "ema": other}, tmp_path / "sets.pt")
    assert "2 sets" in load(Tied(), tmp_path / "sets.pt").notes[0]
    torch.save(net.state_dict() | {"two.0.weight": torch.zeros(2, 2)}, tmp_path / "torn.pt")
    with pytest.raises(InputError, match=r"two values for one tensor: .*'one.weight' and as 'two.0.weight'"):
        load(Tied(), tmp_path / "torn.pt")


@pytest.mark.parametrize("kind, exact", [("float16", True), ("bfloat16", True), ("float64", False)])
def test_other_precisions_are_converted_and_a_note_says_so(tmp_path: Path, kind: str, exact: bool) -> None:
    net = small_net().to(getattr(torch, kind))
    torch.save(net.state_dict(), tmp_path / "w.pt")
    other = small_net(1)
    notes = load(other, tmp_path / "w.pt").notes
    assert kind in notes[0] and ("rounded" not in notes[0]) == exact and other[0].weight.dtype == torch.float32
    assert torch.equal(other[0].weight, net[0].weight.float())


def test_batch_norm_counters_may_be_absent(tmp_path: Path) -> None:
    state = {k: v for k, v in small_net().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pt")
    assert digest_after(tmp_path / "w.pt") == state_digest(small_net())


def test_the_state_digest_changes_with_one_bit_of_one_value_and_with_a_name() -> None:
    net, other, renamed = small_net(), small_net(), nn.Sequential(*small_net(), nn.Identity())
    assert state_digest(net) == state_digest(other) == state_digest(renamed)
    with torch.no_grad():
        other[2].weight[1, 1] = torch.nextafter(other[2].weight[1, 1], torch.tensor(9.0))
    assert state_digest(other) != state_digest(net)
    assert state_digest(nn.Sequential(nn.Identity(), *small_net())) != state_digest(net)
