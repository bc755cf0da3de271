"""Laws of calibrated decomposition: exact where an exact solution exists, never worse along the way, against plain
references (torch's own convolution, a dense normal equation, a loop)."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tdq_core.calibrate import cp, patches, walk
from tdq_core.calibrate.conjugate import by_both_sides, descend
from tdq_core.calibrate.cp import fit_cp
from tdq_core.calibrate.fit import fit
from tdq_core.calibrate.moments import Moments, moments
from tdq_core.calibrate.spectra import with_output_spectra
from tdq_core.calibrate.svd import fit_svd
from tdq_core.calibrate.tucker2 import fit_tucker2
from tdq_core.calibrate.walk import apply_calibrated
from tdq_core.decompose.cp import Cp, decompose_cp
from tdq_core.decompose.epc import sensitivity
from tdq_core.decompose.memo import factors_of
from tdq_core.decompose.methods import Options
from tdq_core.decompose.svd import decompose_svd
from tdq_core.decompose.tucker2 import decompose_tucker2
from tdq_core.errors import Refused
from tdq_core.factorized import apply_plan
from tdq_core.layer_table import count_params, read_layers
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def skewed(n: int, columns: int, seed: int = 0) -> Tensor:
    """Correlated rows whose directions differ a thousandfold in variance, off the origin."""
    scales = torch.logspace(0, -1.5, columns)
    return normal(n, columns, seed=seed) * scales @ normal(columns, columns, seed=seed + 1) + 0.5


def seen(
    o: int = 6, i: int = 5, k: int = 3, seed: int = 0, noise: float = 0.1
) -> tuple[Moments, Tensor, Tensor, Tensor]:
    """Moments of a random layer, and what they were made from: weight, rows, wanted outputs."""
    weight = normal(o, i, k, k, seed=seed + 2)
    rows = skewed(400, i * k * k, seed)
    wanted = rows @ weight.flatten(1).T + noise * normal(400, o, seed=seed + 3) + 1.0
    return moments(rows, wanted, weight), weight, rows, wanted


def mean_square(rows: Tensor, wanted: Tensor, weight: Tensor) -> float:
    x, y = rows.double() - rows.double().mean(0), wanted.double() - wanted.double().mean(0)
    return float((y - x @ weight.double().flatten(1).T).square().sum() / len(rows))


LAYERS = [
    nn.Conv2d(5, 7, 3, padding=1),
    nn.Conv2d(5, 7, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    nn.Conv2d(5, 7, 3, padding="same", dilation=2),
    nn.Conv2d(5, 7, 3, padding=1, padding_mode="reflect"),
    nn.Conv2d(5, 7, 1, stride=2),
    nn.Conv2d(5, 7, 1, padding=1),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda la: str(la)[:60])
def test_rows_times_the_weight_are_the_layers_outputs(layer: nn.Conv2d) -> None:
    images = normal(3, 5, 9, 8)
    output = layer(images)
    chosen = torch.tensor([0, 3, patches.output_places(layer, output) - 1])
    made = patches.input_rows(layer, images, chosen) @ layer.weight.flatten(1).T + layer.bias
    assert torch.allclose(made, patches.output_rows(output, chosen, convolution=True), atol=1e-5)


def test_rows_of_a_linear_layer_on_tokens() -> None:
    layer, tokens = nn.Linear(6, 4), normal(2, 5, 6)
    chosen = torch.tensor([1, 4])
    made = patches.input_rows(layer, tokens, chosen) @ layer.weight.T + layer.bias
    assert torch.allclose(made, patches.output_rows(layer(tokens), chosen, convolution=False), atol=1e-6)


def test_the_places_are_bounded_and_all_where_they_fit() -> None:
    assert patches.places(49, 10, 0).tolist() == list(range(49))
    few = patches.places(112 * 112, 1000, 0)
    assert len(few) * 1000 <= patches.PATCHES and len(set(few.tolist())) == len(few)
    assert torch.equal(few, patches.places(112 * 112, 1000, 0))
    assert len(patches.places(10, 10**9, 0)) == 1


def test_unfolding_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, images, chosen = nn.Conv2d(3, 4, 3, padding=1), normal(5, 3, 6, 6), torch.arange(36)
    whole = patches.input_rows(layer, images, chosen)
    monkeypatch.setattr(patches, "CHUNK", 1)
    assert torch.equal(whole, patches.input_rows(layer, images, chosen))


def test_moments_give_the_error_a_loop_gives() -> None:
    made, weight, rows, wanted = seen(noise=0.3)
    plain = moments(rows, wanted, weight, ridge=0.0)
    other = weight + 0.1 * normal(*weight.shape, seed=9)
    assert plain.missed(other.double().flatten(1)) == pytest.approx(mean_square(rows, wanted, other), rel=1e-4)
    extra = made.inputs.diagonal().mean() - plain.inputs.diagonal().mean()
    more = float(extra) * float((other - weight).double().square().sum())
    assert made.missed(other.double().flatten(1)) == pytest.approx(mean_square(rows, wanted, other) + more, rel=1e-4)
    after = rows.double() @ other.double().flatten(1).T + plain.shift(other)
    assert torch.allclose(after.mean(0), wanted.double().mean(0), atol=1e-5)
    assert torch.allclose(plain.variance(other), (rows.double() @ other.double().flatten(1).T).var(0, correction=0),
                          rtol=1e-3)  # fmt: skip


def test_weighting_outputs_counts_their_errors_so_often() -> None:
    made, weight, *_ = seen()
    gain = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0]).double()
    other = (weight + 0.1 * normal(*weight.shape, seed=9)).double()
    weighted = made.weighted(gain).missed((other * gain[:, None, None, None]).flatten(1))
    each = []
    for o in range(6):
        one = torch.zeros(6).double()
        one[o] = 1.0
        each.append(made.weighted(one).missed((other * one[:, None, None, None]).flatten(1)))
    assert sum(each) == pytest.approx(made.missed(other.flatten(1))) and sum(
        e * float(g) ** 2 for e, g in zip(each, gain)
    ) == pytest.approx(weighted)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 50))
def test_the_svd_is_the_best_of_its_rank(rank: int, seed: int) -> None:
    """Against the textbook: the truncated SVD of the best weight times a square root of the covariance."""
    made, *_ = seen(seed=seed)
    fitted = fit_svd(made, rank).to_weight().flatten(1)
    values, vectors = torch.linalg.eigh(made.inputs)
    root = vectors * values.sqrt() @ vectors.T
    u, s, v = torch.linalg.svd(made.best @ root)
    reference = u[:, :rank] * s[:rank] @ v[:rank] @ torch.linalg.inv(root)
    assert made.missed(fitted) == pytest.approx(made.missed(reference), rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 50))
def test_a_tucker2_sweep_never_raises_the_error(rank_out: int, rank_in: int, seed: int) -> None:
    made, *_ = seen(seed=seed)
    fitted = fit_tucker2(made, rank_out, rank_in, tol=-1.0, sweeps=5)
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(fitted.errors))
    assert made.error(fitted.to_weight()) == pytest.approx(fitted.errors[-1], abs=1e-6)
    assert torch.allclose(fitted.in_.T @ fitted.in_, torch.eye(rank_in).double(), atol=1e-9)
    assert torch.allclose(fitted.out.T @ fitted.out, torch.eye(rank_out).double(), atol=1e-9)


def test_full_ranks_are_the_best_weight() -> None:
    made, *_ = seen()
    least = made.error(made.best.view(6, 5, 3, 3))
    assert made.error(fit_tucker2(made, 6, 5).to_weight()) == pytest.approx(least, rel=1e-6)
    assert made.error(fit_svd(made, 6).to_weight()) == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("penalty", [0.0, 0.05])
@pytest.mark.parametrize("rank", [2, 7, 20])
def test_a_cp_sweep_never_raises_what_it_minimises(rank: int, penalty: float) -> None:
    made, weight, *_ = seen()
    start = decompose_cp(weight, rank, sweeps=20)
    reach = sensitivity([start.out, start.in_, start.spatial])
    last = math.inf
    for sweeps in range(1, 6):
        fitted = fit_cp(made, start, penalty=penalty, sweeps=sweeps, tol=-1.0)
        assert made.error(fitted.to_weight()) == pytest.approx(fitted.errors[-1], abs=1e-7)
        mu = penalty * made.square / reach * _spread_gain(start)
        total = made.missed(fitted.to_weight().flatten(1)) + mu * sensitivity(_spreaded(fitted))
        assert total <= last * (1 + 1e-9)
        last = total
    assert fitted.errors[-1] < 0.9 * fitted.errors[0] or rank == 20


def _spreaded(made: object) -> list[Tensor]:
    from tdq_core.decompose.epc import spread

    return spread([made.out, made.in_, made.spatial])  # type: ignore[attr-defined]


def _spread_gain(start: object) -> float:
    """The penalty counts from the sensitivity of the start with its components spread evenly."""
    return sensitivity([start.out, start.in_, start.spatial]) / sensitivity(_spreaded(start))  # type: ignore[attr-defined]


def test_the_penalty_keeps_components_small() -> None:
    made, weight, *_ = seen(8, 8, 3)
    start = decompose_cp(weight, 20, sweeps=50)
    free, kept = (fit_cp(made, start, penalty=p, sweeps=40, tol=0.0) for p in (0.0, 0.3))
    assert sensitivity(_spreaded(kept)) < 0.8 * sensitivity(_spreaded(free))
    assert kept.errors[-1] >= free.errors[-1] * 0.999


def test_conjugate_gradients_reach_the_solution_and_never_climb() -> None:
    a, b = normal(6, 9).double(), normal(5, 8, seed=1).double()
    left, right = a @ a.T + 0.1 * torch.eye(6), b @ b.T + 0.1 * torch.eye(5)
    wanted = normal(6, 5, seed=2).double()

    def apply(x: Tensor) -> Tensor:
        return left @ x @ right + 0.3 * x

    def value(x: Tensor) -> float:
        return float((x * apply(x)).sum() / 2 - (x * wanted).sum())

    alone = descend(apply, wanted, torch.ones(6, 5).double(), lambda x: x, steps=60, tol=0.0)
    exact = torch.linalg.solve(torch.kron(left, right) + 0.3 * torch.eye(30), wanted.flatten()).view(6, 5)
    found = [descend(apply, wanted, torch.ones(6, 5).double(), by_both_sides(left, right), steps=n) for n in range(20)]
    assert torch.allclose(found[-1], exact, atol=1e-6) and torch.allclose(alone, exact, atol=1e-5)
    assert all(value(y) <= value(x) + 1e-12 for x, y in itertools.pairwise(found))


@pytest.mark.parametrize(("method", "ranks"), [("tucker2", (3, 2)), ("svd", (2,)), ("cp", (5,))])
def test_fitted_to_outputs_beats_fitted_to_weights_in_outputs(method: str, ranks: tuple[int, ...]) -> None:
    made, weight, *_ = seen()
    gain = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0]).double()
    factors, told = fit(made, weight, method, ranks, gain=gain, options=Options())
    by_weights = {"tucker2": lambda: decompose_tucker2(weight, *ranks), "svd": lambda: decompose_svd(weight, *ranks),
                  "cp": lambda: decompose_cp(weight, *ranks)}[method]().to_weight()  # fmt: skip
    weighted = made.weighted(gain)

    def error(w: Tensor) -> float:
        return weighted.error(w * gain[:, None, None, None])

    assert error(factors.to_weight()) < 0.9 * error(by_weights)
    assert told["output_error"] == pytest.approx(error(factors.to_weight()), abs=1e-6)
    if method == "cp":
        assert told["output_error_start"] == pytest.approx(error(by_weights), abs=1e-6)


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
              nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)]  # fmt: skip
    model = nn.Sequential(*layers)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.3 * torch.randn(module.num_features)
            module.running_var *= 0.5 + torch.rand(module.num_features)
    return model.eval().requires_grad_(False)


IMAGES = normal(24, 3, 10, 10, seed=5)


def batches() -> list[Tensor]:
    return list(IMAGES.split(7))


@pytest.mark.parametrize("method", ["tucker2", "svd", "cp"])
def test_a_whole_network_comes_closer_than_by_its_weights(method: str) -> None:
    model = net()
    before = [p.clone() for p in model.state_dict().values()]
    plan = make_plan(
        read_layers(model, IMAGES[:2], name="n", digest=""), method, RankRule("ratio", 1.5, keep_ends=False)
    )
    made, layers = apply_calibrated(model, plan, batches, options=Options())
    plain, records = apply_plan(model, plan)
    assert (made(IMAGES) - model(IMAGES)).square().sum() < 0.5 * (plain(IMAGES) - model(IMAGES)).square().sum()
    assert count_params(made) == plan.params
    assert [(r.name, r.method, r.ranks, r.params) for r in layers] == [
        (r.name, r.method, r.ranks, r.params) for r in records
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values()))
    taken = {la.name: la.detail["mean_taken_by"] for la in layers if la.method != "none"}
    assert taken["3"] == "bias" and taken["5"] == "batch norm"


def test_each_layer_sees_the_compressed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second layer's patches are those that the first one's factors send, its outputs wanted the original's."""
    model = net()
    plan = make_plan(read_layers(model, IMAGES[:2], name="n", digest=""), "svd", RankRule("ratio", 1.5))
    got: list[tuple[Tensor, Tensor]] = []
    real = walk.moments

    def remember(rows: Tensor, wanted: Tensor, weight: Tensor, *, centred: bool) -> Moments:
        got.append((rows, wanted))
        return real(rows, wanted, weight, centred=centred)

    monkeypatch.setattr(walk, "moments", remember)
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
    with pytest.raises(Refused, match=r"24 images at once needs about 0\.0 GB .*--calib-samples"):
        apply_calibrated(model, plan, batches, options=Options())
    monkeypatch.setattr(walk, "free_memory", lambda: 4 * 4 * 24 * 800)
    apply_calibrated(model, plan, batches, options=Options())


def test_epc_bounds_a_calibrated_cp() -> None:
    made, weight, *_ = seen(8, 8, 3)
    gain = torch.ones(8).double()
    free, kept = (fit(made, weight, "cp", (16,), gain=gain, options=Options(eta=eta)) for eta in (None, 0.0))
    assert kept[1]["sensitivity"] < free[1]["sensitivity"]
    start = factors_of(weight, "cp", (16,), Options(eta=0.0))
    assert isinstance(start, Cp) and start.epc_rounds > 0
    unbounded = fit_cp(made, start)
    assert sensitivity(_spreaded(kept[0])) < 0.99 * sensitivity(_spreaded(unbounded))


def test_the_output_factor_is_the_best_there_is() -> None:
    """No direction lowers error plus penalty: so the ridge is the penalty's own gradient."""
    made, weight, *_ = seen()
    start = decompose_cp(weight, 7, sweeps=5)
    steps = cp._Steps(made, 0.02)
    in_, spatial = start.in_, start.spatial
    out = steps._out(in_, spatial)
    for seed in range(5):
        turn = normal(*out.shape, seed=seed).double()
        up, down = (steps.objective([out + h * turn, in_, spatial]) for h in (1e-3, -1e-3))
        assert abs(up - down) < 1e-4 * (up + down - 2 * steps.objective([out, in_, spatial])) + 1e-9


def test_sweeps_of_tucker2_lower_the_error_and_come_to_rest() -> None:
    made, *_ = seen(8, 8, 3)
    fitted = fit_tucker2(made, 4, 3, sweeps=60, tol=1e-9)
    assert fitted.errors[-1] < 0.99 * fitted.errors[0]
    core, in_ = fitted.core.flatten(2), fitted.in_
    for seed in range(5):
        turn = normal(*in_.shape, seed=seed).double()
        errors = [made.missed(torch.einsum("op,pqk,iq->oik", fitted.out, core, in_ + h * turn).flatten(1))
                  for h in (1e-2, 0.0, -1e-2)]  # fmt: skip
        assert errors[1] <= min(errors) and abs(errors[0] - errors[2]) < 0.2 * (errors[0] + errors[2] - 2 * errors[1])


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
