"""What tests of training share: a small network that is known by name."""

from collections.abc import Iterator

import pytest
from small_net import ENTRY, NAME

from tdq_core.models.registry import MODELS


@pytest.fixture(scope="module", autouse=True)
def small_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, NAME, ENTRY)
        yield
