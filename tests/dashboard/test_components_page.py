"""The page Components: its charts and words as values, and the page as a person uses it."""

import math
from pathlib import Path

import pytest
from made_up import four_cells, record, study
from msgspec.structs import replace
from test_views import opened, words

from dashboard.figures.components import (
    entries_figure,
    entry_bars,
    grid_of,
    norm_bars,
    norms_figure,
    ranges_figure,
    strip_figure,
)
from dashboard.words import components as told
from dashboard.words.palette import STATES
from tdq_core.analysis.components import STAGES, STUDIES, VARIANTS, study_spec
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.queue import Request, Result
from tdq_core.records.record import Latency
from tdq_core.records.store import Store
from tdq_core.specs import RankRule, RunSpec

FIRST, SECOND = study().layers
SHARING = {"policy", "budget", "multiple"}
PREPARED = {"reestimate_bn", "calibrated", "finetune"}


def drawn(figure):  # type: ignore[no-untyped-def]
    return [t for t in figure.data if t.y is not None and len(t.y)]


def test_every_component_stands_in_one_bar_and_bins_are_shared() -> None:
    bars = norm_bars(FIRST)
    assert [sum(bars[v].heights) for v in VARIANTS] == [4, 4, 4]
    assert len({bars[v].middles for v in VARIANTS}) == 1
    for variant in VARIANTS:
        for middle, height in zip(*bars[variant], strict=True):
            inside = [n for n in FIRST.variants[variant].norms if abs(math.log10(n) - middle) < 0.05]
            assert len(inside) == height


def test_a_component_of_zero_is_left_out_of_the_log_axis() -> None:
    gone = replace(FIRST.variants["als"], norms=(1.0, 0.0, 0.0, 0.0))
    layer = replace(FIRST, variants={**FIRST.variants, "als": gone})
    assert sum(norm_bars(layer)["als"].heights) == 1
    assert len(drawn(norms_figure(layer))) == 3


def test_entries_are_shares_of_all_entries() -> None:
    bars = entry_bars(FIRST, "als", "input")
    assert bars.middles == (-2.5, -1.5, -0.5) and sum(bars.heights) == pytest.approx(100 * 39 / 40)


@pytest.mark.parametrize("granularity,half,share", [("tensor", 0.5 / 127, "12.5 %"), ("channel", 0.25 / 127, "6.2 %")])
def test_the_shaded_zone_ends_at_half_a_step(granularity: str, half: float, share: str) -> None:
    figure = entries_figure(FIRST, granularity=granularity)
    zones = [s for s in figure.layout.shapes if s.type == "rect"]
    assert len(zones) == len(STAGES) * len(VARIANTS)
    assert {s.x1 for s in zones} == {math.log10(half)}
    notes = [a.text.replace("\N{NO-BREAK SPACE}", " ") for a in figure.layout.annotations]
    assert notes.count(f"{share} to zero") == 9


@pytest.mark.parametrize(("bits", "points"), [(8, 0), (6, 0), (4, 7), (3, 3)])
def test_fewer_bits_are_drawn_point_by_point_and_round_more_to_zero(bits: int, points: int) -> None:
    figure = entries_figure(FIRST, granularity="tensor", bits=bits)
    dotted = sorted(s.x0 for s in figure.layout.shapes if s.type == "line" and s.line.dash == "dot")
    places = [math.log10(k / points) for k in range(1, points + 1)]  # the largest weight is 1
    assert dotted == pytest.approx(sorted(places * 9))
    shares = [grid_of(FIRST, "als", "input", granularity="tensor", bits=b)[1] for b in (6, 4, 3)]
    assert shares == sorted(shares)
    _, share = grid_of(FIRST, "als", "input", granularity="tensor", bits=4)  # zero ends at 1/14, within the middle bin
    assert share == pytest.approx((1 + 10 + 20 * (2 + math.log10(1 / 14))) / 40)


def test_ranges_are_sorted_with_the_step_and_the_starved_are_counted() -> None:
    figure = ranges_figure(FIRST)
    assert [list(t.y) for t in drawn(figure)[:3]] == [
        sorted(FIRST.variants[v].inner["input"].ranges, reverse=True) for v in VARIANTS
    ]
    lines = [s for s in figure.layout.shapes if s.type == "line"]
    assert [s.y0 for s in lines] == [1.0] * 6
    zones = [s for s in figure.layout.shapes if s.type == "rect"]
    assert [s.y1 for s in zones] == [8.0] * 6
    notes = [a.text for a in figure.layout.annotations]
    assert any(n.startswith("2 of 4 under 8 levels") for n in notes)
    assert len({tuple(a.range) for a in figure.select_yaxes(row=1)}) == 1


def test_the_strip_shows_every_layer_in_three_colours() -> None:
    traces = drawn(strip_figure(study(), FIRST.name))
    assert [t.marker.color for t in traces] == [STATES[v].colour for v in VARIANTS] * 2
    assert set(STATES) == set(VARIANTS) and len({s.symbol for s in STATES.values()}) == len(VARIANTS)
    assert len({s.colour for s in STATES.values()}) == len({s.label for s in STATES.values()}) == len(VARIANTS)
    names = [la.name for la in study().layers]
    assert all(list(t.x) == list(t.customdata) == names for t in traces)
    assert list(traces[0].y) == pytest.approx([8.26, 1.0])
    assert traces[3].y[0] == pytest.approx(255 / 51)


def test_the_words_follow_the_numbers() -> None:
    seen = told.what_is_seen(FIRST).replace("\N{NO-BREAK SPACE}", " ")
    for part in ("of the 4 components add up to **8.26 times**", "they cancel each other", "add up to 1 times"):
        assert part in seen, part
    rows = {row.pop(""): list(row.values()) for row in told.state_rows(FIRST)}
    assert rows["largest component / kernel"][0] == "2"
    assert rows["error of the kernel, relative"][:2] == ["0.250", "0.260"]
    assert rows["INT8 levels of the median component"] == [f"{levels} of 255" for levels in (51, 150, 248)]
    assert rows["components under 8 levels"] == [f"{few} of 4" for few in (2, 0, 0)]
    assert "they hardly cancel" in told.what_is_seen(SECOND)


def test_costs_set_the_rank_beside_the_channels() -> None:
    said = told.costs(study(), FIRST).replace("\N{NO-BREAK SPACE}", " ")
    assert "R = 4 components between 2 and 3 channels" in said and "1.3 times the wider side" in said
    assert "2.00x smaller" in said and "2.25x smaller" in said
    assert "memory" not in told.costs(study(), replace(FIRST, c_out=4))


def test_only_latencies_of_the_same_model_are_shown() -> None:
    quick = Latency(median_ms=1.5, q1_ms=1.4, q3_ms=1.7, batch=16, threads=2, repeats=9)
    one = record("a", method="cp")
    assert one.metrics
    timed = replace(one, metrics=replace(one.metrics, latency=quick))
    elsewhere = replace(timed, digests={**timed.digests, "model": "n" * 64})
    other = replace(timed, spec=timed.spec.changed(method="svd"))
    alone = replace(timed, metrics=replace(one.metrics, latency=replace(quick, threads=1, median_ms=0.5)))
    tables = told.latencies(study(), [one, timed, elsewhere, other, alone])
    assert sorted(len(rows) for rows in tables.values()) == [1, 1], "other conditions, another table"
    (rows,) = (rows for under, rows in tables.items() if "2 threads" in under)
    assert [r["latency (ms)"] for r in rows] == [1.5] and rows[0]["quartiles (ms)"] == "1.40 to 1.70"
    assert all("--latency" in command for command in told.latency_commands(study()))


def test_the_page_shows_the_chosen_layer_and_keeps_it_in_the_address(app: str, filled: Path) -> None:
    at = opened(app, "views/components.py")
    assert told.what_is_seen(FIRST) in words(at) and "A note on the study." in words(at)
    assert len(at.get("plotly_chart")) == 4
    assert any("--latency" in c.value for c in at.code)
    at.selectbox(key="layer").set_value(SECOND.name).run()
    assert told.what_is_seen(SECOND) in words(at) and at.query_params["layer"] in (SECOND.name, [SECOND.name])
    again = opened(app, "views/components.py", layer=SECOND.name)
    assert told.what_is_seen(SECOND) in words(again)


def test_studies_of_one_subject_are_told_apart_and_others_are_not_shown(app: str, filled: Path) -> None:
    Store(STUDIES).put(study("6", ratio=4.0))
    other = study("7")
    Store(STUDIES).put(replace(other, spec=other.spec.changed(model="resnet18")))
    at = opened(app, "views/components.py", study="6" * 16)
    box = at.selectbox(key="study")
    assert len(box.options) == len(set(box.options)) == 2 and box.value == "6" * 16
    some = opened(app, "views/components.py", study="6" * 16, samples="100")
    assert len(some.selectbox(key="study").options) == 2, "a study does not depend on how many images are evaluated"


def test_a_torn_study_is_one_sentence(app: str, filled: Path) -> None:
    (filled / "components" / f"{'9' * 16}.json").write_text("{")
    at = opened(app, "views/components.py")
    assert [w.value for w in at.warning if "99.json' cannot be read" in w.value] and told.what_is_seen(FIRST) in words(
        at
    )


def test_without_a_study_the_page_starts_one(app: str, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    job = jobs.Job(jobs.jobs_folder() / "one")

    def submit(request: Request) -> jobs.Job:
        asked.append(request)
        (job.folder / "tmp").mkdir(parents=True)
        jobs.finish(job, Result(state="done", study_id="5" * 16))
        Store(STUDIES).put(study())
        return job

    monkeypatch.setattr(jobs, "submit", submit)
    at = opened(app, "views/components.py", study_ratio="3.0", study_eta="0.1")
    assert "have not been looked into yet" in words(at)
    next(b for b in at.button if b.label == "Run").click().run()
    at.run()
    spec = study_spec(RunSpec.of("digits_resnet", "digits"), rule=RankRule("ratio", 3.0), eta=0.1)
    assert asked == [Request(kind="components", spec=spec)]
    assert told.what_is_seen(FIRST) in words(at) and not at.exception


def test_explore_offers_what_applies_and_submits_it(app: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    job = jobs.Job(jobs.jobs_folder() / "one")

    def submit(request: Request) -> jobs.Job:
        asked.append(request)
        job.folder.mkdir(parents=True)
        jobs.finish(job, Result(state="done", run_id=four_cells()[0].run_id, reused=True))
        return job

    monkeypatch.setattr(jobs, "submit", submit)
    at = opened(app, "views/explore.py", method="cp", epc="True", eta="0.1", precision="w6a6", backend="onnxruntime",
                condition="False", reestimate_bn="True", granularity="tensor", ranges="mse",
                calibrated="True", symmetric="True", finetune="300", policy="later", budget="macs", multiple="4",
                depth="1.5")  # fmt: skip
    next(b for b in at.button if b.label == "Run").click().run()
    rule = RankRule("ratio", 2.0, policy="later", budget="macs", multiple=4, depth=1.5)
    plain = RunSpec.of("digits_resnet", "digits", method="cp", rule=rule, epc=True, eta=0.1)
    spec = plain.changed(precision="w6a6", condition=False, reestimate_bn=True, granularity="tensor", ranges="mse",
                   calibrated=True, symmetric=True, finetune=300)  # fmt: skip
    assert asked == [Request(kind="run", spec=spec)]


PLAIN, FITTED = {"calibrated": "False"}, {"calibrated": "True"}


@pytest.mark.parametrize(
    "query,there",
    [
        ({"method": "none"}, set()),
        ({"method": "none", "precision": "int8"}, {"granularity"}),
        ({"method": "tucker2", **PLAIN}, SHARING | PREPARED),
        ({"method": "tucker2", "policy": "later", **PLAIN}, SHARING | PREPARED | {"depth"}),
        ({"method": "tucker2", **FITTED}, SHARING | PREPARED | {"symmetric"}),
        ({"method": "tucker2", "rule": "energy", **PLAIN}, PREPARED),
        ({"method": "tucker2", "rule": "manual", **PLAIN}, PREPARED),
        ({"method": "tucker2", "precision": "int8", **PLAIN}, SHARING | PREPARED | {"condition", "granularity"}),
        ({"method": "cp", "precision": "fp16", **PLAIN}, SHARING | PREPARED | {"epc"}),
        ({"method": "cp", "epc": "True", "precision": "w4", **PLAIN},
         SHARING | PREPARED | {"epc", "eta", "condition", "granularity", "ranges"}),
    ],
)  # fmt: skip
def test_a_control_is_there_exactly_where_it_has_an_effect(
    app: str, filled: Path, query: dict[str, str], there: set[str]
) -> None:
    at = opened(app, "views/explore.py", **query)
    shown = {w.key for w in (*at.toggle, *at.slider, *at.selectbox, *at.number_input, *at.segmented_control)}
    every = {"epc", "eta", "condition", "granularity", "ranges", "depth", "symmetric"} | SHARING | PREPARED
    assert shown & every == there
