"""What a plan will cost in accuracy, before it is built. No torch here.

Layers are changed one at a time and their effect on the network's answers is measured once (`sensitivity`). The effects
of a plan's layers are added up (`change`), and one curve leads from the sum to the top-1 that is lost (`curve`): it
begins at what is known of other networks and follows the runs of this one as they arrive (`predictor`).

Mean squared changes of logits add up where the changes themselves do not: errors of different layers hardly correlate.
The same measure serves decomposition and rounding, see Frantar & Alistarh, "Optimal brain compression" (NeurIPS 2022),
and Deng et al., "Mixed-precision quantization with cross-layer dependencies" (2023), for what such sums leave out.
"""
