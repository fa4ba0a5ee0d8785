"""What a training leaves for the analyses: gradients, values, time and memory of its loss."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from rankdet.models.dense_heads.anchor_mixin import RankingAnchorMixin
from rankdet.models.losses import APLoss
from rankdet.models.ranking_core import Rows

from .errors import UserError

RECORDS = 'losses.jsonl'


def dense_head(model: nn.Module) -> BaseDenseHead:
    """The head of a detector that scores anchors or points.

    Raises:
        ValueError: there is none whose rows can be told apart.
    """
    model = getattr(model, 'module', model)  # of a distributed wrapper
    for name in ('bbox_head', 'rpn_head'):
        head = getattr(model, name, None)
        if isinstance(head, AnchorHead) or hasattr(head, 'rows'):
            return head
    raise ValueError(
        f'{type(model).__name__} has no head that scores anchors or points as a RetinaNet, an SSD, '
        'an RPN or a RankFoveaHead does, so its examples cannot be analysed'
    )


def rows_of(head: BaseDenseHead, cls_scores: Sequence[Tensor], *rest: Any) -> Rows:
    """Scores of a head, or maps of the same shapes, as rows beside the labels of the examples.

    Args:
        head: from :func:`dense_head`.
        cls_scores, rest: what its ``loss_by_feat`` takes.
    """
    if isinstance(head, AnchorHead):
        return RankingAnchorMixin.rows(head, cls_scores, *rest)
    return head.rows(cls_scores, *rest)


def targets_of(rows: Rows) -> Tensor:
    """Class of each row; the number of classes for background, -1 for what is ignored."""
    return torch.where(rows.weights > 0, rows.labels, -1)


def split_magnitude(gradients: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Sum of absolute gradients over the positives, and over the negatives.

    Args:
        gradients: ``(..., C)``: each entry is an example, as in RetinaNet; or ``(..., C + 1)`` of a
            softmax, where each row is one.
        targets: ``gradients.shape[:-1]``, see :func:`targets_of`.
        num_classes: C.

    Returns:
        Two numbers.
    """
    sizes, targets = gradients.detach().double().abs().flatten(0, -2), targets.flatten()
    kept = targets >= 0
    sizes, targets = sizes[kept], targets[kept]
    is_positive = targets < num_classes
    if sizes.shape[1] > num_classes:
        positive = sizes[is_positive].sum()
    else:
        positive = sizes[is_positive].gather(1, targets[is_positive, None]).sum()
    return torch.stack([positive, sizes.sum() - positive])


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """The most memory that ``function`` holds at a time, beyond what was held before it."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    # The profiler tells of its own starts and stops, to the terminal itself.
    with (
        _silenced(2),
        torch.profiler.profile(activities=activities, profile_memory=True) as profiler,
    ):
        function()
    events = profiler.profiler.kineto_results.events()
    moves = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]')
    held = peak = 0
    for _, change in moves:
        held += change
        peak = max(peak, held)
    return peak


@contextmanager
def _silenced(descriptor: int) -> Iterator[None]:
    """What is written to a file descriptor goes nowhere."""
    kept, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Measured(NamedTuple):
    """One evaluation of a head's losses.

    Attributes:
        losses: what ``loss_by_feat`` returned.
        loss: the sum of the classification losses, with their weight.
        gradients: of ``loss`` with respect to the scores, as rows beside their labels.
        targets: what ``get_targets`` returned.
        seconds: of ``loss`` and its gradient, without the assignment of targets; None where the
            head has no ``loss_cls`` to time.
        overhead: seconds that the evaluation of the losses alone would not have taken.
    """

    losses: dict
    loss: Tensor
    gradients: Rows
    targets: object
    seconds: float | None
    overhead: float


def measure_loss(
    head: BaseDenseHead, loss_by_feat: Callable, cls_scores: Sequence[Tensor], *rest: Any
) -> Measured:
    """Evaluate the losses of a head, and the gradient of the classification among them.

    Args:
        head: from :func:`dense_head`.
        loss_by_feat: its method.
        cls_scores, rest: what that method takes.
    """
    device, kept = cls_scores[0].device, []
    get_targets = head.get_targets

    def keep(*args: Any, **options: Any) -> Any:
        kept.append(get_targets(*args, **options))
        return kept[-1]

    with _replaced(head, 'get_targets', keep), _timing(head, device) as seconds:
        losses = loss_by_feat(cls_scores, *rest)
    started = clock(device)
    loss = _classification(losses)
    gradients = torch.autograd.grad(loss, cls_scores, retain_graph=True)
    backward = clock(device) - started
    with torch.no_grad(), assigned(head, kept[0]):
        rows = rows_of(head, gradients, *rest)
    spent = sum(seconds) + backward if seconds else None
    return Measured(losses, loss, rows, kept[0], spent, clock(device) - started)


def measure_loss_memory(
    head: BaseDenseHead,
    loss_by_feat: Callable,
    targets: object,
    cls_scores: Sequence[Tensor],
    bbox_preds: Sequence[Tensor],
    *rest: Any,
) -> int:
    """The most memory that the losses and that gradient hold at a time, in a pass of its own.

    Args:
        targets: from :func:`measure_loss`: their assignment is not counted.
    """
    scores, boxes = (
        [m.detach().requires_grad_() for m in maps] for maps in (cls_scores, bbox_preds)
    )
    loss_cls = getattr(head, 'loss_cls', None) or nn.Module()
    was_training = loss_cls.training

    def run() -> None:
        with torch.enable_grad():
            loss = _classification(loss_by_feat(scores, boxes, *rest))
            torch.autograd.grad(loss, scores)

    loss_cls.eval()  # self-balancing counts in training mode only
    try:
        with assigned(head, targets):
            return peak_bytes(run, scores[0].device)
    finally:
        loss_cls.train(was_training)


def assigned(head: nn.Module, targets: object) -> AbstractContextManager[None]:
    """A context in which a head gets these targets: another assignment might draw others."""
    return _replaced(head, 'get_targets', lambda *args, **options: targets)


@HOOKS.register_module()
class LossRecorder(Hook):
    """Records what the classification loss of a dense head does in a training.

    Every ``interval`` iterations, and in the first one, it adds a line of JSON to
    ``vis_data/losses.jsonl`` beside MMEngine's log:

    - ``step``: iterations so far; ``loss_cls``: the loss, with its weight;
    - ``positives``, ``negatives``: sums of the absolute gradients of the classification loss with
      respect to the scores of the positive and of the negative examples. An example is an anchor
      and a class; under a softmax it is an anchor;
    - ``ap_loss``: one minus the interpolated AP of the scores in this batch (half-width 1),
      whatever the loss is; null under a softmax;
    - ``loss_seconds``: the loss and its gradient with respect to the scores, without the
      assignment of targets; null where the head has no ``loss_cls`` to time (stock SSD);
    - ``iteration_seconds``: the iteration without loading of data and without this hook;
    - ``loss_bytes``: with ``memory``, the most memory that the loss and that gradient hold at a
      time, in a pass of its own that changes nothing.

    The training goes exactly as it would without: nothing is drawn at random, no state is
    touched. The gradients cost one backward pass of the loss. With several processes the first
    one records its own share. To record a training without editing its config::

        python tools/train.py CONFIG --cfg-options default_hooks.recorder.type=LossRecorder

    Args:
        interval: iterations between two records, >= 1.
        memory: also record ``loss_bytes``.

    Raises:
        ValueError: the model has no dense head.
        UserError: the training has another recorder.
    """

    priority = 'VERY_LOW'  # after the hooks that belong to the iteration

    def __init__(self, interval: int = 1, memory: bool = False) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'interval must be an integer >= 1, got {interval!r}')
        self.interval = interval
        self.memory = memory
        self._record: dict | None = None

    def before_train(self, runner: Runner) -> None:
        if sum(isinstance(hook, LossRecorder) for hook in runner.hooks) > 1:
            raise UserError(
                'the config has more than one LossRecorder, and each step would be recorded as '
                'often; leave one in default_hooks and custom_hooks'
            )
        self.head = dense_head(runner.model)
        self._ap = APLoss()
        self._path = Path(runner.log_dir) / 'vis_data' / RECORDS
        self._earlier = vars(self.head).get('loss_by_feat')
        self._loss_by_feat = self.head.loss_by_feat
        # On the instance: the class, and what it is saved as, stay as they are.
        self.head.loss_by_feat = self._observe

    def after_train(self, runner: Runner) -> None:
        del self.head.loss_by_feat
        if self._earlier is not None:
            self.head.loss_by_feat = self._earlier

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        if runner.iter == 0 or self.every_n_train_iters(runner, self.interval):
            self._record = dict(step=runner.iter + 1)
            self._overhead = 0.0
            self._device = next(self.head.parameters()).device
            self._started = clock(self._device)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        if self._record is None:
            return
        spent = clock(self._device) - self._started - self._overhead
        self._record['iteration_seconds'] = spent
        if is_main_process():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open('a') as file:
                file.write(json.dumps(self._record) + '\n')
        self._record = None

    def _observe(self, *features: Any) -> dict:
        if self._record is None:
            return self._loss_by_feat(*features)
        measured = measure_loss(self.head, self._loss_by_feat, *features)
        started = clock(self._device)
        rows, num_classes = measured.gradients, self.head.num_classes
        targets = targets_of(rows)
        positives, negatives = split_magnitude(rows.logits, targets, num_classes).tolist()
        self._record |= dict(
            loss_cls=float(measured.loss.detach()),
            positives=positives,
            negatives=negatives,
            ap_loss=self._average_precision_loss(targets, measured.targets, *features),
            loss_seconds=measured.seconds,
        )
        if self.memory:
            self._record['loss_bytes'] = measure_loss_memory(
                self.head, self._loss_by_feat, measured.targets, *features
            )
        self._overhead = measured.overhead + clock(self._device) - started
        return measured.losses

    def _average_precision_loss(
        self, targets: Tensor, kept: object, *features: Any
    ) -> float | None:
        with torch.no_grad(), assigned(self.head, kept):
            logits = rows_of(self.head, *features).logits
            if logits.shape[-1] > self.head.num_classes:
                return None
            return float(self._ap(logits, targets, class_indices=True))


@contextmanager
def _replaced(module: nn.Module, name: str, value: object) -> Iterator[None]:
    """Put ``value`` in the place of a method, on the instance alone."""
    own = vars(module).get(name)
    setattr(module, name, value)
    try:
        yield
    finally:
        delattr(module, name)
        if own is not None:
            setattr(module, name, own)


@contextmanager
def _timing(head: nn.Module, device: torch.device) -> Iterator[list[float]]:
    """Durations of the calls of the classification loss."""
    seconds: list[float] = []
    started: list[float] = []
    loss_cls = getattr(head, 'loss_cls', None)
    if loss_cls is None:
        yield seconds
        return
    hooks = [
        loss_cls.register_forward_pre_hook(lambda *_: started.append(clock(device))),
        loss_cls.register_forward_hook(lambda *_: seconds.append(clock(device) - started.pop())),
    ]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def _classification(losses: dict) -> Tensor:
    """The sum of a head's classification losses: one, or one a level."""
    found = [value for key, value in losses.items() if 'cls' in key]
    total: Any = sum(sum(v) if isinstance(v, (list, tuple)) else v for v in found)
    return total
