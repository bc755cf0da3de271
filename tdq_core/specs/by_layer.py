"""What is said layer by layer as JSON: one object. No torch here."""

from typing import Any

from tdq_core.errors import InputError
from tdq_core.system.reading import Damaged, plain_json


def by_layer_from_json(text: str, source: str, form: str, *, more: str = "") -> dict[str, Any]:
    """The object that JSON `text` holds; `source` is what an error calls it, `form` how one is written, `more` what is
    said after that."""
    try:
        plain = plain_json(text)
    except Damaged as error:
        raise InputError(f"{source} cannot be read, {error}: write it as {form}{more}.") from error
    if not isinstance(plain, dict):
        raise InputError(f"{source} must be one JSON object, {form}. Got a {type(plain).__name__}.")
    return plain
