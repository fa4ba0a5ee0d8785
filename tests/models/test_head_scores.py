"""Scores at test time are the sigmoid or the softmax that the loss trained."""

import pytest
import torch
from builders import DENSE, LOSSES, truth
from scenes import make, predict

CASES = [(kind, loss) for kind in DENSE for loss in LOSSES] + [('ssd', None)]


def rows(scores, channels):
    """Logits of one image, by loops over levels, places and anchors."""
    found = []
    for level in scores:
        for y in range(level.shape[1]):
            for x in range(level.shape[2]):
                found += list(level[:, y, x].split(channels))
    return torch.stack(found)


@pytest.mark.parametrize('kind, loss', CASES)
def test_scores_are_those_of_the_loss(kind, loss):
    head = make(kind, *(LOSSES[loss] if loss else (None, None)))
    head.test_cfg.update(nms_pre=10**6, max_per_img=10**6, min_bbox_size=-1, score_thr=-1.0)
    head.test_cfg.nms.iou_threshold = 1.1
    outs = [[level.detach() for level in maps] for maps in predict(head)]
    _, metas = truth()
    sigmoid = loss not in (None, 'ohem')
    for image, found in enumerate(head.predict_by_feat(*outs, batch_img_metas=metas)):
        logits = rows([level[image] for level in outs[0]], head.cls_out_channels)
        scores = logits.sigmoid() if sigmoid else logits.softmax(1)[:, : head.num_classes]
        assert logits.std() > 0.05
        for label in range(head.num_classes):
            mine = found.scores[found.labels == label].sort().values
            expected = scores[:, label].sort().values
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)
