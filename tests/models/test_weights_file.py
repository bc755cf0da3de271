"""Weights in whatever people keep them load as the plain state dict does; what cannot be loaded is one sentence."""

import argparse
import json
import os
import pathlib
import re
import shutil
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
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from tdq_core.errors import InputError
from tdq_core.graph.state import state_digest
from tdq_core.models.weights_file import Taken, load_weights

State = dict[str, Tensor]


def small_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))


def load(module: nn.Module, weights: object, **options: Any) -> Taken:
    return load_weights(module, str(weights), opened=lambda m: m, **options)


def digest_after(weights: object, module: nn.Module | None = None) -> str:
    """Of a network that began with other weights."""
    module = module or small_net(1)
    load(module, weights)
    return state_digest(module)


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


class Harmful:
    def __reduce__(self) -> Any:
        return os.system, ("echo harmful",)


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


def sharded(folder: Path, writer: str = "safetensors") -> dict[str, str]:
    """The small net in two files and an index, as the Hugging Face hub has them; returns what lies where."""
    state = small_net().state_dict()
    stem = "model" if writer == "safetensors" else "pytorch_model"
    names = [f"{stem}-0000{at}-of-00002.{writer}" for at in (1, 2)]
    where = {name: names[at % 2] for at, name in enumerate(state)}
    for file in names:
        part = {name: value for name, value in state.items() if where[name] == file}
        safetensors.torch.save_file(part, folder / file) if writer == "safetensors" else torch.save(part, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / f"{stem}.{writer}.index.json").write_text(json.dumps(index))
    return where


@pytest.mark.parametrize("writer", ["safetensors", "bin"])
def test_shards_load_by_folder_and_by_index_and_a_lone_one_says_what_it_is(tmp_path: Path, writer: str) -> None:
    files = sorted(set(sharded(tmp_path, writer).values()))
    (index,) = tmp_path.glob("*.index.json")
    assert digest_after(tmp_path) == digest_after(index) == state_digest(small_net())
    with pytest.raises(InputError, match="it is one of 2 files: give the folder, or its index"):
        load(small_net(), tmp_path / files[0])
    (tmp_path / files[1]).unlink()
    with pytest.raises(InputError, match=re.escape(files[1])):
        load(small_net(), tmp_path)


@pytest.mark.parametrize("escape", ["../w.pt", "/etc/w.pt", "a/../../w.pt", "..\\w.pt"])
def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path, escape: str) -> None:
    (folder := tmp_path / "hub").mkdir()
    torch.save(small_net().state_dict(), tmp_path / "w.pt")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"0.weight": escape}}))
    with pytest.raises(InputError, match="lies outside of its folder"):
        load(small_net(), folder)


def test_a_folder_holds_weights_under_a_usual_name_or_one_file_of_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="has no weights"):
        load(small_net(), tmp_path)
    torch.save(small_net().state_dict(), tmp_path / "best.pth")
    assert digest_after(tmp_path) == state_digest(small_net())
    torch.save(small_net(2).state_dict(), tmp_path / "last.pth")
    with pytest.raises(InputError, match=r"several files of weights, best\.pth, last\.pth: name one"):
        load(small_net(), tmp_path)
    torch.save(small_net(3).state_dict(), tmp_path / "pytorch_model.bin")
    assert digest_after(tmp_path) == state_digest(small_net(3))
    safetensors.torch.save_file(small_net(4).state_dict(), tmp_path / "model.safetensors")
    net = small_net()
    assert re.search(r"model\.safetensors was taken; pytorch_model\.bin is there too", *load(net, tmp_path).notes)
    assert state_digest(net) == state_digest(small_net(4))


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
