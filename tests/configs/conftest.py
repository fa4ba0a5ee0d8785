"""Lets the tests of this folder import MMDetection."""

import rankdet.plugin  # noqa: F401 - before mmdet
