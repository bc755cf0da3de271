"""Texts from outside (names, notes, paths, errors) where a screen reads markup: shown as they are, never obeyed.

A page inserts such a text into Markdown through `plain`, a figure into its labels through `label`, and nothing else.
"""

import html
import re

from tdq_core.system.plain_text import printable

_JOINER = "\N{WORD JOINER}"
"""No width, no meaning: parts what Streamlit replaces after Markdown, and its escapes, have been read."""
_READ_LATER = re.compile(
    r":(?=[\w+-]+:|material/)"  # shortcodes of pictures
    r"|:(?=//)|(?<=www)(?=\.)|@"  # addresses, which become links
    r"|(?<!\S)[<~>-](?=(?:->|-|>|=)(?!\S))"  # arrows and signs like >= standing alone
)
_SIGNS = re.compile(
    r"[\\`*\[\]<&$|~]"
    r"|:(?=\w)"  # :red[directives]
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word it is no emphasis
    r"|^[#>+=-]"  # headings, quotations, rules, lists
)


def plain(text: object) -> str:
    """Markdown of Streamlit's that shows `text` as it is."""
    parted = _READ_LATER.sub(lambda m: m.group() + _JOINER, printable(text))
    escaped = _SIGNS.sub(r"\\\g<0>", parted)
    escaped = re.sub(r"^(\d+)(?=[.)])", r"\1\\", escaped)  # numbered lists
    return re.sub(r"^ +", lambda m: "&nbsp;" * len(m.group()), escaped)


def label(text: object) -> str:
    """Plotly's pseudo-HTML that shows `text` as it is, mathematics included."""
    return html.escape(printable(text), quote=False).replace("$", "&#36;")
