"""Whole networks, layer after layer."""

import pytest
import torch
from made_layers import IMAGES, batches, net, told
from torch import Tensor, nn

from tdq_core.compression.calibrate import im2col as patches
from tdq_core.compression.calibrate import layer_by_layer as walk
from tdq_core.compression.calibrate import sample
from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.moments import Moments, moments
from tdq_core.compression.calibrate.sample import HELD, PEAK, Sample
from tdq_core.compression.calibrate.spectra import with_output_spectra
from tdq_core.compression.calibrate.svd import fit_svd
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.errors import NotNow
from tdq_core.graph.layer_table import count_params, read_layers
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule


@pytest.mark.parametrize("method", ["tucker2", "svd", "cp"])
def test_a_whole_network_comes_closer_than_by_its_weights(method: str) -> None:
    model = net()
    before = [p.clone() for p in model.state_dict().values()]
    plan = make_plan(
        read_layers(model, IMAGES[:2], name="n", digest=""), method, RankRule("ratio", 1.5, keep_ends=False)
    )
    made, layers = apply_calibrated(model, plan, batches, options=Options())
    plain, by_weights = apply_plan(model, plan)
    assert (made(IMAGES) - model(IMAGES)).square().sum() < 0.5 * (plain(IMAGES) - model(IMAGES)).square().sum()
    assert count_params(made) == plan.params
    assert list(layers) == list(by_weights) == [part.layer.name for part in plan.decomposed()]
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
    taken = {name: told(layer)["mean_taken_by"] for name, layer in layers.items()}
    assert taken["3"] == "bias" and taken["5"] == "batch norm"


def test_each_layer_sees_the_compressed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second layer's patches are those that the first one's factors send, its outputs wanted the original's."""
    model = net()
    plan = make_plan(read_layers(model, IMAGES[:2], name="n", digest=""), "svd", RankRule("ratio", 1.5))
    got: list[tuple[Tensor, Tensor]] = []

    def remember(rows: Tensor, wanted: Tensor, weight: Tensor, *, centred: bool, ridge: float) -> Moments:
        got.append((rows, wanted))
        return moments(rows, wanted, weight, centred=centred, ridge=ridge)

    monkeypatch.setattr("tdq_core.compression.calibrate.moments.moments", remember)
    made, _ = apply_calibrated(model, plan, batches, options=Options())
    names = [p.layer.name for p in plan.decomposed()]
    at = int(names[1])
    sent, wanted = made[:at](IMAGES), model[: at + 1](IMAGES)
    layer, every = model[at], torch.arange(wanted[0, 0].numel())
    assert torch.allclose(got[1][0], patches.input_rows(layer, sent, every), atol=1e-5)
    assert torch.allclose(got[1][1], patches.output_rows(wanted, every, convolution=True), atol=1e-5)


def test_means_and_variances_are_those_of_the_original() -> None:
    model = net()
    plan = make_plan(read_layers(model, IMAGES[:2], name="n", digest=""), "svd", RankRule("manual", ranks={"5": 2}))
    made, _ = apply_calibrated(model, plan, batches, options=Options())
    ours, theirs = (m[:7](IMAGES).transpose(0, 1).flatten(1) for m in (made, model))
    assert torch.allclose(ours.mean(1), theirs.mean(1), atol=2e-2)
    assert torch.allclose(ours.std(1), theirs.std(1), rtol=5e-2)


def test_too_many_images_are_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    plan = make_plan(read_layers(model, IMAGES[:2], name="n", digest=""), "svd", RankRule("ratio", 1.5))
    monkeypatch.setattr(walk, "free_memory", lambda: 4 * 4 * 24 * 800 - 1)
    with pytest.raises(NotNow, match=r"24 images at once needs about 0\.0 GB .*calib_samples"):
        apply_calibrated(model, plan, batches, options=Options())
    monkeypatch.setattr(walk, "free_memory", lambda: 4 * 4 * 24 * 800)
    apply_calibrated(model, plan, batches, options=Options())


def test_spectra_of_outputs_are_the_errors_of_the_best_layers_of_each_rank() -> None:
    model = net()
    plain = read_layers(model, IMAGES[:2], name="n", digest="")
    table = with_output_spectra(plain, model, batches, len(IMAGES))
    layer = model[3]
    inputs, every = model[:3](IMAGES), torch.arange(100)
    wanted = patches.output_rows(model[:4](IMAGES), every, convolution=True)
    made = moments(patches.input_rows(layer, inputs, every), wanted, layer.weight)
    spectrum = table.layer("3").spectrum_out
    assert len(spectrum) == 8 and len(table.layer("3").spectrum_in) == 8
    rest = made.square - sum(spectrum)
    for rank in (1, 4, 8):
        assert made.missed(fit_svd(made, rank).to_weight().flatten(1)) == pytest.approx(
            sum(spectrum[rank:]) + rest, rel=1e-3, abs=1e-4 * made.square)  # fmt: skip
    assert [la.params for la in table.layers] == [la.params for la in plain.layers] and table.macs == plain.macs
    assert table.layer("3").spectrum_out != plain.layer("3").spectrum_out


def test_inputs_too_wide_for_the_memory_are_said_before_any_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second moments of what a layer sees grow with the square of its inputs, as those of VGG's classifier do."""
    wide = nn.Sequential(nn.Flatten(), nn.Linear(600, 4))
    needed = 600**2 * (HELD + PEAK)
    monkeypatch.setattr(sample, "free_memory", lambda: needed)
    assert Sample.of(wide, ["1"], torch.zeros(1, 6, 10, 10), 10).layers
    monkeypatch.setattr(sample, "free_memory", lambda: needed - 1)
    with pytest.raises(NotNow, match="'1' sees 600 values at a time"):
        Sample.of(wide, ["1"], torch.zeros(1, 6, 10, 10), 10)
