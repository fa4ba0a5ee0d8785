"""What is checked before anything is trained: data, pretrained weights, ways to test."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from rankdet.analysis.data_check import check_config
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import check_data, leaf_datasets
from rankdet.engine.pretrained import find_weights, pretrained_weights, starts_at_random

from .own_data import make_own_data
from .plan import Training, environment, load_config, test_options


class Checks:
    """Stops before anything is trained that cannot be trained, or tested afterwards.

    What trainings share is checked once.

    Args:
        root: Folder that holds ``configs/``.
        work_dir: Folder of the run.
    """

    def __init__(self, root: Path, work_dir: Path) -> None:
        self.root, self.work_dir = root, work_dir
        self.data: dict[tuple, str] = {}
        self.weights: dict[str, str] = {}

    def check_data(self, training: Training) -> None:
        """The data of all its rows.

        Raises:
            UserError: They are not there, or not what they should be.
        """
        for row in training.rows:
            path = self.root / training.config
            with environment(row.test_env):
                cfg = load_config(path, test_options(row), self.work_dir)
                places = tuple(
                    f'{dataset.get("data_root")} {dataset.get("ann_file")}'
                    for mode in ('train', 'val', 'test')
                    for dataset in leaf_datasets(cfg[f'{mode}_dataloader'].dataset)
                )
                if places not in self.data:
                    print(f'checking the data of {row.address}', flush=True)
                    make_own_data(row.data, cfg)
                    self.data[places] = _stops(path)
            if self.data[places]:
                raise UserError(self.data[places])
            with environment(row.test_env):
                check_data(cfg, ('train', 'val', 'test'))
            if row.tta and 'tta_pipeline' not in cfg:
                raise UserError(
                    f'{row.config} has no tta_pipeline, which {row.address} is tested by'
                )

    def check_weights(self, cfg: Config) -> None:
        """The pretrained weights that a training starts from.

        Raises:
            UserError: They are nowhere to be had, or cannot be read.
        """
        for weights in () if starts_at_random(cfg) else pretrained_weights(cfg):
            if weights.name not in self.weights:
                print(f'checking the weights {weights.name}', flush=True)
                try:
                    find_weights(weights)
                    self.weights[weights.name] = ''
                except UserError as error:
                    self.weights[weights.name] = str(error)
            if problem := self.weights[weights.name]:
                raise UserError(problem)


def _stops(path: Path) -> str:
    """Prints what is wrong with the data of a config; returns what stops a training."""
    report = check_config(path)
    for problem in report.problems:
        print(problem)
    stops = [str(problem) for problem in report.problems if problem.stops]
    more = f' (and {len(stops) - 1} more above)' if len(stops) > 1 else ''
    return stops[0].removeprefix('error: ') + more if stops else ''
