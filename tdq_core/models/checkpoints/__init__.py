"""Checkpoints as people have them: read without running code, and laid out for the network that they belong to."""
