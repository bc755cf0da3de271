"""Attention taken apart computes what torch's own computes, and its projections are layers like any others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.errors import InputError
from tdq_core.graph.layer_table import count_params, read_layers
from tdq_core.models.opening import opened
from tdq_core.models.opening.attention import PlainAttention
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule
from tdq_core.system.torchvision_compat import torchvision
from tdq_core.training.card import train
from tdq_core.training.recipe import Recipe


def tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_it_computes_what_torchs_own_computes(batch_first: bool, bias: bool) -> None:
    torch.manual_seed(0)
    whole = nn.MultiheadAttention(12, 3, bias=bias, batch_first=batch_first).eval()
    for p in whole.parameters():
        nn.init.normal_(p, std=0.3)
    query, other = (tokens(4, 5, 12), tokens(4, 7, 12)) if batch_first else (tokens(5, 4, 12), tokens(7, 4, 12))
    made = PlainAttention(whole)
    with torch.no_grad():
        for inputs in ((query, query, query), (query, other, other)):
            for ours, theirs in zip(made(*inputs), whole(*inputs), strict=True):
                assert torch.allclose(ours, theirs, atol=1e-5)
        assert made(query, query, query, need_weights=False)[1] is None


@st.composite
def attentions(draw: st.DrawFn) -> tuple[nn.MultiheadAttention, dict[str, Any]]:
    """An attention of any make, and a call of it with any arguments that it takes."""
    torch.manual_seed(draw(st.integers(0, 9)))
    flag = st.booleans()
    heads, width, first, single, cross = draw(st.sampled_from([1, 2, 3])), 12, draw(flag), draw(flag), draw(flag)
    sizes = {"kdim": 5, "vdim": 7} if cross and draw(flag) else {}
    whole = nn.MultiheadAttention(width, heads, bias=draw(flag), add_bias_kv=draw(flag), add_zero_attn=draw(flag),
                                  batch_first=first, dropout=0.4, **sizes).eval().requires_grad_(False)  # fmt: skip
    for parameter in whole.parameters():
        nn.init.normal_(parameter, std=0.3)
    queries, keys, images = 4, 6 if cross else 4, 2

    def inputs(length: int, size: int) -> Tensor:
        shape = (length,) if single else (images, length) if first else (length, images)
        return torch.randn(*shape, size)

    call: dict[str, Any] = {"query": inputs(queries, width), "need_weights": draw(flag)}
    call |= {"average_attn_weights": draw(flag)}
    call["key"] = inputs(keys, sizes.get("kdim", width)) if cross else call["query"]
    call["value"] = inputs(keys, sizes.get("vdim", width)) if cross else call["query"]
    boolean = draw(flag)  # both masks are of one kind
    if draw(flag):
        rows = (1 if single else images) * heads
        shape = draw(st.sampled_from([(queries, keys), (rows, queries, keys)]))
        call["attn_mask"] = _mask(shape, boolean)
        if draw(flag) and len(shape) == 2:
            call["attn_mask"] = _mask(shape, boolean, torch.ones(shape, dtype=torch.bool).triu(1))
            call["is_causal"] = True
    if draw(flag):
        call["key_padding_mask"] = _mask((keys,) if single else (images, keys), boolean)
    return whole, call


def _mask(shape: tuple[int, ...], boolean: bool, forbidden: Tensor | None = None) -> Tensor:
    """The first key stays, so that no query is left without any."""
    forbidden = torch.rand(shape) < 0.4 if forbidden is None else forbidden
    forbidden[..., 0] = False
    return forbidden if boolean else torch.zeros(shape).masked_fill(forbidden, float("-inf"))


@given(attentions())
@settings(max_examples=80)
def test_it_computes_what_torchs_own_computes_whatever_it_is_asked(made: tuple[nn.MultiheadAttention, Any]) -> None:
    whole, call = made
    plain = PlainAttention(whole).eval()
    with torch.no_grad():
        (ours, weights), (theirs, expected) = plain(**call), whole(**call)
    assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-5)
    assert (weights is None) == (expected is None)
    if weights is not None:
        assert weights.shape == expected.shape and torch.allclose(weights, expected, atol=1e-5)


def test_every_attention_is_opened_but_one_that_computes_otherwise() -> None:
    class Louder(nn.MultiheadAttention):
        def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
            out, weights = super().forward(*args, **kwargs)
            return 2 * out, weights

    class Own(nn.MultiheadAttention):
        pass

    net = Tokens(nn.MultiheadAttention(12, 3, add_bias_kv=True), Own(12, 3, batch_first=True), Louder(12, 3)).eval()
    images = tokens(2, 5, 12)
    expected = net(images)
    net, notes = opened(net, images)
    assert [type(m) for m in net.layers] == [PlainAttention, PlainAttention, Louder]
    assert torch.allclose(net(images), expected, atol=1e-5)
    assert notes == ("A Louder stays as it is, since it is a Louder: 'layers.2'.",)


class Tokens(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x, x, value=x, need_weights=False)[0]
        return x


class Transformer(nn.Module):
    """torch's own blocks, encoder and decoder."""

    def __init__(self, first: bool, norm_first: bool, activation: Any, *, masked: bool) -> None:
        super().__init__()
        how = {"batch_first": first, "norm_first": norm_first, "activation": activation}
        self.first, self.masked = first, masked
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, **how), 2)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, **how), 1)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if self.masked else None
        padding = torch.arange(x.shape[1])[None] >= torch.tensor([[4], [3]]) if self.masked else None
        x = x if self.first else x.transpose(0, 1)
        seen = self.encoder(x, src_key_padding_mask=None if padding is None else padding[: len(x)])
        said = self.decoder(x, seen, tgt_mask=mask, tgt_is_causal=mask is not None, memory_key_padding_mask=padding)
        return said.mean(1 if self.first else 0)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("activation", ["relu", torch.tanh])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_torchs_own_transformers_are_opened(first: bool, norm_first: bool, activation: Any, masked: bool) -> None:
    torch.manual_seed(1)
    net, images = (
        Transformer(first, norm_first, activation, masked=masked).eval().requires_grad_(False),
        tokens(2, 4, 8),
    )
    expected = net(images)
    net, notes = opened(net, images)
    assert not notes and not any(isinstance(m, nn.MultiheadAttention) for m in net.modules())
    with torch.no_grad():
        assert torch.allclose(net(images), expected, atol=1e-5)
    table = read_layers(net, images, name="t", digest="")
    assert len(table.layers) == 2 * 6 + 10 and all(layer.refusal is None for layer in table.layers)


def vit() -> nn.Module:
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(16, 4, 2, 3, 24, 48, num_classes=7).eval().requires_grad_(False)
    nn.init.normal_(net.heads.head.weight, std=0.3)
    return net


def test_a_transformers_logits_stay_and_every_projection_is_a_layer() -> None:
    images, plain, net = tokens(3, 3, 16, 16), vit(), opened(vit(), tokens(2, 3, 16, 16))[0]
    assert torch.allclose(net(images), plain(images), atol=1e-5) and count_params(net) == count_params(plain)
    table = read_layers(net, images, name="vit", digest="")
    projections = [la.name for la in table.layers if "self_attention" in la.name]
    assert len(projections) == 2 * 4 and not [la for la in table.layers if la.refusal]
    assert table.macs >= sum(la.macs for la in table.layers)


def test_its_linear_layers_are_factorised() -> None:
    images, net = tokens(3, 3, 16, 16), opened(vit(), tokens(2, 3, 16, 16))[0]
    plan = make_plan(read_layers(net, images, name="vit", digest=""), "svd", RankRule("ratio", 1.3))
    made, _ = apply_plan(net, plan, options=Options())
    assert {p.layer.name.rsplit(".", 1)[1] for p in plan.decomposed()} >= {"q", "k", "v", "out"}
    assert count_params(made) == plan.params and made(images).shape == (3, 7)


def test_a_model_with_attention_is_not_trained_under_other_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'vit_b_16' has modules in whose place") as caught:
        train("vit_b_16", "digits", recipe=Recipe(), folder=tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
