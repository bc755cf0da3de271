"""The workbench of Explore: groups of layers, undo and redo, targets; and that a moved slider draws the plan alone."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import layer_table
from streamlit.testing.v1 import AppTest
from test_views import metrics, opened, words

from dashboard.facts.draft import MANUAL, Draft, as_planned, with_ranks
from dashboard.facts.history import MOST, History, redone, seen, undone
from dashboard.facts.layer_groups import ALL, among, kernels, stages
from dashboard.facts.planning import planned_bytes, untouched
from dashboard.facts.targets import TARGETS, ratio_for, standing
from dashboard.panels.ranks import MOST_SLIDERS
from tdq_core.layers.methods import METHODS
from tdq_core.layers.table import LayerTable
from tdq_core.ranks.plan import make_plan
from tdq_core.records.store import shipped_folder
from tdq_core.specs import PRECISIONS, RankRule, RunSpec
from tdq_core.specs.choices import POLICIES

SUBJECT = RunSpec.of("digits_resnet", "digits")
TABLES = sorted((shipped_folder() / "layers").glob("*.json"))


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem.split("-")[0])
def test_groups_part_the_layers_of_every_shipped_network(path: Path) -> None:
    layers = LayerTable.read(path).layers
    names = [la.name for la in layers]
    for groups in (stages(layers), kernels(layers)):
        assert sorted(n for group in groups.values() for n in group) == sorted(names), "each layer is in one of them"
        assert all([n for n in names if n in group] == list(group) for group in groups.values()), "in their order"
        assert among(groups, ALL) is None and among(groups, "elsewhere") == set()
    assert 2 <= len(stages(layers)) <= 16, "a few"


def test_names_that_tell_nothing_apart_leave_the_stages_to_the_size_of_the_output() -> None:
    layers = [replace(la, name=f"net.{n}") for n, la in enumerate(layer_table().layers)]
    assert list(stages(layers)) == ["8 x 8", "4 x 4", "1 x 1"]
    odd = [replace(layers[0], out_positions=197), replace(layers[1], out_positions=128, calls=2)]
    assert list(stages(odd)) == ["197 places", "8 x 8"]


def test_a_walk_over_changes_undone_and_redone() -> None:
    """Undo is the inverse of a change, redo that of undo; a change after an undo forgets what was undone."""
    draw = random.Random(0)
    plain = Draft(subject=SUBJECT, options={"method": "tucker2"}, table="layers.json")
    draft, line, at, history = plain, [], -1, None
    for turn in range(400):
        kind = draw.choice(("change", "same", "undo", "redo"))
        if kind == "change" or not line:
            draft = with_ranks(as_planned(draft, {}), {"a": (turn + 1, 2)})
            line, at = [*line[: at + 1], draft], at + 1
            history = seen(history, draft, {"rule": MANUAL})
        elif kind == "same":
            history = seen(history, as_planned(line[at], {"b": (1, 1)}), {"rule": "other"})  # only planned anew
        else:
            assert history
            at = max(at - 1, 0) if kind == "undo" else min(at + 1, len(line) - 1)
            history = (undone if kind == "undo" else redone)(history)
            draft = line[at]
        assert history and history.past[-1].step.hands == line[at].hands
        assert history.past[-1].controls["rule"] == MANUAL
        assert (history.can_undo, history.can_redo) == (at > 0, at < len(line) - 1)
    other = seen(history, replace(plain, subject=SUBJECT.changed(samples=9)), {})
    assert not other.can_undo and not other.can_redo, "another subject begins anew"
    many = None
    for n in range(MOST + 9):
        many = seen(many, with_ranks(as_planned(plain, {}), {"a": (n + 1, 1)}), {})
    assert isinstance(many, History) and len(many.past) == MOST


@pytest.mark.parametrize("path", [p for p in TABLES if "alexnet" in p.name or "resnet20" in p.name],
                         ids=lambda p: p.stem.split("-")[0])  # fmt: skip
def test_ranks_set_for_a_target_keep_it(path: Path) -> None:
    table, draw = LayerTable.read(path), random.Random(0)
    dense = untouched(table)
    for _ in range(12):
        name, precision = draw.choice(("params", "macs", "bytes")), draw.choice(("fp32", "int8", "w4"))
        spent = {"params": dense.params, "macs": dense.macs, "bytes": planned_bytes(dense, precision)}[name]
        most = spent / draw.uniform(1.1, 3.0)
        asked = ratio_for(name, most, dense=dense, precision=precision, file=None)
        plan = make_plan(table, "auto", RankRule("ratio", asked.ratio, budget=asked.budget))
        costs = {"params": plan.params, "macs": plan.macs, "bytes": planned_bytes(plan, precision)}
        assert costs[name] <= most and "within" in standing(name, costs[name], most)
        assert "above" in standing(name, spent, most) and standing(name, spent, None) == ""
    assert ratio_for("bytes", 50.0, dense=dense, precision="w4", file=200) == ("bytes", 4.0)
    assert PRECISIONS["w4"].simulated and set(TARGETS) == {"drop", "params", "macs", "bytes"}


def slider(at: AppTest, words: str = "rank out"):  # type: ignore[no-untyped-def]
    return next(s for s in at.slider if s.label.startswith(words))


def press(at: AppTest, key: str) -> AppTest:
    return at.button(key=key).click().run()


def test_undo_and_redo_bring_ranks_and_controls_back(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", ratio="1.5")
    start = metrics(at)
    assert at.button(key="plan-undo").disabled and at.button(key="plan-redo").disabled
    slider(at).set_value(slider(at).value + 2).run()
    moved = metrics(at)
    at.selectbox(key="precision").set_value("int8").run()
    assert moved != start and at.session_state["rule"] == MANUAL
    press(at, "plan-undo")
    assert metrics(at) == moved and at.session_state["precision"] == "fp32"
    press(at, "plan-undo")
    assert metrics(at) == start and at.session_state["rule"] == "ratio" and at.button(key="plan-undo").disabled
    press(at, "plan-redo")
    assert metrics(at) == moved and not at.button(key="plan-redo").disabled
    at.selectbox(key="method").set_value("svd").run()
    assert at.button(key="plan-redo").disabled and not at.exception


def test_every_method_is_offered_and_mixed_brings_its_way_to_share_ranks(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", method="mixed")
    method, policy = (next(s for s in at.selectbox if s.label == label) for label in ("Method", "Shared out by"))
    assert set(method.options) == {"dense", *(row.label for row in METHODS.values())}
    assert method.value == "mixed"
    assert POLICIES[policy.value].finds_forms


def test_targets_stand_in_the_address_and_beside_the_numbers(app: str, filled: Path) -> None:
    free = opened(app, "views/explore.py", ratio="1.5")
    plan = make_plan(layer_table(), "tucker2", RankRule("ratio", 1.5))
    assert "within" not in words(free)
    most = 1e-6 * (plan.params - 1)
    at = opened(app, "views/explore.py", ratio="1.5", most_params=str(most), most_macs="9.0")
    assert (
        "9.0" in at.query_params["most_macs"]
        and "above" in words(at)
        and "within 9 M" in words(at).replace("\xa0", " ")
    )
    at.session_state["targets"] = True
    at.run()
    press(at, "set-params")
    assert "above" not in words(at) and at.session_state["ratio"] > 1.5 and at.session_state["budget"] == "params"
    assert at.button(key="set-drop").disabled, "nothing is predicted of it"


def test_layers_are_found_by_stage_kernel_and_name(app: str, filled: Path) -> None:
    def shown(**query: str) -> set[str]:
        at = opened(app, "views/explore.py", method="auto", ends="False", **query)
        assert len(at.checkbox) <= MOST_SLIDERS
        return {box.key.rpartition(":")[2] for box in at.checkbox if box.key.startswith("take:")}

    assert shown(stage="block1") == {"block1.conv1.0"}
    assert shown(kernel="linear") == {"head"}
    assert shown(stage="block1", kernel="linear") == set()
    assert len(shown()) == 4
    wrong = opened(app, "views/explore.py", stage="layer9")
    assert any("stage=layer9" in w.value for w in wrong.warning) and wrong.session_state["stage"] == ALL
