"""The last result of a long computation, for as long as whoever holds it wants it: neighbouring runs often share it."""

import copy
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Latest(Generic[Result]):
    """Remembers one result. Whoever asks gets a copy of their own, so that nobody changes what is kept."""

    def __init__(self) -> None:
        self._kept: tuple[Hashable, Result] | None = None

    def get(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """What `compute` gives, or gave the last time under the same `key`."""
        kept = self._kept
        if kept is None or kept[0] != key:
            self._kept = None  # what is kept is let go before memory is needed anew
            self._kept = kept = (key, compute())  # key and result at once: two threads cannot swap them
        return copy.deepcopy(kept[1])
