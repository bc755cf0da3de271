"""Calibrated decomposition: factors fitted to what a layer computes on unlabelled images, not to its weights alone.

A layer turns patches x into y = W x. Its factors W~ minimise E |y - W~ x~|^2, where y is what the original layer makes
in the original network, and x~ are the patches that the network compressed so far sends to it: each layer makes good
what those before it have lost. E x~ x~^T and E y x~^T hold all that is needed. No labels, no gradients.
Where a layer is called several times, the means are over all its calls, each counting alike; y and x~ are of one call.

For matrices: Denton et al. (NeurIPS 2014), Zhang et al. (TPAMI 2016). Tucker-2 and CP in the norm of the inputs'
covariance: Kalle, Rudkiewicz, Ouerfelli, Tamaazousti, "Distribution-aware tensor decomposition" (NeurIPS 2025).
"""
