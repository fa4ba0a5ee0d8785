"""What every ranking loss module has in common, and what a head may ask of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class RankingLoss(nn.Module):
    """Base of the losses that must see the logits of a whole batch at once.

    A head that finds an instance of this class in ``loss_cls`` hands it the logits of all
    pyramid levels and images in one call, instead of one call per level as stock losses get.

    Class attributes that a subclass may override, all read by the heads:

    Attributes:
        use_sigmoid: True builds one channel per class, scored by a sigmoid; False builds one
            more channel for the background, scored by a softmax.
        needs_loc_errors: the loss takes one localisation error per positive and returns a pair
            ``(cls, loc)`` instead of one scalar.
        prior_prob: probability that the classifier's bias starts at.
        tau: IoU from which an anchor is positive; only where ``needs_loc_errors``.

    Args:
        loss_weight: factor on the loss (on both parts of a pair).
    """

    use_sigmoid: bool = True
    needs_loc_errors: bool = False
    prior_prob: float = 0.01
    tau: float = 0.5

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not loss_weight >= 0:
            raise ValueError(f'loss_weight must be a number >= 0, got {loss_weight!r}')
        self.loss_weight = float(loss_weight)
        self.options: dict[str, Any] = {}

    def set_options(self, functional: Callable[..., object], **options: Any) -> None:
        """Keep the options that every call hands to ``functional``.

        An empty batch lets the functional refuse wrong ones now, not in the first iteration.
        """
        nothing = torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64)
        errors = [torch.zeros(0)] if self.needs_loc_errors else []
        functional(*nothing, *errors, class_indices=True, **options)
        self.options = options

    def extra_repr(self) -> str:
        options = {**self.options, 'loss_weight': self.loss_weight}
        return ', '.join(f'{name}={value!r}' for name, value in options.items())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) > 2 or 'avg_factor' in kwargs:
            name = type(self).__name__
            raise TypeError(
                f'{name} ranks a whole batch at once, but this head calls it piece by piece; '
                "use a head of rankdet, such as bbox_head=dict(type='RankRetinaHead', ...)"
            )
        if (kwargs.get('loc_errors') is not None) != self.needs_loc_errors:
            needs = 'needs' if self.needs_loc_errors else 'takes no'
            raise TypeError(f'{type(self).__name__} {needs} loc_errors')
        return super().__call__(*args, **kwargs)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        class_indices: bool = False,
        image_ids: Tensor | None = None,
        loc_errors: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The weighted loss of one batch.

        Args:
            logits: scores before the sigmoid or softmax, ``(..., C)``.
            targets: 1, 0, -1 in the shape of logits or, with ``class_indices``, int64 of shape
                ``logits.shape[:-1]`` holding 0..C-1, the background class, or -1 for ignored.
            image_ids: image of each row, shape ``logits.shape[:1]`` or that of logits.
            loc_errors: one error per positive, only where ``needs_loc_errors``.
        """
        raise NotImplementedError

    def box_normaliser(self, num_positives: int | Tensor, like: Tensor) -> float | Tensor:
        """What the sum of the box loss over ``num_positives`` is divided by: ``max(1, |P|)``.

        With ``scope='global'`` the number counts the positives of all processes, divided by the
        number of processes, because DistributedDataParallel averages gradients. A number that is a
        tensor stays one, and nobody waits for it.
        """
        if isinstance(num_positives, Tensor):
            return num_positives.clamp(min=1)
        return max(1, num_positives)
