"""How far answers moved: kept by every run beside right or wrong, and read back as it was measured."""

import base64
import zlib

import numpy as np
import pytest
import torch

from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.models.loading import load_model
from tdq_core.pipeline import answers
from tdq_core.pipeline import run as pipeline
from tdq_core.pipeline.evaluate import with_moves
from tdq_core.pipeline.session import Session
from tdq_core.records.record import Metrics, RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec
from tdq_core.stats.moves import pack_moves, unpack_moves

FEW = 60
DENSE = RunSpec.of("digits_resnet", "digits", samples=FEW)
TUCKER = DENSE.changed(method="tucker2", rule=RankRule("ratio", 2))


@pytest.fixture
def asked(monkeypatch):
    """How often the dense network was asked for its answers alone."""
    calls = []
    whole = answers.with_logits

    def counted(*args, **kwargs):
        calls.append(kwargs.get("stage", "evaluate"))
        return whole(*args, **kwargs)

    monkeypatch.setattr(answers, "with_logits", counted)
    return calls


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "own"))
    monkeypatch.setenv("TDQ_CACHE_GB", "1")
    return tmp_path / "own"


def logits_of(module):
    """Of every image, one by one, without TDQ's evaluation."""
    loaded = load_model(DENSE.model)
    images = open_images("digits", role="eval", samples=FEW, seed=0, num_classes=10)
    scale = loaded.preprocessing
    found = []
    with torch.no_grad():
        for picture in images.pictures:
            pixels = torch.from_numpy(np.asarray(picture)).float().reshape(1, 1, 8, 8) / 255
            found.append((module or loaded.module)((pixels - scale.mean[0]) / scale.std[0])[0].double().numpy())
    return np.array(found)


@pytest.mark.parametrize(
    "values", [[], [0.0], [1e-12, 0.3, 2.5e4], list(np.random.default_rng(0).lognormal(-9, 4, 500))]
)
def test_what_is_packed_is_read_back_to_a_thousandth(values):
    found = unpack_moves(pack_moves(np.array(values)), len(values))
    assert found.shape == (len(values),) and found == pytest.approx(np.array(values), rel=1e-3, abs=4e-12)


def test_answers_that_are_no_numbers_stay_so():
    assert not np.isfinite(unpack_moves(pack_moves(np.array([np.nan, np.inf, 1e12])), 3)).any()


@pytest.mark.parametrize(("text", "said"), [
    ("%%%", "base64|alphabet|padding"), (base64.b64encode(b"no zlib").decode(), "no packed text"),
    (pack_moves(np.zeros(4)), "take 6 bytes"), (pack_moves(np.zeros(2)), "take 6 bytes"),
    (base64.b64encode(zlib.compress(bytes(10**7))).decode(), "take 6 bytes"),
])  # fmt: skip
def test_a_text_that_holds_others_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        unpack_moves(text, 3)


def test_moved_is_the_squared_change_of_centred_logits_over_their_mean_square(folder):
    session = Session()
    record = pipeline.run(TUCKER, store=RunStore(folder), session=session).record
    module = session.decomposed._kept[1].module
    before, after = logits_of(None), logits_of(module)
    centred = [each - each.mean(axis=1, keepdims=True) for each in (before, after)]
    expected = ((centred[1] - centred[0]) ** 2).sum(axis=1) / (centred[0] ** 2).sum(axis=1).mean()
    assert record.metrics.moves() == pytest.approx(expected, rel=5e-3) and expected.mean() > 1e-3
    assert RunRecord.from_dict(record.to_dict()).metrics.moves() == pytest.approx(record.metrics.moves())


def test_a_shift_of_all_logits_moves_no_answer():
    loaded = load_model(DENSE.model)
    images = open_images("digits", role="eval", samples=FEW, seed=0, num_classes=10)
    before = torch.from_numpy(logits_of(None))
    _, moved = with_moves(lambda batch: loaded.module(batch) + 7, images, loaded.preprocessing, before)
    assert moved.max() < 1e-8
    _, moved = with_moves(lambda batch: 3 * loaded.module(batch), images, loaded.preprocessing, before)
    assert moved.mean() == pytest.approx(4, rel=1e-4)


def test_the_dense_network_is_asked_once_for_a_session_and_for_those_after(folder, asked):
    store, session = RunStore(folder), Session()
    first = pipeline.run(TUCKER, store=store, session=session).record
    pipeline.run(TUCKER.changed(rule=RankRule("ratio", 3)), store=store, session=session)
    assert asked == ["evaluate"], "its own run leaves them"
    assert pipeline.run(DENSE, store=store).record.metrics.moved is None
    pipeline.run(TUCKER.changed(rule=RankRule("ratio", 4)), store=store, session=Session())
    assert asked == ["evaluate"], "a new session reads the file"
    for path in (folder / "cache" / "answers").iterdir():
        path.write_bytes(b"damaged")
    (folder / f"{first.run_id}.json").unlink()
    assert pipeline.run(TUCKER, store=store, session=Session()).record.metrics == first.metrics
    assert asked == ["evaluate", "answers of the dense network"], "what is damaged is asked for again"


def test_old_records_lack_it_and_damaged_ones_are_refused(folder):
    record = pipeline.run(TUCKER, store=RunStore(folder)).record
    old = record.to_dict()
    del old["metrics"]["moved"]
    assert RunRecord.from_dict(old).metrics.moves() is None
    assert RunRecord.from_dict(old).to_dict() == old, "it is written as it was"
    with pytest.raises(InputError, match="How far its answers moved"):
        RunRecord.from_dict({**old, "metrics": {**old["metrics"], "moved": pack_moves(np.zeros(FEW + 1))}})
    assert Metrics.measured(np.ones(3, bool), params=1, macs=1, bytes=1, dense_params=1).moves() is None


def test_asked_for_again_a_run_is_measured_again_and_its_record_replaced(folder, asked):
    store = RunStore(folder)
    first = pipeline.run(TUCKER, store=store).record
    old = first.to_dict()
    del old["metrics"]["moved"]
    store.put(RunRecord.from_dict(old))
    assert pipeline.run(TUCKER, store=store).record.metrics.moved is None, "a finished run is not touched"
    outcome = pipeline.run(TUCKER, store=store, again=True)
    assert not outcome.reused and outcome.record.metrics == first.metrics
    assert RunStore(folder).get(first.run_id).metrics.moved == first.metrics.moved
    assert asked == ["evaluate"], "the dense network is not measured again"
