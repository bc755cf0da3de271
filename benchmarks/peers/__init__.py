"""What others would pick, on the same clock: compressed by each, scored on the same images, timed in turn."""
