"""Where in the ranking a loss pushes: what tells AP Loss and AUC Loss apart on one detector."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rankdet.engine.launch import load_config
from rankdet.functional import ap_loss, auc_loss

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {'AP': ap_loss, 'AUC': auc_loss}


def where_losses_push(config: str, checkpoint: str) -> dict[str, dict[str, float]]:
    """AP and AUC Loss on the scores that a one-stage detector gives its first training batch.

    Args:
        config: of a detector with an anchor head of rankdet.
        checkpoint: its weights.

    Returns:
        By loss: what :func:`push` says.
    """
    logits, targets = scores_of_first_batch(config, checkpoint)
    return {name: push(loss, logits, targets) for name, loss in LOSSES.items()}


def push(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor
) -> dict[str, float]:
    """Value of a ranking loss, and how much of its push down reaches the highest negatives.

    Args:
        loss: of logits and targets.
        logits: any shape.
        targets: same shape: 1 positive, 0 negative, -1 ignored.

    Returns:
        ``value``; ``push``, the sum of the negatives' gradients; ``on_wrong``, the share of it on
        negatives above the median positive; ``on_highest``, on the \\|P\\| highest negatives;
        ``wrong``, how many negatives stand above the median positive.

    Example:
        >>> logits = torch.tensor([3.0, 1.0, -8.0])
        >>> push(ap_loss, logits, torch.tensor([0, 1, 0]))['on_highest']
        1.0
    """
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    scores, down = logits.detach()[targets == 0], gradient[targets == 0].double()
    positives = logits.detach()[targets == 1]
    wrong = scores > positives.median()
    highest = scores.topk(min(len(positives), len(scores))).indices
    total = down.sum()
    return dict(
        value=value.item(),
        push=total.item(),
        on_wrong=(down[wrong].sum() / total).item(),
        on_highest=(down[highest].sum() / total).item(),
        wrong=int(wrong.sum()),
    )


def scores_of_first_batch(config: str, checkpoint: str) -> tuple[Tensor, Tensor]:
    """Logits ``(N, A, C)`` and one-hot targets, -1 where ignored, of the first training batch."""
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner, load_checkpoint

    cfg = load_config(config)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    load_checkpoint(model, checkpoint, map_location='cpu')
    model.train()
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    batch = model.data_preprocessor(next(iter(Runner.build_dataloader(cfg.train_dataloader))), True)
    samples = batch['data_samples']
    with torch.no_grad():
        rows = model.bbox_head._rows(
            *model.bbox_head(model.extract_feat(batch['inputs'])),
            [sample.gt_instances for sample in samples],
            [sample.metainfo for sample in samples],
            None,
        )
    classes = torch.arange(rows.logits.shape[-1])
    targets = (rows.labels[..., None] == classes).long()
    return rows.logits, targets.masked_fill(rows.weights[..., None] == 0, -1)
