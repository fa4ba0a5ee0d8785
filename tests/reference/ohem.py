"""Cross-entropy with online hard example mining, example by example, in float64."""

from __future__ import annotations

import math

import numpy as np


def log_sum_exp(values):
    highest = max(values)
    return highest + math.log(sum(math.exp(v - highest) for v in values))


def _keep(losses, positive, negative, images, neg_ratio, min_negatives):
    images = np.zeros(len(losses), int) if images is None else np.asarray(images)
    kept = list(positive)
    for image in np.unique(images):
        quota = max(min_negatives, int(neg_ratio * sum(images[i] == image for i in positive)))
        hardest = sorted((j for j in negative if images[j] == image), key=lambda j: -losses[j])
        kept += hardest[:quota]
    return kept


def ohem_softmax(scores, labels, images=None, *, neg_ratio=3.0, min_negatives=0):
    """(loss, gradient) for scores (rows, C + 1) and labels 0..C, or -1."""
    scores = np.asarray(scores, dtype=np.float64)
    background = scores.shape[1] - 1
    losses = [log_sum_exp(row) - row[label] for row, label in zip(scores, labels)]
    positive = [i for i, label in enumerate(labels) if 0 <= label < background]
    negative = [i for i, label in enumerate(labels) if label == background]
    kept = _keep(losses, positive, negative, images, neg_ratio, min_negatives)
    norm = max(1, len(positive))
    grad = np.zeros_like(scores)
    for i in kept:
        grad[i] = np.exp(scores[i] - log_sum_exp(scores[i]))
        grad[i, labels[i]] -= 1
    return sum(losses[i] for i in kept) / norm, grad / norm


def ohem_sigmoid(scores, targets, images=None, *, neg_ratio=3.0, min_negatives=0):
    """(loss, gradient) for flat scores and targets 1, 0, -1."""
    scores = np.asarray(scores, dtype=np.float64)
    losses = [log_sum_exp([0.0, -s if t == 1 else s]) for s, t in zip(scores, targets)]
    positive = [i for i, t in enumerate(targets) if t == 1]
    negative = [i for i, t in enumerate(targets) if t == 0]
    kept = _keep(losses, positive, negative, images, neg_ratio, min_negatives)
    norm = max(1, len(positive))
    grad = np.zeros_like(scores)
    for i in kept:
        grad[i] = math.exp(scores[i] - log_sum_exp([0.0, scores[i]])) - (targets[i] == 1)
    return sum(losses[i] for i in kept) / norm, grad / norm
