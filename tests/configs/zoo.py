"""The configs of the papers, each loaded once."""

import functools
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
PAPERS = ('alrp_loss', 'ap_loss', 'dr_loss')
FILES = {path.stem: path for folder in PAPERS for path in sorted((CONFIGS / folder).glob('*.py'))}


def path_of(folder: str, stem: str) -> Path:
    return CONFIGS / folder / f'{stem}.py'


@functools.cache
def load(path: Path) -> Config:
    """A config that nobody may change."""
    return Config.fromfile(path)
