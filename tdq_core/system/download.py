"""Fetch one file with progress, whole or not at all."""

import http.client
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tdq_core.errors import InputError
from tdq_core.system.files import file_sha256, require_folder
from tdq_core.system.progress import Progress, silent

_TIMEOUT_S = 20
_CHUNK = 1 << 18


def fetch(url: str, path: Path, *, sha256: str, way_out: str, on_progress: Progress = silent) -> Path:
    """Download `url` to `path`; a file that is there already is left alone.

    Args:
        sha256: hexadecimal digits that the file's SHA-256 must start with; '' where the caller checks the content.
        way_out: what to do instead, for the error's sentence.

    Raises:
        InputError: no connection, an incomplete file, or another content than expected; `path` is not written then.
    """
    if path.exists():
        return path
    require_folder(path.parent, "The folder for downloads", way_out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
        part = Path(folder) / path.name
        try:
            _copy(url, part, on_progress)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise InputError(
                f"'{path.name}' is not in '{path.parent}' and {url} cannot be reached: {way_out}."
            ) from error
        if not file_sha256(part).startswith(sha256):
            raise InputError(f"{url} gave a file whose SHA-256 does not start with {sha256}: {way_out}.")
        part.replace(path)
    return path


def _copy(url: str, part: Path, on_progress: Progress) -> None:
    stage = f"download {part.name}"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response, part.open("wb") as file:
        total, done = int(response.headers.get("Content-Length") or 0), 0
        while block := response.read(_CHUNK):
            done += file.write(block)
            on_progress(stage, done, max(total, done))
    if done < total:
        raise http.client.IncompleteRead(b"", total - done)
