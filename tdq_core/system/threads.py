"""How many threads torch uses: as many as cores are free, one for many small steps, all for a latency."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

from tdq_core.system.cores import free_cores

_ALL: ContextVar[int | None] = ContextVar("threads of torch outside `threads`", default=None)


def all_threads() -> int:
    """Torch's threads as whoever runs this process has set them, whatever is taken at this moment."""
    return _ALL.get() or torch.get_num_threads()


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch uses at most so many threads meanwhile."""
    before, mark = torch.get_num_threads(), _ALL.set(all_threads())
    torch.set_num_threads(max(1, min(count, all_threads())))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _ALL.reset(mark)


def free_threads() -> contextlib.AbstractContextManager[None]:
    """For passes over many images: as many threads as cores are free."""
    return threads(free_cores())


def one_thread() -> contextlib.AbstractContextManager[None]:
    """For many small steps: threads would wait for each other longer than they work."""
    return threads(1)
