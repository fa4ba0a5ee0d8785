"""rankdet: object detectors trained by ranking (AP Loss, aLRP Loss, DR Loss).

``import rankdet`` needs torch alone. ``import rankdet.plugin`` registers everything
with MMDetection; a config asks for it with
``custom_imports = dict(imports=['rankdet.plugin'])``.
"""

__version__ = '0.1.0'
