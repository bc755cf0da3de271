"""A part of the chart seen larger: a drag over it chooses the part, the address keeps it, a button gives it up."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.figures.frame import Frame, part_text, read_part
from dashboard.figures.tradeoff import Point
from dashboard.shelf.state import Setting, forget

KEY = "zoom"
_ON = "zooming"


def zoomed(frame: Frame) -> Frame:
    """The frame of the chosen part; as it is where none is chosen."""
    part = read_part(_settled())
    return frame._replace(x=part[0], y=part[1]) if part else frame


def _settled() -> str:
    Setting(KEY, "", str, lambda text: not text or read_part(text) is not None).settle()
    return str(st.session_state[KEY])


def beyond_text(points: Sequence[Point], frame: Frame) -> str:
    """How many points the chosen part leaves out; '' of the whole chart."""
    if not _settled():
        return ""
    inside = sum(0 <= frame.across(p.x) <= 1 and 0 <= frame.down(100 * p.y) <= 1 for p in points)
    return f"A part of the chart: {len(points) - inside} of {len(points)} runs lie outside of it."


def zoom_switch() -> bool:
    """Whether a drag chooses a part; where one is seen, the way back to the whole chart."""
    if _settled():
        st.button("Whole chart", icon=":material/zoom_out_map:", on_click=give_up)
        return False
    return st.toggle("Zoom", key=_ON, help="Then drag over the part of the chart that should be larger.")


def take(box: Any) -> None:
    """Choose the part that was drawn as a box."""
    st.session_state[KEY] = part_text(box[0]["x"], box[0]["y"])
    st.session_state[_ON] = False


def give_up() -> None:
    """The whole chart again, as it is for other axes."""
    forget(KEY)
