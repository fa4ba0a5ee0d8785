"""What ranking heads use of the host's classes, for type checkers.

MMDetection has no type hints. At run time its own head follows a ranking head among the bases, and
the names here stand for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:

    class BoxLoss(nn.Module):
        """A box loss."""

        loss_weight: float

    class HostHead(nn.Module):
        """A dense head or a box head."""

        loss_cls: Any  # a RankingLoss or a loss of the host
        loss_bbox: BoxLoss
        num_classes: int
        cls_out_channels: int
        use_sigmoid_cls: bool
        reg_decoded_bbox: bool
        bbox_coder: Any
        init_cfg: Any

    class HostDenseHead(HostHead):
        """A head that scores anchors or points."""

        assigner: Any
        train_cfg: Any

        def _init_layers(self) -> None: ...

        def loss_by_feat(self, *args: Any, **kwargs: Any) -> dict: ...

        def get_anchors(self, *args: Any, **kwargs: Any) -> tuple[list, list]: ...

        def get_targets(self, *args: Any, **kwargs: Any) -> tuple: ...

        def _get_targets_single(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]: ...

else:
    BoxLoss, HostHead, HostDenseHead = nn.Module, object, object
