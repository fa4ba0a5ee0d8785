"""A user's own data, in VOC XML, COCO JSON or YOLO text, made into one folder in COCO's format.

:func:`rankdet.datasets.own.convert.convert_own` does it. Nothing is imported here.
"""
