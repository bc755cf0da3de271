"""Sensitivities are the same whoever measures a layer, and are taken up where they were left."""

from pathlib import Path

import pytest
from tiny_net import spec_in

from tdq_core.analysis import layer_changes, one_layer
from tdq_core.analysis.layer_changes import measure
from tdq_core.prediction.sensitivity import MEASURED, SENSITIVITIES, Sensitivities
from tdq_core.records.store import Store
from tdq_core.system import side_by_side
from tdq_core.system.progress import Progress, silent


def measured(folder: Path, monkeypatch: pytest.MonkeyPatch, on_progress: Progress = silent) -> Sensitivities:
    """Of the tiny network, everything kept in `folder`, whose paths are told relative to it."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TDQ_RUNS", "runs")
    spec = spec_in(Path())
    return measure(spec, images=20, store=Store(SENSITIVITIES, folder / "runs"), on_progress=on_progress).sensitivities


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sensitivities:
    monkeypatch.setattr(side_by_side, "free_cores", lambda: 1)
    return measured(tmp_path / "alone", monkeypatch)


def test_another_process_helps_and_finds_the_same(
    alone: Sensitivities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "free_cores", lambda: 2)
    monkeypatch.setattr(side_by_side, "PATIENCE", 0.0)
    here: list[str] = []
    fits = one_layer.Opened.fits
    monkeypatch.setattr(one_layer.Opened, "fits", lambda own, *job: here.append(job[0].name) or fits(own, *job))
    monkeypatch.chdir("/")
    pool = side_by_side.get_reusable_executor(max_workers=1, timeout=side_by_side.IDLE, env={"OMP_NUM_THREADS": "1"},
                                              reuse=False)  # fmt: skip
    assert pool.submit(str, 1).result() == "1", "whoever helps was started elsewhere"
    helped = measured(tmp_path / "helped", monkeypatch)
    assert len(here) < len(layer_changes.PIECES) * len(alone.layers), "nobody helped"
    assert helped.content == alone.content


def test_what_was_stopped_goes_on_where_it_was(
    alone: Sensitivities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped when every layer had its fits, and one its factors rounded."""
    monkeypatch.setenv("TDQ_CACHE_GB", "1")
    fitted = len(layer_changes.PIECES) * len(alone.layers)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "layers changed" and done == fitted + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "stopped", monkeypatch, stop)
    counted: list[float] = []
    change = one_layer.Opened._change
    monkeypatch.setattr(one_layer.Opened, "_change", lambda own, *a: counted.append(0) or change(own, *a))
    again = measured(tmp_path / "stopped", monkeypatch)
    assert 0 < len(counted) < len(MEASURED) * sum(len(la.rounding) - 1 for la in again.layers.values())
    assert again.content == alone.content
