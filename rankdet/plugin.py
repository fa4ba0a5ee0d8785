"""The door for MMDetection: serves what mmcv lacks, then registers all of rankdet.

A config of any project says ``custom_imports = dict(imports=['rankdet.plugin'])``.
"""

from rankdet import compat

compat.install()

import rankdet.datasets.perturbations
import rankdet.datasets.seeded
import rankdet.engine.recorder
import rankdet.engine.seeded_iterations
import rankdet.engine.self_balance
import rankdet.evaluation.metrics
import rankdet.models.dense_heads
import rankdet.models.losses
import rankdet.models.roi_heads
import rankdet.registry  # noqa: F401
