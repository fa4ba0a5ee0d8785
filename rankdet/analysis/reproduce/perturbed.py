"""Rows that ``tools/robustness.py`` measures: AP50 on perturbed images, and DeepFool's norm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from rankdet.analysis.robustness.adversarial_patch import PatchOptions
from rankdet.analysis.robustness.deepfool import DeepFoolOptions
from rankdet.analysis.robustness.detector import Detector
from rankdet.analysis.robustness.run import RobustnessOptions, measure_robustness

_NUMBERS = ('AP50', 'AP', 'L2')


def read_metrics(folder: Path) -> dict[str, float | None]:
    """``<column>/<number>`` to its value, where the tool has left its one detector."""
    (row,) = json.loads((folder / 'robustness.json').read_text())
    return _as_metrics(row)


def measure_briefly(cfg: Config, checkpoint: Path, folder: Path) -> dict[str, float | None]:
    """The same from a patch of one step and one step of DeepFool, on a CPU."""
    options = RobustnessOptions(
        patch=PatchOptions(steps=1, batch=1),
        deepfool=DeepFoolOptions(max_iter=1),
        workers=0,
        device='cpu',
    )
    (row,) = measure_robustness([Detector('brief', cfg, checkpoint)], options, folder)
    return _as_metrics(row)


def _as_metrics(row: Mapping) -> dict[str, float | None]:
    cells = row['cells'].items()
    return {f'{column}/{n}': cell[n] for column, cell in cells for n in _NUMBERS if n in cell}
