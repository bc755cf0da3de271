"""Verdicts on sums of drops: within a margin, beyond it, or too few images; true as often as they say."""

import itertools
import json
from statistics import NormalDist

import numpy as np
import pytest
from typer.testing import CliRunner

from tdq_core.analysis.additivity import find_cells, judged
from tdq_core.cli import app
from tdq_core.records.store import RUNS, Store, shipped_folder
from tdq_core.stats.equivalence import Equivalence, equivalence, holm, images_to_decide, sign_flip_p, z_of
from tdq_core.stats.intervals import paired_mean


@pytest.mark.parametrize(("interval", "said"), [
    ((0.0, -0.009, 0.009), Equivalence.WITHIN), ((0.012, 0.011, 0.013), Equivalence.BEYOND),
    ((-0.02, -0.03, -0.011), Equivalence.BEYOND), ((0.0, -0.02, 0.005), Equivalence.UNDECIDED),
    ((0.009, 0.005, 0.0100001), Equivalence.UNDECIDED), ((0.012, 0.0099, 0.02), Equivalence.UNDECIDED),
])  # fmt: skip
def test_a_verdict_is_where_the_whole_interval_lies(interval: tuple[float, float, float], said: Equivalence) -> None:
    assert equivalence(interval, 0.01) is said


def test_the_images_that_are_named_decide_it() -> None:
    draw = np.random.default_rng(0)
    few = draw.choice([-1, 0, 1], p=[0.02, 0.96, 0.02], size=600)
    few -= np.roll(few, 1) * (few.mean() != 0)  # any whole numbers whose mean is near 0
    interval = paired_mean(few, largest=2)
    images = images_to_decide(interval, 0.01, len(few))
    assert equivalence(interval, 0.01) is Equivalence.UNDECIDED and images and images > len(few)
    times = -(-images // len(few))
    assert equivalence(paired_mean(np.tile(few, 2 * times), largest=2), 0.01) is not Equivalence.UNDECIDED
    assert images_to_decide((0.01, -0.01, 0.03), 0.01, 600) is None, "at the margin no number does"


@pytest.mark.parametrize("truth", [0.01, -0.01])
@pytest.mark.parametrize("differing", [0.015, 0.2])
def test_a_false_verdict_is_as_rare_as_it_says(truth: float, differing: float) -> None:
    """At the margin itself either verdict is false in at most 2.5 % of all cases; a looser z would show here."""
    draw = np.random.default_rng(5)
    chances = [(differing - truth) / 2, 1 - differing, (differing + truth) / 2]
    said = [equivalence(paired_mean(draw.choice([-1, 0, 1], p=chances, size=1000), largest=2), 0.01)
            for _ in range(1000)]  # fmt: skip
    for verdict in (Equivalence.WITHIN, Equivalence.BEYOND):
        assert said.count(verdict) <= 40


def test_looking_at_many_widens_each() -> None:
    assert z_of(1) == pytest.approx(1.96, abs=1e-3)
    assert z_of(40) == pytest.approx(NormalDist().inv_cdf(1 - 0.025 / 40))
    assert z_of(40) > z_of(2) > z_of(1)


@pytest.mark.parametrize("seed", range(6))
def test_the_exact_p_counts_all_choices_of_signs(seed: int) -> None:
    some = np.random.default_rng(seed).integers(-2, 3, 9)
    sums = [sum(s * abs(x) for s, x in zip(signs, some, strict=True)) for signs in itertools.product((1, -1), repeat=9)]
    assert sign_flip_p(some) == pytest.approx(np.mean(np.abs(sums) >= abs(some.sum())))
    assert sign_flip_p(np.zeros(5, int)) == 1.0
    assert sign_flip_p(np.array([1] * 4000 + [-1] * 3600)) < 1e-5


def test_holm_is_between_each_p_and_bonferronis() -> None:
    values = np.array([0.04, 0.001, 0.2, 0.04])
    assert holm(values).tolist() == pytest.approx([0.12, 0.004, 0.2, 0.12])


def test_each_method_has_the_verdict_that_its_pairs_have_together() -> None:
    """On the shipped runs of ResNet-20: what is additive there, and what is not."""
    own = [r for r in Store(RUNS, shipped_folder()).found().values if r.spec.model.name == "resnet20_cifar10"]
    rows = judged(find_cells(own), 0.01)
    plain = {row.verdict for row in rows if row.cells.both.spec.method == "tucker2"}
    assert plain <= {Equivalence.WITHIN, Equivalence.UNDECIDED} and Equivalence.WITHIN in plain
    broken = [r for r in rows if r.verdict is Equivalence.BEYOND]
    assert broken and all(r.p < 0.05 and r.cells.both.spec.method == "cp" for r in broken)
    alone = judged([rows[0].cells], 0.01)[0].interaction
    assert alone[0] == rows[0].interaction[0] and alone[2] < rows[0].interaction[2]


def test_the_command_says_the_same() -> None:
    asked = ["additivity", "--model", "resnet20_cifar10"]
    rows = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    told = CliRunner().invoke(app, asked).output
    assert len(rows) == told.count("onnxruntime") + told.count("  torch")
    assert sum(row["verdict"] == "beyond" for row in rows) == told.count("  not additive")
    assert all(row["low"] <= row["interaction"] <= row["high"] for row in rows)
