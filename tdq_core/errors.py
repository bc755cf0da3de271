"""Everything TDQ can complain about.

TDQError
 ├── InputError    the request itself is wrong: nothing was run, nothing is recorded     (exit code 2)
 ├── Refused       a well-formed request that this model or layer cannot satisfy: recorded (exit code 2)
 ├── NotNow        this machine cannot do it at this moment: nothing is recorded         (exit code 1)
 │    └── NotKept  what was made could not be written; it can still be printed           (exit code 1)
 └── RunFailed     the work began and went wrong: recorded, and tried again when asked for (exit code 1)

A record of what was refused is an answer for good, so nothing that depends on the machine's state may be `Refused`.
A message is one sentence: what, where, allowed, given, and the way out.
"""

from typing import Any


class TDQError(Exception):
    """Base of every error that TDQ raises on purpose; its text is fit to be shown to a person."""


class InputError(TDQError):
    """A bad argument, file or name; raised before any work is done."""


class Refused(TDQError):
    """The request is well formed, but this model, these layers or this data cannot carry it out."""


class NotNow(TDQError):
    """The machine has too little of something at this moment, memory or disk for example; the same may succeed
    later."""


class NotKept(NotNow):
    """Work is done, and its result cannot be written: whoever asked for it may still have it.

    Attributes:
        value: the result.
    """

    def __init__(self, sentence: str, value: Any) -> None:
        super().__init__(sentence)
        self.value = value


class RunFailed(TDQError):
    """A step of a run went wrong, for example an exported graph that does not match the model."""
