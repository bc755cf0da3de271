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


def bits_slider(at: AppTest, name: str):  # type: ignore[no-untyped-def]
    return next(s for s in at.slider if s.label == f"bits, {name}")


BY_HAND = {**PLAIN, "precision": "w4a8", "layers": "True", "stage": "block2"}


@pytest.mark.parametrize("method", ["tucker2", "none"])
def test_a_moved_slider_gives_bits_by_hand_in_the_address_and_in_the_plan(
    app: str, known: LayerTable, method: str
) -> None:
    """Layers that are decomposed and such as stay dense; another session opens the same."""
    at = opened(app, "views/explore.py", **BY_HAND, method=method, ratio="2.0")
    assert not any("bits" in row for row in layers(at)) and "layer_bits" not in at.query_params
    bits_slider(at, "block2.conv1.0").set_value(3).run()
    bits_slider(at, "block2.downsample.0").set_value(7).run()
    assert at.session_state["bits"] == "manual"
    said = {"block2.conv1.0": 3, "block2.downsample.0": 7}
    assert {r["layer"]: r["bits"] for r in layers(at)} == {"block2.conv1.0": 3, "block2.conv2.0": 4} | said
    rule = None if method == "none" else RankRule("ratio", 2.0)
    plan = make_plan(known, method, rule, PrecisionSpec("w4a8", bits=said))
    assert plan.bytes and f"{known.files.fp32 / plan.bytes:.2f}x smaller" in words(at)
    address = {key: v if isinstance(v, str) else v[0] for key, v in at.query_params.items()}
    assert set(address["layer_bits"]) == {"-", "3", "7"}
    again = opened(app, "views/explore.py", **address)
    assert layers(again) == layers(at) and bits_slider(again, "block2.conv1.0").value == 3
    at.button(key="plan-undo").click().run()
    assert {r["layer"]: r["bits"] for r in layers(at)}["block2.downsample.0"] == 4
    at.button(key="plan-undo").click().run()
    assert not any("bits" in row for row in layers(at)) and at.session_state["bits"] == "same"
    at.button(key="plan-redo").click().run()
    at.button(key="plan-redo").click().run()
    assert layers(again) == layers(at)


def test_one_slider_gives_all_shown_layers_but_the_ends_their_bits(app: str, known: LayerTable) -> None:
    at = opened(app, "views/explore.py", **PLAIN, precision="w4a8", method="none", layers="True")
    next(s for s in at.slider if s.label == "Bits of weights").set_value(3).run()
    at.button(key="give_bits").click().run()
    ends = {la.name for la in known.layers if la.end}
    assert {r["bits"] for r in layers(at) if r["layer"] not in ends} == {3}
    assert {r["bits"] for r in layers(at) if r["layer"] in ends} == {8}


def test_bits_that_were_chosen_go_on_by_hand(app: str, known: LayerTable) -> None:
    at = opened(
        app, "views/explore.py", **BYTES, **PLAIN, precision="w8a8", policy="global", bits="auto", layers="True"
    )
    chosen = {r["layer"]: r["bits"] for r in layers(at)}
    slider = next(s for s in at.slider if s.label.startswith("bits, "))
    name, bits = slider.label.removeprefix("bits, "), 2 if slider.value != 2 else 3
    slider.set_value(bits).run()
    assert {r["layer"]: r["bits"] for r in layers(at)} == chosen | {name: bits}


@pytest.mark.parametrize(
    ("query", "shown"), [({"precision": "int8"}, False), ({"precision": "w4", "finetune": "100"}, False),
                         ({"precision": "w4"}, True), ({"precision": "w2", "method": "none"}, True)],
)  # fmt: skip
def test_sliders_of_bits_are_there_where_bits_can_be_given(
    app: str, known: LayerTable, query: dict[str, str], shown: bool
) -> None:
    at = opened(app, "views/explore.py", **({**PLAIN, "method": "tucker2"} | query))
    assert any(s.label.startswith("bits, ") for s in at.slider) == shown


@pytest.mark.parametrize("text", ["3", "9---------", "no", "----------4"])
def test_bits_that_the_layers_cannot_have_are_told(app: str, known: LayerTable, text: str) -> None:
    at = opened(app, "views/explore.py", **PLAIN, precision="w4", method="tucker2", bits="manual", layer_bits=text)
    assert f"layer_bits={text}" in words(at) and "layer_bits" not in at.query_params


def test_only_precisions_whose_file_is_known_go_with_bytes(app: str, known: LayerTable) -> None:
    at = opened(app, "views/explore.py", **BYTES)
    offered = next(w for w in at.selectbox if w.key == "precision").options
    assert "FP32" not in offered and "4-bit weights (simulated)" in offered


def test_a_table_that_lacks_what_bytes_need_is_read_anew(app: str, filled: Path) -> None:
    write_layer_file(layer_table(), SPEC)
    at = opened(app, "views/explore.py", **BYTES, precision="w4")
    assert any(b.label == "Read the layers" for b in at.button)
    assert any(b.label == "Run" for b in opened(app, "views/explore.py", method="tucker2").button)
