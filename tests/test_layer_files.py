"""A layer table is found again exactly as long as it is the one of that model and these weights."""

import os
from pathlib import Path

import pytest

from tdq_core.layers.table import LayerTable
from tdq_core.models.layer_files import find_layer_file, layer_file_name, table_path, write_layer_file
from tdq_core.specs import RankRule, RunSpec

SPEC = RunSpec.of("digits_resnet", "digits")
TABLE = LayerTable("digits_resnet", "d", 10, 20, ())


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("tdq_core.records.store.PROJECT", tmp_path)
    return tmp_path


def test_a_written_table_is_found_and_yours_comes_before_the_shipped_one(folders: Path) -> None:
    assert find_layer_file(SPEC) is None
    shipped = folders / "cached_runs" / table_path(SPEC)
    shipped.parent.mkdir(parents=True)
    shipped.write_text(TABLE.to_json())
    assert find_layer_file(SPEC) == shipped
    written = write_layer_file(TABLE, SPEC)
    assert find_layer_file(SPEC) == written != shipped
    assert LayerTable.read(written) == TABLE


def test_what_does_not_touch_the_layers_does_not_change_the_name() -> None:
    other = SPEC.changed(method="svd", rule=RankRule("ratio", 2.0), precision="int8", samples=5, seed=7)
    assert layer_file_name(other) == layer_file_name(SPEC)
    assert layer_file_name(SPEC).startswith("digits_resnet-")


def test_every_choice_of_model_weights_and_input_has_its_own_name(tmp_path: Path) -> None:
    weights = tmp_path / "w.th"
    weights.write_bytes(b"one")
    specs = [
        SPEC,
        SPEC.changed(model="resnet18"),
        SPEC.changed(weights="random"),
        SPEC.changed(weights="random", seed=1),
        SPEC.changed(weights=str(weights)),
        SPEC.changed(input_size=(16, 16)),
    ]
    names = [layer_file_name(s) for s in specs]
    os.utime(weights, ns=(1, 1))
    names.append(layer_file_name(specs[4]))
    assert len(set(names)) == len(names)


def test_a_model_of_your_own_makes_a_plain_file_name(tmp_path: Path) -> None:
    name = layer_file_name(RunSpec.of(f"{tmp_path}/net.py:make", "digits"))
    assert name.startswith("net.py-make-") and "/" not in name
