"""Draw what a checkpoint detects on pictures of yours.

    python tools/image_demo.py photo.jpg --config CONFIG --checkpoint CHECKPOINT
    python tools/image_demo.py photos/ --config CONFIG --checkpoint CHECKPOINT --out-dir drawn \\
        --score work_dirs/demo/score_thresholds.json

The pictures with boxes on them go to --out-dir, with the boxes as text in detections.json, which is
written at the end: also at that of Ctrl-C or SIGTERM, for the pictures that are done.

Configs are Python code: use only those you trust (tools/read_config.py shows one unrun).
"""

import argparse

from rankdet.engine.errors import one_line_errors
from rankdet.untrusted import read_json


def read_score(text: str) -> float | dict[str, float]:
    if not text.endswith('.json'):
        return float(text)
    try:
        scores = read_json(text)
        return {str(name): float(score) for name, score in scores.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f'{text} gives no scores by class: {error}') from error


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', nargs='+', help='image files or folders of images')
    parser.add_argument('--config', required=True)
    parser.add_argument('--checkpoint', required=True)
    parser.add_argument('--out-dir', default='detections', help='(%(default)s)')
    parser.add_argument(
        '--score',
        type=read_score,
        default=0.3,
        help='least score (%(default)s), or a JSON file of class names and least scores, such as '
        'score_thresholds.json of the demo: detectors trained by ranking need one',
    )
    parser.add_argument(
        '--run-pickled-code',
        action='store_true',
        help='load a checkpoint even if it brings code, and run that code, whatever it does: only '
        'for files of people you trust',
    )
    parser.add_argument('--device', help="'cpu', 'cuda:0', ...; default: a GPU if there is one")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        import rankdet.plugin  # noqa: F401, before any import of MMDetection
        from rankdet.analysis.detect import detect_images
        from rankdet.analysis.reproduce.commands import interrupted_by_sigterm
        from rankdet.engine.weights_only import running_pickled_code
        from rankdet.evaluation.progress import StderrProgress

        unpickling = running_pickled_code(args.run_pickled_code)
        with interrupted_by_sigterm(), unpickling, StderrProgress() as progress:
            out = detect_images(
                args.images,
                args.config,
                args.checkpoint,
                args.out_dir,
                score=args.score,
                device=args.device,
                progress=progress,
            )
        print(f'{len(out)} pictures and detections.json in {args.out_dir}')


if __name__ == '__main__':
    main()
