"""Running other people's code: it prints, parses arguments, exits and changes the process, and none of that stays.

Models bring code of their own, and it runs whenever they are imported, built or asked for an answer. `contained` is
the one way in which TDQ lets it run.
"""

import builtins
import contextlib
import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from tdq_core.errors import InputError

RUNNING = "Running the model"
WAY_OUT = 'put what parses arguments or exits under `if __name__ == "__main__":`'


@contextlib.contextmanager
def contained(doing: str = RUNNING, program: str | None = None) -> Iterator[None]:
    """Let other people's code run within; it may be nested, and serves as a decorator too.

    What is printed meanwhile, by processes that are started and by compiled code too, goes to stderr. Afterwards the
    working folder, the environment, `sys.path`, the command line, random states, torch's defaults (dtype, device,
    gradients, threads, matmul precision), numpy's error states, warning filters, logging of the root, signal handlers
    and builtins are as they were. What ends the process at once (`os._exit`, a crash) cannot be held.

    Args:
        doing: what is done, as a sentence begins: 'Importing 'net.py''.
        program: the name that the code sees in `sys.argv`, without arguments; None: what is there.

    Raises:
        InputError: the code ended the program. An exit that TDQ asks for itself is a subclass of SystemExit and passes.
    """
    before = [(read(), read, write) for read, write in _KEPT]
    arrays = [(read(), write) for read, write in _ARRAYS]
    streams = sys.stdout, sys.stderr
    sys.argv = [program or sys.argv[0] if sys.argv else ""]
    try:
        with warnings.catch_warnings(), _stdout_on_stderr():
            yield
    except SystemExit as end:
        if type(end) is not SystemExit:
            raise
        raise InputError(f"{doing} ended the program (exit code {_code(end)}): {WAY_OUT}.") from end
    finally:
        sys.stdout, sys.stderr = streams
        for value, read, write in before:
            if read() != value:
                write(value)
        for value, write in arrays:
            write(value)


def nothing_more_on_stdout() -> None:
    """From now on what is printed goes to stderr: for the end of a program, where other people's code says goodbye."""
    sys.stdout.flush()
    sys.stdout = sys.stderr
    with contextlib.suppress(OSError):
        os.dup2(2, 1)


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Python's stdout and the process' own, which programs and compiled code write to."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # a process without one of them
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    return end.code if isinstance(end.code, int) else 1


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 (what `chdir` takes)
    except OSError:  # it has been removed
        return None


def _go_to(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _set_environment(kept: dict[str, str]) -> None:
    for name in set(os.environ) - set(kept):
        del os.environ[name]
    os.environ.update(kept)


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _logging() -> tuple[int, list[logging.Handler], int]:
    return logging.root.level, list(logging.root.handlers), logging.root.manager.disable


def _set_logging(kept: tuple[int, list[logging.Handler], int]) -> None:
    logging.root.handlers[:] = kept[1]
    logging.root.setLevel(kept[0])
    logging.disable(kept[2])


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(kept: dict[int, Any]) -> None:
    for number, handler in kept.items():
        if handler is not None and signal.getsignal(number) is not handler and _in_main_thread():
            signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _set_path(kept: list[str]) -> None:
    sys.path[:] = kept


def _set_arguments(kept: list[str]) -> None:
    sys.argv = kept


_KEPT: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (_folder, _go_to),
    (lambda: dict(os.environ), _set_environment),
    (lambda: list(sys.path), _set_path),
    (lambda: sys.argv, _set_arguments),
    (lambda: dict(vars(builtins)), lambda kept: vars(builtins).update(kept)),
    (lambda: locale.setlocale(locale.LC_ALL), lambda kept: locale.setlocale(locale.LC_ALL, kept)),
    (gc.isenabled, lambda on: (gc.enable if on else gc.disable)()),
    (_logging, _set_logging),
    (_handlers, _set_handlers),
    (random.getstate, random.setstate),
    (np.geterr, lambda kept: np.seterr(**kept)),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_device),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (_deterministic, lambda kept: torch.use_deterministic_algorithms(kept[0], warn_only=kept[1])),
)
"""How each part of the process is read, and put back where it has changed."""
_ARRAYS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (np.random.get_state, np.random.set_state),
    (torch.get_rng_state, torch.set_rng_state),
)
"""Those that are put back without asking, for they do not compare."""
