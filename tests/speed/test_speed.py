"""Times are compared in pairs, and every layer's time is told by the layer's own name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tdq_core as tdq
from tdq_core.errors import InputError
from tdq_core.pipeline.bench import bench
from tdq_core.pipeline.run import run
from tdq_core.pipeline.speed.clock import LEAST_ROUNDS, MOST_ROUNDS, WARM_UP, in_turn, race, ratio, settled, timing
from tdq_core.pipeline.speed.profile import Profiled, profile
from tdq_core.pipeline.speed.races import Runner, Settings, races
from tdq_core.pipeline.speed.record import LayerTime, Speed
from tdq_core.specs import RankRule, RunSpec

RNG = np.random.default_rng(0)


class Clock:
    """Time that passes only while something is called."""

    def __init__(self) -> None:
        self.now, self.called = 0.0, ""

    def __call__(self) -> float:
        return self.now

    def takes(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.now += seconds
            self.called += name

        return call


def test_every_round_calls_each_once_in_turn() -> None:
    clock = Clock()
    ms = in_turn([clock.takes("a", 1.0), clock.takes("b", 3.0)], seconds=0.0, clock=clock)
    assert ms.tolist() == [[1000.0, 3000.0]] * LEAST_ROUNDS
    rows = "ab" * WARM_UP + "aabbbbaa" * (LEAST_ROUNDS // 2) + "aabb"[: 4 * (LEAST_ROUNDS % 2)]
    assert clock.called == rows, "a call of a second follows one of its own"
    quick = Clock()
    assert len(in_turn([quick.takes("a", 1e-6)], seconds=10.0, clock=quick)) == MOST_ROUNDS


class Caches(Clock):
    """A call takes longer for everything that was called since its last one."""

    def takes(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            since = self.called.rpartition(name)[2]
            self.now += seconds * (1 + len(set(since) - {name}))
            self.called += name

        return call


def test_how_fast_a_call_is_does_not_hang_on_what_it_is_compared_with() -> None:
    own, others = ("a", 1e-3), [("b", 3e-3), ("c", 1e-2), ("d", 2e-5)]
    for rivals in (others[:1], others):
        clock = Caches()
        ms = in_turn([clock.takes(*each) for each in (own, *rivals)], seconds=0.0, clock=clock)
        assert np.median(ms, axis=0) == pytest.approx([1e3 * seconds for _, seconds in (own, *rivals)])


def test_quick_calls_follow_more_of_their_own_than_slow_ones() -> None:
    clock = Clock()
    assert [settled(clock.takes("a", seconds), clock)[1] for seconds in (1e-3, 7e-3, 11e-3, 1.0)] == [5, 4, 3, 2]


def test_what_slows_both_changes_no_ratio() -> None:
    run, rival = RNG.uniform(0.9, 1.1, 60), RNG.uniform(1.9, 2.1, 60)
    calm, disturbed = ratio(run, rival), RNG.choice([1.0, 10.0], 60)
    assert ratio(run * disturbed, rival * disturbed).median == pytest.approx(calm.median)
    assert 1.9 < calm.low <= calm.median <= calm.high < 2.2 and calm.verdict == "faster"
    assert ratio(rival, run).verdict == "slower" and ratio(rival, run).high < 1


def test_a_spread_too_wide_says_so() -> None:
    run, rival = RNG.lognormal(0, 1, 40), RNG.lognormal(0.02, 1, 40)
    found = ratio(run, rival)
    assert found.low < 1 < found.high and found.verdict == "cannot tell"


def test_the_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    draws = [ratio(RNG.lognormal(0, 0.3, 50), RNG.lognormal(np.log(1.5), 0.3, 50)) for _ in range(400)]
    assert 0.9 < np.mean([found.low <= 1.5 <= found.high for found in draws]) <= 1.0


@pytest.mark.parametrize(
    "wrong, named",
    [({"batches": (0,)}, "batch"), ({"batches": ()}, "batch"), ({"threads": (999,)}, "threads"),
     ({"threads": ()}, "threads"), ({"seconds": 0.0}, "seconds"), ({"seconds": float("nan")}, "seconds")],
)  # fmt: skip
def test_settings_that_cannot_be(wrong: dict[str, tuple[int, ...]], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Settings(**wrong)  # type: ignore[arg-type]


def test_races_are_run_at_every_batch() -> None:
    seen: list[int] = []

    def predict(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images

    own, rival = Runner("torch", "fp32", predict), Runner("torch", "fp32", lambda images: images.square())
    found = races(own, {"other": rival}, torch.rand(4, 3, 8, 8), Settings((1, 6), (1,), 1e-3))
    assert [race.batch for race in found] == [1, 6] and set(seen) == {1, 6}
    assert all(set(race.ratios) == {"other"} and race.rounds >= LEAST_ROUNDS for race in found)


class Net(nn.Module):
    """Residual, strided, grouped, activation of each kind, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.two = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.short = nn.Conv2d(16, 32, 1, stride=2)
        self.down = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = torch.relu(self.two(self.one(x)) + x)
        return self.head((self.down(x) + self.short(x)).mean((2, 3)))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_layer_is_told_by_its_name(precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = tdq.wrap(Net(), size=16)
    names = [layer.name for layer in net.table().layers]
    assert len(names) == 6
    calib = tdq.images(torch.rand(8, 3, 16, 16)).eval if precision == "int8" else None
    file = tdq.quantize(net, precision, backend="onnxruntime", calib=calib, to=tmp_path).path
    spent, again = profile([Profiled(file, names), Profiled(file, names)], torch.rand(1, 3, 16, 16), passes=5)
    assert set(spent.layers) == set(names) == set(again.layers)
    assert all(ms.shape == (5,) and (ms >= 0).all() for ms in (*spent.layers.values(), *spent.rest.values()))
    assert not {"Conv", "FusedConv", "QLinearConv", "Gemm", "QGemm"} & set(spent.rest), (
        "no layer is left among the rest"
    )


def test_networks_in_hand_race_on_one_backend(tmp_path: Path) -> None:
    net = tdq.wrap(Net(), size=16)
    file = tdq.quantize(net, "fp32", backend="onnxruntime", to=tmp_path)
    told = tdq.bench(net, against={"itself": net}, batches=(1, 2), threads=(1,), seconds=1e-3)
    assert [(race.backend, race.batch, list(race.ratios)) for race in told] == [
        ("torch", n, ["itself"]) for n in (1, 2)
    ]
    assert tdq.bench(file, batches=(1,), threads=(1,), seconds=1e-3)[0].backend == "onnxruntime"
    with pytest.raises(InputError, match=r"one backend, here torch\. 'file' runs on onnxruntime"):
        tdq.bench(net, against={"file": file})


def layer(run: np.ndarray, dense: np.ndarray, *, params: int) -> LayerTime:
    return LayerTime(
        name="a", method="svd", dense_ms=timing(dense).median_ms, ms=timing(run).median_ms, ratio=ratio(run, dense),
        dense_params=10, params=params, dense_macs=10, macs=5, dense_bytes=40, bytes=20, parts={},
    )  # fmt: skip


def test_smaller_but_slower_is_said_where_it_is_so() -> None:
    one, two = RNG.uniform(0.9, 1.1, 30), RNG.uniform(1.9, 2.1, 30)
    assert layer(two, one, params=5).verdict == "smaller but slower"
    assert layer(one, two, params=5).verdict == ""
    assert layer(two, one, params=12).verdict == "", "it is not smaller"
    assert layer(one, RNG.permutation(one), params=5).verdict == "", "nobody can tell"


def test_a_name_for_each_call_gives_its_times() -> None:
    rounds, ms = race({"a": lambda: None, "b": lambda: None}, seconds=1e-6)
    assert set(ms) == {"a", "b"} and all(times.shape == (rounds,) for times in ms.values())


def test_from_the_command_line(tdq: Callable[..., object], tmp_path: Path) -> None:
    point = ("run", "--model", "digits_resnet", "--data", "digits", "--samples", 20, "--method", "svd", "--ratio", 2)
    run_id = json.loads(tdq(*point, "--json").stdout)["run_id"]  # type: ignore[attr-defined]
    told = tdq("bench", run_id[:6], "--seconds", "0.01", "--batch", "2", "--threads", "1", "--json")
    assert told.returncode == 0, told.stderr  # type: ignore[attr-defined]
    (plain,) = json.loads(told.stdout)  # type: ignore[attr-defined]
    speed = Speed.from_dict(plain)
    assert [(r.backend, r.batch, r.threads) for r in speed.races] == [("onnxruntime", 2, 1), ("torch", 2, 1)]
    assert [list(race.rivals) for race in speed.races] == [["dense"], ["dense fp32"]]
    assert speed.profile and all(la.ms is not None and la.dense_ms is not None for la in speed.profile.layers)
    decomposed = [la for la in speed.profile.layers if la.method == "svd"]
    assert decomposed and all(set(la.parts) == {"inner", "output"} and la.bytes < la.dense_bytes for la in decomposed)
    assert json.loads((tmp_path / "runs" / "speed" / f"{run_id}.json").read_text()) == plain
    for wrong in (("--batch", "many"), ("--batch", "0"), ("--backend", "tensorrt"), ("--threads", "9999")):
        assert tdq("bench", run_id, *wrong).returncode == 2  # type: ignore[attr-defined]


def test_a_fine_tuned_run_is_timed_without_being_tuned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec.of("digits_resnet", "digits", method="tucker2", rule=RankRule("ratio", 2), finetune=2, samples=20)
    record = run(spec).record
    monkeypatch.setattr("tdq_core.pipeline.build.distil", lambda *_, **__: pytest.fail("as long as the run"))
    timed = bench(record, record.spec, Settings((1,), (1,), 1e-3), backends=["onnxruntime"])
    assert timed.profile and sum(la.params for la in timed.profile.layers) == sum(la.params for la in record.layers)
    assert any("not fine-tuned again" in note for note in timed.notes)
