"""What passes the network for a sensitivity is not what factors were fitted to."""

from pathlib import Path

import pytest
import torch
from tiny_net import spec_in

from tdq_core.analysis.layer_changes import FEWEST, measure
from tdq_core.analysis.one_layer import Subject, opened, split
from tdq_core.errors import InputError
from tdq_core.pipeline.session import Session
from tdq_core.prediction.sensitivity import SENSITIVITIES
from tdq_core.records.store import Store
from tdq_core.specs import RankRule


def test_images_are_fitted_to_or_passed_and_none_is_lost(tmp_path: Path) -> None:
    inputs = Session().open(spec_in(tmp_path).changed(method="auto", rule=RankRule("ratio", 2.0), calibrated=True))
    every = torch.cat(list(inputs.calibration()))
    fitting, passed = (torch.cat(list(part.calibration())) for part in split(inputs, 11))
    assert len(passed) == 11 and len(fitting) + 11 == len(every)
    assert sorted(float(image.sum()) for image in (*fitting, *passed)) == sorted(float(i.sum()) for i in every)
    subject = Subject("made up", inputs.spec, (), 11, None)
    work = opened(subject, inputs, Session())
    with torch.no_grad():
        assert torch.allclose(work.replay.logits, work.model(passed), atol=1e-5)
    assert len({part.sums_folder for part in (inputs, *split(inputs, 11))}) == 3, "their sums would be mixed up"
    assert torch.equal(torch.cat(list(work.fitting.calibration())), fitting)


def test_too_few_images_are_refused_before_any_work(tmp_path: Path) -> None:
    few = spec_in(tmp_path).changed(calib_samples=2 * FEWEST - 1)
    with pytest.raises(InputError, match=f"at least {2 * FEWEST} calibration images .*Got {2 * FEWEST - 1}"):
        measure(few, store=Store(SENSITIVITIES, tmp_path / "runs"))
    enough = few.changed(calib_samples=2 * FEWEST)
    assert measure(enough, store=Store(SENSITIVITIES, tmp_path / "runs")).sensitivities.images == FEWEST
