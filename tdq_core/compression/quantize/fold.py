"""Batch norms folded into the convolutions before them, found by running the model: no graph has to be captured."""

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from tdq_core.compression.quantize.torch_float import module_predict
from tdq_core.errors import RunFailed
from tdq_core.graph.agreement import agreement
from tdq_core.graph.modules import Layer, of_kind, plain_layers
from tdq_core.graph.norms import PLAIN, BatchNorm
from tdq_core.graph.replace import replace
from tdq_core.graph.uses import following_norms


def folded(model: nn.Module, example: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of `model` (eval mode) without the batch norms that could be folded, and the names of those left.

    A batch norm is folded where a plain layer's output goes to it alone in every call, and nothing else does.
    The fold is that of `torch.nn.utils.fusion`: w * gain / std, (b - mean) * gain / std + shift.

    RunFailed: the folded model computes something else on `example`, or the logits of the model are not finite.
    """
    copied = copy.deepcopy(model).eval()
    layers = plain_layers(copied)
    for name, norm in following_norms(copied, layers, example[:2]).items():
        batch_norm = copied.get_submodule(norm)
        if type(batch_norm) in PLAIN:
            _fold(layers[name], batch_norm)
            replace(copied, {norm: nn.Identity()})
    if not (check := agreement(model, module_predict(copied), example)).same_function:
        raise RunFailed(
            "Folding the batch norms into the convolutions changed the logits by up to "
            f"{check.relative_diff:.2g} of their spread: run this model at int8 with the backend 'onnxruntime'."
        )
    return copied, tuple(of_kind(copied, BatchNorm))


def left_note(batch_norms: int) -> tuple[str, ...]:
    """What a reader must know of batch norms that could not be folded."""
    if not batch_norms:
        return ()
    return (f"{batch_norms} batch norms follow no convolution that they could be folded into: they run in fp32.",)


def _fold(layer: Layer, norm: nn.Module) -> None:
    assert isinstance(norm, BatchNorm) and norm.running_mean is not None and norm.running_var is not None, "paired"
    fuse = fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fuse_linear_bn_weights
    layer.weight, layer.bias = fuse(
        layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
