"""Files of packed integers that earlier versions wrote are read as they were meant."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tdq_core.compression.quantize.packing import pack
from tdq_core.compression.quantize.simulated_file import load_simulated, save_simulated


def test_a_tensor_for_each_weight_and_scale(tmp_path: Path) -> None:
    whole = {"a": np.array([[1, -2, 3], [0, 1, -1]], np.int8), "b.first": np.array([[-7], [7]], np.int8)}
    tensors = {
        "a.weight": torch.from_numpy(pack(whole["a"], 3)), "a.weight.scale": torch.tensor([0.5, 0.25]),
        "b.first.weight": torch.from_numpy(pack(whole["b.first"], 4)),
        "b.first.weight.scale": torch.tensor([0.125, 2.0]),
        "b.first.bias": torch.tensor([1.0, 2.0]), "norm.weight": torch.tensor([3.0]),
        "activations.scale": torch.tensor([0.1, 0.2, 0.3]),
        "activations.zero_point": torch.tensor([1, 2, 3], dtype=torch.uint8),
    }  # fmt: skip
    about = {"weights": {"a": [3, [2, 3]], "b.first": [4, [2, 1]]}, "activations": {"a": 4, "b.first": [8, 2]}}
    save_file(tensors, tmp_path / "old", metadata={"tdq": json.dumps(about)})
    old = load_simulated(tmp_path / "old")
    assert torch.equal(old.weights["a"].to_weight(), torch.tensor([[0.5, -1.0, 1.5], [0.0, 0.25, -0.25]]))
    assert [grid.zero_point for grid in old.activations["b.first"]] == [2, 3]
    assert [grid.levels for grid in (*old.activations["a"], *old.activations["b.first"])] == [15, 255, 255]
    save_simulated(old, tmp_path / "new")
    new = load_simulated(tmp_path / "new")
    assert new.activations == old.activations
    ours, theirs = new.state_dict(), old.state_dict()
    assert ours.keys() == theirs.keys() == {"a.weight", "b.first.weight", "b.first.bias", "norm.weight"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
