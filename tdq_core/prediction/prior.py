"""What is known of the curve before a network has been run: fitted on the shipped runs of other networks.

`python -m benchmarks.prediction` fits these numbers again and shows how far predictions are off, with and without the
runs of the network itself.
"""

from tdq_core.prediction.curve import Prior

PRIOR = Prior(
    scale=(0.4, 0.15),
    gain={"outputs": (-0.2, 0.5), "symmetric": (0.1, 0.8), "weights": (0.8, 0.9)},
    error={"outputs": (0.004, 0.08), "symmetric": (0.002, 0.15), "weights": (0.002, 0.35)},
    offset={"tucker2": -0.1, "spatial": -0.1, "svd": -0.3},
    rounding={"tucker2": 0.25, "spatial": 0.25, "svd": 0.5, "cp": -0.4},
)
