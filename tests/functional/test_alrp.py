"""What is aLRP Loss's own; the properties of every loss are tested in one suite elsewhere."""

import numpy as np
import pytest
import torch

from rankdet.functional import alrp_loss, ap_loss, localisation_error
from tests.reference import error_driven as reference


def make_batch(seed, rows=10, columns=4):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    logits = (logits * 4).round() / 4
    targets = torch.randint(-1, 2, (rows, columns), generator=generator)
    errors = torch.rand(rows, columns, generator=generator, dtype=torch.float64)
    return logits, targets, errors


def run(logits, targets, errors, weights=(1.0, 1.0), **options):
    logits, errors = logits.clone().requires_grad_(), errors.clone().requires_grad_()
    loss = alrp_loss(logits, targets, errors, **options)
    (weights[0] * loss.cls + weights[1] * loss.loc).backward()
    return loss.cls.detach(), loss.loc.detach(), logits.grad, errors.grad


class TestFigure1:
    """Ten anchors, four positives of five objects, three regressors: the paper's numbers."""

    scores = torch.linspace(1.0, 0.1, 10, dtype=torch.float64)
    targets = torch.tensor([1, 0, 1, 0, 0, 1, 0, 0, 0, 1])
    ious = {
        'R1': torch.tensor([0.95, 0.80, 0.65, 0.50], dtype=torch.float64),
        'R2': torch.tensor([0.80, 0.65, 0.50, 0.95], dtype=torch.float64),
        'R3': torch.tensor([0.50, 0.65, 0.80, 0.95], dtype=torch.float64),
    }

    def average_precision(self, name, threshold):
        """Area under interpolated precision; each of the five objects is a fifth of recall."""
        is_true = torch.zeros(10, dtype=torch.bool)
        is_true[self.targets == 1] = self.ious[name] >= threshold
        precision = is_true.cumsum(0) / torch.arange(1, 11)
        interpolated = precision.flip(0).cummax(0).values.flip(0)
        return interpolated[is_true].sum().item() / 5

    def test_cross_entropy(self):
        likelihood = torch.where(self.targets == 1, self.scores, 1 - self.scores)
        assert round(-likelihood.log().mean().item(), 2) == 0.87

    def test_ap_loss(self):
        loss = ap_loss(self.scores, self.targets, delta=0, interpolated=False)
        assert round(loss.item(), 2) == 0.36

    @pytest.mark.parametrize('name', ['R1', 'R2', 'R3'])
    def test_iou_loss(self, name):
        loss = (1 - self.ious[name]).mean().item()
        assert round(loss + 1e-9, 2) == 0.28  # 0.275, rounded up

    @pytest.mark.parametrize('name, total', [('R1', 0.53), ('R2', 0.69), ('R3', 0.89)])
    def test_alrp_loss(self, name, total):
        errors = localisation_error(self.ious[name])
        loss = alrp_loss(self.scores, self.targets, errors, delta=0)
        assert round(sum(loss).item(), 2) == total

    @pytest.mark.parametrize(
        'name, wanted',
        [
            ('R1', (0.51, 0.43, 0.33, 0.20, 0.37)),
            ('R2', (0.51, 0.39, 0.24, 0.02, 0.29)),
            ('R3', (0.51, 0.19, 0.08, 0.02, 0.20)),
        ],
    )
    def test_average_precision(self, name, wanted):
        found = [self.average_precision(name, t) for t in (0.50, 0.65, 0.80, 0.95)]
        found.append(sum(found) / 4)
        assert tuple(round(ap, 2) for ap in found) == wanted


@pytest.mark.parametrize('delta', [0, 0.25, 1, 30])
def test_both_parts_and_gradients_follow_the_oracle(delta):
    for seed in range(4):
        logits, targets, errors = make_batch(seed)
        own = errors[targets == 1]
        found = run(logits, targets, own, weights=(1.5, -2.0), delta=delta)
        cls, loc, gradient, errors_gradient = reference.alrp_loss(
            logits.flatten(), targets.flatten(), own, reference.linear_step(delta)
        )
        assert found[0].item() == pytest.approx(cls, abs=1e-12)
        assert found[1].item() == pytest.approx(loc, abs=1e-12)
        np.testing.assert_allclose(found[2].flatten(), 1.5 * gradient, atol=1e-12)
        np.testing.assert_allclose(found[3], -2 * errors_gradient, atol=1e-12)


def test_layouts_of_errors_are_equal():
    logits, _, errors = make_batch(5)
    labels = torch.tensor([0, 4, 4, 3, -1, 2, 4, 1, 4, 2])
    targets = torch.nn.functional.one_hot(labels.clamp(min=0), 5)[:, :4]
    targets[labels == -1] = -1
    by_row = errors[:, 0].clone()
    by_row[(labels == 4) | (labels == -1)] = float('nan')  # never read
    per_positive = by_row[(labels >= 0) & (labels < 4)]
    dense = by_row[:, None].expand(-1, 4)
    wanted = run(logits, targets, per_positive)
    for layout in (dense, by_row):
        found = run(logits, targets, layout)
        torch.testing.assert_close(found[:3], wanted[:3])
        at_positives = found[3][targets == 1] if layout is dense else found[3][by_row.isfinite()]
        torch.testing.assert_close(at_positives, wanted[3])
    for layout in (by_row, per_positive):
        found = run(logits, labels, layout, class_indices=True)
        torch.testing.assert_close(found[:3], wanted[:3])


def test_two_positives_of_one_row_share_its_error():
    logits, targets, errors = make_batch(6)
    by_row = errors[:, 1]
    dense = run(logits, targets, by_row[:, None].expand(-1, 4))
    found = run(logits, targets, by_row)
    torch.testing.assert_close(found[3], dense[3].sum(1))


def test_parts_reach_only_their_own_inputs():
    logits, targets, errors = make_batch(7)
    logits.requires_grad_(), errors.requires_grad_()
    loss = alrp_loss(logits, targets, errors)
    assert torch.autograd.grad(loss.cls, errors, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(loss.loc, logits, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.gradcheck(
        lambda e: alrp_loss(logits.detach(), targets, e).loc,
        errors[targets == 1].detach().requires_grad_(),
    )


def test_no_positives_connects_both_parts():
    logits = torch.randn(3, 4, requires_grad=True)
    for errors in (torch.zeros(0, requires_grad=True), torch.randn(3, requires_grad=True)):
        logits.grad = None
        loss = alrp_loss(logits, torch.zeros(3, 4), errors)
        assert loss._fields == ('cls', 'loc') and loss.cls == 0 and loss.loc == 0
        (loss.cls + loss.loc).backward()
        assert logits.grad.eq(0).all() and errors.grad.eq(0).all()


def test_hardly_any_false_positive_sends_no_update():
    # H = 2.5e-6 at the only negative: an error before it would otherwise weigh in full.
    logits = torch.tensor([0.0, 5.0, -1 + 5e-6], dtype=torch.float64)
    targets, errors = torch.tensor([1, 1, 0]), torch.tensor([1.0, 1.0], dtype=torch.float64)
    assert run(logits, targets, errors)[2].eq(0).all()
    logits[2] += 2e-5
    assert run(logits, targets, errors)[2][0] == pytest.approx(-0.25, rel=1e-3)


def test_tied_positives_count_each_other():
    logits = torch.tensor([1.0, 1.0, -9.0])
    _, loc, _, gradient = run(logits, torch.tensor([1, 1, 0]), torch.tensor([0.2, 0.6]))
    # rank = 1 + 1/2, both errors in both terms.
    assert loc.item() == pytest.approx(0.8 / 1.5)
    torch.testing.assert_close(gradient, torch.full((2,), 1 / 1.5))


def test_half_precision_errors():
    logits, targets, errors = make_batch(8)
    errors = errors.half()
    wanted = run(logits, targets, errors.double())
    found = run(logits.half(), targets, errors)
    assert found[0].dtype == found[1].dtype == torch.float32
    assert found[2].dtype == found[3].dtype == torch.float16
    torch.testing.assert_close(found[1].double(), wanted[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(found[3].double(), wanted[3], rtol=1e-3, atol=1e-6)


def test_scope_image():
    logits, targets, errors = make_batch(9)
    images = torch.tensor([5, 2, 5, 2, 2, 8, 8, 5, 2, 8])
    targets[images == 8] = 0
    parts = []
    for image in (5, 2):
        rows = images == image
        parts.append(run(logits[rows], targets[rows], errors[rows]))
    cls, loc, gradient, errors_gradient = run(
        logits, targets, errors, scope='image', image_ids=images
    )
    assert cls == pytest.approx((parts[0][0] + parts[1][0]).item() / 2)
    assert loc == pytest.approx((parts[0][1] + parts[1][1]).item() / 2)
    for image, part in zip((5, 2), parts):
        torch.testing.assert_close(gradient[images == image], part[2] / 2)
        torch.testing.assert_close(errors_gradient[images == image], part[3] / 2)


def test_localisation_error():
    iou = torch.tensor([1.0, 0.85, 0.7, -1.0], requires_grad=True)
    torch.testing.assert_close(
        localisation_error(iou, tau=0.7), torch.tensor([0.0, 0.5, 1.0, 2 / 0.3])
    )
    torch.testing.assert_close(
        localisation_error(iou, generalized=True), torch.tensor([0.0, 0.15, 0.3, 2.0])
    )
    localisation_error(iou).sum().backward()
    torch.testing.assert_close(iou.grad, torch.full((4,), -2.0))
    for tau in (1.0, -0.1, float('nan')):
        with pytest.raises(ValueError, match=r'tau must lie in \[0, 1\)'):
            localisation_error(iou, tau=tau)


def test_wrong_errors_are_named():
    logits, targets, _ = make_batch(0)
    with pytest.raises(ValueError, match=r'loc_errors must have shape \(\d+,\), one error per'):
        alrp_loss(logits, targets, torch.zeros(3))
    with pytest.raises(TypeError, match='loc_errors must be floating, got'):
        alrp_loss(logits, targets, torch.zeros_like(targets))
