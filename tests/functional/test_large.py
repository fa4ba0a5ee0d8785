"""Twenty million scores with twenty thousand positives, in bounded memory."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from rankdet.functional import alrp_loss, ap_loss, auc_loss

N, P = 20_000_000, 20_000
generator = torch.Generator().manual_seed(0)
logits = torch.randn(N, generator=generator).mul_(3000)
targets = torch.zeros(N, dtype=torch.int8)
positives = torch.arange(P) * 997
targets[positives] = 1
logits[positives[::2]] += 3000
logits[positives[1]] = 1e4
errors = torch.rand(P, generator=generator)
logits.requires_grad_()


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gradient_of(loss):
    before = peak()
    (gradient,) = torch.autograd.grad(loss(), logits)
    per_score = (peak() - before) / N
    assert per_score < 24, f'{per_score} bytes per score'
    assert abs(gradient.sum(dtype=torch.float64).item()) < 1e-6
    return gradient[positives].double() * -P


found = [
    gradient_of(loss)
    for loss in (
        lambda: ap_loss(logits, targets, interpolated=False),
        lambda: auc_loss(logits, targets),
        lambda: alrp_loss(logits, targets, errors).cls,
    )
]
scores = logits.detach()
own = scores[positives].double()
for n in (0, 1, 10_007):
    above = (scores - scores[n * 997]).mul_(0.5).add_(0.5).clamp_(0, 1)
    among = ((own - own[n]) / 2 + 0.5).clamp(0, 1)
    fp = above.sum(dtype=torch.float64).item() - above[positives].sum(dtype=torch.float64).item()
    among[n] = 0
    rank = 1 + among.sum().item() + fp
    wanted = fp / rank, fp / (N - P), (fp + (among @ errors.double()).item()) / rank
    for gradients, value in zip(found, wanted):
        assert abs(gradients[n].item() - value) <= 2e-6 * value, (n, gradients[n], wanted)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='measures memory as Linux does')
def test_twenty_million_scores():
    done = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
