"""Two processes that rank together train whole detectors as one process does on all images."""

from copy import deepcopy

import torch
import torch.distributed as dist
from builders import FOCAL, GIOU, SMOOTH_L1, SOFTMAX
from detectors import DETECTORS, batch, build_detector, share
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch.multiprocessing import spawn

from rankdet.models.losses import aLRPLoss

RANKING = {'AP': ('APLoss', SMOOTH_L1), 'aLRP': ('aLRPLoss', GIOU)}
CROSS_ENTROPY = dict(type='CrossEntropyLoss', use_sigmoid=True)
STOCK = {
    'retinanet': (FOCAL, SMOOTH_L1),
    'ssd': (None, None),
    'foveabox': (FOCAL, SMOOTH_L1),  # the stock head leaves its box branch without a gradient
    'faster-rcnn': (SOFTMAX, GIOU, CROSS_ENTROPY),
}
# Those that two processes take each for itself.
OTHERS = {
    name: (dict(type=name), SMOOTH_L1) for name in ('DRLoss', 'AUCLoss', 'OHEMCrossEntropyLoss')
}
# Objects on the images of the batch, and the images of each process.
BATCHES = {
    'uneven': ((3, 2, 1), (slice(0, 2), slice(2, 3))),
    'one process without objects': ((3, 2, 0), (slice(0, 2), slice(2, 3))),
    'no objects at all': ((0, 0), (slice(0, 1), slice(1, 2))),
}
STEPS = 3


def losses_and_gradients(model, data):
    """Every loss, and the gradient of every weight of one forward and backward pass."""
    detector = getattr(model, 'module', model)
    model.zero_grad()
    data = detector.data_preprocessor(data, training=True)
    value, parts = detector.parse_losses(model(**data, mode='loss'))
    value.backward()
    values = {key: part.detach() for key, part in parts.items() if 'loss' in key}
    gradients = {key: weight.grad for key, weight in detector.named_parameters()}
    return values, gradients


def together(detector):
    return MMDistributedDataParallel(detector, device_ids=None, broadcast_buffers=False)


def mean_over_processes(value):
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def same_on_both(values) -> bool:
    for value in values:
        both = [torch.empty_like(value) for _ in range(2)]
        dist.all_gather(both, value.contiguous())
        if not torch.equal(*both):
            return False
    return True


def compare(rank, detector, loss, counts, slices):
    """One pass, then several steps with self-balancing, against one process with all images."""
    kind, box = RANKING[loss]
    alone = build_detector(detector, dict(type=kind), box)
    shared = together(build_detector(detector, dict(type=kind, scope='global'), box))
    data = batch(counts)
    own = share(data, slices[rank])
    expected, gradients = losses_and_gradients(alone, deepcopy(data))
    found, own_gradients = losses_and_gradients(shared, deepcopy(own))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(mean_over_processes(found[key]), value, rtol=1e-4, atol=1e-6)
        if 'cls' in key or kind == 'aLRPLoss':  # one common loss; a box loss is each one's own
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6)
    assert (sum(counts) == 0) == all(gradient.eq(0).all() for gradient in gradients.values())
    for key, gradient in gradients.items():
        assert_near(own_gradients[key], gradient, key)
    for model, images in ((alone, data), (shared, own)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
        for _ in range(STEPS):
            model.train_step(deepcopy(images), OptimWrapper(optimizer))
    weights = [dict(m.named_parameters()) for m in (alone, shared.module)]
    assert same_on_both(weights[1].values())
    for key, weight in weights[0].items():
        assert_near(weights[1][key], weight, key)
    balance(alone, shared.module)


def assert_near(found, expected, key):
    """Equal but for the rounding of sums that are taken in another order."""
    tolerance = 1e-3 * expected.abs().max().item() + 1e-7
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, msg=lambda m: f'{key}: {m}')


def balance(alone, shared):
    pairs = zip(alone.modules(), shared.modules())
    pairs = [(mine, theirs) for mine, theirs in pairs if isinstance(mine, aLRPLoss)]
    for mine, theirs in pairs:
        for loss in (mine, theirs):
            loss.rebalance()
        assert same_on_both([theirs.sb_weight])
        torch.testing.assert_close(theirs.sb_weight, mine.sb_weight, rtol=1e-3, atol=0)


def survive(rank, detector, losses, counts, slices):
    """Every weight has a gradient, the same on both, also without any object."""
    model = together(build_detector(detector, *losses))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data = share(batch(counts), slices[rank])
    _, gradients = losses_and_gradients(model, deepcopy(data))
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    for _ in range(STEPS):
        model.train_step(deepcopy(data), OptimWrapper(optimizer))
    assert same_on_both(model.parameters())


def do_without_proposals(rank):
    """A Faster R-CNN goes on where one process has no proposal, or none has."""
    for smallest in ((0, 1000), (1000, 1000)):
        for kind, box in RANKING.values():
            detector = build_detector('faster-rcnn', dict(type=kind, scope='global'), box)
            detector.train_cfg.rpn_proposal.min_bbox_size = smallest[rank]
            assigner = detector.roi_head.bbox_assigner
            assigner.pos_iou_thr = assigner.neg_iou_thr = 0.2  # some of a new RPN's are positive
            model = together(detector)
            data = share(batch((3, 2)), slice(rank, rank + 1))
            _, gradients = losses_and_gradients(model, deepcopy(data))
            assert all(g is not None and g.isfinite().all() for g in gradients.values())
            head = [gradient for key, gradient in gradients.items() if 'bbox_head' in key]
            assert all(gradient.eq(0).all() for gradient in head) == (min(smallest) > 0)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.005)
            model.train_step(deepcopy(data), OptimWrapper(optimizer))
            assert same_on_both(model.parameters())


def work(rank, store, detectors):
    torch.set_num_threads(1)
    MMLogger.get_current_instance().setLevel('WARNING')  # MMEngine tells how it filled each weight
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    case = None
    try:
        for detector in detectors:
            for name, (counts, slices) in BATCHES.items():
                for loss in RANKING:
                    case = f'{detector}, {loss}, {name}'
                    compare(rank, detector, loss, counts, slices)
                if detector in STOCK:
                    case = f'{detector}, stock losses, {name}'
                    survive(rank, detector, STOCK[detector], counts, slices)
            for name, losses in OTHERS.items():
                case = f'{detector}, {name}, one process without objects'
                survive(rank, detector, losses, *BATCHES['one process without objects'])
        case = 'faster-rcnn without proposals'
        do_without_proposals(rank)
    except Exception as error:
        raise AssertionError(f'process {rank}: {case}: {error}') from error
    finally:
        dist.destroy_process_group()


def test_two_processes_train_as_one(tmp_path):
    spawn(work, (str(tmp_path / 'store'), list(DETECTORS)), nprocs=2)
