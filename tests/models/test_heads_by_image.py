"""Every head tells its loss which image a row belongs to."""

import pytest
import torch
from builders import SMOOTH_L1
from scenes import HEADS, losses, make, predict, proposal_losses, proposals

LOSSES = {
    'AP': dict(type='APLoss', scope='image'),
    'AUC': dict(type='AUCLoss', scope='image'),
    'DR': dict(type='DRLoss'),
}


def classification(head, images):
    """The loss of one image alone or, with both, of the batch."""
    if not hasattr(head, 'fc_cls'):
        chosen = slice(images[0], images[-1] + 1)
        return losses(head, predict(head, chosen), images=chosen)['loss_cls']
    features, rois, labels, true = proposals()
    chosen = torch.isin(rois[:, 0], torch.tensor(images, dtype=rois.dtype))
    rows = (x[chosen] for x in (rois, labels, true))
    return proposal_losses(head, *head(features[chosen]), *rows)['loss_cls']


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('kind', HEADS)
def test_two_images_give_the_mean_of_each_alone(kind, loss):
    head = make(kind, LOSSES[loss], SMOOTH_L1)
    first, second = (classification(head, [image]).item() for image in (0, 1))
    assert abs(first - second) > 5e-4  # else any mean would do
    both = classification(head, [0, 1]).item()
    assert both == pytest.approx((first + second) / 2, abs=1e-5)
    if 'scope' in LOSSES[loss]:
        head.loss_cls.scope = 'batch'
        assert abs(classification(head, [0, 1]).item() - both) > 5e-4
