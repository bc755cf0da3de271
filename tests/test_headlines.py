"""The tables of chosen files on the pages name what the rule chooses, and say of it what the other half says."""

import base64
import functools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cached_runs.pages import written
from cached_runs.pipelines import OWN, PIPELINES, POINT, STUDYS, over_halves, random_halves, smallest
from cached_runs.recipes import rewritten
from tdq_core.recipes.report import RECIPES
from tdq_core.records.store import RunStore, Store, shipped_folder
from tdq_core.stats.intervals import paired_mean
from tdq_core.stats.score import Z90_ABOVE

PROJECT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": 2, "docs/zoo.md": 6}
"""Pages with a table of chosen files, and of how many networks."""
FEW_BITS = "TDQ's own, few bits"
CELL = r"([\d.]+)x, loses (-?[\d.]+); on the others (-?[\d.]+) \[-?[\d.]+, (-?[\d.]+)\]: (shown|consistent|missed)"


@functools.cache
def plain_runs(model):
    """By pipeline (file's bytes, bytes of dense / bytes, lost images (n,)) of each run, read from the files alone."""
    found = {"the study's": [], "TDQ's own": [], FEW_BITS: []}
    first = {"alexnet_cifar10": "auto", "googlenet_cifar10": "auto", "resnet50_cifar10": "auto"}.get(model, "tucker2")
    for path in sorted(shipped_folder().glob("*.json")):
        run = json.loads(path.read_text())
        spec = run["spec"]
        few_bits = spec["calibrated"] and spec.get("quantization_aware", False)
        if spec["model"] != model or not (few_bits or spec["precision"] == "int8"):
            continue
        n = run["metrics"]["n"]
        dense, own = (
            np.unpackbits(np.frombuffer(base64.b64decode(run[k]["outcomes"]), np.uint8))[:n].astype(int)
            for k in ("baseline", "metrics")
        )
        told = (run["metrics"]["bytes"], run["baseline"]["bytes"] / run["metrics"]["bytes"], dense - own)
        if few_bits:
            found[FEW_BITS].append(told)
        elif spec["calibrated"] and spec["condition"] and not spec["symmetric"]:
            found["TDQ's own"].append(told)
        elif spec["method"] == first and not spec["calibrated"]:
            found["the study's"].append(told)
    return found


def chosen(runs, half):
    """(ratio, drop there, drop on the others) of the smallest file surely within a point on `half`, or None."""
    keeping = [(size, ratio, lost) for size, ratio, lost in runs if above(lost[half]) <= POINT + 1e-12]
    if not keeping:
        return None
    _, ratio, lost = min(keeping, key=lambda run: (run[0], run[2][half].mean()))
    return ratio, 100 * lost[half].mean(), 100 * lost[~half].mean()


def above(lost):
    """What the drop exceeds in one case of ten."""
    return paired_mean(lost, z=Z90_ABOVE)[2]


def rows_of(page):
    block = re.search(r"<!-- halves -->\n(.*?)\n<!-- /halves -->", (PROJECT / page).read_text(), re.S)[1]
    return [re.split(r" *\| *", line.strip("| ")) for line in block.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("page", PAGES)
def test_a_file_is_named_where_the_rule_chooses_it_and_verified_where_the_others_keep_it(page):
    rows = rows_of(page)
    models = {network.split("`")[1] for network, *_ in rows}
    assert len(models) == PAGES[page]
    assert len(rows) == sum(
        name != FEW_BITS or bool(runs) for model in models for name, runs in plain_runs(model).items()
    )
    for network, pipeline, *cells, over in rows:
        model, n = re.fullmatch(r"`(\w+)`, ([\d,]+)", network).groups()
        name, count = re.fullmatch(r"(.*), (\d+) runs", pipeline).groups()
        runs, even = plain_runs(model)[name], np.arange(int(n.replace(",", ""))) % 2 == 0
        assert len(runs) == int(count) and all(len(lost) == len(even) for _, _, lost in runs)
        for cell, half in zip(cells, (even, ~even), strict=True):
            if (best := chosen(runs, half)) is None:
                assert cell == "none"
                continue
            ratio, here, there = best
            told = re.fullmatch(CELL, cell)
            assert [float(told[i]) for i in (1, 2, 3)] == pytest.approx([ratio, here, there], abs=0.0051)
            said = "shown" if float(told[4]) <= 1 else "consistent" if there <= 1 + 1e-9 else "missed"
            assert told[5] == said, (model, name, cell)
        if page == "README.md":
            assert over == over_random_halves(runs, len(even))


def test_the_first_table_of_the_readme_is_of_shipped_runs():
    block = re.search(r"<!-- headline -->\n(.*?)\n<!-- /headline -->", (PROJECT / "README.md").read_text(), re.S)[1]
    rows = [re.split(r" *\| *", line.strip("| ")) for line in block.splitlines()[2:]]
    assert len(rows) >= 4
    runs = [json.loads(path.read_text()) for path in shipped_folder().glob("*.json")]
    known = {
        (f"{100 * run['metrics']['top1']:.1f} %", f"{run['metrics']['bytes'] / 1e6:.2f} MB",
         f"{run['baseline']['bytes'] / run['metrics']['bytes']:.1f}x"):
        f"{100 * (run['baseline']['top1'] - run['metrics']['top1']):.2f}".replace("-0.00", "0.00")
        for run in runs if run["spec"]["model"] == "resnet18_cifar10" and run["metrics"]
    }  # fmt: skip
    for _, top1, drop, file, smaller in rows:
        assert known[top1, file, smaller] == (drop.split(" ")[0] or "0.00")


def over_random_halves(runs, n):
    """The last column by the rule itself, half after half."""
    files, kept, rng = Counter(), 0, np.random.RandomState(0)
    for _ in range(2000):
        half = np.isin(np.arange(n), rng.permutation(n)[: (n + 1) // 2])
        best = chosen(runs, half)
        files[f"{best[0]:.2f}x" if best else "none"] += 1
        kept += best is not None and best[2] <= 1 + 1e-9
    often = [f"{name} in {k / 20:.0f} %" for name, k in files.most_common() if k >= 100]
    some = 2000 - files["none"]
    return ", ".join(often) + (f"; of those {100 * kept / some:.0f} % not missed" if some else "")


def test_no_page_tells_what_the_rule_did_not_choose():
    """The two claims that stood here once, in whatever words: a file that was found by looking at both halves, and one
    half's answer as if it were the answer."""
    for path in (PROJECT / "README.md", PROJECT / "cached_runs" / "README.md", *(PROJECT / "docs").glob("*.md")):
        text = path.read_text()
        outside = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", text, flags=re.S)
        prose = " ".join(line for line in outside.splitlines() if not line.startswith("|"))
        assert not re.search(r"\b6\.07\b|\b7\.9x|\b7\.9 times|\b23\.0 times|no\s+choice\s+looked", prose), path.name


def test_the_quick_rule_is_the_rule():
    """`over_halves` bounds all drops at once; everything else is what `smallest` says."""
    records = RunStore(shipped_folder()).all()
    for model in ("resnet18_cifar10", "resnet50_cifar10"):
        own = [r for r in records if r.spec.model.name == model]
        halves = random_halves(1000, 12)
        for pipeline in PIPELINES:
            for half, quick in zip(halves, over_halves(own, pipeline, POINT, halves), strict=True):
                _, best = smallest(own, pipeline, POINT, looked_at=half)
                expected = (best.run_id, best.bytes_ratio, best.verified) if best else (None, 0.0, False)
                assert quick == expected


def test_random_halves_are_halves_and_stay_the_same():
    halves = random_halves(7, 50)
    assert set(halves.sum(axis=1)) == {4} and len({h.tobytes() for h in halves}) > 10
    assert np.array_equal(halves, random_halves(7, 50))
    assert over_halves([], OWN, POINT, halves) == over_halves([], STUDYS, POINT, halves)
    assert all(c.run_id is None and not c.verified for c in over_halves([], OWN, POINT, halves))


def test_how_much_smaller_is_the_median_of_the_halves():
    told = re.search(r"median of the halves\): (.*)\.\n<!-- /halves", (PROJECT / "README.md").read_text())[1]
    runs, factors, rng = plain_runs("resnet18_cifar10"), [], np.random.RandomState(0)
    for _ in range(2000):
        half = np.isin(np.arange(1000), rng.permutation(1000)[:500])
        ours, theirs = chosen(runs["TDQ's own"], half), chosen(runs["the study's"], half)
        factors += [ours[0] / theirs[0]] if ours and theirs else []
    assert told == f"{np.median(factors):.1f} on `resnet18_cifar10`"


def test_shipped_recipes_are_written_from_the_outcomes_of_their_runs():
    store = Store(RECIPES, shipped_folder())
    paths = list(store.paths())
    assert paths
    for path in paths:
        report = store.read(path)
        assert rewritten(report, RunStore(shipped_folder())) == report and report.recipe_id == path.stem


def test_a_recipe_without_its_runs_is_not_rewritten(tmp_path):
    (report,) = Store(RECIPES, shipped_folder()).all()
    with pytest.raises(ValueError, match="speaks of the run"):
        rewritten(report, RunStore(tmp_path))


def test_what_is_written_names_the_networks_that_are_shown():
    blocks = written(PROJECT).blocks
    assert set(re.findall(r"`(\w+)`, ", blocks["README.md"]["halves"])) == {"resnet20_cifar10", "resnet18_cifar10"}
    assert len(set(re.findall(r"`(\w+)`, ", blocks["docs/zoo.md"]["halves"]))) == 6
