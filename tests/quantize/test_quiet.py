"""Third-party noise: what is known is not shown, everything else is."""

import logging
import warnings

import pytest

from tdq_core.compression.quantize.third_party_noise import quiet


def test_prints_go_to_stderr(capsys):
    with quiet():
        print("noise")
    assert capsys.readouterr() == ("", "noise\n")


def test_only_the_listed_warnings_are_hidden():
    with warnings.catch_warnings(record=True) as seen, quiet():
        warnings.warn("You are using the legacy TorchScript-based ONNX export.", DeprecationWarning, stacklevel=1)
    assert not seen
    with pytest.warns(DeprecationWarning, match="something new"), quiet():
        warnings.warn("something new", DeprecationWarning, stacklevel=1)


def test_log_levels_come_back_after_an_error():
    logger = logging.getLogger("torchao")
    logger.setLevel(logging.INFO)
    with pytest.raises(KeyError), quiet():
        assert logger.level == logging.ERROR
        raise KeyError
    after = logger.level
    logger.setLevel(logging.NOTSET)
    assert after == logging.INFO
