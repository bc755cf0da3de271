"""The screen: it imports the engine, never the other way round, and never torch."""
