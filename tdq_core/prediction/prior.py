"""What is known of the curve before a network has been run: fitted on the shipped runs of other networks.

`python -m benchmarks.prediction` fits these numbers again and shows how far predictions are off, with and without the
runs of the network itself.
"""

from tdq_core.prediction.curve import Prior

PRIOR = Prior(
    scale=(0.1, 0.2),
    gain={"outputs": (0.0, 0.2), "symmetric": (0.3, 0.6), "weights": (0.7, 1.0)},
    error={"outputs": (0.002, 0.08), "symmetric": (0.002, 0.15), "weights": (0.002, 0.35)},
    offset={"tucker2": 0.1, "svd": -0.1, "cp": 0.1, "auto": 0.1},
)
