"""A small network, and what realising it takes."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from quantize_nets import images, small_net
from torch import nn

from tdq_core.compression.quantize import Artefact, Request, realise


@pytest.fixture(scope="session")
def net() -> nn.Module:
    return small_net()


@pytest.fixture
def make_request(tmp_path: Path) -> Callable[..., Request]:
    """A request for the small network; keyword arguments replace its fields."""

    def make(**fields: object) -> Request:
        defaults = {
            "example": images(5, seed=2),
            "calibration": lambda: images(64, seed=3).split(24),
            "folder": tmp_path / "artefacts",
            "threads": 1,
            "reduce_range": False,
        }
        return Request(**(defaults | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def artefact_of(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Artefact]:
    """The artefact of the small network at a precision on a backend, made once."""

    @functools.cache
    def made(precision: str, backend: str, reduced: bool = False) -> Artefact:
        folder = tmp_path_factory.mktemp(f"{precision}_{backend}")
        request = Request(images(5, seed=2), lambda: images(256, seed=3).split(64), folder, 1, reduce_range=reduced)
        return realise(net, precision, backend, request=request)

    return made
