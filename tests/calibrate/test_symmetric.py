"""Layers fitted by themselves, and the moments that are kept for the next ratio."""

from pathlib import Path

import pytest
import torch
from made_layers import IMAGES, batches, net, told
from torch import nn

from tdq_core.compression.calibrate import im2col as patches
from tdq_core.compression.calibrate import spectra, sums
from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.moments import moments
from tdq_core.compression.calibrate.spectra import with_output_spectra
from tdq_core.compression.calibrate.sums import Sums, collect
from tdq_core.compression.calibrate.svd import fit_svd
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.errors import InputError
from tdq_core.graph.layer_table import count_params, read_layers
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.specs import RankRule, RunSpec


def plan_of(method: str, ratio: float = 1.5, *, keep_ends: bool = False) -> Plan:
    table = read_layers(net(), IMAGES[:2], name="n", digest="")
    return make_plan(table, method, RankRule("ratio", ratio, keep_ends=keep_ends))


def applied(plan: Plan, folder: Path | None = None) -> torch.nn.Module:
    return apply_symmetric(net(), plan, batches, len(IMAGES), options=Options(), folder=folder)[0]


def test_sums_in_batches_are_the_moments_of_all_rows() -> None:
    model = net()
    (made,) = collect(model, ["3"], batches, len(IMAGES))["3"]
    every = torch.arange(100)
    rows = patches.input_rows(model[3], model[:3](IMAGES), every)
    wanted = patches.output_rows(model[:4](IMAGES), every, convolution=True)
    for centred in (True, False):
        one = made.moments(model[3].weight, centred=centred)
        other = moments(rows, wanted, model[3].weight, centred=centred)
        for name in ("inputs", "cross", "squares", "mean_in", "mean_out"):
            assert torch.allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-5), name
    assert made.count == len(rows)


@pytest.mark.parametrize("method", ["tucker2", "svd", "cp"])
def test_it_lies_between_weights_alone_and_the_asymmetric_fit(method: str) -> None:
    model, plan = net(), plan_of(method)
    made, layers = apply_symmetric(model, plan, batches, len(IMAGES), options=Options())

    def missed(other: torch.nn.Module) -> float:
        return float((other(IMAGES) - model(IMAGES)).square().sum())

    assert missed(apply_calibrated(model, plan, batches, options=Options())[0]) < missed(made)
    assert missed(made) < 0.7 * missed(apply_plan(model, plan)[0])
    assert count_params(made) == plan.params
    assert {told(layer)["mean_taken_by"] for layer in layers.values()} == {"bias", "batch norm"}


def test_every_layer_sees_the_original_network(tmp_path: Path) -> None:
    """Compressing an earlier layer as well changes nothing of a later one."""
    both = plan_of("svd")
    alone = make_plan(
        read_layers(net(), IMAGES[:2], name="n", digest=""), "svd",
        RankRule("manual", ranks={p.layer.name: p.ranks[0] for p in both.decomposed() if p.layer.name == "5"}),
    )  # fmt: skip
    one, other = (applied(plan).get_submodule("5.inner").weight for plan in (both, alone))
    assert torch.equal(one, other)


def test_means_stay_in_where_nothing_can_take_them_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, bias=False), nn.Flatten(), nn.Linear(288, 5)).eval()
    plan = make_plan(read_layers(model, IMAGES[:2], name="n", digest=""), "svd", RankRule("manual", ranks={"1": 2}))
    made, _ = apply_symmetric(model, plan, batches, len(IMAGES), options=Options())
    seen = collect(model, ["1"], batches, len(IMAGES))["1"][0].moments(model[1].weight.detach(), centred=False)
    ours = (made[1].output.weight.flatten(1) @ made[1].inner.weight.flatten(1)).double()
    assert torch.allclose(ours, fit_svd(seen, 2).to_weight().flatten(1), atol=1e-5)


def test_a_second_ratio_passes_no_image_and_repeats_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    first = applied(plan_of("svd"), folder)

    def none_left(*_: object) -> dict[str, Sums]:
        raise AssertionError("images were passed again")

    monkeypatch.setattr(sums, "_passed", none_left)
    again = applied(plan_of("svd"), folder)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert count_params(applied(plan_of("svd", 2.5), folder)) < count_params(first)
    table = read_layers(net(), IMAGES[:2], name="n", digest="")
    names = [layer.name for layer in table.layers]
    monkeypatch.undo()
    collect(net(), names, batches, len(IMAGES), folder=folder)
    monkeypatch.setattr(sums, "_passed", none_left)
    made = with_output_spectra(table, net(), batches, len(IMAGES), folder=folder)
    assert made.layer("3").spectrum_out != table.layer("3").spectrum_out


def test_spectra_are_computed_once_for_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_layers(net(), IMAGES[:2], name="n", digest="one")
    made = with_output_spectra(table, net(), batches, len(IMAGES), folder=tmp_path / "m")
    monkeypatch.setattr(spectra, "collect", None)
    assert with_output_spectra(table, net(), batches, len(IMAGES), folder=tmp_path / "m") == made
    monkeypatch.undo()
    other = read_layers(net(), IMAGES[:2], name="n", digest="two")
    assert with_output_spectra(other, net(), batches, len(IMAGES), folder=tmp_path / "m").digest == "two"


def test_only_missing_layers_are_collected_and_old_folders_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    real = sums._passed

    def noted(model: torch.nn.Module, names: list[str], *rest: object) -> dict[str, Sums]:
        asked.append(names)
        return real(model, names, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sums, "_passed", noted)
    collect(net(), ["3"], batches, 24, folder=tmp_path / "a")
    collect(net(), ["3", "5"], batches, 24, folder=tmp_path / "a")
    assert asked == [["3"], ["5"]]
    for name in "bcd":
        collect(net(), ["3"], batches, 24, folder=tmp_path / name)
        collect(net(), ["3"], batches, 24, folder=tmp_path / "a")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "d"]
    assert asked[2:] == [["3"]] * 3, "what was used last stays"
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_kept_comes_back() -> None:
    made = Sums()
    made.add(torch.randn(7, 4), torch.randn(7, 3))
    back = Sums.of(made.rounded())
    assert back.count == 7
    assert torch.allclose(back.inputs, made.inputs, rtol=1e-6) and torch.allclose(back.cross, made.cross, rtol=1e-6)


def test_symmetric_is_a_way_to_calibrate() -> None:
    rule = RankRule("ratio", 2.0)
    with pytest.raises(InputError, match="'symmetric' is a fit that is 'calibrated'"):
        RunSpec.of("m", "digits", method="svd", rule=rule, symmetric=True)
    spec = RunSpec.of("m", "digits", method="svd", rule=rule, calibrated=True, symmetric=True)
    other = RunSpec.from_dict(spec.to_dict() | {"symmetric": False})
    assert spec.dense().decomposition is None and spec.run_id({}) != other.run_id({})
