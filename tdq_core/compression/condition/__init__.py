"""Between decomposition and quantization: ranges in balance, biases corrected, batch norms re-estimated.

The sub-layers of a decomposed layer have no nonlinearity between them, so what one multiplies into an inner channel
the next may divide out again: the function stays, the integers get finer.
"""
