"""One reading of (logits, targets, ...) for all losses: checked, flattened, widened."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class RankingInputs:
    """A batch of scores, seen flat.

    Attributes:
        scores: ``(n,)`` logits in float32 or wider, connected to the graph of ``logits``.
        positives: ``(P,)`` int64, ascending positions of the positives in ``scores``.
        is_negative: ``(n,)`` bool. What is neither positive nor negative is ignored.
        image_ids: None, ``(rows,)`` or ``(n,)`` integers, see :meth:`images`.
        loc_errors: None, or the localisation errors of the positives.
        members: None, or ``(P,)`` places of these positives among those of a larger batch, in
            whose order ``loc_errors`` and what else users hold per positive is given.
    """

    scores: Tensor
    positives: Tensor
    is_negative: Tensor
    image_ids: Tensor | None = None
    loc_errors: Tensor | None = None
    members: Tensor | None = None

    @property
    def num_positives(self) -> int:
        return self.positives.shape[0]

    def images(self) -> Tensor:
        """``(n,)`` image id of each score; zeros where the caller named no images."""
        n = self.scores.shape[0]
        if self.image_ids is None:
            return torch.zeros(n, dtype=torch.int64, device=self.scores.device)
        rows = self.image_ids.shape[0]
        return self.image_ids if rows == n else self.image_ids.repeat_interleave(n // max(rows, 1))


def read_inputs(
    logits: Tensor,
    targets: Tensor,
    *,
    class_indices: bool = False,
    image_ids: Tensor | None = None,
) -> RankingInputs:
    """Check the arguments that all losses share and flatten them.

    Costs one host synchronisation, which counts the positives and checks the label values.

    Args:
        logits: any shape, floating. float16 and bfloat16 are widened to float32.
        targets: shape of ``logits``, integer, bool or float, holding 1, 0, -1; or, with
            ``class_indices``, integers of shape ``logits.shape[:-1]``: 0..C-1 the positive
            class, C background, -1 ignored.
        class_indices: how to read ``targets``; never inferred from shapes.
        image_ids: integers of shape ``logits.shape[:1]`` or ``logits.shape``.

    Raises:
        TypeError: an argument has a dtype that cannot be meant.
        ValueError: shapes, devices or label values do not fit.
    """
    check_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
    scores = logits.reshape(-1).to(wide(logits.dtype))
    if class_indices:
        positives, is_negative = _read_class_indices(targets.reshape(-1).long(), logits.shape[-1])
    else:
        positives, is_negative = _read_binary(targets.reshape(-1))
    ids = None if image_ids is None else image_ids.reshape(-1)
    return RankingInputs(scores, positives, is_negative, ids)


def find_positives(logits: Tensor, targets: Tensor, class_indices: bool) -> Tensor:
    """The positives' places, as in :func:`read_inputs` and with its checks of label values."""
    if class_indices:
        return _class_positives(targets.reshape(-1).long(), logits.shape[-1])
    return _read_binary(targets.reshape(-1))[0]


def locate_loc_errors(
    loc_errors: Tensor, logits: Tensor, targets: Tensor, positives: Tensor
) -> Tensor:
    """``(P,)`` positions of the positives' errors in ``loc_errors.flatten()``.

    A vector of length P is always taken as one error per positive, in the order of
    ``targets.flatten()``. Otherwise ``loc_errors`` has the shape of ``targets`` or of the rows,
    ``logits.shape[:-1]``, and only the positives' entries are ever read.
    """
    if loc_errors.shape == positives.shape:
        return torch.arange(positives.shape[0], device=positives.device)
    if loc_errors.shape == logits.shape:
        return positives
    if loc_errors.shape == logits.shape[:-1]:
        return positives // max(logits.shape[-1], 1)
    raise ValueError(
        f'loc_errors must have shape ({positives.shape[0]},), one error per positive, or that of '
        f'targets {tuple(targets.shape)} or of the rows {tuple(logits.shape[:-1])}, '
        f'got {tuple(loc_errors.shape)}'
    )


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that values of ``dtype`` are computed in: float32, or float64 itself."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_number(name: str, value: float, *, minimum: float, strict: bool = False) -> None:
    """Raise unless ``value`` is finite and at least (``strict``: above) ``minimum``."""
    if not hasattr(value, '__float__'):
        raise TypeError(f'{name} must be a number, got {value!r}')
    above = value > minimum if strict else value >= minimum
    if not (above and value < float('inf')):
        bound = '>' if strict else '>='
        raise ValueError(f'{name} must be a finite number {bound} {minimum}, got {value!r}')


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f'{name} must be one of {", ".join(map(repr, choices))}, got {value!r}')


def check_inputs(
    logits: Tensor, targets: Tensor, *, class_indices: bool, image_ids: Tensor | None
) -> None:
    """Raise on dtypes, shapes and devices that do not fit; looks at no values."""
    check_floating('logits', logits)
    if not isinstance(targets, Tensor):
        raise TypeError(f'targets must be a tensor, got {type(targets).__name__}')
    if class_indices:
        if logits.ndim == 0:
            raise ValueError('logits need a last axis of classes where class_indices=True')
        if targets.dtype not in _INTEGERS:
            raise TypeError(f'targets must be integers for class_indices=True, got {targets.dtype}')
        expected, meaning = logits.shape[:-1], 'logits.shape[:-1] for class_indices=True'
    else:
        if targets.is_complex():
            raise TypeError(f'targets must be integer, bool or floating, got {targets.dtype}')
        expected, meaning = logits.shape, 'the shape of logits'
    if targets.shape != expected:
        raise ValueError(
            f'targets must have {meaning}, {tuple(expected)}, got {tuple(targets.shape)}'
        )
    check_device('targets', targets, logits)
    if image_ids is not None:
        if not isinstance(image_ids, Tensor) or image_ids.dtype not in _INTEGERS:
            found = getattr(image_ids, 'dtype', type(image_ids).__name__)
            raise TypeError(f'image_ids must be a tensor of integers, got {found}')
        if image_ids.shape not in (logits.shape[:1], logits.shape):
            raise ValueError(
                f'image_ids must have shape {tuple(logits.shape[:1])} or {tuple(logits.shape)}, '
                f'got {tuple(image_ids.shape)}'
            )
        check_device('image_ids', image_ids, logits)


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise unless ``tensor`` is a tensor of real floating numbers."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f'{name} must be a tensor, got {type(tensor).__name__}')
    if not torch.is_floating_point(tensor):
        raise TypeError(f'{name} must be floating, got {tensor.dtype}')


def check_device(name: str, tensor: Tensor, logits: Tensor) -> None:
    """Raise unless ``tensor`` is where the logits are."""
    if tensor.device != logits.device:
        raise ValueError(f'{name} are on {tensor.device}, logits on {logits.device}')


def _read_binary(targets: Tensor) -> tuple[Tensor, Tensor]:
    is_positive = targets if targets.dtype == torch.bool else targets == 1
    is_negative = ~targets if targets.dtype == torch.bool else targets == 0
    if targets.dtype == torch.bool or torch.compiler.is_compiling() or not targets.numel():
        return is_positive.nonzero().squeeze(1), is_negative
    if targets.is_floating_point():
        strange = ~(is_positive | is_negative | (targets == -1))
        facts = torch.stack([is_positive.sum(), strange.sum()]).tolist()
        if facts[1]:
            value = targets[strange][0].item()
            raise ValueError(f'targets must hold 1, 0 and -1 only, got {value!r}')
    else:
        low, high = targets.aminmax()
        facts = torch.stack([is_positive.sum(), low.long(), high.long()]).tolist()
        if facts[1] < -1 or facts[2] > 1:
            raise ValueError(
                f'targets must hold 1, 0 and -1 only, got values from {facts[1]} to {facts[2]}; '
                'for class indices pass class_indices=True'
            )
    return _positions(is_positive, facts[0]), is_negative


def _read_class_indices(targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    positives = _class_positives(targets, num_classes)
    # One byte per score and no one-hot: whole rows first, then the few positives.
    is_negative = (targets != -1)[:, None].repeat(1, num_classes).reshape(-1)
    is_negative[positives] = False
    return positives, is_negative


def _class_positives(targets: Tensor, num_classes: int) -> Tensor:
    # int64: narrower labels would be compared with a number of classes that wraps around.
    is_positive = (targets >= 0) & (targets < num_classes)
    if torch.compiler.is_compiling() or not targets.numel():
        rows = is_positive.nonzero().squeeze(1)
    else:
        low, high = targets.aminmax()
        facts = torch.stack([is_positive.sum(), low, high]).tolist()
        if facts[1] < -1 or facts[2] > num_classes:
            raise ValueError(
                f'targets must hold 0..{num_classes - 1} (positive class), {num_classes} '
                f'(background) and -1 (ignored), got values from {facts[1]} to {facts[2]}'
            )
        rows = _positions(is_positive, facts[0])
    return rows * num_classes + targets[rows]


def _positions(mask: Tensor, count: int) -> Tensor:
    """Positions of the True values, whose number is known: no second synchronisation."""
    if mask.device.type == 'cpu':
        return mask.nonzero().squeeze(1)
    return torch.nonzero_static(mask, size=count).squeeze(1)
