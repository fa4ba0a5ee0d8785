"""AP with a sigmoid step, pair by pair, in float64 (AP Loss supplementary, Eq. 11 and 12)."""

from __future__ import annotations

import math

import numpy as np

from tests.reference.dr import sigmoid


def approx_ap_loss(scores, targets, *, scale=1.0, log_space=True, eps=1e-6):
    """(loss, gradient), the gradient by the quotient rule."""
    scores = np.asarray(scores, dtype=np.float64)
    pos = [i for i, t in enumerate(targets) if t == 1]
    neg = [i for i, t in enumerate(targets) if t == 0]
    ap, grad = 0.0, np.zeros(len(scores))
    for i in pos:
        above = above_positive = 1.0
        d_above, d_positive = np.zeros(len(scores)), np.zeros(len(scores))
        for k in pos + neg:
            if k == i:
                continue
            step = sigmoid(scale * (scores[k] - scores[i]))
            slope = scale * step * (1 - step)
            above += step
            d_above[k] += slope
            d_above[i] -= slope
            if k in pos:
                above_positive += step
                d_positive[k] += slope
                d_positive[i] -= slope
        ap += above_positive / above / len(pos)
        grad += (d_positive * above - above_positive * d_above) / above**2 / len(pos)
    if log_space:
        return -math.log(ap + eps), -grad / (ap + eps)
    return 1 - ap, -grad
