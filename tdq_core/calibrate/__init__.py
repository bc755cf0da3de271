"""Calibrated decomposition: factors fitted to what a layer computes on unlabelled images, not to its weights alone.

A layer turns patches x into y = W x. Its factors W~ minimise E |y - W~ x~|^2, where y is what the original layer makes of
the original network's patches and x~ are the patches that the network compressed so far sends to it: each layer makes
good what the layers before it have lost. Two moments hold all that is needed, E x~ x~^T and E y x~^T; they are streamed.

Denton et al. (NeurIPS 2014) and Zhang et al. (TPAMI 2016) for matrices; Kalle, Rudkiewicz, Ouerfelli, Tamaazousti,
"Distribution-aware tensor decomposition" (NeurIPS 2025) for Tucker-2 and CP in the norm of the inputs' covariance.
"""
