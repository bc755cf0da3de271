"""What noise in the logits does to answers: the shape of the curve from a change to the top-1 that it costs."""

import numpy as np

from tdq_core.prediction.sensitivity import Flip

CHANGES = np.geomspace(1e-5, 6, 60)
DRAWS = 32
SEED = 0


def flips(logits: np.ndarray) -> tuple[Flip, ...]:
    """Of `logits` (images, classes), with independent normal noise in every logit; deterministic.

    The answer with the largest logit has the probability that the softmax gives it, and so has the one that replaces
    it: their difference is what a changed answer costs.
    """
    centred = logits - logits.mean(1, keepdims=True)
    images, classes = centred.shape
    power = np.square(centred).sum(1).mean()
    odds = np.exp(centred - centred.max(1, keepdims=True))
    odds /= odds.sum(1, keepdims=True)
    rows, top = np.arange(images), centred.argmax(1)
    found = []
    for change in CHANGES:
        draw = np.random.default_rng(SEED)
        deviation = np.sqrt(change * power / max(classes - 1, 1))
        changed = lost = 0.0
        for _ in range(DRAWS):
            answer = (centred + deviation * draw.standard_normal(centred.shape)).argmax(1)
            changed += float(np.mean(answer != top)) / DRAWS
            lost += float(np.mean(odds[rows, top] - odds[rows, answer])) / DRAWS
        found.append(Flip(change=float(change), changed=min(changed, 1.0), lost=lost))
    return tuple(found)
