"""The data of a table that nobody has to fetch: its run makes them."""

from __future__ import annotations

import os
from typing import Any

from mmengine.config import Config

from rankdet.analysis.learning import SCENES
from rankdet.datasets.digits import make_digits
from rankdet.engine.preflight import leaf_datasets

#: What a metafile calls the data, to the options of :func:`rankdet.datasets.make_digits`.
OWN_DATA: dict[str, dict[str, Any]] = {'digits-128': SCENES}


def make_own_data(name: str | None, cfg: Config) -> None:
    """Make the data of this name where a config looks for them, unless they are there.

    Raises:
        FileExistsError: Other data are there.
    """
    if name not in OWN_DATA:
        return
    loaders = [cfg[f'{mode}_dataloader'].dataset for mode in ('train', 'val', 'test')]
    for place in {dataset.data_root for loader in loaders for dataset in leaf_datasets(loader)}:
        if not os.path.exists(place):
            print(f'making the scenes of {name} in {place}', flush=True)
        make_digits(place, **OWN_DATA[name], workers=os.cpu_count() or 1)
