"""Quantization-aware factorisation: weights found on their grid, in the metric of what a layer makes of real images.

Layer by layer, in the order of execution: the weight is refitted from the inputs that the network rounded so far sends,
to the outputs of the network in floats; it is rounded with error feedback in that metric, and the bias takes the mean.
A factor of a decomposed layer is a layer like any other: each makes good what those before it have lost. No labels, no
gradients.
"""
