"""Test a checkpoint.

    python tools/test.py CONFIG CHECKPOINT
    python tools/test.py CONFIG CHECKPOINT --show-dir pictures --out results.pkl
    python tools/test.py CONFIG CHECKPOINT --save-results work_dirs/dr    # work_dirs/dr.bbox.json
    python tools/test.py CONFIG CHECKPOINT --tta
    tools/dist_test.sh CONFIG CHECKPOINT 8

Prints the metrics that the config asks for. What --save-results saves, a list in COCO's format, is
what eval_results.py, sweep_scores.py and pack_results.py read.

Configs are Python code: use only those you trust (tools/read_config.py shows one unrun).
"""

import argparse

from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder for the log and the metrics')
    parser.add_argument('--out', metavar='FILE.pkl', help='save the predictions')
    parser.add_argument(
        '--save-results',
        metavar='PREFIX',
        help='save the detections as PREFIX.bbox.json in the format of COCO',
    )
    parser.add_argument('--show', action='store_true', help='draw predictions on the screen')
    parser.add_argument(
        '--show-dir', help='draw predictions into this folder under work_dir/<timestamp>'
    )
    parser.add_argument('--wait-time', type=float, default=2.0, help='seconds between --show')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
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
        from rankdet.engine.weights_only import running_pickled_code
        from rankdet.evaluation.saving import save_detections

        launch.local_rank(args.local_rank)
        cfg = launch.load_config(
            args.config,
            work_dir=args.work_dir,
            cfg_options=args.cfg_options,
            launcher=args.launcher,
        )
        saved = save_detections(cfg, args.save_results) if args.save_results else None
        with running_pickled_code(args.run_pickled_code):
            launch.test(
                cfg,
                args.checkpoint,
                out=args.out,
                show=args.show,
                show_dir=args.show_dir,
                wait_time=args.wait_time,
                tta=args.tta,
            )
        if saved and is_main_process():
            print(f'saved {saved}')


if __name__ == '__main__':
    main()
