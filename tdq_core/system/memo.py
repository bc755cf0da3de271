"""The last result of a long computation is kept for as long as the process lives: neighbouring runs often share it."""

import copy
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Latest(Generic[Result]):
    """Remembers one result. Whoever asks gets a copy of their own, so that nobody changes what is kept."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._result: Result | None = None

    def get(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """What `compute` gives, or gave the last time under the same `key`."""
        if self._result is None or key != self._key:
            self._key, self._result = None, None  # what is kept is let go before memory is needed anew
            self._result = compute()
            self._key = key
        return copy.deepcopy(self._result)
