"""The shipped runs of the study's networks: recomputed as far as that is quick, without the images where they are not
here, all offenders at once."""

import copy
import functools
import itertools
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable

import pytest
import torch
from torch import nn

from cached_runs.costs import read_costs
from cached_runs.counting import count_costs
from cached_runs.study import (
    CP_RATIOS,
    DATA,
    MATRICES,
    NETWORKS,
    RATIOS,
    dense_spec,
    study_specs,
    tucker2_of,
)
from cached_runs.tables import additivity_table
from tdq_core.analysis.additivity import find_cells
from tdq_core.compression.decompose.cp import Cp
from tdq_core.compression.decompose.factors import Factors
from tdq_core.compression.decompose.modules import kernel_of
from tdq_core.compression.decompose.spatial import Spatial
from tdq_core.compression.decompose.svd import Svd
from tdq_core.compression.decompose.tucker2 import Tucker2
from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.data.sources import open_images
from tdq_core.errors import Refused
from tdq_core.graph.layer_table import count_macs, count_params
from tdq_core.layers.table import LayerTable
from tdq_core.models.layer_files import table_path
from tdq_core.models.loading import load_model
from tdq_core.models.registry import WEIGHTS_FOLDER, entry
from tdq_core.pipeline.run import run
from tdq_core.ranks.plan import make_plan
from tdq_core.records.record import LayerRecord, RunRecord
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.specs import BACKENDS, ModelSpec, RankRule, RunSpec
from tdq_core.system.files import file_sha256

BY_MODEL: dict[str, list[RunRecord]] = defaultdict(list)
for found in RunStore(shipped_folder()).all():
    if found.spec.model.name in NETWORKS:
        BY_MODEL[found.spec.model.name].append(found)
MEASURED = sorted(BY_MODEL)
DRAWN = (("fp32", "torch"), *(("int8", backend) for backend in BACKENDS))
"""Precisions and backends that the figures need."""
each = pytest.mark.parametrize("model", MEASURED)


def test_two_networks_at_least_are_measured_and_one_is_large():
    assert len(MEASURED) >= 2 and set(MEASURED) - {"resnet20_cifar10"}


@each
def test_runs_are_complete_many_and_of_the_grid(model):
    records, wanted = BY_MODEL[model], {json.dumps(spec.to_dict()) for spec in study_specs(model)}
    found = [json.dumps(r.spec.to_dict()) for r in records]
    assert {r.state for r in records} == {"complete"} and len(found) == len(set(found)) >= 20
    assert set(found) <= wanted
    assert {r.metrics.n for r in records} == {NETWORKS[model] or 5000}


WHOLE_GRID = ("googlenet_cifar10",)
"""Networks of which everything that the grid asks for is measured."""
INT8_OF_ONNXRUNTIME = ("resnet20_cifar10", "alexnet_cifar10", "resnet50_cifar10")
"""Networks whose decomposed models are measured in INT8 through one backend so far."""


@each
def test_every_curve_and_every_cell_of_the_views_is_there(model):
    """Tucker-2 over all layers and later ones at six ratios in fp32 and INT8; more or less of the grid, see above."""
    found = {json.dumps(r.spec.to_dict()) for r in BY_MODEL[model]}
    cells = {cell for cell in DRAWN if model not in INT8_OF_ONNXRUNTIME or cell != ("int8", "torch")}

    def is_needed(spec: RunSpec) -> bool:
        drawn = spec.method == tucker2_of(model) and not spec.calibrated
        return model in WHOLE_GRID or (drawn and (spec.precision.name, spec.precision.backend) in cells)

    needed = [spec for spec in study_specs(model) if is_needed(spec)]
    assert [spec for spec in needed if json.dumps(spec.to_dict()) not in found] == []
    joint = [r for r in BY_MODEL[model] if r.spec.method != "none" and r.spec.precision.name != "fp32"]
    assert {c.both.run_id for c in find_cells(BY_MODEL[model])} == {r.run_id for r in joint}


@each
def test_every_name_is_the_digest_of_its_contents(model):
    records = BY_MODEL[model]
    assert [r.run_id for r in records if r.run_id != r.spec.run_id(r.digests)] == []
    assert {r.digests["model"] for r in records} == {records[0].digests["model"]}
    assert len({r.digests["data"] for r in records}) == 1
    assert len({r.digests["calib"] for r in records if "calib" in r.digests}) == 1
    card = json.loads((WEIGHTS_FOLDER / f"{model}.json").read_text())
    assert {r.provenance["weights_sha256"] for r in records} == {card["sha256"]}, "the records' weights are the card's"
    if (weights := WEIGHTS_FOLDER / card["file"]).exists():
        assert file_sha256(weights) == card["sha256"]
        assert load_model(dense_spec(model).model).digest == records[0].digests["model"]


@each
def test_the_images_are_those_of_the_records(model, shared, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ref, classes = f"{DATA}:{shared / 'cifar10-jpeg'}", entry(model).num_classes
    images = open_images(ref, role="eval", samples=NETWORKS[model], seed=0, num_classes=classes)
    assert images.digest == BY_MODEL[model][0].digests["data"]


def shaped(weight: torch.Tensor, method: str, ranks: tuple[int, ...]) -> Factors:
    """Factors of the right shapes, for counting."""
    c_out, c_in, *kernel = weight.shape
    if method == "spatial":
        return Spatial(torch.ones(*ranks, c_in, kernel[0]), torch.ones(c_out, *ranks, kernel[1]))
    if method == "svd":
        return Svd(torch.ones(c_out, *ranks), torch.ones(*ranks, c_in, *kernel))
    if method == "tucker2":
        return Tucker2(torch.ones(*ranks, *kernel), torch.ones(c_out, ranks[0]), torch.ones(c_in, ranks[1]), (1.0, 1.0))
    (rank,) = ranks
    spatial = torch.ones(kernel[0] * kernel[1], rank)
    return Cp(torch.ones(c_out, rank), torch.ones(c_in, rank), spatial, (kernel[0], kernel[1]), (1.0,), True)


def counted(bare: nn.Module, example: torch.Tensor, layers: Iterable[LayerRecord]) -> tuple[int, int]:
    """Params and MACs of `bare` with the layers built that a record tells of; all on the meta device: shapes alone."""
    built = copy.deepcopy(bare)
    for told in layers:
        if told.method != "none":
            layer = built.get_submodule(told.name)
            factors = shaped(kernel_of(layer), told.method, told.ranks)
            built.set_submodule(told.name, IMPLEMENTATIONS[told.method].build(layer, factors))
    return count_params(built), count_macs(built.eval(), example)


@each
def test_params_macs_and_ranks_are_recomputed(model):
    """Ranks follow from the shipped layer table; params and MACs are counted on models that are built of them."""
    table = LayerTable.read(shipped_folder() / table_path(dense_spec(model)))
    bare = load_model(ModelSpec(model, "random")).module.to("meta")
    found: dict[str, tuple[int, int]] = {}
    planned = functools.cache(functools.partial(make_plan, table))  # the same ranks in every precision
    wrong = []
    for record in BY_MODEL[model]:
        layers = [(la.method, la.ranks, la.params, la.macs) for la in record.layers]
        if not record.spec.calibrated:
            plan = planned(record.spec.method, record.spec.rule)
            if layers != [(p.method, p.ranks, p.cost.params, p.cost.macs) for p in plan.layers]:
                wrong.append((record.run_id, "ranks"))
        if (key := json.dumps(layers)) not in found:
            with torch.device("meta"):
                example = torch.zeros(1, *entry(model).preprocessing.input_shape)
                found[key] = counted(bare, example, record.layers)
        if (record.metrics.params, record.metrics.macs) != found[key]:
            wrong.append((record.run_id, "costs"))
    assert wrong == []


@each
def test_records_say_where_they_come_from_and_name_no_place_of_the_machine(model):
    text = re.sub(r'"outcomes": "[^"]*"', "", "".join(r.to_json() for r in BY_MODEL[model]))
    assert not re.search(r"\"/|/home/|/root/|/tmp/|/work/", text)
    assert {r.spec.images.data for r in BY_MODEL[model]} == {DATA}
    assert {r.provenance["split"] for r in BY_MODEL[model]} == {f"{DATA}/test"}
    assert all(r.provenance["weights"].startswith(f"trained by `tdq train {model}") for r in BY_MODEL[model])
    exports = [
        r.provenance["artefact"]["export_check"] for r in BY_MODEL[model] if r.spec.precision.backend == "onnxruntime"
    ]
    assert exports and min(c["top1_agreement"] for c in exports) > 0.99


def test_the_weights_in_the_project_take_at_most_40_mb():
    """Those under version control; what somebody trains here may be larger."""
    found = subprocess.run(["git", "ls-files", "*.safetensors"], cwd=WEIGHTS_FOLDER, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("this is not a checkout")
    sizes = {name: (WEIGHTS_FOLDER / name).stat().st_size for name in found.stdout.split()}
    assert "resnet20_cifar10.safetensors" in sizes and sum(sizes.values()) <= 40e6, sizes


def test_the_costs_of_all_networks_are_counted():
    assert read_costs(shipped_folder()) == {model: count_costs(model) for model in NETWORKS}


def test_a_run_is_measured_again_with_the_same_result(shared, tmp_path, monkeypatch):
    """On other cores and kernels a few of 5,000 images may fall to the other side."""
    (tmp_path / "tdq").mkdir()
    (tmp_path / "tdq" / DATA).symlink_to(shared / "cifar10-jpeg")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = "resnet20_cifar10"
    for spec in (dense_spec(model), dense_spec(model).changed(method="tucker2", rule=RankRule("ratio", 1.5))):
        again = run(spec, store=RunStore(tmp_path / "runs")).record
        kept = RunStore(shipped_folder()).get(again.run_id)
        assert (again.metrics.correct() != kept.metrics.correct()).sum() <= 10
        assert (again.metrics.params, again.metrics.bytes) == (kept.metrics.params, kept.metrics.bytes)


def test_auto_is_left_out_where_it_is_tucker2():
    for model in MEASURED:
        plan = make_plan(
            LayerTable.read(shipped_folder() / table_path(dense_spec(model))), "auto", RankRule("ratio", 1.5)
        )
        methods = {p.method for p in plan.decomposed()}
        assert ("auto" in {spec.method for spec in study_specs(model)}) == (methods != {"tucker2"}), model


@each
def test_cp_is_asked_for_the_ratios_that_it_can_reach(model):
    table = LayerTable.read(shipped_folder() / table_path(dense_spec(model)))

    def in_reach(ratio: float) -> bool:
        try:
            make_plan(table, "cp", RankRule("ratio", ratio))
        except Refused:
            return False
        return True

    assert tuple(filter(in_reach, RATIOS)) == CP_RATIOS.get(model, RATIOS)


def test_the_table_of_interactions_says_what_a_plain_loop_counts():
    right = {
        (
            r.spec.method,
            r.spec.rule and r.spec.rule.value,
            r.spec.precision.name,
            r.spec.precision.backend,
        ): r.metrics.correct()
        for r in BY_MODEL["resnet20_cifar10"]
        if r.spec.method == "none" or (r.spec.method == "cp" and not (r.spec.decomposition.epc or r.spec.calibrated))
        if r.spec.precision.name == "fp32" or not (r.spec.method == "cp" and r.spec.treatment.condition)
    }
    dense, inside, largest = right["none", None, "fp32", "torch"].astype(float), 0, 0.0
    measured = [(r, b) for r, b in itertools.product(RATIOS, BACKENDS) if ("cp", r, "int8", b) in right]
    for ratio, backend in measured:
        quantized, both = right["none", None, "int8", backend], right["cp", ratio, "int8", backend]
        lost = right["cp", ratio, "fp32", "torch"].astype(float) + quantized - both - dense
        inside += abs(lost.mean()) <= 1.96 * lost.std(ddof=1) / len(lost) ** 0.5
        largest = max(largest, lost.mean(), key=abs)
    table = additivity_table(["resnet20_cifar10"], BY_MODEL["resnet20_cifar10"])
    assert measured and table.splitlines()[-1].endswith(f"| {inside} of {len(measured)}, {100 * largest:+.1f} |")


def test_the_page_tells_how_much_of_a_network_is_matrices_and_how_far_tucker2_goes():
    shares, reach, page = [], [], " ".join((shipped_folder().parent / "docs" / "zoo.md").read_text().split())
    for model in MATRICES:
        table = LayerTable.read(shipped_folder() / table_path(dense_spec(model)))
        shares.append(f"{100 * sum(la.params for la in table.layers if la.taps == 1) / table.params:.0f} %")
        with pytest.raises(Refused) as far:
            make_plan(table, "tucker2", RankRule("ratio", 1000.0))
        reach.append(re.search(r"rank 1 everywhere gives ([\d.]+)\.", str(far.value))[1] + "x")
    assert f"AlexNet, GoogLeNet and ResNet-50 hold {listed(shares)} of their params in linear layers" in page
    assert f"at rank 1 everywhere, reaches {listed(reach)} there" in page


def listed(words: list[str]) -> str:
    """'a, b and c'."""
    return f"{', '.join(words[:-1])} and {words[-1]}"
