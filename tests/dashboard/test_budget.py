"""Measured runs answer a budget: chosen on one half of the images, judged on the other; times only under one load."""

from collections import Counter

import numpy as np
import pytest
from made_up import N, four_cells, record
from msgspec.structs import replace
from test_views import metrics, opened, words

from benchmarks.verdicts import RATE, TRUTHS, verdicts
from dashboard.facts.budget import (
    Budget,
    answer,
    conditions_text,
    rows,
    smallest,
    speed_words,
    timed_under,
    verdict_words,
)
from dashboard.facts.failing import cause_text, failures, taken_text
from dashboard.figures.failing import layers_figure, steps_figure
from dashboard.words import text
from tdq_core.records.record import Latency, Metrics, RunRecord
from tdq_core.records.store import RUNS, RunStore, Store, shipped_folder
from tdq_core.specs import RankRule
from tdq_core.stats.verdict import Verdict


def measured(name: str, *, first: int, second: int, size: int, n: int = 2000, threads: int = 0, ms: float = 1.0,
             ratio: float = 2.0) -> RunRecord:  # fmt: skip
    """A run that loses so many images of the half that chooses (`first`) and of the other one, of n/2 each."""
    one = record(name, method="tucker2", precision="int8", ratio=ratio)
    dense, own = np.ones(n, dtype=bool), np.ones(n, dtype=bool)
    own[0 : 2 * first : 2] = False
    own[1 : 2 * second : 2] = False
    quick = Latency(median_ms=ms, q1_ms=ms, q3_ms=ms, batch=16, threads=threads or 1, repeats=9) if threads else None
    base = Metrics.measured(dense, params=1000, macs=9, bytes=10_000_000, dense_params=1000)
    found = Metrics.measured(own, params=500, macs=9, bytes=size, dense_params=1000, latency=quick)
    return replace(one, metrics=found, baseline=base)


SURE = measured("a", first=1, second=0, size=4_000_000)
LUCKY = measured("b", first=0, second=30, size=2_000_000)
UNSURE = measured("c", first=2, second=8, size=3_000_000)
LOSING = measured("d", first=90, second=90, size=1_000_000)


def test_files_of_few_bits_are_an_answer_only_where_they_are_asked_for() -> None:
    few = replace(SURE, run_id="e" * 16, spec=SURE.spec.changed(precision="w4a8", backend="torch"),
                  metrics=replace(SURE.metrics, bytes=1_500_000))  # fmt: skip
    for budget, best, looked_at in ((Budget(1.0), SURE, 1), (Budget(1.0, simulated=True), few, 2)):
        found = answer([SURE, few], budget)
        assert found.best and found.best.record is best and found.looked_at == looked_at
        assert smallest([SURE, few], budget) is best


def test_the_smallest_file_that_keeps_the_bound_where_it_is_chosen_is_the_answer() -> None:
    found = answer([SURE, LUCKY, UNSURE, LOSING], Budget(1.0))
    assert found.best and [j.record.run_id[0] for j in (found.best, *found.others)] == ["b", "c", "a"]
    assert found.looked_at == 4 and found.nearest
    assert [str(j.verdict) for j in (found.best, *found.others)] == ["missed", "consistent", "shown"]
    assert "**Missed**" in verdict_words(found.best, Budget(1.0))
    assert "would settle it" in verdict_words(found.others[0], Budget(1.0))
    shown = verdict_words(found.others[1], Budget(1.0))
    assert shown.startswith("**Shown**: on 1,000 images") and shown.endswith("the whole interval is at most 1 point.")


def test_a_budget_of_bytes_leaves_larger_files_out_and_nothing_is_an_answer_too() -> None:
    fits = answer([SURE, LUCKY, UNSURE, LOSING], Budget(1.0, megabytes=2.5))
    assert fits.best and fits.best.record == LUCKY and fits.looked_at == 2
    none = answer([LOSING], Budget(1.0))
    assert none.best is None and none.nearest and none.nearest.record == LOSING
    assert answer([], Budget(1.0)) == answer([replace(SURE, baseline=SURE.metrics)], Budget(1.0))
    assert answer(four_cells(), Budget(0.1)).best is None, "200 images show nothing of the kind"


def test_the_fastest_is_found_among_runs_that_were_timed_alike() -> None:
    runs = [measured("a", first=0, second=0, size=10**6, threads=1, ms=2.0),
            measured("b", first=0, second=0, size=3 * 10**6, threads=1, ms=1.0),
            measured("c", first=0, second=0, size=10**6, threads=2, ms=0.5)]  # fmt: skip
    under = timed_under(runs)
    assert list(under.values()) == [2, 1]
    found = answer(runs, Budget(1.0, fastest=next(iter(under))))
    assert found.best and found.best.record.run_id[0] == "b" and len(found.others) == 1
    assert "1 thread," in conditions_text(next(iter(under))) and "ONNX Runtime" in conditions_text(next(iter(under)))
    dense = replace(runs[0], spec=runs[0].spec.dense().changed(precision="int8", backend="onnxruntime"))
    assert "takes 0.50x as long (faster)" in speed_words(runs[1], [dense])
    assert "not timed under the same conditions" in speed_words(runs[2], [dense])
    assert "has not been measured" in speed_words(SURE, [dense])


def test_rows_are_in_the_words_of_the_pages() -> None:
    found = answer([SURE, UNSURE], Budget(1.0))
    assert found.best
    (row,) = rows([found.best])
    assert (row["what it is"], row["precision"], row["MB"]) == ("Tucker-2, ratio 2", "INT8", 3.0)


def test_the_page_answers_in_megabytes_with_the_command_and_a_link(app, empty) -> None:
    for one in (SURE, LUCKY, UNSURE, LOSING):
        RunStore(empty).put(one)
    at = opened(app, "views/find.py")
    shown = metrics(at)
    assert shown["File size"] == text.file_size(2_000_000) and shown["Verdict"] == Verdict.MISSED
    assert at.code[0].value.startswith("tdq run --model digits_resnet")
    assert any(f"run={'b' * 16}" in e.proto.query_string for e in at.get("page_link"))
    at.number_input(key="points").set_value(0.2).run()
    assert "is sure enough to lose at most 0.2 points" in words(at) or "Verdict" in metrics(at)
    assert at.query_params["points"] in ("0.2", ["0.2"])


def cp(name: str, right: int, ratio: float, *, precision: str = "int8", **options: object) -> RunRecord:
    one = record(name, right=right, method="cp", precision=precision, size=int(1000 / ratio))
    told = {
        "rounding_error": 0.6 if not options.get("epc") else 0.05,
        "log10_norms": 2.0 - 2 * bool(options.get("epc")),
    }
    layers = tuple(replace(la, detail=told if la.method != "none" else {}) for la in one.layers)
    return replace(one, spec=one.spec.changed(rule=RankRule("ratio", ratio), **options), layers=layers)


FAILING = [
    cp("a", N - 10, 2.0, precision="fp32"), cp("b", N - 14, 2.0, condition=False), cp("c", N - 12, 2.0),
    cp("d", N - 12, 3.0, precision="fp32"), cp("e", N - 90, 3.0, condition=False), cp("f", N - 30, 3.0),
    cp("1", N - 14, 3.0, precision="fp32", epc=True), cp("2", N - 16, 3.0, epc=True),
]  # fmt: skip


def test_why_int8_fails_is_told_at_the_ratio_where_it_takes_most() -> None:
    worst, other = failures(FAILING)
    assert (worst.rule.value, other.rule.value) == (3.0, 2.0)
    assert [s.record.run_id[0] for s in worst.steps] == ["d", "e", "f", "1", "2"]
    lost = {s.record.run_id[0]: s.lost for s in worst.steps}
    assert lost["d"] is None and lost["e"] and lost["e"][0] == pytest.approx(78 / N)
    assert taken_text(worst).startswith("At 3x INT8 takes") and "**+39.00**" in taken_text(worst)
    assert "100 times" in cause_text(worst) and "1 times" in cause_text(worst)
    drawn = {t.customdata[0]: t.x[0] for t in steps_figure(worst).data}
    assert drawn["e" * 16] == pytest.approx(100 * FAILING[4].drop()[0])
    (bare, _, mended, _) = layers_figure(worst).data
    assert list(bare.y) == [60.0] and list(mended.y) == [5.0]
    assert failures(four_cells()) == []


@pytest.mark.parametrize("points", [0.2, 1.0, 5.0])
def test_the_smallest_alone_is_the_best_of_all_that_were_judged(points: float) -> None:
    every = Store(RUNS, shipped_folder()).found().values
    for model in ("resnet20_cifar10", "alexnet_cifar10", "resnet50_cifar10"):
        own = [r for r in every if r.spec.model.name == model]
        best = answer(own, Budget(points)).best
        assert smallest(own, Budget(points)) == (best.record if best else None)
    dense = [r for r in every if r.spec.method == "none" and r.bytes_ratio() <= 1]
    assert smallest(dense, Budget(points)) is None


def test_shown_is_false_at_most_as_often_as_stated() -> None:
    """With known truth, from the choice on one half to the verdict on the other: of what is chosen."""
    said = sum((verdicts(truth, 700, np.random.default_rng(0), 100) for truth in TRUTHS), Counter[str]())
    chosen = 100 * len(TRUTHS) - said["none"]
    assert chosen > 300 and said["false"] <= chosen * RATE + 3 * (chosen * RATE * (1 - RATE)) ** 0.5
    sure = verdicts(TRUTHS[-1], 5000, np.random.default_rng(0), 20)
    assert sure["shown"] >= 19, "it is not true by being said seldom"
