"""Conditioning: the float function stays, the rounded one comes nearer."""

import pytest
import torch
from torch import nn

from tdq_core.compression.condition.apply import Balance, BiasCorrected, balance, condition
from tdq_core.compression.condition.batch_norm import reestimate_batch_norms
from tdq_core.compression.condition.bias import correct_biases
from tdq_core.compression.condition.chain import Chain, write
from tdq_core.compression.condition.mixing import can_mix, mixed
from tdq_core.compression.condition.noise import predicted_noise
from tdq_core.compression.condition.observe import Observed, Span, observe
from tdq_core.compression.condition.rounding import FAILING, predicted_failure, rounded, rounding_error
from tdq_core.compression.condition.scales import choose_scales
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import factorize
from tdq_core.compression.quantize.scheme import Scheme

INT8 = Scheme(8, 8)
SCHEMES = [INT8, Scheme(8, 8, reduced=True), Scheme(4, 8), Scheme(4, None), Scheme(6, 6, granularity="tensor")]
RANKS = {"cp": (9,), "tucker2": (5, 4), "svd": (5,), "cp, 2 groups": (5,), "tucker2, 2 groups": (3, 2),
         "svd, 2 groups": (3,)}  # fmt: skip


def decomposed(name, conv):
    """The layers that the method of `name` makes of `conv`."""
    return factorize(conv, name.partition(",")[0], RANKS[name], options=Options())


def groups_in(name):
    return 2 if "groups" in name else 1


def net(method, *, ends="norm", wild=True, seed=0):
    """A decomposed convolution, whose channels differ in size by 10^3 where `wild`, and what follows it."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=ends == "bias", groups=groups_in(method))
    if wild:
        seen = conv.weight.shape[1]
        conv.weight.data *= torch.logspace(-1.5, 1.5, 8)[:, None, None, None]
        conv.weight.data *= torch.logspace(-1, 1, seen)[torch.randperm(seen)][None, :, None, None]
    norm = nn.BatchNorm2d(8)
    norm.running_var = torch.rand(8) + 0.1
    norm.weight.data = torch.randn(8)
    first = nn.Conv2d(3, 6, 3, bias=False)
    layers = [first, nn.ReLU(), decomposed(method, conv).module]
    tail = [norm] if ends == "norm" else []
    made = nn.Sequential(*layers, *tail, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return made.eval().requires_grad_(False)


def images(count=3, size=16):
    torch.manual_seed(1)
    kept = [torch.rand(size, 3, 10, 10) for _ in range(count)]
    return lambda: iter(kept)


def close(one, two):
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4 * two.abs().max().item())


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("ends", ["norm", "bias", "nothing"])
@pytest.mark.parametrize("method", RANKS)
def test_balancing_does_not_move_the_float_output(method, ends, scheme):
    model, batches = net(method, ends=ends), images()
    balanced, told = balance(model, ["2"], batches, scheme)
    for batch in batches():
        close(balanced(batch), model(batch))
    found = told["2"].balance
    assert found.predicted_noise_after <= found.predicted_noise_before
    moved = any(not torch.equal(a, b) for a, b in zip(balanced.parameters(), model.parameters(), strict=True))
    assert moved or (found.predicted_noise_after == found.predicted_noise_before and "groups" in method)
    seen = observe(balanced, ["2"], batches)["2"]
    chain = Chain.of(balanced[2], balanced[3].weight / (balanced[3].running_var + balanced[3].eps).sqrt()
                     if ends == "norm" else None)  # fmt: skip
    ones = tuple(torch.ones_like(s.low) for s in seen.inner)
    assert float(predicted_noise(chain, seen, ones, scheme)) == pytest.approx(found.predicted_noise_after, rel=1e-3)


@pytest.mark.parametrize("method", RANKS)
def test_scales_and_turns_leave_the_function(method):
    model = net(method)
    chain = Chain.of(model[2])
    scales = tuple(torch.randn(len(s)).double() * 10 for s in chain.stages[:-1])
    for changed in [chain.scaled(scales)] + ([mixed(chain, 3)] if can_mix(chain) else []):
        other = net(method)
        write(changed, other[2])
        close(other[2](torch.ones(1, 6, 9, 9)), model[2](torch.ones(1, 6, 9, 9)))


def test_only_depthwise_stages_keep_channels_from_being_mixed():
    for groups in ("", ", 2 groups"):
        assert [can_mix(Chain.of(net(m + groups)[2])) for m in ("cp", "tucker2", "svd")] == [False, True, True]


def test_channels_are_mixed_with_those_of_their_own_group():
    chain = Chain.of(net("tucker2, 2 groups")[2])
    turned = mixed(chain, 3)
    assert not torch.allclose(turned.stages[1], chain.stages[1])
    for whole, half in zip(turned.of_groups, chain.of_groups, strict=True):
        torch.testing.assert_close(whole.merged(), half.merged())
    assert len(chain.of_groups) == 2 and chain.merged().shape == (8, 3, 9)


def test_a_group_of_one_inner_channel_is_balanced_too():
    torch.manual_seed(0)
    model = nn.Sequential(factorize(nn.Conv2d(6, 8, 3, groups=2), "tucker2", (1, 1)).module)
    batches = lambda: iter([torch.rand(8, 6, 9, 9)])  # noqa: E731
    for scheme in SCHEMES:
        close(balance(model, ["0"], batches, scheme)[0](batch := next(batches())), model(batch))


@pytest.mark.parametrize("scheme", [Scheme(6, None), Scheme(6, None, "tensor"), Scheme(8, 6), Scheme(6, 6)], ids=str)
@pytest.mark.parametrize("method", RANKS)
def test_predicted_noise_is_what_rounding_makes(method, scheme):
    """Rounding of weights and inner activations, carried out on white channels, against the formula."""
    torch.manual_seed(0)
    chain = Chain.of(net(method, wild=False)[2], torch.rand(8) + 0.5)
    scales = tuple(torch.rand(len(stage)).double() + 0.3 for stage in chain.stages[:-1])
    x = torch.randn(600, 6, 9, 9, dtype=torch.float64)
    exact, spans = forward(chain, x, None)
    observed = Observed(span(x), spans)
    steps = (
        [step(seen.scaled(s), scheme) for seen, s in zip(spans, scales, strict=True)]
        if scheme.activation_bits
        else None
    )
    got, _ = forward(rounded(chain.scaled(scales), scheme), x, steps)
    measured = float(((got - exact) * chain.gain[None, :, None, None]).square().mean((0, 2, 3)).sum())
    assert measured == pytest.approx(float(predicted_noise(chain, observed, scales, scheme)), rel=0.4)


def step(seen, scheme):
    return (seen.high.max() - seen.low.min()) / scheme.activation_levels


def span(values):
    seen = Span.empty(values.shape[1])
    seen.add(values, convolution=True)
    return seen


def forward(chain, x, steps):
    """The chain's own plain loop over stages; rounds inner activations to `steps`."""
    spans = []
    for j, (stage, depthwise) in enumerate(zip(chain.stages, chain.depthwise, strict=True)):
        side = 3 if stage.shape[2] == 9 else 1
        weight = stage.reshape(*stage.shape[:2], side, side)
        x = nn.functional.conv2d(x, weight, groups=len(stage) if depthwise else chain.groups)
        if j < len(chain.stages) - 1:
            spans.append(span(x))
            x = (x / steps[j]).round() * steps[j] if steps else x
    return x, tuple(spans)


@pytest.mark.parametrize("shape, axis", [((3, 4, 5, 6), 1), ((2, 7, 4), 2), ((9, 4), 1)])
def test_spans_are_those_of_a_plain_loop_over_channels(shape, axis):
    generator = torch.Generator().manual_seed(0)
    passes = [torch.randn(shape, generator=generator) + torch.tensor(2.0) for _ in range(2)]
    seen = Span.empty(4)
    for values in passes:
        seen.add(values, convolution=len(shape) == 4)
    for c in range(4):
        flat = torch.cat([v.select(axis, c).flatten() for v in passes]).double()
        assert (seen.low[c], seen.high[c]) == (min(0.0, float(flat.min())), float(flat.max()))
        assert float(seen.mean_square[c]) == pytest.approx(float(flat.square().mean()), rel=1e-6)
    assert seen.count == 2 * passes[0].numel() // 4


def test_rounding_keeps_to_the_grid_after_the_batch_norm_is_folded():
    chain = Chain.of(net("cp")[2], torch.randn(8))
    for scheme in (Scheme(4, 8), Scheme(4, 8, "tensor")):
        for j, stage in enumerate(rounded(chain, scheme).stages):
            folded = stage * (chain.gain.abs()[:, None, None] if j == 2 else 1)
            for row in folded if scheme.granularity == "channel" else [folded]:
                assert len(row.abs().mul(1e9).round().unique()) <= 8


def test_scales_follow_the_ranges_where_activations_are_what_is_rounded():
    """Weights of many bits: only the activations' rounding counts, and equal ranges are best for it."""
    model = net("cp")
    observed = observe(model, ["2"], images())["2"]
    scales = choose_scales(Chain.of(model[2]), observed, Scheme(8, 2, "channel"))
    for seen, scale in zip(observed.inner, scales, strict=True):
        widths = seen.scaled(scale)
        reach = torch.maximum(widths.high, -widths.low)
        assert float(reach.max() / reach.min()) < float((m := torch.maximum(seen.high, -seen.low)).max() / m.min()) / 3
        assert bool((widths.high >= -widths.low - 1e-9).all())


@pytest.mark.parametrize("ends", ["norm", "bias"])
def test_bias_correction_takes_the_mean_shift_back(ends):
    model, batches = net("cp", ends=ends), images()
    observed = observe(model, ["2"], batches)["2"]
    norm = {"2": observed.batch_norm} if observed.batch_norm else {}
    chain = Chain.of(model[2])
    stop = 4 if ends == "norm" else 3
    target = torch.cat([model[:stop](b) for b in batches()]).mean((0, 2, 3))
    scheme = Scheme(3, None)
    assert correct_biases(model, {"2": chain}, norm, batches, {"2": scheme}) == {"2": "batch norm" if norm else "bias"}
    write(rounded(chain, scheme), model[2])
    torch.testing.assert_close(torch.cat([model[:stop](b) for b in batches()]).mean((0, 2, 3)), target,
                               rtol=1e-4, atol=1e-4)  # fmt: skip


def test_what_cannot_be_corrected_is_said():
    model = net("cp", ends="nothing")
    _, told = condition(model, ["2"], images(), INT8)
    assert BiasCorrected(bias_corrected_in="none") in told["2"]


@pytest.mark.parametrize("ends", ["norm", "bias"])
def test_a_batch_norm_is_found_only_where_it_alone_takes_the_output(ends):
    found = observe(net("cp", ends=ends), ["2"], images())["2"].batch_norm
    assert found == ("3" if ends == "norm" else None)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm, self.other = net("cp")[2], nn.BatchNorm2d(8), nn.ReLU()

        def forward(self, x):
            y = self.layer(x)
            return self.norm(y) + self.other(y)

    batches = lambda: iter([torch.rand(4, 6, 9, 9)])  # noqa: E731
    assert observe(Twice().eval(), ["layer"], batches)["layer"].batch_norm is None


def test_spans_are_those_of_all_batches_at_once():
    model, batches = net("cp"), images()
    seen = observe(model, ["2"], batches)["2"]
    everything = model[:2](torch.cat(list(batches())))
    inner = model[2][0](everything).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(seen.inner[0].low, inner.amin(1).clamp_max(0))
    torch.testing.assert_close(seen.inner[0].high, inner.amax(1).clamp_min(0))
    torch.testing.assert_close(seen.inner[0].mean_square, inner.square().mean(1), rtol=1e-5, atol=1e-12)


def test_the_model_that_is_conditioned_is_not_touched():
    model = net("tucker2")
    before = [t.clone() for t in model.state_dict().values()]
    condition(model, ["2"], images(), INT8)
    reestimate_batch_norms(model, images())
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
    assert not model.training


def test_batch_norms_take_the_mean_of_the_batches_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    model[1].num_batches_tracked += 100
    batches = images()
    done = reestimate_batch_norms(model, batches)
    inputs = [model[0](b) for b in batches()]
    torch.testing.assert_close(done[1].running_mean, torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0))
    torch.testing.assert_close(done[1].running_var, torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0))
    assert done[1].momentum == model[1].momentum and not done[2].training


@pytest.mark.parametrize("method", RANKS)
def test_dead_channels_stay_finite(method):
    model = net(method)
    model[2][0].weight.data[0] = 0
    model[2][1].weight.data[1] = 0
    done, told = condition(model, ["2"], images(), INT8)
    assert all(t.isfinite().all() for t in done.state_dict().values())
    (found,) = (each for each in told["2"] if isinstance(each, Balance))
    assert found.predicted_noise_after < found.predicted_noise_before
    assert all(torch.tensor(found.spread_after).isfinite())


@pytest.mark.parametrize("method", RANKS)
def test_merged_stages_are_the_factors_multiplied_out(method):
    torch.manual_seed(0)
    made = decomposed(method, nn.Conv2d(6, 8, 3, groups=groups_in(method)))
    torch.testing.assert_close(Chain.of(made.module).merged(), made.factors.to_weight().double().flatten(2),
                               rtol=1e-4, atol=1e-6)  # fmt: skip


def test_components_that_cancel_make_rounding_errors():
    """The same kernel, once with two huge components of opposite sign in it."""
    torch.manual_seed(0)
    out, in_, taps = torch.randn(8, 4).double(), torch.randn(6, 4).double(), torch.randn(9, 4).double()

    u = torch.randn(8, 1).double()

    def chain(huge):
        wide = torch.cat([out[:, :-1], out[:, -1:] + huge * u, -huge * u], dim=1)
        twice_in, twice_taps = (torch.cat([f, f[:, -1:]], dim=1) for f in (in_, taps))
        return Chain((twice_in.T[:, :, None], twice_taps.T[:, None, :], wide[:, :, None]), torch.ones(8).double())

    calm, wild = (rounding_error(chain(huge), INT8) for huge in (1.0, 100.0))
    torch.testing.assert_close(chain(100.0).merged(), chain(1.0).merged())
    assert calm < FAILING < wild
    assert predicted_failure({"a": calm}) is None and "'b'" in str(predicted_failure({"a": calm, "b": wild}))
