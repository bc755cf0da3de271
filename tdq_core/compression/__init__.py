"""The steps with torch, in the order in which they are done: decompose, calibrate, condition, fine-tune, quantize."""
