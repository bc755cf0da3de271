"""Layer times: what is timed is what a plan builds, what is read off is what was timed, and plans keep their time."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor, nn

from tdq_core.compression.decompose.modules import factorize
from tdq_core.compression.decompose.spectra import with_weight_spectra
from tdq_core.errors import InputError, Refused
from tdq_core.graph.layer_table import read_layers
from tdq_core.layers.methods import METHODS, Method
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.layers.times import STEPS, FormTime, Grid, kinds, sound
from tdq_core.pipeline import layer_times
from tdq_core.pipeline.layer_times import _operations, _parts, measure
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.pipeline.speed.profile import Profiled, Spent, profile
from tdq_core.pipeline.speed.stages import calls_of
from tdq_core.prediction.layer_times import LAYER_TIMES, Conditions, LayerTimes, times_for, times_id
from tdq_core.ranks.costs import cost, ladder, max_ranks, refusal
from tdq_core.ranks.plan import make_plan
from tdq_core.records.store import Store
from tdq_core.specs import PrecisionSpec, RankRule, RunSpec

INT8 = PrecisionSpec("int8", "onnxruntime")
OWN = [name for name, row in METHODS.items() if isinstance(row, Method)]


class Odd(nn.Module):
    """Strides that differ, holes, groups, a kernel that is not square, a layer that runs twice, tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 5, stride=(2, 1), padding=2)
        self.holes = nn.Conv2d(12, 16, 3, padding=2, dilation=2, bias=False)
        self.groups = nn.Conv2d(16, 24, 3, stride=2, padding=1, groups=2)
        self.flat = nn.Conv2d(24, 24, (1, 3), padding="same")
        self.twice = nn.Conv2d(24, 24, 1)
        self.tokens = nn.Linear(24, 20)
        self.fc = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flat(self.groups(self.holes(self.stem(x))))
        x = self.twice(torch.relu(self.twice(x)))
        return self.fc(self.tokens(x.flatten(2).transpose(1, 2)).mean(1))


@pytest.fixture(scope="module")
def odd() -> tuple[nn.Module, LayerTable, Tensor]:
    images = torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    net = Odd().eval()
    return net, read_layers(net, images, name="odd", digest="0"), images


def weights_and_outputs(built: nn.Sequential, shape: torch.Size) -> list[tuple[tuple[int, ...], torch.Size]]:
    found, x = [], torch.zeros(shape)
    for stage in built:
        x = stage(x)
        assert isinstance(stage.weight, Tensor)
        found.append((tuple(stage.weight.shape), x.shape))
    return found


@pytest.mark.parametrize("method", OWN)
def test_what_is_timed_has_the_weights_and_sizes_of_what_is_built(
    odd: tuple[nn.Module, LayerTable, Tensor], method: str
) -> None:
    net, table, images = odd
    taken = [la for la in table.layers if refusal(la, method) is None and ladder(la, method)]
    assert taken
    for calls in calls_of(net, taken, images):
        ranks = ladder(calls.layer, method)[0][0]
        built = factorize(calls.module, method, ranks).module
        seen = [kept for site in calls.sites for kept in weights_and_outputs(built, site.input)]
        timed = calls.decomposed(method, ranks)
        assert [each.weight for each in timed] == [shape for shape, _ in seen]
        for each, (_, given) in zip(timed, seen, strict=True):
            if each.kernel:
                assert (each.images, each.c_out, *each.out_size) == tuple(given)
                top, left, bottom, right = each.pads
                grown = (each.size[0] + top + bottom, each.size[1] + left + right)
                for before, after, k, s, d in zip(grown, each.out_size, each.kernel, each.stride, each.dilation,
                                                  strict=True):  # fmt: skip
                    assert (before - d * (k - 1) - 1) // s + 1 == after
            else:
                assert (each.out_size[0], each.c_out) == (given[:-1].numel(), given[-1])


def test_times_are_those_that_were_measured_and_lie_between_them_elsewhere() -> None:
    rng = np.random.default_rng(2)
    grids = tuple(Grid(step, rows, tuple(int(n) for n in rng.integers(100, 9000, math.prod(map(len, rows)))))
                  for step, rows in kinds((70, 37)))  # fmt: skip
    form = FormTime("tucker2", grids=grids)
    assert sound(form)
    assert [grid.step for grid in grids] == list(STEPS)
    for grid in grids:
        for place, ranks in enumerate(itertools.product(*grid.ranks)):
            assert form.at(ranks) == grid.ns[place]
    whole = form.at(np.ix_(np.arange(1, 71), np.arange(1, 38)))
    assert whole.shape == (70, 37)
    assert all(whole[a - 1, b - 1] == form.at((a, b)) for a, b in rng.integers(1, 38, (50, 2)))
    first = grids[0]
    assert form.at((24 * 2, 16)) in range(min(first.ns), max(first.ns) + 1)
    assert form.least == min(ns for grid in grids for ns in grid.ns)
    for broken in (first.ns[:-1], (-1, *first.ns[1:])):
        assert not sound(replace(form, grids=(replace(first, ns=broken),)))
    assert not sound(replace(form, grids=grids[::-1]))
    assert not sound(FormTime("svd", dense=5))


@pytest.mark.parametrize("top", [1, 3, 4, 7, 16, 17, 64, 100, 513])
def test_every_rank_has_a_kind_and_the_ends_of_each_kind_are_timed(top: int) -> None:
    found = dict(kinds((top,)))
    for rank in range(1, top + 1):
        step = next(step for step in STEPS if rank % step == 0)
        assert found[step][0][0] <= rank <= found[step][0][-1]


def timed(table: LayerTable, of: Callable[[str, tuple[int, ...]], float], dense: int = 10_000) -> LayerTable:
    """Every layer takes `dense` nanoseconds dense, and by each method the share `of` (method, ranks)."""
    layers = []
    for la in table.layers:
        forms = [FormTime("none", dense=dense)]
        for method in OWN if la.refusal is None else ():
            if refusal(la, method) is None:
                rows = tuple(tuple(range(1, top + 1)) for top in max_ranks(la, method))
                ns = tuple(round(dense * of(method, ranks)) for ranks in itertools.product(*rows))
                forms.append(FormTime(method, grids=(Grid(1, rows, ns),)))
        layers.append(replace(la, times=tuple(forms)))
    return replace(table, layers=tuple(layers), dense_ns=20_000 + dense * len(layers))


@pytest.fixture(scope="module")
def spectra(odd: tuple[nn.Module, LayerTable, Tensor]) -> LayerTable:
    net, table, _ = odd
    return with_weight_spectra(table, net)


@pytest.mark.parametrize("policy", ["uniform", "later", "energy", "global"])
@pytest.mark.parametrize("ratio", [1.1, 1.3])
def test_a_plan_by_latency_keeps_its_time(spectra: LayerTable, policy: str, ratio: float) -> None:
    table = timed(spectra, lambda method, ranks: 0.1 + sum(ranks) / 40)
    plan = make_plan(table, "svd", RankRule("ratio", ratio, policy=policy, budget="latency"), INT8)
    assert plan.ns is not None and table.dense_ns is not None
    assert plan.ns <= table.dense_ns / ratio
    assert plan.ns == table.dense_ns + sum(int(_time(p.layer, p.method).at(p.ranks)) - 10_000 for p in plan.layers)


def _time(layer: Layer, method: str) -> FormTime:
    return next(form for form in layer.times if form.method == method)


def test_a_layer_whose_factors_are_no_faster_stays_dense(spectra: LayerTable) -> None:
    slow = timed(spectra, lambda method, ranks: 1.0)
    with pytest.raises(Refused, match="no rank"):
        make_plan(slow, "svd", RankRule("ratio", 1.2, budget="latency"), INT8)
    fast = timed(spectra, lambda method, ranks: 0.2)
    mixed = replace(slow, layers=tuple(f if n % 2 else s for n, (s, f) in
                                                   enumerate(zip(slow.layers, fast.layers, strict=True))))  # fmt: skip
    plan = make_plan(mixed, "svd", RankRule("ratio", 1.1, budget="latency", policy="global"), INT8)
    assert plan.decomposed()
    assert all(mixed.layers.index(p.layer) % 2 for p in plan.decomposed())


def test_ranks_end_where_more_would_take_longer(spectra: LayerTable) -> None:
    """Of ranks that take the same time the largest is best, so that plans end on the runtime's plateaus."""
    steps = timed(spectra, lambda method, ranks: 0.2 * -(-ranks[0] // 4))
    plan = make_plan(steps, "svd", RankRule("ratio", 1.2, budget="latency", policy="global"), INT8)
    for part in plan.decomposed():
        top = max_ranks(part.layer, "svd")[0]
        assert part.ranks[0] % 4 == 0 or part.ranks[0] == top or part.cost.params >= part.layer.params * 0.8


def test_without_times_there_is_one_sentence(spectra: LayerTable, tdq: Callable[..., Any]) -> None:
    rule = RankRule("ratio", 1.2, budget="latency")
    with pytest.raises(InputError, match="tdq layer-times"):
        make_plan(spectra, "svd", rule, INT8)
    with pytest.raises(InputError, match="ONNX Runtime"):
        make_plan(timed(spectra, lambda method, ranks: 0.2), "svd", rule, PrecisionSpec("w4"))
    common = ("run", "--model", "digits_resnet", "--data", "digits", "--method", "svd", "--ratio", 1.5)
    assert tdq(*common, "--budget", "latency").returncode == 2
    answer = tdq(*common, "--budget", "latency", "--precision", "int8", "--backend", "onnxruntime")
    assert answer.returncode == 2
    assert "`tdq layer-times`" in answer.stderr
    assert "budget 'latency'" in tdq(*common, "--batch", 4).stderr


def test_layers_are_timed_and_a_run_goes_by_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    monkeypatch.setattr(layer_times, "PASSES", 3)
    monkeypatch.setattr(layer_times, "DENSE_PASSES", 3)
    seen: list[Spent] = []

    def profiled(*args: Any, **kwargs: Any) -> list[Spent]:
        seen.extend(found := profile(*args, **kwargs))
        return found

    monkeypatch.setattr(layer_times, "profile", profiled)
    spec = RunSpec.of("digits_resnet", "digits", method="tucker2", precision="int8", backend="onnxruntime",
                      rule=RankRule("ratio", 1.02, budget="latency"))  # fmt: skip
    found = measure(spec).times
    assert found.dense_ns == round(1e6 * seen[-1].whole), "measured between the calls that tell its layers"
    assert measure(spec).reused
    assert LayerTimes.from_dict(json.loads(found.to_json())) == found
    forms = [form for own in found.layers.values() for form in own]
    assert {form.method for form in forms} == {"none", *OWN}
    assert all(form.least > 0 for form in forms)
    faster = at_a_fifth(found)
    Store(LAYER_TIMES).put(faster)
    record = run(spec).record
    assert record.state == "complete"
    assert record.digests["layer_times"] == faster.content


@pytest.mark.parametrize("inside", [0.5, 1.0, 3.0])
def test_what_layers_take_more_in_a_large_network_is_told_by_their_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inside: float
) -> None:
    """Every operation takes 10 microseconds by itself, and in the dense network `inside` times as long."""

    def profiled(files: list[Profiled], fed: Tensor, *, passes: int, threads: int) -> list[Spent]:
        names = list(files[0].layers)
        own = 0.01 if names[0].startswith("operation") else 0.01 * inside
        return [Spent(dict.fromkeys(names, np.full(passes, own)), {}, 1.0)]

    monkeypatch.setattr(layer_times, "profile", profiled)
    spec = RunSpec.of("digits_resnet", "digits", precision="int8", backend="onnxruntime")
    found = measure(spec, store=Store(LAYER_TIMES, tmp_path)).times
    layers = {la.name: la for la in Session().open(spec).table(spectra=False).layers}
    weights = {name: layers[name].params - own_bias(layers[name]) for name in found.layers}
    near, far = 1e4 * min(inside, 1.0), 1e4 * max(inside - 1.0, 0.0) * len(weights) / sum(weights.values())
    for name, forms in found.layers.items():
        for form in forms:
            if form.method == "none":
                assert form.dense == pytest.approx(near + far * weights[name], abs=1)
            if form.method == "svd":
                rank = form.grids[-1].ranks[0][0]
                numbers = cost(layers[name], "svd", (rank,)).params - own_bias(layers[name])
                assert form.at((rank,)) == pytest.approx(2 * near + far * numbers, abs=1)
    assert sum(form.dense for own in found.layers.values() for form in own) == pytest.approx(
        1e4 * inside * len(weights), abs=len(weights)
    )


def own_bias(layer: Layer) -> int:
    return layer.c_out if layer.bias else 0


def test_no_file_is_larger_than_a_decomposed_network_and_none_is_left_out(
    odd: tuple[nn.Module, LayerTable, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, table, images = odd
    wanted = [each for calls in calls_of(net, table.layers, images) for each in _operations(calls)]
    monkeypatch.setattr(layer_times, "NUMBERS", largest := max(each.numbers for each in wanted) * 3)
    parts = list(_parts(wanted))
    assert [each for part in parts for each in part] == wanted
    assert len(parts) > 3
    assert all(sum(each.numbers for each in part) <= largest for part in parts)


@pytest.mark.parametrize("since", [("by_weights",), ("numbers", "by_weights")])
def test_times_that_were_taken_otherwise_are_not_gone_by(since: tuple[str, ...]) -> None:
    now = Conditions.here("int8", batch=1, threads=1)
    plain = {name: value for name, value in msgspec.to_builtins(now).items() if name not in since}
    before = msgspec.convert(plain, Conditions)
    spec = RunSpec.of("digits_resnet", "digits", precision="int8", backend="onnxruntime")
    old, new = (
        LayerTimes(times_id=times_id("0", each), spec=spec, digests={"model": "0"}, conditions=each, dense_ns=1,
                   layers={}, provenance={}) for each in (before, now)
    )  # fmt: skip
    assert old.times_id != new.times_id
    assert times_for(spec, [old]) is None
    assert times_for(spec, [old, new]) == new


def at_a_fifth(found: LayerTimes) -> LayerTimes:
    """The same as if every factorised form took a fifth of the time: there is a plan, whatever machine this is."""
    layers = {
        name: tuple(replace(form, grids=tuple(replace(g, ns=tuple(n // 5 for n in g.ns)) for g in form.grids))
                    for form in forms)
        for name, forms in found.layers.items()
    }  # fmt: skip
    return structs.replace(found, layers=layers)
