"""What is handed on: files that run elsewhere, what is told of them, and the proof that they are what was measured."""
