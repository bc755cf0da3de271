"""Being asked to end, by a scheduler, a closed terminal or a person: unwinding, so that nothing half made is left."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

ASKED = (signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """Asked for from outside: not the SystemExit that a model's code may raise."""


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise `Stopped` in the main thread, once; one that is ignored (`nohup`) stays
    ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ASKED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for other in ASKED:
        signal.signal(other, signal.SIG_IGN)  # what is being tidied up is not interrupted again
    raise Stopped(128 + number)
