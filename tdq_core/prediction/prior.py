"""What is known of the curve before a network has been run: fitted on the shipped runs of other networks.

`python -m benchmarks.prediction` fits these numbers again and shows how far predictions are off, with and without the
runs of the network itself.
"""

from tdq_core.prediction.curve import Prior

PRIOR = Prior(
    wrong=0.15,
    scale=(0.0, 0.1),
    gain={"outputs": (0.1, 0.35), "symmetric": (0.3, 0.6), "weights": (1.2, 0.5)},
    error={"outputs": (0.003, 0.07), "symmetric": (0.003, 0.15), "weights": (0.004, 0.3)},
    rounding={"svd": 0.2, "cp": -0.35},
)
