"""Attention as plain Linear layers, so that its projections are layers like any others.

`nn.MultiheadAttention` holds the projections of query, key and value in one parameter and reads the weight of its
output layer without calling it: no hook sees them, and nothing can take their place.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdq_core.errors import InputError
from tdq_core.graph.modules import of_kind
from tdq_core.graph.replace import replace


class PlainAttention(nn.Module):
    """Multi-head attention with four Linear layers `q`, `k`, `v` and `out`; computes what the original computes."""

    def __init__(self, like: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.batch_first, self.dropout = like.num_heads, like.batch_first, like.dropout
        weights = like.in_proj_weight.detach().chunk(3)
        biases = like.in_proj_bias.detach().chunk(3) if like.in_proj_bias is not None else (None, None, None)
        self.q, self.k, self.v = (_linear(w, b) for w, b in zip(weights, biases, strict=True))
        self.out = _linear(like.out_proj.weight.detach(), like.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = True, **others: Any
    ) -> tuple[Tensor, Tensor | None]:
        """(N, L, E) each where `batch_first`, else (L, N, E): outputs, and the mean of the heads' weights or None."""
        if asked := [name for name, given in others.items() if given is not None and given is not False]:
            if asked != ["average_attn_weights"]:
                raise InputError(f"Attention with {', '.join(asked)} is not taken apart: masks are not supported.")
        q, k, v = (self._by_head(layer(x)) for layer, x in ((self.q, query), (self.k, key), (self.v, value)))
        weights = None
        if need_weights:
            weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(1)
        share = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=share).transpose(1, 2).flatten(2)
        out: Tensor = self.out(mixed)
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, heads, L, E / heads)."""
        x = x if self.batch_first else x.transpose(0, 1)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def open_attention(model: nn.Module) -> nn.Module:
    """`model` with every multi-head attention taken apart, in place; those with inputs of unequal sizes, or with keys
    or values of their own, stay as they are."""
    found = of_kind(model, nn.MultiheadAttention)
    return replace(model, {n: PlainAttention(m).train(m.training) for n, m in found.items() if _is_plain(m)})


def _is_plain(module: nn.MultiheadAttention) -> bool:
    plain = type(module) is nn.MultiheadAttention
    return plain and module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer.requires_grad_(False)
