"""Records and plans as plain values for the screen; no Streamlit."""
