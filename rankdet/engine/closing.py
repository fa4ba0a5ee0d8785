"""What a training says at its end: where it left what, and the next commands."""

from __future__ import annotations

import os.path as osp

from mmengine.runner import Runner

from rankdet.commands import tool_line

from .checkpoints import latest_checkpoint


def next_steps(runner: Runner) -> list[str]:
    """Lines for the user after a training; none where it saved no checkpoint.

    The config is the one that MMEngine left in the work directory, which has the options of the
    command line in it.
    """
    saving = (runner.cfg.get('default_hooks') or {}).get('checkpoint')
    checkpoint = latest_checkpoint(runner.work_dir, saving)
    if checkpoint is None:
        return []
    run = osp.relpath(runner.work_dir)
    if run.startswith(osp.pardir):
        run = runner.work_dir
    inside = checkpoint.is_relative_to(runner.work_dir)
    saved = osp.join(run, checkpoint.relative_to(runner.work_dir)) if inside else str(checkpoint)
    config = osp.join(run, osp.basename(runner.cfg.filename or ''))
    return [
        f'checkpoint: {saved}',
        f'test it:    {tool_line("test", config, saved)}',
        f'report:     {tool_line("report", run)}',
    ]
