"""Simulated bits for torch: weights and activations rounded to 8, 6 or 4 bits, computed in float32."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tdq_core.compression.quantize.artefact import Artefact, Request, artefact
from tdq_core.compression.quantize.fold import folded, left_note
from tdq_core.compression.quantize.left_in_float import left_in_float, left_in_float_note
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.simulated_file import Simulated, load_simulated, save_simulated
from tdq_core.compression.quantize.simulated_layers import (
    Layers,
    at_ends,
    by_layer,
    inside,
    other_layers,
    require_on_grids,
    rounded_ends,
    running,
)
from tdq_core.compression.quantize.torch_float import module_predict
from tdq_core.compression.quantize.ways_to_round import aware, nearest
from tdq_core.compression.quantize.weight_grid import RoundedWeight
from tdq_core.errors import RunFailed
from tdq_core.graph.agreement import lossy_check, require_same
from tdq_core.graph.modules import plain_layers
from tdq_core.graph.reached import unreached
from tdq_core.graph.state import state_once
from tdq_core.ranks.bits import END_BITS
from tdq_core.specs.precision import Precision

SIMULATED_NOTE = (
    "{precision} is simulated: weights are stored as integers of their bits, weights and the inputs of layers are "
    "rounded to their grids, and the arithmetic between is fp32; size and accuracy are valid, latency is not "
    "meaningful."
)

FOLDED = "The model with its batch norms folded is not the model, before anything is rounded"
WAY_OUT = "run it at int8 with the backend 'onnxruntime'"
HALF_STEP_SLACK = 1e-3
"""Quotients of float32 numbers."""


def torch_simulated(model: nn.Module, request: Request, precision: Precision) -> Artefact:
    """The model, batch norms folded, as packed integers and scales; what is run is that file, loaded again.

    Biases stay fp32; the first convolution and the last layer keep 8 bits.

    InputError: activations are to be rounded, or weights in the metric of outputs, and there are no calibration images.
    NotNow: see `aware.in_turn`. RunFailed: see `fold.folded`.
    """
    path = request.folder / f"model.{precision.name}.safetensors"
    scheme = request.scheme(precision)
    plain, norms_left = folded(model, request.example)
    layers = plain_layers(plain)
    kept = rounded_ends(plain, layers, request.example) if request.bits or at_ends(scheme) != scheme else ()
    schemes = by_layer(layers, scheme, request.bits)
    schemes |= {name: at_ends(scheme).with_weights_of(request.bits.get(name)) for name in kept}
    schemes |= (inner := inside(plain, schemes, request.inner_bits))
    float_check = require_same(model, module_predict(plain), request.example, what=FOLDED, way_out=WAY_OUT)
    found = (aware if request.aware else nearest)(plain, schemes, request, precision)
    rel_error = _rel_error(found.weights, layers)
    found.put(layers)
    save_simulated(Simulated(found.weights, found.grids, _rest(plain, layers)), path)
    stored = load_simulated(path)
    runs = running(plain, stored)
    predict = module_predict(runs)
    weights_check = _require_near(stored, layers)
    details = (
        _told(dataclasses.replace(scheme, ranges="mse") if request.aware else scheme, stored)
        | dict(found.told)
        | _told_of_inner(request.inner_bits, inner)
        | _told_of_bits(request.bits, stored, kept)
        | {
            "weight_rel_error": rel_error,
            "calibration_images": found.images,
            "batch_norms_left": len(norms_left),
            "layers_left": (left := other_layers(plain)),
            "left_in_fp32": left_in_float(stored.rest),
            "float_check": float_check,
            "weights_check": weights_check,
            "inputs_on_grids": require_on_grids(runs, stored, request.example),
            "precision_check": lossy_check(model, predict, request.example),
        }
    )
    notes = (
        SIMULATED_NOTE.format(precision=precision.name),
        *_kept_notes({name: schemes[name] for name in kept}),
        *found.notes,
        *_left_notes(len(norms_left), left, stored),
    )
    unused = sum(stored.bytes_of(name) for name in unreached(plain, request.example[:2]))
    return artefact(path, predict, details=details, notes=notes, unused=unused)


def _require_near(stored: Simulated, layers: Layers) -> dict[str, float]:
    """The largest distance of a weight from its integer, in steps; RunFailed above a half where nothing is cut off."""
    worst = 0.0
    for name, rounded in stored.weights.items():
        limit = 2 ** (rounded.bits - 1) - 1
        step = rounded.scale.reshape(-1, *[1] * (rounded.integers.ndim - 1))
        off = (rounded.to_weight() - layers[name].weight.detach()).abs() / step
        within = off[rounded.integers.abs() < limit]
        worst = max(worst, float(within.max()) if within.numel() else 0.0)
    if worst > 0.5 + HALF_STEP_SLACK:
        raise RunFailed(f"The file of simulated bits holds weights {worst:.3g} steps from what they were: {WAY_OUT}.")
    return {"largest_offset_in_steps": worst}


def _rest(model: nn.Module, layers: Layers) -> dict[str, Tensor]:
    """What of the state dict stays fp32."""
    rounded = {f"{name}.weight" for name in layers}
    return {name: tensor for name, tensor in state_once(model).items() if name not in rounded}


def _told(scheme: Scheme, stored: Simulated) -> dict[str, Any]:
    return {
        "kernels": "torch float32 on values rounded to their grids",
        "per_channel": scheme.granularity == "channel",
        "weights": scheme.weights_text,
        "activations": scheme.activations_text,
        "granularity": scheme.granularity,
        "ranges": scheme.ranges,
        "first_and_last_bits": END_BITS,
        "numbers_by_type": stored.numbers_by_type(),
    }


def _told_of_inner(bits: int | None, inner: Mapping[str, Scheme]) -> dict[str, Any]:
    return {"inner_activation_bits": bits, "inputs_with_inner_bits": len(inner)} if inner else {}


def _told_of_bits(bits: Mapping[str, int], stored: Simulated, kept: tuple[str, ...]) -> dict[str, Any]:
    """By plain layer the bits of its weight, where they were chosen or given layer by layer; the ends' where a person
    gave them others than usual."""
    if not bits:
        return {}
    found = {name: weight.bits for name, weight in stored.weights.items()}
    told = {"weights": f"{min(found.values())} to {max(found.values())} bits, layer by layer", "weight_bits": found}
    ends = {name: found[name] for name in kept}
    return told if set(ends.values()) <= {END_BITS} else {**told, "first_and_last_bits": ends}


def _rel_error(weights: Mapping[str, RoundedWeight], layers: Layers) -> float:
    """|rounded - weights| / |weights| over all layers together; 0 where all weights are 0."""
    pairs = [(layers[name].weight.detach(), rounded.to_weight()) for name, rounded in weights.items()]
    off = sum(float((weight - back).double().square().sum()) for weight, back in pairs)
    whole = sum(float(weight.double().square().sum()) for weight, _ in pairs)
    return math.sqrt(off / whole) if whole else 0.0


def _kept_notes(kept: Mapping[str, Scheme]) -> tuple[str, ...]:
    usual = [name for name, scheme in kept.items() if scheme.weight_bits == END_BITS]
    named = {name: scheme for name, scheme in kept.items() if name not in usual}
    notes = [f"'{name}', at an end of the network, has weights of {scheme.weight_bits} bits, as asked"
             + (f"; its inputs keep {scheme.activation_bits}." if scheme.activation_bits else ".")
             for name, scheme in named.items()]  # fmt: skip
    if usual:
        which = "The first convolution and the last layer" if not named else "The other end"
        keep = "keep" if not named else "keeps"
        notes.insert(0, f"{which} ({', '.join(usual)}) {keep} {END_BITS} bits, as is usual.")
    return tuple(notes)


def _left_notes(batch_norms: int, layers: list[str], stored: Simulated) -> tuple[str, ...]:
    others = {n: t for n, t in stored.rest.items() if not n.startswith(tuple(f"{each}." for each in layers))}
    notes = (*left_note(batch_norms), *left_in_float_note(left_in_float(others)))
    if layers:
        notes += (f"Not plain convolutions or linear layers, and so left in fp32: {', '.join(layers)}.",)
    return notes
