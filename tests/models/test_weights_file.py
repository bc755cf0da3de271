"""Weights files: no code is run, every key is accounted for, and a digest stands for the content."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from tdq_core.errors import InputError
from tdq_core.models.weights_file import load_into, read_state_dict, state_digest


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))


class Harmful:
    def __reduce__(self) -> Any:
        return os.system, ("echo harmful",)


WRAPPERS = {
    "plain": lambda state: state,
    "under state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "under model": lambda state: {"model": state},
    "data parallel": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_a_state_dict_is_read_however_it_is_wrapped(tmp_path: Path, suffix: str, wrap: Any) -> None:
    state = small_net().state_dict()
    torch.save(wrap(state), tmp_path / f"w{suffix}")
    read = read_state_dict(tmp_path / f"w{suffix}")
    assert read.keys() == state.keys() and all(torch.equal(read[k], state[k]) for k in state)


def test_safetensors_and_pickles_give_the_same_model(tmp_path: Path) -> None:
    net, other = small_net(), small_net()
    nn.init.ones_(other[2].weight)
    safetensors.torch.save_file(net.state_dict(), tmp_path / "w.safetensors")
    load_into(other, read_state_dict(tmp_path / "w.safetensors"), "w")
    assert state_digest(other) == state_digest(net)


def bad_file(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / ("w.safetensors" if kind == "corrupt safetensors" else "w.pt")
    if kind == "code":
        torch.save({"state_dict": Harmful()}, path)
    elif kind == "whole model":
        torch.save(small_net(), path)
    elif kind == "no state dict":
        torch.save({"epoch": 3}, path)
    elif kind == "a tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "suffix":
        path = tmp_path / "w.bin"
        path.write_bytes(b"x")
    elif kind == "truncated":
        torch.save(small_net().state_dict(), path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind != "missing":
        path.write_bytes(b"not a weights file")
    return path


@pytest.mark.parametrize(
    "kind, says",
    [
        ("missing", "does not exist"),
        ("code", "needs '.*system' to be run .* runs no code"),
        ("whole model", "needs '.*Sequential' to be run"),
        ("no state dict", "holds no state dict"),
        ("a tensor", "holds no state dict"),
        ("suffix", "ends in .safetensors, .pt, .pth, .th"),
        ("truncated", "cannot be read|not a state dict"),
        ("corrupt pickle", "cannot be read|not a state dict"),
        ("corrupt safetensors", "not readable as safetensors"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(
    tmp_path: Path, kind: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = bad_file(tmp_path, kind)
    with pytest.raises(InputError, match=says) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "harmful" not in capfd.readouterr().out


def test_keys_that_do_not_fit_are_named() -> None:
    state = dict(small_net().state_dict())
    state["2.weight"] = torch.zeros(3, 2)
    state["head.weight"] = state.pop("0.weight")
    with pytest.raises(
        InputError, match=re.escape("missing 0.weight; unexpected head.weight; of another shape 2.weight")
    ):
        load_into(small_net(), state, "w.pt")
    with pytest.raises(InputError, match=r"missing 0\.weight, 0\.bias, 1\.weight and 5 more"):
        load_into(small_net(), {}, "w.pt")


def test_batch_norm_counters_may_be_absent() -> None:
    net, full = small_net(), small_net().state_dict()
    state = {k: v + 1 for k, v in full.items() if not k.endswith("num_batches_tracked")}
    load_into(net, state, "w.pt")
    assert len(state) < len(full) and all(torch.equal(net.state_dict()[k], v) for k, v in state.items())


def test_the_state_digest_changes_with_one_bit_of_one_value_and_with_a_name() -> None:
    net, other, renamed = small_net(), small_net(), nn.Sequential(*small_net(), nn.Identity())
    assert state_digest(net) == state_digest(other) == state_digest(renamed)
    with torch.no_grad():
        other[2].weight[1, 1] = torch.nextafter(other[2].weight[1, 1], torch.tensor(9.0))
    assert state_digest(other) != state_digest(net)
    assert state_digest(nn.Sequential(nn.Identity(), *small_net())) != state_digest(net)
