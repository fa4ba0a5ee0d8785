"""Lets the tests of this folder import MMDetection, on one thread as the workers of a loader."""

import cv2
import torch

import rankdet.plugin  # noqa: F401 - before mmdet

cv2.setNumThreads(0)
torch.set_num_threads(1)
