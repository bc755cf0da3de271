"""Right or wrong for every image, and latency."""
