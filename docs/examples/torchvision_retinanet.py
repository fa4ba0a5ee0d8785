"""Train torchvision's RetinaNet by ranking, without MMDetection.

    python tools/make_digits.py                                           # data/digits, once
    python docs/examples/torchvision_retinanet.py                         # AP Loss
    python docs/examples/torchvision_retinanet.py --loss focal            # torchvision's own loss
    python docs/examples/torchvision_retinanet.py --loss alrp             # boxes are ranked too

The data set is any folder in COCO's format: ``annotations/instances_{train,val}.json`` beside the
images in ``train/`` and ``val/``. Needs torch, torchvision and pycocotools.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torchvision
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.io import ImageReadMode, decode_image
from torchvision.models import resnet18
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetHead
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import FeaturePyramidNetwork, generalized_box_iou_loss

from rankdet.functional import ALRPLoss, alrp_loss, ap_loss, localisation_error

# --- the losses ----------------------------------------------------------------------------------


def anchor_labels(targets: list[dict], matched_idxs: list[Tensor], num_classes: int) -> Tensor:
    """``(images, anchors)`` class indices: the class, ``num_classes`` background, -1 ignored.

    torchvision's matcher says -1 for background and -2 for the anchors in between, which overlap
    an object too little to be positive and too much to be negative.
    """
    labels = []
    for target, matched in zip(targets, matched_idxs):
        label = torch.full_like(matched, num_classes)
        label[matched >= 0] = target['labels'][matched[matched >= 0]]
        label[matched == -2] = -1
        labels.append(label)
    return torch.stack(labels)


class APClassificationHead(RetinaNetClassificationHead):
    """RetinaNet's classification branch, trained by AP Loss: all images rank in one list."""

    def compute_loss(self, targets, head_outputs, matched_idxs):
        labels = anchor_labels(targets, matched_idxs, self.num_classes)
        return ap_loss(head_outputs['cls_logits'], labels, class_indices=True)


class ALRPHead(RetinaNetHead):
    """RetinaNet's two branches, trained together by aLRP Loss."""

    def __init__(self, *args, balance: nn.Module, **kwargs):
        super().__init__(*args, **kwargs)
        self.balance = balance

    def compute_loss(self, targets, head_outputs, anchors, matched_idxs):
        labels = anchor_labels(targets, matched_idxs, self.classification_head.num_classes)
        positive = torch.stack(matched_idxs) >= 0
        predicted = self.regression_head.box_coder.decode_single(
            head_outputs['bbox_regression'][positive], torch.stack(anchors)[positive]
        )
        # In the order of labels.flatten(), as positive is.
        boxes = torch.cat([t['boxes'][m[m >= 0]] for t, m in zip(targets, matched_idxs)])
        giou = 1 - generalized_box_iou_loss(predicted, boxes)
        errors = localisation_error(giou, generalized=True)
        loss = alrp_loss(head_outputs['cls_logits'], labels, errors, class_indices=True)
        return {'classification': loss.cls, 'bbox_regression': self.balance(loss) * loss.loc}


class SelfBalance(nn.Module):
    """The weight of aLRP's localisation part: mean aLRP / mean loc of the period before.

    The paper's period is an epoch. State is in buffers, so that a checkpoint carries it.
    """

    def __init__(self, period: int, first: float = 50.0) -> None:
        super().__init__()
        self.period = period
        self.register_buffer('weight', torch.tensor(first))
        self.register_buffer('sums', torch.zeros(2))  # of aLRP and of loc
        self.register_buffer('seen', torch.tensor(0))

    def forward(self, loss: ALRPLoss) -> Tensor:
        weight = self.weight.clone()
        self.sums += torch.stack([loss.cls + loss.loc, loss.loc]).detach()
        self.seen += 1
        if self.seen == self.period:
            if self.sums[1] > 0:
                self.weight.copy_(self.sums[0] / self.sums[1])
            self.sums.zero_()
            self.seen.zero_()
        return weight


class Fixed(nn.Module):
    """A weight that stays."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, loss: ALRPLoss) -> float:
        return self.weight


# --- the detector --------------------------------------------------------------------------------


class SmallBackbone(nn.Module):
    """ResNet-18 without its last stage, from random weights, and a narrow FPN at strides 4 to 16.

    Its batch norms learn, unlike those of torchvision's detection backbones.
    """

    def __init__(self, out_channels: int = 48) -> None:
        super().__init__()
        stages = ['layer1', 'layer2', 'layer3']
        self.body = create_feature_extractor(resnet18(weights=None), stages)
        self.fpn = FeaturePyramidNetwork([64, 128, 256], out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.fpn(self.body(images))


def build_model(
    loss: str, num_classes: int, image_size: tuple[int, int], balance: nn.Module | None = None
) -> RetinaNet:
    """RetinaNet for objects of 10 to 64 pixels.

    Args:
        loss: 'ap', 'focal' or 'alrp'.
        num_classes: number of channels. Every one is a class: sigmoid scores need no background.
        image_size: shorter and longer side that images are resized to.
        balance: the weight of aLRP's localisation part, from an :class:`ALRPLoss`.
    """
    backbone = SmallBackbone()
    anchors = AnchorGenerator(((10, 14), (20, 28), (40, 56)), ((1.0, 2.0),) * 3)
    shape = (backbone.out_channels, anchors.num_anchors_per_location()[0], num_classes)
    norm = nn.BatchNorm2d
    if loss == 'alrp':
        head = ALRPHead(*shape, norm_layer=norm, balance=balance)
    else:
        head = RetinaNetHead(*shape, norm_layer=norm)
    if loss == 'ap':
        head.classification_head = APClassificationHead(*shape, norm_layer=norm)
    return RetinaNet(
        backbone,
        num_classes,
        anchor_generator=anchors,
        head=head,
        min_size=image_size[0],
        max_size=image_size[1],
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
        score_thresh=0.01,
        detections_per_img=100,
    )


# --- the data ------------------------------------------------------------------------------------


class CocoFolder(Dataset):
    """A split of a folder in COCO's format, as torchvision's detectors take it.

    Attributes:
        annotations: the COCO file.
        image_size: shorter and longer side of the first image.
        category_ids: the category of each label.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.annotations = root / 'annotations' / f'instances_{split}.json'
        content = json.loads(self.annotations.read_text(encoding='utf-8'))
        self.folder = root / split
        self.images = content['images']
        self.image_size = tuple(sorted((self.images[0]['height'], self.images[0]['width'])))
        self.category_ids = sorted(category['id'] for category in content['categories'])
        self.objects = {image['id']: [] for image in self.images}
        for annotation in content['annotations']:
            if not annotation.get('iscrowd'):
                self.objects[annotation['image_id']].append(annotation)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict]:
        info = self.images[index]
        image = decode_image(str(self.folder / info['file_name']), ImageReadMode.RGB) / 255
        objects = self.objects[info['id']]
        boxes = torch.tensor([o['bbox'] for o in objects], dtype=torch.float32).view(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [self.category_ids.index(o['category_id']) for o in objects]
        labels = torch.tensor(labels, dtype=torch.int64)
        return image, dict(boxes=boxes, labels=labels, image_id=info['id'])


def as_lists(samples: list) -> tuple[list, list]:
    images, targets = zip(*samples)
    return list(images), list(targets)


def to_device(images: list, targets: list, device: torch.device) -> tuple[list, list]:
    targets = [
        {key: t[key].to(device) for key in ('boxes', 'labels')} | {'image_id': t['image_id']}
        for t in targets
    ]
    return [image.to(device) for image in images], targets


# --- training and evaluation ---------------------------------------------------------------------

DETECTION = ('boxes', 'labels', 'scores')


def warm_flat_down(iterations: int, iteration: int) -> float:
    """The learning rate's factor: up in the first tenth, down in the last quarter."""
    return min(
        1.0, (iteration + 1) / (0.1 * iterations), (iterations - iteration) / (0.25 * iterations)
    )


def train(
    model: RetinaNet,
    data: CocoFolder,
    iterations: int,
    *,
    batch_size: int = 8,
    lr: float = 0.003,
    log_every: int = 25,
) -> list[dict[str, float]]:
    """Train in place; returns the losses of every iteration."""
    device = next(model.parameters()).device
    sampler = RandomSampler(data, replacement=False, num_samples=iterations * batch_size)
    loader = DataLoader(data, batch_size, sampler=sampler, collate_fn=as_lists)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(warm_flat_down, iterations))
    model.train()
    history, start = [], time.perf_counter()
    for iteration, (images, targets) in enumerate(loader, 1):
        losses = model(*to_device(images, targets, device))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        history.append({name: loss.item() for name, loss in losses.items()})
        if iteration % log_every == 0 or iteration in (1, iterations):
            recent = history[-log_every:]
            means = '  '.join(f'{k} {sum(h[k] for h in recent) / len(recent):.3f}' for k in losses)
            left = (time.perf_counter() - start) / iteration * (iterations - iteration)
            print(
                f'iteration {iteration}/{iterations}  {means}  '
                f'{int(left) // 60}:{int(left) % 60:02d} left',
                flush=True,
            )
    return history


@torch.no_grad()
def evaluate(model: RetinaNet, data: CocoFolder, batch_size: int = 16) -> dict[str, float]:
    """COCO's AP and AP50 of the boxes."""
    device = next(model.parameters()).device
    model.eval()
    results = []
    for images, targets in DataLoader(data, batch_size, collate_fn=as_lists):
        images, targets = to_device(images, targets, device)
        for target, found in zip(targets, model(images)):
            found['boxes'][:, 2:] -= found['boxes'][:, :2]
            results += [
                dict(
                    image_id=target['image_id'],
                    category_id=data.category_ids[label],
                    bbox=box,
                    score=score,
                )
                for box, label, score in zip(*(found[k].tolist() for k in DETECTION))
            ]
    if not results:
        return dict(AP=0.0, AP50=0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data.annotations))
        measured = COCOeval(truth, truth.loadRes(results), 'bbox')
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return dict(AP=float(measured.stats[0]), AP50=float(measured.stats[1]))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--loss', choices=['ap', 'focal', 'alrp'], default='ap')
    parser.add_argument('--data', type=Path, default='data/digits', help='%(default)s')
    parser.add_argument('--iterations', type=int, default=300, help='%(default)s')
    parser.add_argument('--batch-size', type=int, default=8, help='%(default)s')
    parser.add_argument('--lr', type=float, default=0.003, help='%(default)s')
    parser.add_argument('--seed', type=int, default=0, help='%(default)s')
    parser.add_argument(
        '--loc-weight',
        type=float,
        help='weight of the localisation part of aLRP Loss; by default it balances itself',
    )
    parser.add_argument(
        '--balance-every',
        type=int,
        default=50,
        help='iterations after which that weight is renewed (%(default)s)',
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = parse_args(argv)
    try:
        train_data, val_data = (CocoFolder(args.data, split) for split in ('train', 'val'))
    except FileNotFoundError as error:
        sys.exit(f'error: {error.filename} is not there; python tools/make_digits.py makes it')
    torch.manual_seed(args.seed)
    balance = SelfBalance(args.balance_every) if args.loc_weight is None else Fixed(args.loc_weight)
    model = build_model(args.loss, len(train_data.category_ids), train_data.image_size, balance)
    model.to(args.device)
    print(
        f'RetinaNet, {args.loss} loss, {len(train_data)} + {len(val_data)} images, '
        f'torch {torch.__version__}, torchvision {torchvision.__version__}, {args.device}'
    )
    train(model, train_data, args.iterations, batch_size=args.batch_size, lr=args.lr)
    measures = evaluate(model, val_data)
    print('  '.join(f'{name} {value:.3f}' for name, value in measures.items()))
    return measures


if __name__ == '__main__':
    main()
