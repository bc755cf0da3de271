"""A study of components says what an independent look into the same layers says, and is kept as it is."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import nn

from tdq_core.analysis.component_study import study
from tdq_core.analysis.components import (
    STAGES,
    STUDIES,
    VARIANTS,
    Components,
    Inner,
    max_over_median,
    study_id,
    study_spec,
)
from tdq_core.compression.condition.apply import condition
from tdq_core.compression.decompose.cp import decompose_cp
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.errors import InputError
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.queue import Request
from tdq_core.pipeline.run import read_table
from tdq_core.pipeline.session import open_run
from tdq_core.ranks.plan import make_plan
from tdq_core.records.store import Store
from tdq_core.specs import RankRule, RunSpec

NET = """
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )
"""
NAMES = ("3", "5")
ETA = 0.1
KEPT = 6e-4
"""How far a number of four digits may be from what it stands for, and a little for the order of sums."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    file = tmp_path_factory.mktemp("net") / "net.py"
    file.write_text(NET)
    plain = RunSpec.of(f"{file}:make", "digits", weights="random", calib_samples=20, mean=(0.5,), std=(0.5,),
                    input_size=(8, 8), samples=30)  # fmt: skip
    return study_spec(plain, rule=RankRule("manual", ranks={"3": 9, "5": 14}), eta=ETA)


@pytest.fixture(scope="module")
def made(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Components:
    return study(spec, store=Store(STUDIES, tmp_path_factory.mktemp("studies"))).components


@pytest.fixture(scope="module")
def models(spec: RunSpec) -> dict[str, nn.Module]:
    """The same three models, made without the study."""
    opened = open_run(spec)
    plan = make_plan(read_table(spec), "cp", spec.rule)
    als, epc = (apply_plan(opened.model.module, plan, options=Options(eta=eta))[0] for eta in (None, ETA))
    return {"als": als, "epc": epc, "equalised": condition(epc, NAMES, opened.calibration, Scheme(8, 8))[0]}


def weights(model: nn.Module, layer: str) -> dict[str, np.ndarray]:
    return {s: model.get_submodule(f"{layer}.{s}").weight.detach().numpy().astype(np.float64) for s in STAGES}


def test_norms_are_those_of_the_factors(spec: RunSpec, made: Components) -> None:
    module = open_run(spec).model.module
    for layer in made.layers:
        weight = module.get_parameter(f"{layer.name}.weight").detach()
        cp = decompose_cp(weight, layer.rank)
        norms = torch.stack([f.norm(dim=0) for f in (cp.out, cp.in_, cp.spatial)]).prod(dim=0) / weight.norm()
        np.testing.assert_allclose(layer.variants["als"].norms, norms, rtol=KEPT)
        assert layer.variants["als"].rel_error == pytest.approx(cp.errors[-1], rel=2 * KEPT)


def test_epc_shrinks_within_its_bound_and_equalising_leaves_components_alone(made: Components) -> None:
    for layer in made.layers:
        als, epc, equalised = (layer.variants[v] for v in VARIANTS)
        assert epc.degeneracy <= als.degeneracy
        assert epc.rel_error <= (1 + ETA) * als.rel_error * (1 + 2 * KEPT)
        np.testing.assert_allclose(sorted(equalised.norms), sorted(epc.norms), rtol=2 * KEPT)
        assert equalised.rel_error == pytest.approx(epc.rel_error, rel=2 * KEPT)


def test_every_entry_is_counted_and_zeros_are_what_rounding_makes_zero(
    made: Components, models: dict[str, nn.Module]
) -> None:
    for layer in made.layers:
        for variant, model in models.items():
            for name, weight in weights(model, layer.name).items():
                stage = layer.variants[variant].stages[name]
                assert sum(stage.counts) + stage.below == weight.size
                logs = np.log10(np.abs(weight[weight != 0]))
                counts = np.histogram(logs, np.array(layer.bins))[0]
                assert np.abs(np.array(stage.counts) - counts).sum() <= 2  # an entry on an edge may fall on either side
                assert stage.step == pytest.approx(np.abs(weight).max() / 127, rel=KEPT)
                by_channel = np.abs(weight).reshape(len(weight), -1).max(1)[:, None, None, None] / 127
                for share, step in ((stage.zeros, stage.step), (stage.channel_zeros, by_channel)):
                    assert share == pytest.approx(
                        float((np.rint(weight / step) == 0).mean()), rel=KEPT, abs=1.5 / weight.size
                    )
                axis = (0, 2, 3) if name == "output" else (1, 2, 3)
                np.testing.assert_allclose(stage.largest, np.abs(weight).max(axis), rtol=KEPT)


def test_ranges_are_those_of_a_forward_pass(spec: RunSpec, made: Components, models: dict[str, nn.Module]) -> None:
    images = torch.cat(list(open_run(spec).calibration()))
    for variant, model in models.items():
        for layer in made.layers:
            for name in STAGES[:2]:
                seen = activation(model, f"{layer.name}.{name}", images)
                inner = layer.variants[variant].inner[name]
                np.testing.assert_allclose(inner.low, seen.amin((0, 2, 3)).clamp(max=0), rtol=KEPT, atol=1e-5)
                np.testing.assert_allclose(inner.high, seen.amax((0, 2, 3)).clamp(min=0), rtol=KEPT, atol=1e-5)
                assert inner.step == pytest.approx(
                    float(seen.max().clamp(min=0) - seen.min().clamp(max=0)) / 255, rel=KEPT
                )


def activation(model: nn.Module, name: str, images: torch.Tensor) -> torch.Tensor:
    kept = []
    handle = model.get_submodule(name).register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad():
        model(images)
    handle.remove()
    return kept[0]


def test_costs_are_those_of_the_plan(spec: RunSpec, made: Components) -> None:
    table = read_table(spec)
    plan = make_plan(table, "cp", spec.rule)
    assert (made.params, made.macs) == (plan.params, plan.macs)
    assert (made.dense_params, made.dense_macs) == (table.params, table.macs)
    assert [(la.name, la.rank) for la in made.layers] == [("3", 9), ("5", 14)]


def test_levels_and_ratios_follow_from_the_ranges() -> None:
    inner = Inner((-1.0, 0.0, -0.5), (1.0, 6.0, 0.5), 0.25)
    assert inner.ranges == (2.0, 6.0, 1.0) and inner.levels == (8.0, 24.0, 4.0)
    assert (inner.ratio, inner.median_levels, inner.starved()) == (3.0, 8.0, 1)
    assert max_over_median((0.0, 0.0, 1.0)) == float("inf") and max_over_median((0.0, 0.0)) == 1.0
    assert Inner((0.0,), (0.0,), 0.0).levels == (0.0,)


def test_a_file_gives_back_what_was_computed(made: Components, tmp_path: Path) -> None:
    store = Store(STUDIES, tmp_path)
    path = store.put(made)
    assert path.stem == made.study_id and store.read(path) == made
    assert store.put(store.read(path)).read_text() == made.to_json()


def test_numbers_are_kept_to_four_digits(made: Components) -> None:
    """Whatever their size; ints stay whole."""
    layer = made.layers[0]
    fine = structs.replace(layer, params=1234567, bins=(1 / 3, 2 / 3e5, 123456.7))
    kept = json.loads(structs.replace(made, layers=(fine,)).to_json())["layers"][0]
    assert (kept["params"], kept["bins"]) == (1234567, [0.3333, 6.667e-06, 123500.0])


@pytest.mark.parametrize(
    "harm",
    [lambda p: p | {"schema": 99}, lambda p: p | {"stranger": 1}, lambda p: {k: p[k] for k in p if k != "layers"}],
)
def test_a_foreign_file_is_an_error_that_names_it(made: Components, tmp_path: Path, harm: Callable[..., dict]) -> None:
    store = Store(STUDIES, tmp_path)
    path = store.put(made)
    path.write_text(json.dumps(harm(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=path.name):
        store.read(path)
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        store.read(path)


def test_a_study_is_named_by_what_it_looked_at(spec: RunSpec) -> None:
    digests = {"model": "a", "data": "b", "calib": "c"}
    name = study_id(spec, digests)
    assert study_id(spec.changed(samples=7), {**digests, "data": "x"}) == name
    others = [
        study_id(spec, {**digests, "model": "x"}),
        study_id(spec, {**digests, "calib": "x"}),
        study_id(spec.changed(eta=0.0), digests),
        study_id(spec.changed(seed=1), digests),
        study_id(spec.changed(rule=RankRule("ratio", 2.0)), digests),
        spec.run_id(digests),
    ]
    assert len({name, *others}) == len(others) + 1


def test_what_is_there_is_not_computed_again(spec: RunSpec, made: Components, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    Store(STUDIES, second).put(made)
    both = Store(STUDIES, first, second)
    again = study(spec, store=both)
    assert again.reused and again.components == made and not first.exists()
    kept = Store(STUDIES, first).put(made)
    assert list(both.paths()) == [kept]


def test_another_method_is_refused_with_a_sentence(spec: RunSpec) -> None:
    for wrong in (spec.changed(epc=False, eta=0.0), spec.changed(precision="fp32")):
        with pytest.raises(InputError, match="needs CP with EPC"):
            study(wrong)


def test_a_job_makes_the_study_and_names_it(
    spec: RunSpec, made: Components, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    job = jobs.submit(Request("components", spec, (spec.model.name,)))
    while jobs.poll(job).active:
        time.sleep(0.1)
    state = jobs.poll(job)
    assert (state.state, state.made, state.reused) == ("done", jobs.Made("study", made.study_id), False), state.reason
    kept = Store(STUDIES, tmp_path).get(made.study_id)
    assert kept and [la.name for la in kept.layers] == [*NAMES]


def test_the_command_computes_keeps_and_refuses(spec: RunSpec, tdq: Callable[..., Any], tmp_path: Path) -> None:
    seen = ("--data", "digits", "--mean", "0.5", "--std", "0.5", "--input-size", "8", "--calib-samples", "20")
    asked = ("components", "--model", spec.model.name, "--weights-random", *seen)
    done = tdq(*asked, "--ratio", "1.5", "--json")
    assert done.returncode == 0, done.stderr
    (kept,) = Store(STUDIES, tmp_path / "runs").all()
    assert Components.from_dict(json.loads(done.stdout)) == kept
    table = tdq(*asked, "--ratio", "1.5")
    assert f"Computed before as study {kept.study_id}." in table.stdout
    assert table.stdout.count("equalised") == len(NAMES)
    refused = tdq(*asked, "--ratio", "900")
    assert refused.returncode == 2 and "out of reach" in refused.stderr and "Traceback" not in refused.stderr
