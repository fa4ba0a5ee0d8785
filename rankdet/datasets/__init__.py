"""Embedded demo data, VOC and COCO helpers and checks, reproducible augmentation.

Nothing is imported here: :mod:`rankdet.datasets.seeded` registers with MMDetection, everything else
works without it.
"""
