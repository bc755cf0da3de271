"""The router, and nothing else. `tdq dashboard` starts it from any folder; so does, with every option of Streamlit's,

    streamlit run dashboard/app.py [-- --model MODEL --weights FILE --data folder:DIR ...]

Streamlit reads `.streamlit/config.toml` beside this file either way.
"""

import sys
from pathlib import Path

import streamlit as st

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:  # Streamlit puts this file's own folder on the path, not the one that holds the packages
    sys.path.insert(0, ROOT)

from dashboard.pages import MOVED, PAGES  # noqa: E402
from dashboard.panels.head import under_its_head  # noqa: E402

st.set_page_config(page_title="TDQ", page_icon=":material/compress:", layout="wide", initial_sidebar_state="collapsed")
st.html(Path(__file__).with_name("style.css"))
known = [st.Page(page.file, title=page.title, icon=page.icon, default=page == PAGES[0]) for page in PAGES]
moved = [st.Page(f"views/{address}.py", title=f"{there}, as it was called") for address, there in MOVED.items()]
chosen = st.navigation([*known, *moved], position="hidden")
if chosen in moved:
    chosen.run()
else:
    with under_its_head(PAGES[known.index(chosen)]):
        chosen.run()
