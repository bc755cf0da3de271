"""What is known of the curve before a network has been run: chosen on random plans of four networks.

`python -m benchmarks.prediction` fits the gains again and shows how far predictions are off, with and without the
runs of the network itself.
"""

from tdq_core.prediction.curve import Prior

PRIOR = Prior(
    wrong=0.15,
    scale=(0.0, 0.1),
    gain={"outputs": (0.6, 0.35), "symmetric": (0.7, 0.6), "weights": (1.1, 0.6)},
    error={"outputs": (0.004, 0.1), "symmetric": (0.004, 0.15), "weights": (0.004, 0.3)},
    offset={"svd": -0.2},
    rounding={"tucker2": 0.1, "svd": 0.3, "cp": -0.3},
)
