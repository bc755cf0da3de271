"""The address of before of the page Find."""

import streamlit as st

from dashboard.pages import MOVED, page

st.switch_page(page(MOVED["recipe"]).file, query_params=dict(st.query_params))
