"""From a user's own data to a trained detector, its measures, pictures and what to do next."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rankdet.analysis.advice import suggestions
from rankdet.analysis.curves import training_seconds
from rankdet.analysis.demo import defined, describe, shown
from rankdet.analysis.own_config import OwnOptions, config_text
from rankdet.commands import SAME_COMMAND
from rankdet.datasets.own.convert import OwnData, convert_own
from rankdet.datasets.voc import write_whole
from rankdet.engine import launch
from rankdet.engine.checkpoints import latest_checkpoint
from rankdet.engine.errors import UserError
from rankdet.evaluation.progress import Progress, silent
from rankdet.evaluation.report import evaluate
from rankdet.untrusted import visible

OPTIONS, CONFIG, SUMMARY = 'options.json', 'config.py', 'summary.json'
_FEW = 30  # objects of a class
_SHOWN = 3  # findings


def train_own(
    options: OwnOptions,
    work_dir: str | Path,
    *,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> dict:
    """Convert, write the config, train, measure and draw; what is there already is kept.

    Args:
        options: what to run.
        work_dir: gets ``data/`` (annotations in COCO's format), ``config.py``, which is used as it
            is where it exists, ``run/`` (checkpoints, logs, pictures), ``summary.md`` and
            ``summary.json``.
        progress: called as ``progress(stage, done, total)`` while the data is read.
        say: called with each line for the user.

    Returns:
        The summary, as ``summary.json`` holds it.

    Raises:
        UserError: options do not fit each other or those of an earlier call.
        ValueError: something is wrong in the data; nothing is written then.
    """
    options.check()
    work_dir = Path(work_dir)
    _check_begun(options, work_dir)
    say('== 1/4  reading the data')
    data = convert_own(
        options.folder,
        work_dir / 'data',
        format=options.format,
        val_share=options.val_share,
        seed=options.seed,
        skip_bad=options.skip_bad,
        progress=progress,
    )
    for line in (data.summary(), *data.findings[:_SHOWN]):
        say(line)
    if len(data.findings) > _SHOWN:
        say(f'... and {len(data.findings) - _SHOWN} more in {work_dir / "data/report.txt"}')
    begun = _read_json(work_dir / OPTIONS)
    if begun and begun['data'] != data.fingerprint:
        raise UserError(
            f'the data has changed since {work_dir} was begun; choose another --work-dir, or '
            'delete that one'
        )
    if done := _read_json(work_dir / SUMMARY):
        return done
    stored = _stored(options) | dict(data=data.fingerprint)
    write_whole(work_dir / OPTIONS, json.dumps(stored, indent=1))
    config, run = work_dir / CONFIG, work_dir / 'run'
    if config.exists():
        say(f'\n== 2/4  {config} is there already, and is used as it is')
    else:
        say(f'\n== 2/4  writing {config}')
        write_whole(config, config_text(options, data))
    cfg = launch.load_config(str(config), work_dir=str(run))
    say(f'\n== 3/4  training, {cfg.train_cfg.max_epochs} epochs (eta in the log: the time left)')
    launch.train(cfg, resume='auto', go_on=SAME_COMMAND)
    say('\n== 4/4  measuring and drawing')
    summary = _measure(options, data, work_dir, run)
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(work_dir / 'summary.md', as_text(summary))
    write_whole(work_dir / SUMMARY, text)
    return summary


def _stored(options: OwnOptions) -> dict:
    return asdict(options) | dict(folder=str(Path(options.folder).absolute()))


def _check_begun(options: OwnOptions, work_dir: Path) -> None:
    earlier, stored = _read_json(work_dir / OPTIONS), _stored(options)
    changed = [key for key in stored if earlier and stored[key] != earlier.get(key)]
    if changed:
        raise UserError(
            f'{work_dir} was begun with another {", ".join(changed)} ({work_dir / OPTIONS}); '
            'choose another --work-dir, or delete that one'
        )


def _measure(options: OwnOptions, data: OwnData, work_dir: Path, run: Path) -> dict:
    config, results = work_dir / CONFIG, run / 'results'
    checkpoint = latest_checkpoint(run)
    written = Path(f'{results}.bbox.json')
    written.unlink(missing_ok=True)
    cfg = launch.load_config(str(config), work_dir=str(run / 'test'))
    cfg.test_evaluator.outfile_prefix = str(results)
    launch.test(cfg, str(checkpoint))
    truth = Path(cfg.test_evaluator.ann_file)
    images = Path(cfg.test_dataloader.dataset.data_prefix.img)
    summary = describe(
        truth, images, written, run, f'{options.detector}, {options.loss}', pictures=8
    )
    found = json.loads(written.read_text()) if written.exists() else []
    classes = evaluate(truth, found, bounds=False).per_class()
    return summary | dict(
        split=truth.stem.removeprefix('instances_'),
        classes={
            name: dict(
                objects=data.counts['train']['objects'][name],
                **{key: defined(values[key]) for key in ('AP', 'oLRP', 'threshold')},
            )
            for name, values in classes.items()
        },
        config=str(config),
        checkpoint=str(checkpoint),
        minutes_of_training=round(training_seconds(run) / 60, 1),
        options=_stored(options),
    )


def as_text(summary: dict) -> str:
    """The summary as a person reads it, and what to do next."""
    classes = summary['classes']
    width = max(map(len, ('class', 'all', *classes)))
    lines = [f'{"class":<{width}}  trained on     AP   oLRP  score to cut at']
    for name, values in classes.items():
        numbers = [f'{shown(values[key]):>5}' for key in ('AP', 'oLRP', 'threshold')]
        lines.append(
            f'{name:<{width}}  {values["objects"]:>10,}  {numbers[0]}  {numbers[1]}  {numbers[2]}'
        )
    lines += [
        f'{"all":<{width}}  {sum(v["objects"] for v in classes.values()):>10,}'
        f'  {shown(summary["AP"]):>5}  {shown(summary["oLRP"]):>5}',
        '',
        f'AP50 {shown(summary["AP50"])}, AP75 {shown(summary["AP75"])} on {summary["images"]} '
        f'images of {summary["split"]}, after {summary["minutes_of_training"]} minutes of training',
        '',
        f'detections beside ground truth   {summary["pictures"]}',
        f'precision-recall plot            {summary["precision_recall"]}',
        f'training curve                   {summary["training_curve"]}',
        f'checkpoint                       {summary["checkpoint"]}',
        f'config, to be edited             {summary["config"]}',
        '',
        'What to do next',
        *(f'- {line}' for line in advice(summary)),
    ]
    return '\n'.join(map(visible, lines)) + '\n'


def advice(summary: dict) -> list[str]:
    """What this result suggests, the most pressing first."""
    few = [name for name, values in summary['classes'].items() if values['objects'] < _FEW]
    names = ', '.join(few)
    first = [f'Few examples to learn from: {names}. More photos of these help.'] if few else []
    last = ['Compare: --loss focal, or another --detector, into another --work-dir.']
    if summary['options']['backbone'] == 'small':
        last.insert(
            0,
            'This was the small backbone, from random weights. With a GPU, --backbone r50 starts '
            'from pretrained ones and sees larger images.',
        )
    return suggestions(summary, first=first, last=last)


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
