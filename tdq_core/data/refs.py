"""The names of image sources: `digits`, `cifar10[:ROOT]`, `cifar10-jpeg[:ROOT]`, `imagenet:ROOT`, `folder:DIR`."""

from dataclasses import dataclass
from pathlib import Path

from tdq_core.errors import InputError
from tdq_core.system.files import user_path

GRAMMAR = "'digits', 'cifar10[:ROOT]', 'cifar10-jpeg[:ROOT]', 'imagenet:ROOT' or 'folder:DIR'"
_PLACE = {
    "digits": "none",
    "cifar10": "optional",
    "cifar10-jpeg": "optional",
    "imagenet": "required",
    "folder": "required",
}


@dataclass(frozen=True)
class DataRef:
    """Where images come from.

    Attributes:
        kind: 'digits', 'cifar10', 'cifar10-jpeg', 'imagenet' or 'folder'.
        root: the folder, None where none was named.
    """

    kind: str
    root: Path | None = None

    def __str__(self) -> str:
        return self.kind if self.root is None else f"{self.kind}:{self.root}"

    @property
    def has_calibration_split(self) -> bool:
        """Whether the source keeps images for calibration apart from those that it evaluates on."""
        return self.kind in ("digits", "cifar10", "cifar10-jpeg")


def parse_ref(text: str) -> DataRef:
    """The source that `text` names; whether the folder exists is checked when it is opened."""
    kind, colon, root = text.partition(":")
    if kind not in _PLACE:
        raise InputError(f"Images come from {GRAMMAR}. Got '{text}'.")
    if _PLACE[kind] == "none" and colon:
        raise InputError(f"The images '{kind}' come with the project and take no folder. Got '{text}'.")
    if not root and (colon or _PLACE[kind] == "required"):
        raise InputError(f"The images '{kind}' need a folder, as '{kind}:FOLDER'. Got '{text}'.")
    return DataRef(kind, user_path(root) if root else None)
