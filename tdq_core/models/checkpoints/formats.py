"""What a file is by its first bytes: names of weights files promise nothing."""

import zipfile
from pathlib import Path
from typing import Literal

from tdq_core.errors import InputError

Format = Literal["safetensors", "pickle"]
SAVE_SO = "save the state dict alone, with torch.save(model.state_dict(), FILE)"
"""The way out of most files that cannot be read."""
_LONGEST_HEADER = 10**8  # of safetensors, by its specification
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself", "fetch it, with git lfs pull"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"BZh", "compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"),
    (b"\x93NUMPY", "a NumPy array", SAVE_SO),
    (b"\x89HDF", "HDF5, as Keras writes it", "convert it to a state dict of torch"),
    (b"GGUF", "GGUF, quantized for another runtime", "give the weights that it was made of"),
    (b"<", "a web page or XML", "download the file itself"),
    (b"{", "JSON", "give the file that holds the tensors, or the folder"),
)
"""First bytes, what they are of, the way out."""


def format_of(path: Path) -> Format:
    """How the tensors in `path` are written.

    Raises:
        InputError: it is no file, empty, may not be read, or is nothing that holds weights of torch.
    """
    head = _head(path)
    if not head:
        raise InputError(f"The weights file '{path}' is empty: write or download it again.")
    if _is_safetensors(head):
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        _require_archive_of_torch(path)
        return "pickle"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    for start, what, way_out in _OTHERS:
        if head.lstrip().startswith(start) or head.startswith(start):
            raise InputError(f"The weights file '{path}' is {what}: {way_out}.")
    raise InputError(
        f"The weights file '{path}' is neither safetensors nor a file of torch.save, whatever its name, or it is "
        f"damaged: {SAVE_SO}."
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except FileNotFoundError as error:
        raise InputError(f"The weights file '{path}' does not exist.") from error
    except OSError as error:
        raise InputError(f"The weights file '{path}' cannot be opened: {error.strerror or error}.") from error


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes with the length of a JSON header, and then that header."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _LONGEST_HEADER


def _require_archive_of_torch(path: Path) -> None:
    """InputError where a zip is another one than torch.save writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
            members = {*names, *archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"The weights file '{path}' cannot be read: it is damaged or cut off.") from error
    if "constants.pkl" in members or any(name.startswith("code/") for name in names):
        raise InputError(
            f"The weights file '{path}' is a TorchScript program, and TDQ runs no code from weights files: load it "
            f"yourself and {SAVE_SO}."
        )
    if any(name.endswith(("exported_program.json", "archive_format", "models/model.json")) for name in members):
        raise InputError(
            f"The weights file '{path}' is a program of torch.export, which runs as it is and holds no network that "
            "could be compressed: give the weights that it was made of."
        )
    if any(name.endswith(".npy") for name in members):
        raise InputError(f"The weights file '{path}' is an archive of NumPy arrays: {SAVE_SO}.")
    if "data.pkl" not in members:
        raise InputError(f"The weights file '{path}' is a zip archive of something else: unpack it first.")
