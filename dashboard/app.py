"""The router, and nothing else. Start it from the project's root:

streamlit run dashboard/app.py [-- --model MODEL --weights FILE --data folder:DIR ...]
"""

import sys
from pathlib import Path

import streamlit as st

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:  # Streamlit puts this file's own folder on the path, not the project's
    sys.path.insert(0, ROOT)

from dashboard.pages import PAGES  # noqa: E402

st.set_page_config(page_title="TDQ", page_icon=":material/compress:", layout="wide")
st.navigation(
    [st.Page(page.file, title=page.title, icon=page.icon, default=page == PAGES[0]) for page in PAGES], position="top"
).run()
