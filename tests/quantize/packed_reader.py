"""The file of simulated bits, read by hand as its format is described; nothing of TDQ's own reader."""

import json
import math
from pathlib import Path

from safetensors import safe_open
from torch import Tensor


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """Tensors by name, each layer's packed integers and scales apart; and by layer what its weight and input are."""
    with safe_open(path, "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
        about = json.loads(file.metadata()["tdq"])
    assert about["format"] == 2
    told: dict[str, dict] = {"weights": {}, "activations": {}}
    at = dict.fromkeys(("integers", "scales", "biases"), 0)

    def taken(what: str, count: int) -> Tensor:
        at[what] += count
        return stored[f"tdq.{what}"][at[what] - count : at[what]]

    for place, (name, (bits, shape, bias, *inputs)) in enumerate(about["layers"].items()):
        stored[f"{name}.weight"] = taken("integers", math.ceil(math.prod(shape) * bits / 8))
        halves = taken("scales", shape[0] if about["granularity"] == "channel" else 1)
        stored[f"{name}.weight.scale"] = halves.float() * 2.0 ** stored["tdq.units"][place].item()
        if bias:
            stored[f"{name}.bias"] = taken("biases", bias)
        told["weights"][name] = [bits, shape]
        if inputs:
            told["activations"][name] = inputs[0] if inputs[1] == 1 else inputs
    assert all(count == len(stored[f"tdq.{what}"]) for what, count in at.items()), "nothing is left over"
    if told["activations"]:
        stored["activations.scale"], stored["activations.zero_point"] = stored["tdq.steps"], stored["tdq.zero_points"]
    return stored, told
