"""How long work reports its progress: a plain callable, so that a terminal, a page or a test can listen."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as `on_progress(stage, done, total)`; `stage` is a short human label such as 'evaluate'."""


def silent(stage: str, done: int, total: int) -> None:
    """Listen to nothing: the default wherever progress is optional."""
