"""One run from beginning to end: inputs, a session that neighbours share, a compressed model, a record, artefacts."""
