"""Weights that lie in a folder: shards, an index, usual names; nothing leads out of it."""

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_nets import digest_after, load, small_net

from tdq_core.errors import InputError
from tdq_core.graph.state import state_digest


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
