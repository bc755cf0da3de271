"""A layer that is called several times a pass is fitted to all its calls, each paired with itself."""

import dataclasses
from pathlib import Path

import pytest
import torch
from fitting import FITS, off, plan_of
from repeated_nets import NETS, images, repeated
from torch import Tensor, nn
from torch.nn import functional

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.moments import Moments, moments
from tdq_core.compression.calibrate.spectra import with_output_spectra
from tdq_core.compression.calibrate.sums import collect
from tdq_core.compression.calibrate.svd import fit_svd
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.graph.layer_table import count_macs, count_params, read_layers
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.specs import RankRule


@pytest.mark.parametrize("count", [512, 300])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("method", ["svd", "tucker2"])
@pytest.mark.parametrize("name", NETS)
def test_at_full_rank_the_network_stays_what_it_was(name: str, method: str, fit: str, count: int) -> None:
    net, some = repeated(name), images(count)
    plan = plan_of(net, method, None)
    made, layers = FITS[fit](net, plan, lambda: iter(some.split(128)), count)
    assert off(made, net, some) < 1e-2
    assert set(layers) == {part.layer.name for part in plan.layers}


@pytest.mark.parametrize("name", NETS)
def test_below_full_rank_it_comes_nearer_than_by_the_weights_alone(name: str) -> None:
    net, some = repeated(name), images(300)
    plan = plan_of(net, "svd", 3)
    made, _ = apply_calibrated(net, plan, lambda: iter(some.split(128)), options=Options())
    assert off(made, net, some) < 0.9 * off(apply_plan(net, plan)[0], net, some)
    assert (count_params(made), count_macs(made, some[:2])) == (plan.params, plan.macs)


Rows = list[tuple[Tensor, Tensor]]


def by_hand(net: nn.Module, some: Tensor) -> Rows:
    """Patches and outputs of the layer 'body' in each of its calls, at all places, by torch alone."""
    rows: Rows = []
    layer = net.get_submodule("body")
    inner = layer.forward

    def forward(input: Tensor) -> Tensor:
        output = inner(input)
        if isinstance(layer, nn.Conv2d):
            unfolded = functional.unfold(input, layer.kernel_size, padding=layer.padding)
            rows.append((unfolded.transpose(1, 2).flatten(0, 1), output.flatten(2).transpose(1, 2).flatten(0, 1)))
        else:
            rows.append((input.reshape(-1, input.shape[-1]), output.reshape(-1, output.shape[-1])))
        return output

    layer.forward = forward  # type: ignore[method-assign]
    net(some)
    del layer.forward
    return rows


def body_of(net: nn.Module, rank: int) -> Plan:
    table = read_layers(net, images(2), name="n", digest="")
    return make_plan(table, "svd", RankRule("manual", ranks={"body": rank}))


@pytest.mark.parametrize("name", NETS)
def test_what_is_seen_and_wanted_are_those_of_every_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, some = repeated(name), images(24)
    got: Rows = []

    def remember(rows: Tensor, wanted: Tensor, weight: Tensor, *, centred: bool, ridge: float) -> Moments:
        got.append((rows, wanted))
        return moments(rows, wanted, weight, centred=centred, ridge=ridge)

    monkeypatch.setattr("tdq_core.compression.calibrate.moments.moments", remember)
    apply_calibrated(net, body_of(net, 3), lambda: iter(some.split(7)), options=Options())
    calls = by_hand(net, some)
    ((seen, wanted),) = got
    for call, (rows, made) in zip(range(len(calls)), calls, strict=True):
        ours = [part.chunk(len(calls))[call].view(24, -1, part.shape[1]) for part in (seen, wanted)]
        theirs = [part.view(24, -1, part.shape[1]) for part in (rows, made)]
        once = [part[:, : theirs[0].shape[1]] for part in ours]  # a small call's places are taken again after that
        torch.testing.assert_close(once, theirs, rtol=1e-4, atol=1e-5)
        assert len(seen) == len(wanted) == 24 * len(calls) * max(len(r) // 24 for r, _ in calls)


def missed(module: nn.Module, weight: Tensor, calls: Rows) -> float:
    """Mean squared error of the outputs of the decomposed layer 'body', the mean over the places of each call."""
    made = module.get_submodule("body")
    kernel = made.output.weight.flatten(1) @ made.inner.weight.flatten(1)
    bias = made.output.bias if made.output.bias is not None else torch.zeros(len(kernel))
    return sum(float((rows @ kernel.T + bias - wanted).square().sum(1).mean()) for rows, wanted in calls)


@pytest.mark.parametrize("name", [name for name in NETS if "norm" not in name])
def test_no_factors_miss_less_over_all_calls(name: str) -> None:
    """Reduced-rank regression is exact: neither the weights alone nor a step from the fit do better."""
    net, some = repeated(name), images(36)  # few enough for all places to be looked at
    calls, plan = by_hand(net, some), body_of(net, 3)
    batches = lambda: iter(some.split(16))  # noqa: E731
    fits = [FITS[fit](net, plan, batches, len(some))[0] for fit in FITS]
    errors = [missed(made, net.body.weight, calls) for made in (*fits, apply_plan(net, plan)[0])]
    assert errors[0] == pytest.approx(errors[1], rel=1e-2) and max(errors[:2]) < 0.9 * errors[2]
    torch.manual_seed(1)
    for _ in range(20):
        for stage in (fits[1].body.inner, fits[1].body.output):
            kept = stage.weight.clone()
            stage.weight += 0.2 * kept.std() * torch.randn(kept.shape)
            assert missed(fits[1], net.body.weight, calls) > errors[1]
            stage.weight.copy_(kept)


@pytest.mark.parametrize("name", ["three times", "three sizes, by keyword", "tokens"])
def test_spectra_of_outputs_are_those_of_all_calls(name: str) -> None:
    net, some = repeated(name), images(24)
    batches = lambda: iter(some.split(7))  # noqa: E731
    table = with_output_spectra(read_layers(net, some[:2], name="n", digest=""), net, batches, len(some))
    made = collect(net, ["body"], batches, len(some))["body"][0].moments(net.body.weight)
    spectrum = table.layer("body").spectrum_out
    rest = made.square - sum(spectrum)
    for rank in (1, 3):
        assert made.missed(fit_svd(made, rank).to_weight().flatten(1)) == pytest.approx(
            sum(spectrum[rank:]) + rest, rel=1e-3, abs=1e-4 * made.square)  # fmt: skip
    calls = by_hand(net, some)
    wanted = torch.stack(
        [(y - torch.cat([y.mean(0, True) for _, y in calls]).mean(0)).square().mean(0) for _, y in calls]
    )
    torch.testing.assert_close(made.squares.float(), wanted.mean(0), rtol=2e-2, atol=1e-3)


def test_sums_of_one_call_are_not_taken_for_those_of_all(tmp_path: Path) -> None:
    """What an earlier version kept of a layer that is called several times was of its first call."""
    some = images(24)
    batches = lambda: iter(some.split(7))  # noqa: E731
    once, thrice = repeated("once"), repeated("three times")
    for net in (once, thrice, once, thrice):
        (kept,) = collect(net, ["body"], batches, 24, folder=tmp_path / "m")["body"]
        (fresh,) = collect(net, ["body"], batches, 24)["body"]
        assert kept.count == fresh.count and torch.equal(kept.inputs, fresh.inputs)


def test_kept_spectra_are_those_of_the_layers_that_are_asked_for(tmp_path: Path) -> None:
    net, some = repeated("three times"), images(24)
    batches = lambda: iter(some.split(7))  # noqa: E731
    table = read_layers(net, some[:2], name="n", digest="d")
    with_output_spectra(table, net, batches, 24, folder=tmp_path / "m")
    layers = tuple(dataclasses.replace(la, refusal="why" if la.name == "body" else None) for la in table.layers)
    refused = with_output_spectra(dataclasses.replace(table, layers=layers), net, batches, 24, folder=tmp_path / "m")
    assert refused.layer("body").refusal == "why" and refused.layer("body").spectrum_out == ()
