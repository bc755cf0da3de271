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

st.set_page_config(page_title="TDQ", page_icon=":material/compress:", layout="wide")
st.navigation(
    [
        st.Page("views/explore.py", title="Explore", icon=":material/tune:", default=True),
        st.Page("views/study.py", title="Study", icon=":material/science:"),
        st.Page("views/recipe.py", title="Recipe", icon=":material/checklist:"),
        st.Page("views/components.py", title="Components", icon=":material/stacked_bar_chart:"),
        st.Page("views/additivity.py", title="Additivity", icon=":material/add_circle:"),
        st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page("views/runs.py", title="Runs", icon=":material/table_rows:"),
    ],
    position="top",
).run()
