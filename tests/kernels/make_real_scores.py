"""Train a detector and keep what its ranking loss saw: makes ``real_scores.npz`` of this folder.

    python tools/make_digits.py --out data/digits-128 --train 4000 --val 300 --size 128
    python -m tests.kernels.make_real_scores tests/kernels/real_scores.npz

RetinaNet, aLRP Loss, 200 iterations of 4 digit scenes. Kept is one image of the first, of the
middle and of the last iteration: logits ``(rows, 10)`` in float16, class indices and localisation
errors ``(rows,)``, 0 where no positive is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import rankdet.plugin  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/learning/retinanet_r18_fpn_alrp-loss_1xb8-1e_digits-128.py'
SCENES, BATCH = 800, 4
MOMENTS = {0: 'start', 99: 'middle', 199: 'end'}


def keep_first_image(logits, targets, loc_errors):
    """Arrays of a batch's first image; the loss got an error for each positive of the batch."""
    classes = logits.shape[-1]
    errors = torch.zeros(targets.shape)
    errors[(targets >= 0) & (targets < classes)] = loc_errors.detach().float()
    return dict(
        logits=logits[0].detach().half().numpy(),
        labels=targets[0].to(torch.int8).numpy(),
        errors=errors[0].half().numpy(),
    )


def main(out: str) -> None:
    kept, calls = {}, 0

    def keep(module, args, kwargs):
        nonlocal calls
        if calls in MOMENTS:
            logits, targets = args
            for name, array in keep_first_image(logits, targets, kwargs['loc_errors']).items():
                kept[f'{MOMENTS[calls]}_{name}'] = array
        calls += 1

    with tempfile.TemporaryDirectory() as work_dir:
        config = Config.fromfile(CONFIG)
        config.merge_from_dict(dict(work_dir=work_dir, randomness=dict(seed=0)))
        config.train_cfg.val_interval = 9  # never
        loader = config.train_dataloader
        loader.update(batch_size=BATCH, num_workers=0, persistent_workers=False)
        loader.dataset.dataset.indices = SCENES
        runner = Runner.from_cfg(config)
        runner.model.bbox_head.loss_cls.register_forward_pre_hook(keep, with_kwargs=True)
        runner.train()
    if calls != SCENES // BATCH:
        raise RuntimeError(f'{calls} iterations, {SCENES // BATCH} expected')
    np.savez_compressed(out, **kept)


if __name__ == '__main__':
    main(*sys.argv[1:])
