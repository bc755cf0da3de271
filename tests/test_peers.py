"""Peers on the same clock: the page is what was measured, and a share is looked for that the network survives."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks.peers import making
from benchmarks.peers.making import made
from benchmarks.peers.page import PAGE, kept, written
from benchmarks.peers.racing import DENSE, RIVAL
from benchmarks.peers.ways import WAYS, by_ratio
from tdq_core.errors import RunFailed


def test_the_page_is_written_from_what_was_measured() -> None:
    assert PAGE.read_text() == written(kept()) and kept()
    for measured in kept().values():
        assert [row.made.way for row in measured.rows] == [way.name for way in WAYS]
        assert all(bool(row.made.reason) != bool(row.ms) for row in measured.rows), "measured, or the reason why not"
        assert {DENSE, RIVAL} <= {row.made.way for row in measured.rows if row.ms}


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, width, bias=False))


def subject(ratio: float) -> SimpleNamespace:
    return SimpleNamespace(begin=lambda: None, net=SimpleNamespace(module=net(100)), ratio=ratio,
                           batches=lambda: [torch.zeros(2, 1, 2, 2)])  # fmt: skip


def test_the_least_share_that_reaches_the_ratio_is_taken_of_those_that_still_run() -> None:
    found = by_ratio(lambda share: net(round(100 * (1 - share))), subject(2.0))
    assert 45 <= found[1].out_features <= 50
    broken = nn.Sequential(nn.Flatten(), nn.Linear(5, 10, bias=False))
    found = by_ratio(lambda share: broken if share < 0.7 else net(round(100 * (1 - share))), subject(2.0))
    assert 25 <= found[1].out_features <= 30, "what breaks the network is no answer"
    with pytest.raises(RunFailed, match="No share of it makes the network 2 times smaller"):
        by_ratio(lambda share: net(90), subject(2.0))


def test_a_way_that_fails_is_named_with_its_reason(tmp_path, monkeypatch) -> None:
    told = "Traceback (most recent call last):\n  File ...\nImportError: No module named 'other'\n(see above)\n"
    monkeypatch.setattr(making.subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=1, stderr=told))
    assert made("a way", {}, tmp_path / "x", limit=9).reason == "ImportError: No module named 'other'"
