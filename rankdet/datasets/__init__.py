"""Embedded demo data, VOC and COCO helpers, reproducible augmentation.

Nothing is imported here: :mod:`rankdet.datasets.digits` and :mod:`rankdet.datasets.voc` work
without MMDetection, :mod:`rankdet.datasets.seeded` registers with it.
"""
