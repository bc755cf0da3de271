"""Numbers and runs as people read them; no Streamlit."""
