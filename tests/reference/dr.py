"""DR loss, one image and one example after the other, in float64 (Qian et al., Sec. 3, App. A)."""

from __future__ import annotations

import math

import numpy as np

NEG_LAMBDA = 0.1 / math.log(3.5)


def sigmoid(s: float) -> float:
    return 1 / (1 + math.exp(-s)) if s >= 0 else math.exp(s) / (1 + math.exp(s))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def surrogate(z, kind='logistic', smoothness=6.0, rho=0.5):
    """Value and derivative of Eq. 7, Eq. 8 or the hinge."""
    if kind == 'logistic':
        value = max(z, 0) + math.log1p(math.exp(-abs(smoothness * z))) / smoothness
        return value, sigmoid(smoothness * z)
    if kind == 'quadratic':
        if z >= rho:
            return z, 1.0
        if z <= -rho:
            return 0.0, 0.0
        return (z + rho) ** 2 / (4 * rho), (z + rho) / (2 * rho)
    return max(z, 0.0), float(z > 0)


def dr_loss(
    scores,
    targets,
    images=None,
    *,
    pos_lambda=1.0,
    neg_lambda=NEG_LAMBDA,
    smoothness=6.0,
    margin=0.5,
    tau=4.0,
    kind='logistic',
    rho=0.5,
    pairing='dr',
    neg_ratio=None,
):
    """(loss, gradient) for flat scores; the gradient follows Appendix A."""
    scores = np.asarray(scores, dtype=np.float64)
    targets = np.asarray(targets)
    images = np.zeros(len(scores), int) if images is None else np.asarray(images)
    p = np.array([sigmoid(s) for s in scores])
    losses, grad = [], np.zeros(len(scores))
    for image in np.unique(images):
        pos = np.flatnonzero((images == image) & (targets == 1))
        neg = np.flatnonzero((images == image) & (targets == 0))
        if len(pos) + len(neg) == 0:
            continue
        if neg_ratio is not None:
            quota = max(1, int(neg_ratio * max(1, len(pos))))
            neg = neg[np.argsort(-scores[neg], kind='stable')[:quota]]
        q_neg = softmax(p[neg] / neg_lambda) if len(neg) else np.zeros(0)
        mean_neg = float(q_neg @ p[neg])
        slope_neg = q_neg * (1 + (p[neg] - mean_neg) / neg_lambda)
        if pairing == 'dr':
            q_pos = softmax(-p[pos] / pos_lambda) if len(pos) else np.zeros(0)
            mean_pos = float(q_pos @ p[pos]) if len(pos) else 1.0
            slope_pos = q_pos * (-1 + (p[pos] - mean_pos) / pos_lambda)
            value, slope = surrogate(mean_neg - mean_pos + margin, kind, smoothness, rho)
            grad[neg] += slope * slope_neg
            grad[pos] += slope * slope_pos
        elif pairing == 'neg_only':
            value = 0.0
            for i in pos if len(pos) else [None]:
                score = 1.0 if i is None else p[i]
                part, slope = surrogate(mean_neg - score + margin, kind, smoothness, rho)
                weight = 1 / max(1, len(pos))
                value += weight * part
                grad[neg] += weight * slope * slope_neg
                if i is not None:
                    grad[i] -= weight * slope
        else:
            value = 0.0
            weight = 1 / (max(1, len(pos)) * max(1, len(neg)))
            for i in pos if len(pos) else [None]:
                for j in neg if len(neg) else [None]:
                    z = (0.0 if j is None else p[j]) - (1.0 if i is None else p[i]) + margin
                    part, slope = surrogate(z, kind, smoothness, rho)
                    value += weight * part
                    if i is not None:
                        grad[i] -= weight * slope
                    if j is not None:
                        grad[j] += weight * slope
        losses.append(value)
    count = max(1, len(losses))
    return tau * sum(losses) / count, tau * grad * p * (1 - p) / count
