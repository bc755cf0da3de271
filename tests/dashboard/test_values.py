"""Grouping, planning by hand, comparing, and numbers as people read them."""

import math
import re

import pytest
from made_up import four_cells, layer_table, record
from msgspec.structs import replace

from dashboard.facts import planning
from dashboard.facts.comparison import AGAINST, comparison, layers_side_by_side
from dashboard.facts.groups import best_run, group_runs, left_out_text
from dashboard.words import text
from dashboard.words.palette import Look
from tdq_core.errors import InputError
from tdq_core.layers.methods import METHODS
from tdq_core.ranks.costs import max_ranks
from tdq_core.ranks.plan import make_plan
from tdq_core.records.record import Latency, RunRecord
from tdq_core.specs import BACKENDS, PRECISIONS, RankRule
from tdq_core.specs.choices import BUDGETS, GRANULARITIES, POLICIES, RANGES, RULES, SOLVERS
from tdq_core.specs.precision import simulated
from tdq_core.specs.variant import variants


def test_runs_are_grouped_by_the_content_of_model_and_images() -> None:
    others = [record("e", state="failed"), record("0", data="2" * 64), record("f", state="refused", data="2" * 64)]
    first, second = group_runs([*others, *four_cells()])
    assert [r.run_id[0] for r in first.complete] == ["a", "c", "b", "d"] and first.n == 200
    assert [r.run_id[0] for r in first.unfinished] == ["e"]
    assert [r.run_id[0] for r in second.unfinished] == ["f"]
    assert first.label != second.label
    everything = [*others, *four_cells()]
    assert left_out_text(first, everything) == "3 runs not drawn: 1 failed, 2 on another model or other images."
    assert left_out_text(group_runs(four_cells())[0], four_cells()) == ""


def test_the_run_shown_first_is_the_smallest_that_loses_at_most_a_point() -> None:
    assert best_run(four_cells()) == "c" * 16
    assert best_run(four_cells()[1::2]) == "b" * 16


def test_by_hand_from_a_rule_is_the_same_plan() -> None:
    table = layer_table()
    for method in set(METHODS) - {"mixed"}:  # whose forms a plan chooses, so that by hand there is none
        plan = make_plan(table, method, RankRule("ratio", 1.8))
        by_hand = make_plan(table, method, planning.hand_rule(planning.hand_from(plan)))
        assert (by_hand.params, by_hand.macs) == (plan.params, plan.macs)


def test_no_layer_by_hand_is_a_sentence() -> None:
    with pytest.raises(InputError, match="at least one layer"):
        planning.hand_rule({})


@pytest.mark.parametrize("method", METHODS)
def test_a_share_of_full_rank_lies_within_the_ranks(method: str) -> None:
    for layer in filter(lambda la: planning.can_be_decomposed(la, method), layer_table().layers):
        own = planning.method_for(layer, method)
        assert planning.at_share(layer, method, 1.0) == max_ranks(layer, own)
        assert all(r >= 1 for r in planning.at_share(layer, method, 0.001))
        start = planning.starting_ranks(layer, method)
        assert all(1 <= r <= top for r, top in zip(start, max_ranks(layer, own), strict=True))


def test_layer_rows_are_filtered_and_shares_are_of_the_whole_model() -> None:
    table = layer_table()
    plan = make_plan(table, "tucker2", RankRule("ratio", 2.0))
    rows = planning.layer_rows(table, plan)
    assert sum(r["share"] for r in rows) == pytest.approx(1 - 200 / table.params)
    assert sum(r["planned"] for r in rows) + 200 == plan.params
    assert rows[0]["why"].startswith("the first convolution stays dense")
    assert [r["layer"] for r in planning.layer_rows(table, plan, containing="BLOCK2")] == ["block2.conv1.0"]


def test_planned_bytes_follow_the_precision() -> None:
    plan = planning.untouched(layer_table())
    for precision, bits in {"fp32": 32, "fp16": 16, "int8": 8, "w6a6": 6, "w4a8": 4}.items():
        assert planning.planned_bytes(plan, precision) == math.ceil(plan.params * bits / 8)
    assert plan == planning.untouched(layer_table()) and not planning.hand_from(plan)


def test_comparison_marks_differences_against_the_first() -> None:
    rows = {r[""]: list(r.values())[1:] for r in comparison([four_cells()[0], four_cells()[3]])}
    assert rows["precision"] == ["FP32", "INT8  \N{NOT EQUAL TO}"]
    assert rows["model"] == ["digits_resnet", "digits_resnet"]
    assert rows["params"][1].endswith("(x 0.12)") and rows[AGAINST][0] == "the first"
    lost, low, high = four_cells()[3].metrics.drop_from(four_cells()[0].metrics)  # type: ignore[union-attr,arg-type]
    assert rows[AGAINST][1] == f"{text.points(lost)} {text.interval(low, high)}: more is lost"
    same = {r[""]: list(r.values())[1:] for r in comparison([four_cells()[0], record("9")])}
    assert same[AGAINST][1].endswith("no difference is shown") or same[AGAINST][1].endswith("less is lost")


def test_times_are_compared_under_equal_conditions_only() -> None:
    def timed(name: str, ms: float, threads: int) -> RunRecord:
        one = record(name, precision="int8")
        quick = Latency(median_ms=ms, q1_ms=ms, q3_ms=ms, batch=16, threads=threads, repeats=9)
        return replace(one, metrics=replace(one.metrics, latency=quick))

    first, slower, other = timed("a", 1.0, 1), timed("b", 1.5, 1), timed("c", 0.5, 2)
    told = {r[""]: list(r.values())[1:] for r in comparison([first, slower, other, record("d")])}["time"]
    assert told[1].endswith("takes 1.50x as long (slower)") and told[2].endswith("cannot be compared")
    assert told[3] == "not measured" and "1 thread" in told[0] and "2 threads" in told[2]


def test_layers_are_joined_by_name() -> None:
    assert layers_side_by_side(four_cells()[:2]) == [
        {
            "layer": "block1.conv1.0",
            "1. ranks": "no such layer",
            "1. error": "",
            "2. ranks": "7 x 5",
            "2. error": "0.2500 of weights",
        }
    ]


def test_every_variant_has_a_colour_and_a_label_of_its_own() -> None:
    every = variants()
    assert {v.method for v in every} == {"none", *METHODS}
    for told in ([v.colour for v in every], [v.label for v in every], [v.text for v in every]):
        assert len(set(told)) == len(every) and all(told)
    assert all(re.fullmatch("#[0-9a-f]{6}", v.colour) for v in every)


def test_every_precision_has_a_symbol_and_names_of_its_own() -> None:
    from plotly.validator_cache import ValidatorCache

    known = ValidatorCache.get_validator("scatter.marker", "symbol").values
    for told in ([p.symbol for p in PRECISIONS.values()], [p.label for p in PRECISIONS.values()],
                 [p.text for p in PRECISIONS.values()]):  # fmt: skip
        assert len(set(told)) == len(PRECISIONS) and all(told)
    looks = [Look(variants()[-1] if fitted else variants()[0], p, bool(bare), coarse)
             for p in PRECISIONS for bare in (0, 1) for coarse in ("", "x") for fitted in (0, 1)]  # fmt: skip
    assert len({(look.symbol, look.edge) for look in looks}) == len(looks), "told apart without colour"
    assert {look.symbol for look in looks} <= set(known)


def test_every_row_of_choices_is_named_for_people() -> None:
    for rows in (BACKENDS, POLICIES, RULES, BUDGETS, GRANULARITIES, RANGES, SOLVERS):
        assert len({row.label for row in rows.values()}) == len(rows)
        assert all(name == row.name and row.label for name, row in rows.items())


def test_every_axis_can_be_chosen() -> None:
    from dashboard.figures.tradeoff import X_AXES, Y_AXES
    from dashboard.panels import results

    assert set(results._X_LABELS) == set(X_AXES) and set(results._Y_LABELS) == set(Y_AXES)


@pytest.mark.parametrize(
    "number,shown", [(0, "0"), (999, "999"), (1000, "1 k"), (1234567, "1.23 M"), (999600, "1000 k"), (2.5e9, "2.5 G")]
)
def test_counts(number: float, shown: str) -> None:
    assert text.count(number).replace("\N{NO-BREAK SPACE}", " ") == shown


def test_texts() -> None:
    assert (
        text.points(-0.00001) == "0.00"
        and text.points(-0.0125) == "\N{MINUS SIGN}1.25"
        and text.points(0.02) == "+2.00"
    )
    assert text.both_ways(2.0).replace("\N{NO-BREAK SPACE}", " ") == "2.00x smaller, 50.0 % kept"
    assert text.both_ways(0.5).startswith("2.00x larger") and text.both_ways(1.0) == "same size"
    assert text.file_size(999).endswith("B") and text.file_size(1500).replace("\N{NO-BREAK SPACE}", " ") == "1.5 kB"
    assert text.seconds(75) == "1 min 15 s" and text.seconds(3) == "3 s"


def test_a_table_tells_corrected_cp_from_plain_cp() -> None:
    from dashboard.panels.blocks import runs_frame

    plain = record("a", method="cp")
    corrected = replace(plain, spec=plain.spec.changed(epc=True))
    assert list(runs_frame([plain, corrected], ("method", "top1"))["method"]) == ["CP", "CP + EPC"]


def test_a_table_tells_what_was_conditioned_and_leaves_out_what_cannot_be() -> None:
    from dashboard.panels.blocks import runs_frame

    runs = [record("a", method="cp"), record("b", precision="int8"), record("c", method="cp", precision="int8")]
    runs.append(replace(runs[2], spec=runs[2].spec.changed(condition=False, granularity="tensor")))
    frame = runs_frame(runs, ("conditioned", "granularity", "ranges"))
    assert list(frame["conditioned"]) == ["", "", "yes", "no"]
    assert list(frame["granularity"]) == ["", "channel", "channel", "tensor"]


def test_the_name_of_a_treatment_tells_every_choice_of_the_quantizer() -> None:
    base = record("a", method="cp").spec.changed(backend="torch")
    changes = (
        {"precision": "int8"},
        {"precision": "int8", "condition": False},
        {"precision": "int8", "granularity": "tensor"},
        {"precision": "int8", "reestimate_bn": True},
        {"precision": "int8", "epc": True},
        *({"precision": p} for p in simulated()),
        {"precision": "w4", "ranges": "mse"},
    )
    specs = [base, *(base.changed(**change) for change in changes)]  # type: ignore[arg-type]
    assert len({text.treatment(s) for s in specs}) == len(specs)
    dense = base.changed(method="none", rule=None, precision="int8")
    assert text.conditioning(dense) == text.conditioning(base) == ""


def test_comparison_shows_the_quantizer() -> None:
    one = record("a", method="cp", precision="int8")
    other = replace(one, run_id="b" * 16, spec=one.spec.changed(condition=False, granularity="tensor"))
    rows = {r[""]: list(r.values())[1:] for r in comparison([one, other])}
    assert rows["conditioning"] == ["conditioned", "not conditioned  \N{NOT EQUAL TO}"]
    assert rows["scales of weights"][1].startswith("one scale per weight tensor")
