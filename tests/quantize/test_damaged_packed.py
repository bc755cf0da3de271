"""Packed integers whose file says something else than it holds: one sentence, whatever it is."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from tdq_core.compression.quantize.activation_grid import ActivationGrid
from tdq_core.compression.quantize.simulated_file import Simulated, load_simulated, save_simulated
from tdq_core.compression.quantize.weight_grid import RoundedWeight
from tdq_core.errors import InputError
from tdq_core.models.checkpoints.exports import _unpacked

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 2**40), st.floats(), st.text(max_size=3),
    st.lists(st.integers(-2, 9), max_size=4), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "whole"
    weights = {
        "a": RoundedWeight(torch.tensor([[1, -2], [3, 0]], dtype=torch.int8), torch.tensor([0.5, 0.25]), 3),
        "b": RoundedWeight(torch.tensor([[1], [-1]], dtype=torch.int8), torch.tensor([1.0, 2.0]), 4),
    }
    grids = {"a": (ActivationGrid(0.1, 1, 15),)}
    save_simulated(Simulated(weights, grids, {"a.bias": torch.ones(2), "norm.weight": torch.ones(3)}), path)
    return path


def changed(about: Any, draw: st.DataObject) -> Any:
    """Something in it, at any depth, is something else or gone."""
    if isinstance(about, dict | list) and about and draw.draw(st.integers(0, 3)):
        keys = sorted(about) if isinstance(about, dict) else range(len(about))
        key = draw.draw(st.sampled_from(list(keys)))
        if draw.draw(st.integers(0, 4)) == 0:
            del about[key]
        else:
            about[key] = changed(about[key], draw)
        return about
    return draw.draw(ODD)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_another_header_is_one_sentence_or_a_file_that_holds_together(
    whole: Path, tmp_path: Path, draw: st.DataObject
) -> None:
    with safe_open(whole, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        about = json.loads(file.metadata()["tdq"])
    told = changed(copy.deepcopy(about), draw)
    save_file(tensors, tmp_path / "other", metadata={"tdq": json.dumps(told)})
    try:
        _unpacked(tmp_path / "other")
    except InputError as error:
        assert "export the run again" in str(error)


@pytest.mark.parametrize(
    "name", ["tdq.integers", "tdq.scales", "tdq.units", "tdq.biases", "tdq.steps", "tdq.zero_points"]
)
@pytest.mark.parametrize("by", [-1, 1])
def test_more_or_fewer_numbers_than_it_says_are_noticed(whole: Path, tmp_path: Path, name: str, by: int) -> None:
    with safe_open(whole, "pt") as file:
        tensors, about = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    own = tensors[name]
    tensors[name] = torch.cat([own, own[:1]]) if by > 0 else own[:-1].clone()
    save_file(tensors, tmp_path / "other", metadata=about)
    with pytest.raises(ValueError, match="It holds"):
        load_simulated(tmp_path / "other")
