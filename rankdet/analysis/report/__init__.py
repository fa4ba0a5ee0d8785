"""Everything about one or several trainings on one page, to send to a colleague."""

import rankdet.plugin  # noqa: F401  before any import of MMDetection

from .build import build_report

__all__ = ['build_report']
