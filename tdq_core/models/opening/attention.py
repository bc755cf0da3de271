"""Attention as plain Linear layers, so that its projections are layers like any others.

`nn.MultiheadAttention` holds the projections of query, key and value in one parameter and reads the weight of its
output layer without calling it: no hook sees them, and nothing can take their place.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdq_core.graph.arguments import Arguments
from tdq_core.graph.modules import of_kind
from tdq_core.graph.oddities import move_hooks, oddities, twin, without_hooks
from tdq_core.models.opening.proof import StaysOdd, computes_the_same, fresh


class PlainAttention(nn.Module):
    """Multi-head attention with four Linear layers `q`, `k`, `v` and `out`; computes what the original computes."""

    in_proj_weight = in_proj_bias = None
    _qkv_same_embed_dim = False
    """torch's transformer layers ask for these: there is no packed projection, so that they take no shortcut past the
    layers."""

    def __init__(self, like: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = like.embed_dim, like.num_heads, like.head_dim
        self.batch_first, self.dropout, self.add_zero_attn = like.batch_first, like.dropout, like.add_zero_attn
        packed = like.in_proj_weight
        weights = packed.detach().chunk(3) if packed is not None else (
            like.q_proj_weight.detach(), like.k_proj_weight.detach(), like.v_proj_weight.detach())  # fmt: skip
        biases = like.in_proj_bias.detach().chunk(3) if like.in_proj_bias is not None else (None, None, None)
        self.q, self.k, self.v = (_linear(w, b) for w, b in zip(weights, biases, strict=True))
        self.out = _linear(like.out_proj.weight.detach(), like.out_proj.bias)
        self.bias_k, self.bias_v = like.bias_k, like.bias_v

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs, and the heads' weights or None.

        Args:
            query, key, value: (N, L, E), (N, S, E_k), (N, S, E_v) where `batch_first`, else the first two dimensions
                the other way round; without N for one sequence alone.
            key_padding_mask: (N, S) or (S): True, or what is added, where a key is not looked at.
            attn_mask: (L, S) or (N * heads, L, S): the same by query and key.
            is_causal: a query looks at no later key; `attn_mask` says the same where it is given.
        """
        single = query.ndim == 2
        q, k, v = (self._batch(x, single) for x in (query, key, value))
        mask = self._mask(attn_mask, key_padding_mask, q, is_causal=is_causal, keys=k.shape[1])
        k, v = self._extended(self.k(k), self.bias_k), self._extended(self.v(v), self.bias_v)
        if is_causal and key_padding_mask is None and not need_weights:  # then torch counts what is added as later keys
            mask = torch.ones(q.shape[1], k.shape[1], device=q.device, dtype=torch.bool).tril().logical_not()
            mask = _added(mask, q)
        mixed, weights = self._mix((self.q(q), k, v), mask, need_weights)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        if single:
            out, weights = out.squeeze(0), None if weights is None else weights.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        if weights is not None and average_attn_weights:
            weights = weights.mean(-3)
        return out, weights

    def _batch(self, x: Tensor, single: bool) -> Tensor:
        """(N, L, E)."""
        if single:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, heads, L, E / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _extended(self, x: Tensor, learned: Tensor | None) -> Tensor:
        """(N, S, E) with the key or value that is learned and the one that is zero at its end, where there are any."""
        if learned is not None:
            x = torch.cat([x, learned.expand(len(x), 1, -1)], 1)
        return torch.cat([x, torch.zeros_like(x[:, :1])], 1) if self.add_zero_attn else x

    def _mask(
        self, attn: Tensor | None, padding: Tensor | None, q: Tensor, *, is_causal: bool, keys: int
    ) -> Tensor | None:
        """What is added to the scores, (N or 1, heads or 1, L or 1, S); None: nothing."""
        if attn is None and is_causal:
            attn = torch.ones(q.shape[1], keys, dtype=torch.bool, device=q.device).triu(1)
        parts = []
        if attn is not None:
            parts.append(attn[None, None] if attn.ndim == 2 else attn.unflatten(0, (-1, self.num_heads)))
        if padding is not None:
            parts.append((padding if padding.ndim == 2 else padding[None])[:, None, None])
        if not parts:
            return None
        added = [_added(part, q) for part in parts]
        mask = added[0] if len(added) == 1 else added[0] + added[1]
        return functional.pad(mask, (0, (self.bias_k is not None) + int(self.add_zero_attn)))

    def _mix(
        self, projected: tuple[Tensor, Tensor, Tensor], mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(N, heads, L, E / heads), and (N, heads, L, S) where they are needed."""
        q, k, v = map(self._by_head, projected)
        share = self.dropout if self.training else 0.0
        if not need_weights:
            return functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=share), None
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        weights = functional.dropout((scores if mask is None else scores + mask).softmax(-1), share)
        return weights @ v, weights


def odd_attention(model: nn.Module) -> dict[str, nn.MultiheadAttention]:
    return of_kind(model, nn.MultiheadAttention)


def plain_attention(module: nn.MultiheadAttention, calls: list[Arguments]) -> PlainAttention:
    """What takes the place of `module`, its hooks on it.

    Raises:
        StaysOdd: it computes something else.
    """
    bare, plain = without_hooks(module), PlainAttention(module).train(module.training)
    if not computes_the_same(bare, plain, [*calls, *_more(module)]):
        raise StaysOdd(" and ".join(oddities(module, (nn.MultiheadAttention,))) or "computes something else")
    return move_hooks(module, plain)


def odd_encoders(model: nn.Module) -> dict[str, nn.TransformerEncoder]:
    """Encoders that may go past their layers where there is a padding mask."""
    return {n: m for n, m in of_kind(model, nn.TransformerEncoder).items() if getattr(m, "use_nested_tensor", False)}


def plain_encoder(module: nn.TransformerEncoder, _: list[Arguments]) -> nn.TransformerEncoder:
    """The same one, which calls its layers always."""
    new = twin(module)
    new.use_nested_tensor = False
    return new


def _more(module: nn.MultiheadAttention) -> list[Arguments]:
    """Self-attention where the sizes let it, and attention to another sequence."""
    query, other = (fresh(*((2, n) if module.batch_first else (n, 2)), module.embed_dim) for n in (5, 7))
    key, value = (fresh(*other.shape[:2], size) for size in (module.kdim, module.vdim))
    return [((query, key, value), {}), ((query, key, value), {"need_weights": False})]


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer.requires_grad_(False)
