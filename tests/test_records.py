"""Laws of specs, records, their store, and of the numbers drawn from them."""

import csv
import io
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tdq_core.analysis.additivity import drops, find_cells
from tdq_core.errors import InputError
from tdq_core.records.record import LayerRecord, Metrics, RunRecord
from tdq_core.records.store import RunStore
from tdq_core.records.table import COLUMNS, numbers_text, row, to_csv
from tdq_core.specs import RankRule, RunSpec
from tdq_core.stats.intervals import pack_outcomes, unpack_outcomes
from tdq_core.stats.pareto import pareto_front

DIGESTS = {"model": "m", "data": "d"}


def metrics(correct, params=100, size=400):
    return Metrics.measured(np.asarray(correct, bool), params=params, macs=10, bytes=size, dense_params=200)


def record(correct=(1, 0, 1, 1), *, base=(1, 1, 1, 1), spec=None, digests=DIGESTS, **changes):
    spec = spec or RunSpec.of("net", "digits")
    values = {
        "run_id": spec.run_id(digests),
        "state": "complete",
        "spec": spec,
        "metrics": metrics(correct),
        "baseline": metrics(base, 200, 800),
        "notes": ("a note",),
        "digests": digests,
        "provenance": {"seed": 0},
        "layers": (
            LayerRecord(
                name="a",
                method="tucker2",
                ranks=(3, 2),
                params=10,
                macs=20,
                dense_params=30,
                dense_macs=40,
                rel_error=0.25,
            ),
            LayerRecord(
                name="b", method="none", ranks=(), params=1, macs=2, dense_params=1, dense_macs=2, skipped_because="why"
            ),
        ),
    }
    return RunRecord(**{**values, **changes})


SPECS = [
    RunSpec.of("net", "digits"),
    RunSpec.of(
        "net",
        "folder:x",
        method="cp",
        rule=RankRule("ratio", 1.67),
        precision="int8",
        samples=20,
        mean=(0.5,),
        std=(0.2,),
    ),
    RunSpec.of(
        "net",
        "digits",
        method="auto",
        rule=RankRule("manual", ranks={"a": [3, 2], "b": None, "c": 4}),
        input_size=(8, 9),
    ),
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_record_survives_json(spec):
    original = record(spec=spec)
    assert RunRecord.from_dict(json.loads(original.to_json())) == original


def test_the_id_names_contents_and_not_places():
    here, there = RunSpec.of("net", "folder:/here"), RunSpec.of("net", "folder:/there/else", weights="copy.pt")
    assert here.run_id(DIGESTS) == there.run_id(DIGESTS)
    assert here.run_id(DIGESTS) != here.run_id({**DIGESTS, "data": "other"})
    changed = here.changed(precision="int8")
    assert here.run_id(DIGESTS) != changed.run_id(DIGESTS)


def test_a_field_at_its_default_is_not_part_of_the_id():
    """So that a field that is added later leaves old ids as they are."""
    assert RunSpec.of("net", "digits").identity(DIGESTS) == DIGESTS


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "failed"},
        {"state": "complete", "metrics": None},
        {"reason": "why"},
        {"state": "lost"},
        {"state": "failed", "metrics": None, "baseline": None},
    ],
)
def test_a_record_that_contradicts_itself_cannot_be_made(changes):
    with pytest.raises(InputError):
        record(**changes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.pop("metrics"),
        lambda p: p.update(schema=99),
        lambda p: p.update(extra=1),
        lambda p: p["spec"].update(colour="red"),
        lambda p: p["metrics"].pop("n"),
    ],
)
def test_reading_is_strict(spoil):
    plain = record().to_dict()
    spoil(plain)
    with pytest.raises(InputError):
        RunRecord.from_dict(plain)


def test_a_torn_file_raises_with_its_name(tmp_path):
    store = RunStore(tmp_path)
    path = store.put(record())
    path.write_text(path.read_text()[:100])
    with pytest.raises(InputError, match=path.name):
        store.read(path)


def test_the_first_folder_wins_and_only_it_is_written(tmp_path):
    mine, shipped = tmp_path / "runs", tmp_path / "shipped"
    RunStore(shipped).put(record())
    store = RunStore(mine, shipped)
    assert store.get(record().run_id) == record() and not mine.exists()
    assert store.find(record().run_id[:5]) == record()
    store.put(record(notes=("newer",)))
    assert [r.notes for r in store.all()] == [("newer",)]
    assert [p.name for p in mine.iterdir()] == [f"{record().run_id}.json"]
    with pytest.raises(InputError, match="none does"):
        store.find("zz")


@given(hnp.arrays(bool, st.integers(1, 70)))
def test_outcomes_survive_packing(correct):
    assert np.array_equal(unpack_outcomes(pack_outcomes(correct), len(correct)), correct)


def test_the_drop_is_paired_by_image():
    """Lost two, won one of five; the ends solve (d - d0)^2 = z^2 Var / n with the variance of the likeliest 2 x 2 table
    whose drop is d0 (Tango 1998), here written as the larger root of its quadratic equation."""
    mean, low, high = record((1, 0, 0, 1, 0), base=(1, 1, 0, 0, 1)).drop()
    assert mean == pytest.approx((2 - 1) / 5)
    for drop in (low, high):
        b = -3 + 9 * drop
        won = (np.sqrt(b**2 + 40 * drop * (1 - drop)) - b) / 20
        assert (1 - 5 * drop) ** 2 == pytest.approx(1.959964**2 * 5 * (2 * won + drop * (1 - drop)), rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25), st.randoms())
def test_pareto_equals_the_definition_with_ties_and_in_any_order(points, random):
    def dominated(p):
        return any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)

    front = pareto_front([(float(c), float(v)) for c, v in points])
    assert sorted(front) == [i for i, p in enumerate(points) if not dominated(p)]
    shuffled = random.sample(points, len(points))
    again = pareto_front([(float(c), float(v)) for c, v in shuffled])
    assert sorted(points[i] for i in front) == sorted(shuffled[i] for i in again)


def test_pareto_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        pareto_front([(1.0, float("nan"))])


def four_cells(n=40, seed=0):
    rng = np.random.default_rng(seed)
    specs = {
        "dense": RunSpec.of("net", "digits"),
        "decomposed": RunSpec.of("net", "digits", method="cp", rule=RankRule("ratio", 2)),
        "quantized": RunSpec.of("net", "digits", precision="int8", backend="onnxruntime"),
        "both": RunSpec.of(
            "net", "digits", method="cp", rule=RankRule("ratio", 2), precision="int8", backend="onnxruntime"
        ),
    }
    outcomes = {name: rng.random(n) < 0.8 for name in specs}
    records = {
        name: record(
            outcomes[name],
            base=outcomes["dense"],
            spec=spec,
            digests={**DIGESTS, "calib": "c"} if spec.precision.name == "int8" else DIGESTS,
        )
        for name, spec in specs.items()
    }
    return records, outcomes


def test_additivity_equals_the_plain_arithmetic():
    records, right = four_cells()
    (cells,) = find_cells(records.values())
    top1 = {name: values.mean() for name, values in right.items()}
    joint, summed = top1["dense"] - top1["both"], 2 * top1["dense"] - top1["decomposed"] - top1["quantized"]
    (own,) = drops([cells])
    assert own.joint[0] == pytest.approx(joint)
    assert own.summed[0] == pytest.approx(summed)
    assert own.summed[0] == pytest.approx(own.decomposed[0] + own.quantized[0])
    mean, low, high = cells.interaction()
    assert mean == pytest.approx(joint - summed)
    assert low < mean < high


def test_four_cells_need_all_four_on_the_same_images():
    records, _ = four_cells()
    for missing in records:
        assert find_cells(r for name, r in records.items() if name != missing) == []
    moved = msgspec.structs.replace(records["quantized"], digests={**DIGESTS, "calib": "other"})
    assert find_cells([*(r for n, r in records.items() if n != "quantized"), moved]) == []


@pytest.mark.parametrize("precision", ["w6", "w3"])
def test_weights_that_are_rounded_without_images_pair_with_factors_that_were_fitted_to_some(precision):
    ways = {"method": "cp", "rule": RankRule("ratio", 2), "calibrated": True}
    numbers = {"precision": precision}
    specs = [RunSpec.of("net", "digits", **way) for way in ({}, ways, numbers, ways | numbers)]
    own = [DIGESTS | ({"calib": "c"} if spec.needs_calibration else {}) for spec in specs]
    records = [record(np.ones(40, dtype=bool), spec=s, digests=d) for s, d in zip(specs, own, strict=True)]
    (cells,) = find_cells(records)
    assert (cells.quantized, cells.both) == (records[2], records[3])
    aware = specs[3].changed(quantization_aware=True)
    assert find_cells([*records[:3], record(np.ones(40, dtype=bool), spec=aware, digests=own[3])]) == []
    assert numbers_text(aware) == f"{precision} + aware" and numbers_text(specs[3]) == precision


def test_the_table_shows_what_the_record_holds_and_the_csv_is_harmless():
    shown = row(record())
    assert tuple(shown) == COLUMNS
    assert (
        shown["top1"] == 0.75
        and shown["drop"] == 0.25
        and shown["bytes_ratio"] == 2
        and shown["compression_ratio"] == 2
    )
    own = RunSpec.of("net", "digits", precision="w4", bits={"b": 3, "*": 6}, quantization_aware=True)
    assert row(record(spec=own))["bits"] == '{"*":6,"b":3}' and row(record(spec=own))["quantization_aware"]
    assert numbers_text(own) == "w4 + aware + bits by hand" and shown["bits"] is None
    failed = record(state="failed", metrics=None, baseline=None, reason="=HYPERLINK(1)")
    (first, second) = csv.DictReader(io.StringIO(to_csv([record(), failed])))
    assert float(first["drop_high"]) == record().drop()[2]
    assert second["reason"] == "'=HYPERLINK(1)" and second["top1"] == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"method": "tucker", "rule": RankRule("ratio", 2)},
            "one of none, tucker2, cp, svd, spatial, auto, mixed. Got 'tucker'",
        ),
        ({"precision": "int4"}, "Got 'int4'"),
        ({"backend": "tf"}, "Got 'tf'"),
        ({"samples": 1}, "'samples' must be an int of at least 2. Got 1"),
        ({"calib_samples": 0}, "'calib_samples' must be an int of at least 1. Got 0"),
        ({"seed": -1}, "'seed' must be an int in"),
        ({"mean": (float("nan"),)}, "'mean' must be finite"),
        ({"latency": 1}, "'latency' must be true or false. Got 1"),
        ({"method": "cp"}, "needs one way to choose ranks"),
        ({"rule": RankRule("ratio", 2)}, "takes no ranks"),
    ],
)
def test_a_spec_checks_itself(fields, words):
    with pytest.raises(InputError, match=words):
        RunSpec.of("net", "digits", **fields)
