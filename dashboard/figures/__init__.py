"""Records -> an Info value -> a figure. No streamlit here: what is drawn can be compared as a value."""
