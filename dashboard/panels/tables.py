"""The one place where a table is put on a page: its numbers are said in the words of the pages, true minus signs and
all, and sort as the numbers that they are.

pandas is loaded with the first table: a fresh server's first chart would wait for it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard.words import text

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler

Columns = Mapping[str, Any]
"""By the name of a column what `st.column_config` makes; a number's format is one of `dashboard.words.text.number`."""


def show(rows: "pd.DataFrame | Sequence[Mapping[str, Any]]", columns: Columns | None = None, **options: Any) -> Any:
    """A table of these rows; `options` are those of `st.dataframe`, whose answer is returned."""
    import pandas as pd

    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
    asked = dict(columns or {})
    with pd.option_context("styler.render.max_elements", max(frame.size, 1)):
        return st.dataframe(
            said(frame, asked), hide_index=True, column_config={n: _unsaid(c) for n, c in asked.items()},
            placeholder="", **options,
        )  # fmt: skip


def said(frame: "pd.DataFrame", columns: Columns) -> "Styler":
    """The frame with each of its numbers in words."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    names = [name for name in frame if is_numeric_dtype(frame[name]) and not is_bool_dtype(frame[name])]
    return frame.style.format({name: partial(text.number, form=_form(columns.get(name))) for name in names}, na_rep="")


def _form(column: Any) -> str:
    """How a column says its numbers."""
    return str(((column or {}).get("type_config") or {}).get("format") or text.LOCALIZED)


def _unsaid(column: Any) -> Any:
    """The column without its format, which the browser would say in its own way."""
    if (column.get("type_config") or {}).get("type") != "number":
        return column
    return column | {"type_config": column["type_config"] | {"format": None}}
