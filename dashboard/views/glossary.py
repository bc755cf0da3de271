"""What the words on the pages mean, and where the methods come from."""

import streamlit as st

from dashboard.words.glossary import GLOSSARY, OPENING, SOURCES

st.markdown(OPENING)
for title, terms in GLOSSARY.items():
    st.subheader(title, anchor=False)
    st.markdown("\n".join(f"- **{term}**: {meaning}" for term, meaning in terms.items()))
st.subheader("Where it comes from", anchor=False)
st.markdown("\n".join(f"- {source}" for source in SOURCES))
