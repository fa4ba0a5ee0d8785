"""Train a detector.

    python tools/train.py configs/demo/retinanet_r18_fpn_ap-loss_1xb8-3e_digits-160.py
    python tools/train.py CONFIG --work-dir runs/mine --resume
    python tools/train.py CONFIG --cfg-options train_dataloader.batch_size=4 --auto-scale-lr
    tools/dist_train.sh CONFIG 8 --amp

Configs are Python code: train only with those you trust (tools/read_config.py shows one unrun).
"""

import argparse

from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate to the batch in use, from the config's base_batch_size",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint; without a value, from the newest of the work directory',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override config entries: a.b=1 c="[1,2]" d="[(1,2),(3,4)]" (no blanks inside)',
    )
    parser.add_argument(
        '--run-pickled-code',
        action='store_true',
        help='load a checkpoint even if it brings code, and run that code, whatever it does: only '
        'for files of people you trust',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        from mmengine.dist import is_main_process

        import rankdet.plugin  # noqa: F401, before any import of MMDetection
        from rankdet.engine import launch
        from rankdet.engine.closing import next_steps
        from rankdet.engine.weights_only import running_pickled_code

        launch.local_rank(args.local_rank)
        cfg = launch.load_config(
            args.config,
            work_dir=args.work_dir,
            cfg_options=args.cfg_options,
            launcher=args.launcher,
        )
        with running_pickled_code(args.run_pickled_code):
            runner = launch.train(
                cfg, amp=args.amp, auto_scale_lr=args.auto_scale_lr, resume=args.resume
            )
        if is_main_process():
            print('\n'.join(['', *next_steps(runner)]))


if __name__ == '__main__':
    main()
