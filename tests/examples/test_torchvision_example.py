"""The page about use without MMDetection, and its script, do what they say."""

import doctest
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.metrics import average_precision_score
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.ops import generalized_box_iou, sigmoid_focal_loss

from rankdet.datasets.digits import make_digits
from rankdet.functional import ALRPLoss, alrp_loss, ap_loss

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs/without_mmdetection.md'
SCRIPT = ROOT / 'docs/examples/torchvision_retinanet.py'

# Imports of mm* fail as if nothing of OpenMMLab were installed, then the script runs as one.
RUN_WITHOUT_MM = """
import runpy, sys

OPENMMLAB = {'mmcv', 'mmdet', 'mmengine'}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in OPENMMLAB:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
import torch
torch.set_num_threads(1)
runpy.run_path(sys.argv[0], run_name='__main__')
assert not OPENMMLAB & {name.split('.')[0] for name in sys.modules}
"""


def blocks(language):
    text = PAGE.read_text(encoding='utf-8')
    return re.findall(rf'^```{language}\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope='module')
def example():
    spec = importlib.util.spec_from_file_location('torchvision_retinanet', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where inspect looks for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp('data') / 'digits', num_train=4, num_val=2, size=96)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


# --- the page ------------------------------------------------------------------------------------


def test_the_pages_sessions_print_what_they_show():
    sessions = blocks('pycon')
    assert sessions
    namespace = {}
    for number, session in enumerate(sessions):
        test = doctest.DocTestParser().get_doctest(session, namespace, f'{number}', PAGE.name, 0)
        result = doctest.DocTestRunner().run(test, clear_globs=False)
        assert result.attempted and not result.failed
        namespace = test.globs


def test_the_pages_programs_run():
    namespace = {'__name__': 'page'}
    for program in blocks('python'):
        exec(compile(program, PAGE.name, 'exec'), namespace)
    assert namespace['before'] < 0.2 and namespace['after'] > 0.7

    model = namespace['model'].train()
    model.transform.min_size, model.transform.max_size = (64,), 64
    target = dict(boxes=torch.tensor([[8.0, 8, 40, 40]]), labels=torch.tensor([9]))
    losses = model([torch.rand(3, 64, 64)], [target])
    losses['classification'].backward()
    assert 0 < losses['classification'].item() < 1
    assert model.head.classification_head.cls_logits.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('name', ['anchor_labels', 'APClassificationHead', 'ALRPHead'])
def test_the_page_quotes_the_script(example, name):
    assert inspect.getsource(getattr(example, name)) in '\n'.join(blocks('python'))


def test_the_pages_commands_are_understood(example):
    commands = re.findall(
        r'^ *(?:\$ )?python docs/examples/torchvision_retinanet\.py(.*)',
        PAGE.read_text(encoding='utf-8'),
        re.MULTILINE,
    )
    assert len(commands) >= 3
    for options in commands:
        if '--help' not in options:
            example.parse_args(options.split())


def test_the_heaviside_value_is_average_precision():
    scores, labels = torch.randn(500, dtype=torch.float64), torch.rand(500) < 0.1
    value = 1 - ap_loss(scores, labels, delta=0, interpolated=False)
    assert value.item() == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


# --- the losses of the script --------------------------------------------------------------------


def scene(num_images=2, num_anchors=40, num_classes=3):
    """Logits, targets and matches (-1 background, -2 in between) as torchvision hands them on."""
    logits = torch.randn(num_images, num_anchors, num_classes)
    targets = [
        dict(labels=torch.tensor([2, 0]), boxes=torch.tensor([[0.0, 0, 8, 8], [4, 4, 20, 12]])),
        dict(labels=torch.zeros(0, dtype=torch.int64), boxes=torch.zeros(0, 4)),
    ]
    matched = [torch.full((num_anchors,), -1) for _ in range(num_images)]
    matched[0][:6] = torch.tensor([0, 1, 1, -2, -2, 0])
    matched[1][3] = -2
    return logits, targets, matched


def one_hot_targets(labels, num_classes):
    """The same labels, written out one logit at a time."""
    dense = torch.zeros(*labels.shape, num_classes, dtype=torch.int64)
    for image, row in enumerate(labels.tolist()):
        for anchor, label in enumerate(row):
            if label == -1:
                dense[image, anchor] = -1
            elif label < num_classes:
                dense[image, anchor, label] = 1
    return dense


def test_anchor_labels_translate_torchvisions_matches(example):
    logits, targets, matched = scene()
    labels = example.anchor_labels(targets, matched, num_classes=3)
    assert labels.shape == logits.shape[:2]
    assert labels[0, :8].tolist() == [2, 0, 0, -1, -1, 2, 3, 3]
    assert labels[1, :5].tolist() == [3, 3, 3, -1, 3]


def test_anchor_labels_are_those_of_torchvisions_own_loss(example):
    logits, targets, matched = scene()
    stock = RetinaNetClassificationHead(8, 2, 3)
    expected = stock.compute_loss(targets, dict(cls_logits=logits), matched)
    dense = one_hot_targets(example.anchor_labels(targets, matched, 3), 3)
    per_image = [
        sigmoid_focal_loss(s[t >= 0], t[t >= 0].float(), reduction='sum')
        / max(1, int((t == 1).sum()))
        for s, t in zip(logits, dense)
    ]
    assert sum(per_image).item() / 2 == pytest.approx(expected.item(), rel=1e-6)


def test_the_ap_head_ranks_all_images_together(example):
    logits, targets, matched = scene()
    head = example.APClassificationHead(8, 2, 3)
    loss = head.compute_loss(targets, dict(cls_logits=logits), matched)
    dense = one_hot_targets(example.anchor_labels(targets, matched, 3), 3)
    assert loss.item() == pytest.approx(ap_loss(logits.flatten(), dense.flatten()).item())


def test_the_alrp_head_measures_the_right_boxes(example):
    logits, targets, matched = scene()
    corners = torch.rand(2, 40, 2) * 10
    anchors = torch.cat([corners, corners + 4 + torch.rand(2, 40, 2) * 8], 2)
    deltas = (0.1 * torch.randn(2, 40, 4)).requires_grad_()
    head = example.ALRPHead(8, 2, 3, balance=example.Fixed(3.0))
    outputs = dict(cls_logits=logits, bbox_regression=deltas)
    losses = head.compute_loss(targets, outputs, list(anchors), matched)
    losses['bbox_regression'].backward()

    errors = torch.zeros(2, 40)
    for image in range(2):
        boxes = head.regression_head.box_coder.decode_single(deltas[image], anchors[image])
        for anchor, index in enumerate(matched[image].tolist()):
            if index >= 0:
                truth = targets[image]['boxes'][index : index + 1]
                errors[image, anchor] = 1 - generalized_box_iou(boxes[anchor : anchor + 1], truth)
    dense = one_hot_targets(example.anchor_labels(targets, matched, 3), 3)
    expected = alrp_loss(logits, dense, errors)
    assert losses['classification'].item() == pytest.approx(expected.cls.item(), rel=1e-5)
    assert losses['bbox_regression'].item() == pytest.approx(3 * expected.loc.item(), rel=1e-5)
    assert (deltas.grad.abs().sum(2) > 0).equal(torch.stack(matched) >= 0)


@pytest.mark.parametrize('loss', ['ap', 'alrp'])
def test_a_batch_without_objects_reaches_every_parameter(example, loss):
    model = example.build_model(loss, 3, (64, 64), example.SelfBalance(1)).train()
    nothing = dict(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
    losses = model([torch.rand(3, 64, 64)] * 2, [nothing] * 2)
    sum(losses.values()).backward()
    assert [value.item() for value in losses.values()] == [0, 0]
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_self_balance_is_the_ratio_of_the_period_before(example):
    balance = example.SelfBalance(period=2)
    parts = [(0.9, 0.1), (0.7, 0.3), (0.5, 0.25), (0.25, 0.25), (0.1, 0.1)]
    weights = [float(balance(ALRPLoss(*map(torch.tensor, p)))) for p in parts]
    assert weights == pytest.approx([50, 50, 2.0 / 0.4, 2.0 / 0.4, 1.25 / 0.5])
    copy = example.SelfBalance(period=2)
    copy.load_state_dict(balance.state_dict())
    last = ALRPLoss(torch.tensor(0.1), torch.tensor(0.1))
    assert [float(copy(last)), float(copy(last))] == pytest.approx([2.5, 2.0])


# --- training ------------------------------------------------------------------------------------


def test_the_script_trains_where_openmmlab_is_missing(digits):
    done = subprocess.run(
        [sys.executable, '-c', RUN_WITHOUT_MM, str(SCRIPT), '--data', str(digits)]
        + ['--iterations', '3', '--batch-size', '2', '--device', 'cpu'],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert 'iteration 3/3' in done.stdout and '0:00 left' in done.stdout
    assert re.search(r'^AP \d\.\d{3}  AP50 \d\.\d{3}$', done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    'options', [['--loss', 'focal'], ['--loss', 'alrp'], ['--loss', 'alrp', '--loc-weight', '2']]
)
def test_the_other_losses_train_too(example, digits, options, capsys):
    base = ['--data', str(digits), '--iterations', '2', '--batch-size', '2', '--device', 'cpu']
    measures = example.main(base + options)
    assert set(measures) == {'AP', 'AP50'} and all(0 <= v <= 1 for v in measures.values())
    assert 'classification' in capsys.readouterr().out


@pytest.mark.parametrize('loss', ['ap', 'alrp'])
def test_it_overfits_two_scenes(example, digits, loss):
    data = example.CocoFolder(digits, 'train')
    data.images = data.images[:2]
    # Weighted by 1, aLRP's parts add up to the loss; alone, loc grows as the ranking improves.
    model = example.build_model(loss, 10, data.image_size, example.Fixed(1.0))
    history = example.train(model, data, 20, batch_size=2)
    first, last = (sum(sum(h.values()) for h in part) / 3 for part in (history[:3], history[-3:]))
    assert last < 0.8 * first


def test_the_trained_boxes_come_back_in_cocos_terms(example, digits):
    class Oracle(torch.nn.Linear):
        """Finds exactly what is annotated, in the data's order."""

        def forward(self, images):
            found = [next(answers) for _ in images]
            return [f | dict(scores=torch.ones(len(f['labels']))) for f in found]

    data = example.CocoFolder(digits, 'val')
    answers = iter(data[i][1] for i in range(len(data)))
    assert example.evaluate(Oracle(1, 1), data) == dict(AP=pytest.approx(1), AP50=pytest.approx(1))


def test_missing_data_is_one_line(example, tmp_path):
    with pytest.raises(
        SystemExit, match=r'error: .*instances_train\.json is not there.*make_digits'
    ):
        example.main(['--data', str(tmp_path)])
