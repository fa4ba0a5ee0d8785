"""Random detection results with every awkward case: crowds, ties, duplicates, empty images."""

from __future__ import annotations

import numpy as np


def make_scenes(
    seed: int,
    *,
    images: int = 12,
    classes: int = 3,
    objects: int = 4,
    false_alarms: int = 6,
    crowds: float = 0.15,
    coarse_scores: bool = True,
) -> tuple[dict, list[dict]]:
    """A COCO ground truth and a result list; the last class has objects and no detections."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []

    def add(image_id: int, category_id: int, box: np.ndarray) -> None:
        score = float(rng.integers(0, 20) / 20 if coarse_scores else rng.random())
        results.append(
            dict(image_id=image_id, category_id=category_id, bbox=box.tolist(), score=score)
        )

    image_ids = (np.arange(images) * 7 + 3).tolist()
    category_ids = (np.arange(classes) * 5 + 2).tolist()
    for image_id in image_ids:
        for category_id in category_ids:
            for _ in range(rng.integers(0, objects + 1)):
                size = rng.choice([12.0, 40.0, 150.0]) * rng.uniform(0.5, 1.5, 2)
                box = np.concatenate([rng.integers(0, 60, 2), np.round(size)])
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=image_id,
                        category_id=category_id,
                        bbox=box.tolist(),
                        area=float(box[2] * box[3] * rng.uniform(0.6, 1)),
                        iscrowd=int(rng.random() < crowds),
                    )
                )
                if category_id == category_ids[-1]:
                    continue
                for _ in range(rng.integers(0, 4)):
                    jitter = rng.integers(-4, 5, 4) * (box[2:].min() / 40)
                    near = np.maximum(box + jitter, [0, 0, 1, 1])
                    add(image_id, category_id, box if rng.random() < 0.1 else near)
            if category_id != category_ids[-1]:
                for _ in range(rng.integers(0, false_alarms + 1)):
                    add(image_id, category_id, rng.uniform([0, 0, 0, 0], [80, 80, 120, 120]))
    rng.shuffle(results)
    gt = dict(
        images=[
            dict(id=i, width=300, height=300, file_name=f'images/{i:06d}.jpg') for i in image_ids
        ],
        categories=[dict(id=c, name=f'class {c}') for c in category_ids],
        annotations=annotations,
    )
    return gt, results
