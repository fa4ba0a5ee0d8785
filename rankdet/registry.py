"""The scope ``rankdet``, which lets a config say ``_base_ = 'rankdet::demo/...'``.

MMEngine builds what such a base holds in the scope of the package it comes from. Here this is an
empty registry under each of MMDetection's: everything is registered, and found, one floor up.
"""

import mmdet.registry
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

MODULE2PACKAGE['rankdet'] = 'rankdet'  # the packages whose configs MMEngine looks up

for parent in list(vars(mmdet.registry).values()):
    if isinstance(parent, Registry):
        # Its parent keeps it; the locations are what a registry imports when it is first used.
        Registry(parent.name, parent=parent, scope='rankdet', locations=parent._locations)
