"""Interactions in squared change of the logits: what is told, how often it is false, and what is not told."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tdq_core.analysis.additivity import find_cells, judged
from tdq_core.analysis.joint_moves import BROKEN, OLD, STILL, JointMove, NoMove, joint_moves
from tdq_core.cli import app
from tdq_core.records.record import Metrics, RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec
from tdq_core.stats.bootstrap import sums_intervals
from tdq_core.stats.equivalence import Equivalence, z_of
from tdq_core.stats.score import Z95

N = 400
ALONE = {"method": "tucker2", "rule": RankRule("ratio", 2)}
ROUNDED = {"precision": "int8", "backend": "onnxruntime"}


def run(name: str, moved: np.ndarray | None, **changes: object) -> RunRecord:
    spec = RunSpec.of("digits_resnet", "digits").changed(**changes)
    n = N if moved is None else len(moved)
    right = np.arange(n) < n - 3
    own = Metrics.measured(right, params=10, macs=1, bytes=9, dense_params=10, moved=moved)
    digests = {"model": "m", "data": "d"} | ({"calib": "c"} if "precision" in changes else {})
    return RunRecord(run_id=name * 16, state="complete", spec=spec, metrics=own, baseline=own, layers=(), notes=(),
                     digests=digests, provenance={})  # fmt: skip


def three(*moved: np.ndarray | None) -> tuple[RunRecord, RunRecord, RunRecord]:
    """Decomposed, quantized, and both."""
    return (run("b", moved[0], **ALONE), run("c", moved[1], **ROUNDED), run("d", moved[2], **ALONE, **ROUNDED))


def drawn(rng: np.random.Generator, n: int, times: float) -> list[np.ndarray]:
    """Heavy tails, and images that move far in one way move far in the others; the joint mean is `times` the sum."""
    shared = rng.normal(size=n)
    parts = [np.exp(0.8 * shared + 0.8 * rng.normal(size=n) - 0.64) * size for size in (0.05, 0.03)]
    noise = np.exp(0.5 * rng.normal(size=n) - 0.125)
    return [*parts, times * (parts[0] + parts[1]) * noise]


def test_the_interaction_is_the_plain_arithmetic_and_the_share_that_of_the_sum() -> None:
    moves = drawn(np.random.default_rng(0), N, 1.5)
    (found,) = joint_moves([three(*moves)], 0.1)
    assert isinstance(found, JointMove)
    means = [float(one.mean()) for one in moves]
    assert (found.decomposed, found.quantized, found.both) == pytest.approx(means, rel=1e-3)
    assert found.interaction[0] == pytest.approx(means[2] - means[0] - means[1], rel=5e-3)
    assert found.share[0] == pytest.approx(means[2] / (means[0] + means[1]) - 1, rel=5e-3)
    assert found.verdict is Equivalence.BEYOND and found.images == N
    assert found.share[1] < found.share[0] < found.share[2]
    again = joint_moves([three(*moves)], 0.1)
    assert again == [found], "the same images are drawn each time"


def test_many_groups_widen_each_and_those_that_tell_nothing_do_not_count() -> None:
    moves = drawn(np.random.default_rng(1), N, 1.0)
    alone, *_ = joint_moves([three(*moves), three(None, *moves[1:])], 0.1)
    among, *_ = joint_moves([three(*moves)] * 8, 0.1)
    assert isinstance(alone, JointMove) and isinstance(among, JointMove)
    wide = (among.interaction[2] - among.interaction[0]) / (alone.interaction[2] - alone.interaction[0])
    assert wide == pytest.approx(z_of(8) / z_of(1), rel=1e-6)


@pytest.mark.parametrize(("place", "moved", "reason"), [
    (0, None, OLD), (1, None, OLD), (2, None, OLD), (2, np.full(N, np.nan), BROKEN), (0, np.full(N, 1e30), BROKEN),
])  # fmt: skip
def test_what_is_lacking_is_said_and_of_which_run(place: int, moved: np.ndarray | None, reason: str) -> None:
    moves: list[np.ndarray | None] = list(drawn(np.random.default_rng(2), N, 1.0))
    moves[place] = moved
    (found,) = joint_moves([three(*moves)], 0.1)
    assert found == NoMove("bcd"[place] * 16, reason)


def test_where_nothing_moves_there_is_no_share() -> None:
    assert joint_moves([three(*[np.zeros(N)] * 3)], 0.1) == [NoMove("d" * 16, STILL)]


@pytest.mark.parametrize("n", [200, 1000])
def test_intervals_hold_the_truth_as_often_as_they_say(n: int) -> None:
    """Of 500 samples of a law with heavy tails; a narrower z, or images that are not paired, shows here."""
    rng, times = np.random.default_rng(n), 1.1
    wholes, sums = [], []
    for _ in range(500):
        a, b, both = drawn(rng, n, times)
        wholes.append(both)
        sums.append(a + b)
    truth = 0.08 * np.exp(0.0)  # the mean of the sum: exp(0.64 - 0.64) of both parts
    found = sums_intervals(np.array(wholes), np.array(sums), z=Z95)
    held = sum(low <= (times - 1) * truth <= high for (_, low, high), _ in found)
    shares = sum(low <= times - 1 <= high for _, (_, low, high) in found)
    assert 0.93 * 500 <= shares <= 0.97 * 500 and 0.91 * 500 <= held <= 0.97 * 500
    false = sum(low > times - 1 for _, (_, low, _) in found)
    assert false <= 0.04 * 500


def test_the_command_tells_both_and_what_lacks(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    monkeypatch.setattr("tdq_core.records.store.PROJECT", tmp_path)
    store = RunStore(tmp_path)
    for one in (run("a", None), *three(*drawn(np.random.default_rng(0), N, 1.5))):
        store.put(one)
    told = CliRunner().invoke(app, ["additivity"]).output
    assert (
        "In mean squared change of the logits (over their mean square), 1 of 1 groups, margin 10 % of the sum" in told
    )
    (row,) = json.loads(CliRunner().invoke(app, ["additivity", "--json", "--share", "90"]).output)
    (expected,) = judged(find_cells(store.all()), 0.01, 0.9)
    assert isinstance(expected.moved, JointMove) and row["not_moved"] is None
    assert row["moved"]["share"] == dict(zip(("middle", "low", "high"), expected.moved.share, strict=True))
    assert row["moved"]["margin"] == 0.9 and row["moved"]["verdict"] == expected.moved.verdict == "within"
    store.put(run("c", None, **ROUNDED))
    told = CliRunner().invoke(app, ["additivity"]).output
    assert f"1 of 1 groups tell nothing of squared change: {OLD}." in " ".join(told.split())
    (row,) = json.loads(CliRunner().invoke(app, ["additivity", "--json"]).output)
    assert row["moved"] is None and row["not_moved"] == f"run cccccccc: {OLD}"


@pytest.mark.parametrize(("asked", "said"), [
    (["--share", "0"], "above 0 and below 100 %. Got 0"), (["--share", "100"], "Got 100"),
    (["--layers", "--share", "5"], "A margin is one of runs"),
])  # fmt: skip
def test_a_share_that_cannot_be_is_refused_in_a_sentence(asked: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["additivity", *asked])
    assert isinstance(done.exception, Exception) and said in str(done.exception)
