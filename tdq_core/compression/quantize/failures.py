"""Third-party steps raise errors of every kind: here they become one sentence."""

import contextlib
from collections.abc import Iterator

from tdq_core.errors import RunFailed, TDQError


@contextlib.contextmanager
def failing_as_run_failed(step: str, way_out: str) -> Iterator[None]:
    """Turn an error within it into RunFailed: `step` stopped with what, and the `way_out`."""
    try:
        yield
    except TDQError:
        raise
    except Exception as error:
        raise RunFailed(f"{step} stopped with {summary(error)}; {way_out}.") from error


def summary(error: Exception) -> str:
    """The kind of an error and the first line of its text."""
    reason = (str(error).strip().splitlines() or ["no reason given"])[0][:200].rstrip(".")
    return f"{type(error).__name__} ({reason})"
