"""Bytes and bits on the Explore page: planned as they will be written, layer by layer."""

from pathlib import Path

import pytest
from made_up import layer_table
from streamlit.testing.v1 import AppTest
from test_views import metrics, opened, words

from tdq_core.layers.table import LayerTable
from tdq_core.models.layer_files import table_path, write_layer_file
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import PrecisionSpec, RankRule, RunSpec

SPEC = RunSpec.of("digits_resnet", "digits")
SHIPPED = Path(__file__).resolve().parents[2] / "cached_runs" / table_path(SPEC)
PLAIN = {"calibrated": "False"}
BYTES = {"method": "tucker2", "budget": "bytes", "ratio": "9.0"}


@pytest.fixture
def known(filled: Path) -> LayerTable:
    """The embedded network's own layers, with what its files hold."""
    table = LayerTable.read(SHIPPED)
    write_layer_file(table, SPEC)
    return table


def layers(at: AppTest) -> list[dict[str, object]]:
    frames = [d.value for d in at.dataframe if "planned" in d.value]
    return frames[0].to_dict("records")


def test_planned_bytes_are_those_of_the_plan(app: str, known: LayerTable) -> None:
    at = opened(app, "views/explore.py", **BYTES, precision="w4a8", layers="True")
    plan = make_plan(known, "tucker2", RankRule("ratio", 9.0, budget="bytes"), PrecisionSpec("w4a8"))
    assert [r["ranks"] for r in layers(at)] == [p.layer.ranks_text(p.ranks) for p in plan.layers]
    assert "Planned bytes" in metrics(at) and "Weight bytes" not in metrics(at)
    assert plan.bytes and f"{known.files.fp32 / plan.bytes:.2f}x smaller" in words(at)


def test_bits_are_shown_layer_by_layer_where_they_are_chosen(app: str, known: LayerTable) -> None:
    at = opened(
        app, "views/explore.py", **BYTES, **PLAIN, precision="w8a8", policy="global", bits="auto", layers="True"
    )
    rule = RankRule("ratio", 9.0, budget="bytes", policy="global")
    plan = make_plan(known, "tucker2", rule, PrecisionSpec("w8a8", bits="auto"))
    assert [r["bits"] for r in layers(at)] == [p.bits for p in plan.layers]
    same = opened(app, "views/explore.py", **BYTES, **PLAIN, precision="w8a8", policy="global", layers="True")
    assert not any("bits" in row for row in layers(same))


def test_only_precisions_whose_file_is_known_go_with_bytes(app: str, known: LayerTable) -> None:
    at = opened(app, "views/explore.py", **BYTES)
    offered = next(w for w in at.selectbox if w.key == "precision").options
    assert "FP32" not in offered and "4-bit weights (simulated)" in offered


def test_a_table_that_lacks_what_bytes_need_is_read_anew(app: str, filled: Path) -> None:
    write_layer_file(layer_table(), SPEC)
    at = opened(app, "views/explore.py", **BYTES, precision="w4")
    assert any(b.label == "Read the layers" for b in at.button)
    assert any(b.label == "Run" for b in opened(app, "views/explore.py", method="tucker2").button)
