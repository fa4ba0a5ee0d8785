"""What a checkpoint says beside its weights, before MMEngine acts on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from rankdet.untrusted import Refused

from .errors import UserError

_MOMENTS = {'momentum_buffer', 'exp_avg', 'exp_avg_sq', 'square_avg', 'sum'}  # like the parameter
_BEST = 'best_ckpt'  # and best_ckpt_<metric>


class ResumedState(Hook):
    """Takes out of a checkpoint what would run code, or delete files of others, on resuming.

    MMEngine runs the text ``meta['config']``, which only its first releases wrote, as a config. And
    it deletes the file or folder that the checkpoint calls the best so far as soon as there is a
    better one, wherever that is: in a folder that somebody else sent, or of which this one is a
    copy. Here a best checkpoint is one of this run's own folder, and counts are numbers.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        facts = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
        folders = [Path(runner.work_dir)]
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.out_dir:  # its name goes below that
                folders.append(Path(hook.out_dir, folders[0].resolve().name))
        for key in [key for key in facts if str(key).startswith(_BEST)]:
            # A folder that was copied has its own file of that name.
            name = Path(str(facts.pop(key))).name
            own = [folder / name for folder in folders if (folder / name).is_file()]
            if own and name.startswith('best_') and name.endswith('.pth'):
                facts[key] = str(own[0])
        kept = facts.get('keep_ckpt_ids')
        if kept is not None:
            facts['keep_ckpt_ids'] = [step for step in kept if isinstance(step, int)]


def name_what_does_not_fit(runner: Runner, path: str) -> None:
    """Let the runner name the checkpoint and the remedy where it cannot take over its state."""
    original = runner.resume

    def resume(*args: Any, **kwargs: Any) -> None:
        try:
            original(*args, **kwargs)
            _check_moments(runner)
        except (UserError, Refused):
            raise
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UserError(
                f'checkpoint {path} cannot be resumed: its optimizer, schedule or log does '
                f'not fit this config ({type(error).__name__}: {error}); use the config of its '
                f'training, or start from its weights alone: load_from={path}, in the '
                'config or with --cfg-options, without --resume'
            ) from error

    runner.resume = resume  # type: ignore[method-assign]


def _check_moments(runner: Runner) -> None:
    """torch takes over any shapes, and fails in the first step."""
    wrappers = runner.optim_wrapper
    for wrapper in wrappers.values() if isinstance(wrappers, OptimWrapperDict) else [wrappers]:
        for parameter, state in wrapper.optimizer.state.items():
            for name in _MOMENTS & state.keys():
                shape, wanted = getattr(state[name], 'shape', None), parameter.shape
                if state[name] is not None and shape != wanted:
                    what = f'a {type(state[name]).__name__}' if shape is None else tuple(shape)
                    raise ValueError(f'{name} of a parameter of {tuple(wanted)} is {what}')
