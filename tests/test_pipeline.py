"""A run from beginning to end, on the embedded model and real digits."""

import functools
import json

import numpy as np
import pytest
import torch

from tdq_core.data.sources import open_images
from tdq_core.errors import InputError, RunFailed
from tdq_core.models.loading import load_model
from tdq_core.pipeline import build
from tdq_core.pipeline import run as pipeline
from tdq_core.pipeline.session import Session, open_run
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system import machine
from tdq_core.system.memo import Latest

DENSE = RunSpec.of("digits_resnet", "digits")
TUCKER = RunSpec.of("digits_resnet", "digits", method="tucker2", rule=RankRule("ratio", 2))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return RunStore(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def dense(store):
    return pipeline.run(DENSE, store=store).record


def plain_loop_outcomes():
    """Right or wrong for every test digit, image by image, without TDQ's evaluation."""
    loaded = load_model(DENSE.model)
    images = open_images("digits", role="eval", samples=None, seed=0, num_classes=10)
    right = []
    with torch.no_grad():
        for picture, label in zip(images.pictures, images.labels, strict=True):
            pixels = torch.from_numpy(np.asarray(picture)).float().reshape(1, 1, 8, 8) / 255
            pixels = (pixels - loaded.preprocessing.mean[0]) / loaded.preprocessing.std[0]
            right.append(int(loaded.module(pixels).argmax()) == int(label))
    return np.array(right)


def test_the_dense_run_equals_a_plain_loop_to_the_image(dense):
    assert np.array_equal(dense.metrics.correct(), plain_loop_outcomes())
    assert dense.metrics == dense.baseline and dense.metrics.compression_ratio == 1
    assert dense.provenance["split"] == "digits/test" and dense.metrics.n == 700


def test_a_decomposed_run_has_its_baseline_and_is_found_again(store, dense):
    first = pipeline.run(TUCKER, store=store)
    again = pipeline.run(TUCKER, store=store)
    assert (first.reused, again.reused) == (False, True) and again.record == first.record
    record = first.record
    assert record.baseline == dense.metrics
    assert record.metrics.compression_ratio == pytest.approx(2, rel=0.02) and record.metrics.compression_ratio >= 2
    assert record.metrics.macs < dense.metrics.macs and record.metrics.bytes < 0.6 * dense.metrics.bytes
    assert {la.name: la.skipped_because is None for la in record.layers}["block2.conv1.0"]
    assert all((la.rel_error is None) == (la.method == "none") for la in record.layers)
    on_disk = json.loads(next(p for p in store.paths() if p.stem == record.run_id).read_text())
    assert RunRecord.from_dict(on_disk) == record


def test_the_runs_name_follows_the_images(store):
    few = open_run(RunSpec.of("digits_resnet", "digits", samples=50))
    other = open_run(RunSpec.of("digits_resnet", "digits", samples=50, seed=1))
    assert len({few.run_id, other.run_id, open_run(DENSE).run_id}) == 3


def test_a_ratio_out_of_reach_is_a_refused_record(store):
    spec = RunSpec.of("digits_resnet", "digits", method="cp", rule=RankRule("ratio", 500))
    record = pipeline.run(spec, store=store).record
    assert record.state == "refused" and "out of reach" in record.reason and record.metrics is None
    assert pipeline.run(spec, store=store).reused


def test_what_goes_wrong_is_a_failed_record_and_is_tried_again(store, monkeypatch):
    spec = RunSpec.of("digits_resnet", "digits", method="svd", rule=RankRule("ratio", 2), samples=60)

    def broken(*args, **kwargs):
        raise RunFailed("The exported graph does not match the model.")

    monkeypatch.setattr(build, "apply_plan", broken)
    failed = pipeline.run(RunSpec.of("digits_resnet", "digits", samples=60), store=store).record
    assert failed.state == "failed" and failed.reason == "The exported graph does not match the model."
    monkeypatch.setattr(build, "apply_plan", lambda *a, **k: 1 / 0)
    failed = pipeline.run(RunSpec.of("digits_resnet", "digits", samples=60), store=store).record
    assert "ZeroDivisionError" in failed.reason and "1 / 0" in failed.provenance["traceback"]
    monkeypatch.undo()
    good = pipeline.run(spec, store=store)
    assert good.record.state == "complete" and not good.reused
    assert pipeline.run(RunSpec.of("digits_resnet", "digits", samples=60), store=store).record.state == "complete"


def test_a_built_model_that_costs_other_than_planned_is_not_trusted(store, monkeypatch):
    monkeypatch.setattr(build, "count_macs", lambda *a: 1)
    record = pipeline.run(RunSpec.of("digits_resnet", "digits", samples=70), store=store).record
    assert record.state == "failed" and "its numbers would be wrong" in record.reason


def test_wrong_input_leaves_nothing_behind(tmp_path):
    store = RunStore(tmp_path / "runs")
    spec = RunSpec.of("digits_resnet", "digits", method="cp", rule=RankRule("manual", ranks={"nowhere": 3}), samples=40)
    with pytest.raises(InputError, match="'nowhere'"):
        pipeline.run(spec, store=store)
    assert store.all() == []


def test_export_gives_what_builds_the_same_model_again(store, tmp_path):
    spec = RunSpec.of("digits_resnet", "digits", method="auto", rule=RankRule("ratio", 3), samples=80)
    record = pipeline.run(spec, store=store, export=tmp_path / "out").record
    ranks = json.loads((tmp_path / "out" / "ranks.json").read_text())
    by_hand = RunSpec.of("digits_resnet", "digits", method="auto", rule=RankRule("manual", ranks=ranks), samples=80)
    again = pipeline.run(by_hand, store=store).record
    assert again.metrics.params == record.metrics.params and again.metrics.outcomes == record.metrics.outcomes
    files = {p.name: p.stat().st_size for p in (tmp_path / "out").iterdir()}
    assert record.metrics.bytes in files.values() and "record.json" in files
    (tmp_path / "out2").mkdir()
    assert pipeline.run(spec, store=store, export=tmp_path / "out2").reused
    assert {p.name for p in (tmp_path / "out2").iterdir()} == set(files)


def test_an_export_of_chosen_bits_gives_them_again(store, tmp_path):
    rule = RankRule("ratio", 11, budget="bytes", policy="global")
    given = {"method": "tucker2", "precision": "w8a8", "samples": 80}
    spec = RunSpec.of("digits_resnet", "digits", rule=rule, bits="auto", **given)
    record = pipeline.run(spec, store=store, export=tmp_path / "out").record
    ranks, bits = (json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("ranks", "bits"))
    assert len(set(bits.values())) > 1
    by_hand = RunSpec.of("digits_resnet", "digits", rule=RankRule("manual", ranks=ranks), bits=bits, **given)
    again = pipeline.run(by_hand, store=store).record
    assert (again.metrics.bytes, again.metrics.outcomes) == (record.metrics.bytes, record.metrics.outcomes)
    assert [la.bits for la in again.layers] == [la.bits for la in record.layers]


def test_int8_is_calibrated_on_its_own_split_and_says_so(store):
    spec = RunSpec.of("digits_resnet", "digits", precision="int8", backend="onnxruntime", samples=100)
    record = pipeline.run(spec, store=store).record
    assert record.provenance["calib_split"] == "digits/train" and not [n for n in record.notes if "--calib" in n]
    assert record.metrics.bytes < record.baseline.bytes / 2.5
    assert abs(record.drop()[0]) < 0.05


def test_calibrating_on_the_evaluated_images_is_said(shared):
    data = f"folder:{shared / 'cifar10-jpeg' / 'test'}"
    weights = str(shared / "weights" / "resnet20_cifar10.th")
    spec = RunSpec.of("resnet20_cifar10", data, weights=weights, precision="int8", samples=50)
    assert any("labels unused" in note for note in open_run(spec).notes)
    with_own = spec.changed(calib=f"folder:{shared / 'cifar10-jpeg' / 'calib'}")
    assert not any("labels unused" in note for note in open_run(with_own).notes)


def test_latency_is_measured_only_on_request(store, dense):
    record = pipeline.run(RunSpec.of("digits_resnet", "digits", samples=20, latency=True), store=store).record
    timing = record.metrics.latency
    assert timing.q1_ms <= timing.median_ms <= timing.q3_ms
    assert timing.batch == 16 and timing.threads >= 1
    assert dense.metrics.latency is None


def test_fine_tuning_for_integers_starts_balanced_and_is_left_alone_afterwards(store, monkeypatch):
    order = []

    def noted(name, real, *arguments, **options):
        order.append(name)
        return real(*arguments, **options)

    for name in ("reestimate_batch_norms", "balance", "distil", "condition"):
        real = getattr(build, name)
        monkeypatch.setattr(build, name, functools.partial(noted, name, real))
    spec = DENSE.changed(method="cp", rule=RankRule("ratio", 3.0), precision="w4a8", samples=50,
                               calib_samples=64, finetune=2)  # fmt: skip
    tuned = pipeline.run(spec, store=store).record
    assert tuned.state == "complete" and order == ["balance", "distil"]
    details = [la.detail for la in tuned.layers if la.method != "none"]
    assert {d["bias_corrected_in"] for d in details} == {"fine-tuning"}
    assert all(d["spread_after"] and "predicted_noise_after" in d and "batch_norm" not in d for d in details)
    pipeline.run(spec.changed(finetune=0), store=store)
    pipeline.run(spec.changed(precision="fp32"), store=store)
    pipeline.run(spec.changed(condition=False), store=store)
    assert order[2:] == ["condition", "distil", "distil"]
    del order[:]
    pipeline.run(spec.changed(reestimate_bn=True), store=store)
    pipeline.run(spec.changed(reestimate_bn=True, finetune=0), store=store)
    assert order == ["reestimate_batch_norms", "balance", "distil", "reestimate_batch_norms", "condition"]


CALIBRATED = TUCKER.changed(calibrated=True, samples=100, calib_samples=64, precision="int8")


def counted(monkeypatch, *names):
    """How often the stages of `build` are carried out."""
    calls = dict.fromkeys(names, 0)
    for name in names:
        real = getattr(build, name)

        def count(*args, real=real, name=name, **more):
            calls[name] += 1
            return real(*args, **more)

        monkeypatch.setattr(build, name, count)
    return calls


def test_factors_and_conditioning_are_found_once_for_both_backends(tmp_path, monkeypatch):
    calls, session = counted(monkeypatch, "apply_calibrated", "condition"), Session()
    for backend in ("torch", "onnxruntime"):
        pipeline.run(CALIBRATED.changed(backend=backend), store=RunStore(tmp_path / "shared"), session=session)
    assert calls == {"apply_calibrated": 1, "condition": 1}
    alone = pipeline.run(CALIBRATED.changed(backend="onnxruntime"), store=RunStore(tmp_path / "alone"))
    kept = RunStore(tmp_path / "shared").get(alone.record.run_id)
    assert kept.metrics == alone.record.metrics and kept.layers == alone.record.layers


@pytest.mark.parametrize(
    "change",
    [{"calib_samples": 65}, {"seed": 1}, {"rule": RankRule("ratio", 2.5)}, {"symmetric": True}],
    ids=lambda c: next(iter(c)),
)
def test_whatever_decides_the_factors_makes_them_anew(tmp_path, monkeypatch, change):
    specs, session = prepared(tmp_path, change), Session()
    calls = counted(monkeypatch, "_decompose", "condition")
    for spec in specs:
        pipeline.run(spec, store=RunStore(tmp_path), session=session)
    assert calls == {"_decompose": 2, "condition": 2}


@pytest.mark.parametrize(
    "change", [{"condition": False}, {"granularity": "tensor"}, {"precision": "w8a8"}, {"reestimate_bn": True}],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_whatever_decides_the_conditioning_makes_it_anew(tmp_path, monkeypatch, change):
    specs, session = prepared(tmp_path, change), Session()
    calls = counted(monkeypatch, "_decompose", "_conditioned")
    for spec in specs:
        pipeline.run(spec, store=RunStore(tmp_path), session=session)
    expected = 2 if change != {"precision": "w8a8"} else 1 + (machine.needs_reduced_range())
    assert calls == {"_decompose": 1, "_conditioned": expected}


def prepared(folder, change):
    """Two specs that differ by `change`; their dense models are measured, which builds nothing that counts."""
    specs = (CALIBRATED, CALIBRATED.changed(**change))
    for spec in specs:
        pipeline.run(spec.dense(), store=RunStore(folder))
    return specs


def test_what_is_kept_cannot_be_changed_from_outside():
    latest = Latest()
    first = latest.get("a", lambda: [1])
    first.append(2)
    assert latest.get("a", lambda: [9]) == [1] and latest.get("b", lambda: [3]) == [3]
    assert latest.get("a", lambda: [4]) == [4], "only the last one is kept"
