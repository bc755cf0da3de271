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

from dashboard.panels.ready import READING, fetch_ahead, read_on  # noqa: E402

st.set_page_config(page_title="TDQ", page_icon=":material/compress:", layout="wide", initial_sidebar_state="collapsed")
st.html(Path(__file__).with_name("style.css"))
fetch_ahead()  # before the pages' modules are read, which takes as long

with READING:
    from dashboard.pages import places
    from dashboard.panels.head import under_its_head

answers = places()
at = {place: st.Page(page.file, title=page.title, icon=page.icon, url_path=place, default=not place)
      for place, page in answers.items()}  # fmt: skip
chosen = st.navigation(list(at.values()), position="hidden")
with under_its_head(next(answers[place] for place, page in at.items() if page == chosen), chosen):
    chosen.run()
read_on()
