"""Attention taken apart computes what torch's own computes, and its projections are layers like any others."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.errors import InputError
from tdq_core.graph.layer_table import count_params, read_layers
from tdq_core.models.attention import PlainAttention, open_attention
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


def test_a_mask_is_one_sentence() -> None:
    made = PlainAttention(nn.MultiheadAttention(12, 3, batch_first=True))
    with pytest.raises(InputError, match=r"^Attention with attn_mask is not taken apart"):
        made(*[tokens(2, 5, 12)] * 3, attn_mask=torch.zeros(5, 5))
    made(*[tokens(2, 5, 12)] * 3, average_attn_weights=True, attn_mask=None)


def test_attention_that_is_not_plain_stays_as_it_is() -> None:
    net = nn.ModuleList([nn.MultiheadAttention(12, 3, kdim=5, vdim=5), nn.MultiheadAttention(12, 3, add_bias_kv=True),
                         nn.MultiheadAttention(12, 3, add_zero_attn=True), nn.MultiheadAttention(12, 3)])  # fmt: skip
    assert [type(m) for m in open_attention(net)] == [nn.MultiheadAttention] * 3 + [PlainAttention]
    assert isinstance(open_attention(nn.MultiheadAttention(12, 3)), PlainAttention)


def vit() -> nn.Module:
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(16, 4, 2, 3, 24, 48, num_classes=7).eval().requires_grad_(False)
    nn.init.normal_(net.heads.head.weight, std=0.3)
    return net


def test_a_transformers_logits_stay_and_every_projection_is_a_layer() -> None:
    images, plain, net = tokens(3, 3, 16, 16), vit(), open_attention(vit())
    assert torch.allclose(net(images), plain(images), atol=1e-5) and count_params(net) == count_params(plain)
    table = read_layers(net, images, name="vit", digest="")
    projections = [la.name for la in table.layers if "self_attention" in la.name]
    assert len(projections) == 2 * 4 and not [la for la in table.layers if la.refusal]
    assert table.macs >= sum(la.macs for la in table.layers)


def test_its_linear_layers_are_factorised() -> None:
    images, net = tokens(3, 3, 16, 16), open_attention(vit())
    plan = make_plan(read_layers(net, images, name="vit", digest=""), "svd", RankRule("ratio", 1.3))
    made, _ = apply_plan(net, plan, options=Options())
    assert {p.layer.name.rsplit(".", 1)[1] for p in plan.decomposed()} >= {"q", "k", "v", "out"}
    assert count_params(made) == plan.params and made(images).shape == (3, 7)


def test_a_model_with_attention_is_not_trained_under_other_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'vit_b_16' has attention") as caught:
        train("vit_b_16", "digits", recipe=Recipe(), folder=tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
