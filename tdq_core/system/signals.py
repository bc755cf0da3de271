"""Being asked to end, by a scheduler, a closed terminal or a person: unwinding, so that nothing half made is left."""

import signal
import threading
from types import FrameType
from typing import NoReturn

ASKED = (signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """Asked for from outside: not the SystemExit that a model's code may raise."""


def unwind_when_asked() -> None:
    """From now on SIGTERM and SIGHUP raise `Stopped` in the main thread, once; who ignores one of them (`nohup`) goes on
    ignoring it."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in ASKED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for other in ASKED:
        signal.signal(other, signal.SIG_IGN)  # what is being tidied up is not interrupted again
    raise Stopped(128 + number)
