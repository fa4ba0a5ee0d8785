"""How well detectors withstand perturbed images, as in Table 3 of the AP Loss paper (TPAMI).

    python tools/robustness.py CONFIG CHECKPOINT
    python tools/robustness.py CONFIG_A CHECKPOINT_A CONFIG_B CHECKPOINT_B --names AP focal
    python tools/robustness.py work_dirs/a work_dirs/b          # folders of runs hold both
    python tools/robustness.py CONFIG CHECKPOINT --only original black noise
    python tools/robustness.py CONFIG CHECKPOINT --images 500 --deepfool-images 50
    python tools/robustness.py CONFIG CHECKPOINT --patch-steps 2000 --patch-lr 0.01

Prints the table, and leaves it in --out-dir as robustness.md, .csv and .json, beside a folder for
each detector with what was measured and how. Columns: original, black, random, flip (patches on the
objects), adversarial (a patch made against the detector), noise, deepfool. An interrupted run goes
on where it was; a second one prints the table at once. docs/robustness.md says what is measured.

Configs are Python code: use only those you trust (tools/read_config.py shows one unrun).
"""

import argparse
import contextlib
import shlex
import sys

from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('detectors', nargs='+', metavar='CONFIG CHECKPOINT', help='or folders of runs')
    add('--only', nargs='+', metavar='COLUMN', help='columns to measure (all)')
    add('--names', nargs='+', metavar='NAME', help='of the rows (names of the configs)')
    add('--out-dir', default='work_dirs/robustness', help='(%(default)s)')
    add('--images', type=int, metavar='N', help='test on the first N images (all)')
    add('--deepfool-images', type=int, metavar='N', help='DeepFool on the first N of these (all)')
    add(
        '--extent',
        default='both',
        help="half of a box's: both, width, height, either (%(default)s)",
    )
    add('--variance', type=float, default=0.01, help='of the noise on [0, 1] (%(default)s)')
    add('--train-images', type=int, metavar='N', help='make the patch on the first N (all)')
    add('--patch-steps', type=int, default=500, help='(%(default)s)')
    add('--patch-batch', type=int, default=8, help='images in a step (%(default)s)')
    add('--patch-size', type=int, default=64, help='pixels across (%(default)s)')
    add('--patch-lr', type=float, default=0.03, help='on pixels from 0 to 1 (%(default)s)')
    add('--max-iter', type=int, default=50, help='steps of DeepFool (%(default)s)')
    add('--classes', type=int, default=10, help='that DeepFool tries, best first (%(default)s)')
    add('--seed', type=int, default=0, help='of all that is random (%(default)s)')
    add('--batch-size', type=int, help="images at a time (the config's)")
    add('--workers', type=int, help="processes that load images (the config's)")
    add('--device', help="'cpu', 'cuda:0', ...; default: a GPU if there is one")
    add('--style', choices=['markdown', 'csv', 'json'], default='markdown', help='what is printed')
    add(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override entries of all configs: a.b=1 c="[1,2]" (no blanks inside)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        import rankdet.plugin  # noqa: F401, before any import of MMDetection
        from rankdet.analysis.robustness.adversarial_patch import PatchOptions
        from rankdet.analysis.robustness.deepfool import DeepFoolOptions
        from rankdet.analysis.robustness.detector import find_detectors
        from rankdet.analysis.robustness.run import COLUMNS, RobustnessOptions, measure_robustness
        from rankdet.analysis.robustness.table import robustness_table, write_tables

        options = RobustnessOptions(
            columns=args.only or COLUMNS,
            images=args.images,
            deepfool_images=args.deepfool_images,
            train_images=args.train_images,
            extent=args.extent,
            variance=args.variance,
            seed=args.seed,
            patch=PatchOptions(
                steps=args.patch_steps,
                batch=args.patch_batch,
                size=args.patch_size,
                lr=args.patch_lr,
            ),
            deepfool=DeepFoolOptions(max_iter=args.max_iter, classes=args.classes),
            batch=args.batch_size,
            workers=args.workers,
            device=args.device,
        )
        command = shlex.join(['python', *sys.argv])
        with contextlib.redirect_stdout(sys.stderr):  # what the libraries say of their work
            detectors = find_detectors(args.detectors, args.names, args.cfg_options)
            rows = measure_robustness(detectors, options, args.out_dir, command=command)
        write_tables(rows, args.out_dir)
        print(robustness_table(rows, args.style))


if __name__ == '__main__':
    main()
