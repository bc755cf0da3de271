"""What is no weights file, and weights that do not fit: one sentence, and the network is as it was."""

import argparse
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from small_nets import Harmful, load, small_net
from torch import Tensor, nn
from torch.nn.utils import prune

from tdq_core.errors import InputError
from tdq_core.graph.state import state_digest

BAD_TENSORS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "integers": (lambda t: (t * 99).to(torch.int8), "'0.weight' holds int8 where the model has floats"),
    "quantized": (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "'0.weight' is quantized"),
    "sparse": (lambda t: t.to_sparse(), "'0.weight' is sparse"),
    "complex": (lambda t: t.to(torch.complex64), "'0.weight' is complex"),
    "not a number": (lambda t: t * torch.nan, "'0.weight' holds NaN"),
    "meta": (lambda t: t.to("meta"), "'0.weight' has a shape and no values"),
}


@pytest.mark.filterwarnings("ignore:.*quantize.*")
@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_tensors_that_are_no_plain_real_numbers_are_refused(tmp_path: Path, kind: str) -> None:
    make, says = BAD_TENSORS[kind]
    state = small_net().state_dict()
    torch.save(state | {"0.weight": make(state["0.weight"])}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=re.escape(says)):
        load(small_net(), tmp_path / "w.pt")


def bad_file(tmp_path: Path, kind: str) -> Path:
    path, state = tmp_path / "w.pt", small_net().state_dict()
    texts = {
        "empty": b"", "noise": b"\x01\x02 not a weights file", "page": b"<!DOCTYPE html><html>", "json": b'{"a": 1}',
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "gzip": b"\x1f\x8b\x08\0", "text": b"hello",
        "hdf5": b"\x89HDF\r\n\x1a\n", "short pickle": b"\x80\x02}",
    }  # fmt: skip
    saved = {"a whole model": small_net(), "no tensors": {"epoch": 3}, "code": {"state_dict": Harmful()},
             "a tensor": torch.zeros(3), "numpy in a dict": {"a": np.zeros(3)},
             "in an object": argparse.Namespace(state=state)}  # fmt: skip
    if kind in texts:
        path.write_bytes(texts[kind])
    elif kind in saved:
        torch.save(saved[kind], path)
    elif kind == "script":
        torch.jit.script(small_net()).save(path)
    elif kind == "npz":
        np.savez(tmp_path / "w.npz", **{name: value.numpy() for name, value in state.items()})
        path = tmp_path / "w.npz"
    elif kind == "zip":
        (tmp_path / "in").mkdir()
        path = Path(shutil.make_archive(str(tmp_path / "w"), "zip", tmp_path / "in"))
        path.write_bytes(b"PK\x03\x04" + path.read_bytes())
    elif kind.startswith("cut"):
        torch.save(state, path) if kind == "cut" else safetensors.torch.save_file(state, path)
        path.write_bytes(path.read_bytes()[:-40])
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    "kind, says",
    [
        ("absent", "does not exist"),
        ("empty", "is empty"),
        ("noise", "neither safetensors nor a file of torch.save"),
        ("text", "neither safetensors nor a file of torch.save"),
        ("page", "a web page"),
        ("json", "is JSON"),
        ("lfs", "Git LFS pointer"),
        ("gzip", "gzip: unpack"),
        ("hdf5", "HDF5"),
        ("short pickle", "cannot be read"),
        ("a whole model", r"needs '[\w.]*Sequential' to be run"),
        ("code", r"needs '\w+\.system' to be run"),
        ("in an object", "needs 'argparse.Namespace' to be run"),
        ("numpy in a dict", "needs 'numpy.* to be run"),
        ("no tensors", "holds no state dict"),
        ("a tensor", "holds no state dict"),
        ("script", "TorchScript program"),
        ("npz", "NumPy arrays"),
        ("zip", "something else|damaged"),
        ("cut", "damaged or cut off|cannot be read"),
        ("cut safetensors", "not readable as safetensors"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence_that_names_it(tmp_path: Path, kind: str, says: str) -> None:
    path = bad_file(tmp_path, kind)
    with pytest.raises(InputError, match=says) as caught:
        load(small_net(), path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_may_not_be_opened_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    torch.save(small_net().state_dict(), path := tmp_path / "w.pt")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match=r"w\.pt' cannot be opened: Permission denied"):
        load(small_net(), path)


def test_what_does_not_fit_names_the_first_names_of_both_and_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    state = small_net(2).state_dict()
    state["2.weight"] = torch.zeros(3, 2)
    state["head.weight"] = state.pop("0.weight")
    torch.save({"net": state}, tmp_path / "w.pt")
    net = small_net()
    with pytest.raises(
        InputError, match=re.escape("missing 0.weight; unexpected head.weight; of another shape 2.weight [3, 2] ")
    ) as caught:
        load(net, tmp_path / "w.pt")
    assert "The file has net.0.bias, net.1.weight, " in str(caught.value) and "model 0.weight, " in str(caught.value)
    assert state_digest(net) == state_digest(small_net())


def test_more_than_the_network_has_is_refused(tmp_path: Path) -> None:
    torch.save(small_net().state_dict() | {"head.weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"unexpected head\.weight"):
        load(small_net(), tmp_path / "w.pt")
    assert load(small_net(), tmp_path / "w.pt", ignored=("head.",)).notes == ()


def test_a_pruned_layers_weights_are_not_a_plain_layers(tmp_path: Path) -> None:
    net = small_net()
    prune.l1_unstructured(net[0], "weight", 0.5)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"missing 0\.weight; unexpected 0\.weight_orig, 0\.weight_mask"):
        load(small_net(), tmp_path / "w.pt")


def test_layers_of_another_network_are_no_set_of_a_small_one(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="do not fit"):
        load(nn.Linear(2, 2), tmp_path / "w.pt")
