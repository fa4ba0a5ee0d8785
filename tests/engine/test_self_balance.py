"""SelfBalanceHook: the paper's ratio, by epochs and iterations, logged, resumed."""

import json

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

import rankdet.plugin  # noqa: F401
from rankdet.engine import launch
from rankdet.engine.self_balance import SelfBalanceHook, shortest_names
from rankdet.functional import alrp_loss
from rankdet.models.losses import aLRPLoss
from tests.engine import tiny


class Toy(BaseModel):
    """Ranks 12 fixed features; every third batch has no positive, and one may be NaN."""

    def __init__(self, poison=(), **loss):
        super().__init__()
        self.head = torch.nn.Module()
        self.head.loss_cls = aLRPLoss(**loss)
        self.linear = torch.nn.Linear(4, 1)
        self.poison = poison
        self.seen = []

    def forward(self, inputs, mode='loss'):
        index = int(inputs[0])
        generator = torch.Generator().manual_seed(index)
        logits = self.linear(torch.randn(12, 4, generator=generator)).squeeze(1)
        targets = torch.zeros(12, dtype=torch.long)
        if index % 3:
            targets[:4] = 1
        errors = logits[targets == 1].sigmoid() * 0.5 + 0.1
        if index in self.poison:
            errors = errors * float('nan')
        plain = alrp_loss(logits.detach(), targets, errors.detach())
        self.seen.append((float(plain.cls), float(plain.loc)))
        cls, loc = self.head.loss_cls(logits, targets, loc_errors=errors)
        if index in self.poison:
            cls, loc = logits.sum() * 0, logits.sum() * 0
        return dict(loss_cls=cls, loss_bbox=loc)


def run(tmp_path, model, hook, train_cfg, name, **kw):
    runner = Runner(
        model,
        work_dir=str(tmp_path / name),
        train_dataloader=DataLoader([dict(inputs=i) for i in range(6)], batch_size=1),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
        custom_hooks=[hook] if hook else None,
        default_scope='mmdet',
        experiment_name=f'{tmp_path.name}-{name}',  # MMEngine keeps loggers by name and second
        log_level='WARNING',
        **dict(default_hooks=dict(logger=dict(type='LoggerHook', interval=6))) | kw,
    )
    runner.train()
    return runner


def lines(folder):
    (path,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def expected_weight(seen):
    counted = [(c, loc) for c, loc in seen if c + loc > 0]  # NaN compares false
    alrp = sum(c + loc for c, loc in counted) / len(counted)
    return alrp / (sum(loc for _, loc in counted) / len(counted))


def test_the_weight_is_the_ratio_of_the_previous_epoch(tmp_path):
    model = Toy()
    assert float(model.head.loss_cls.sb_weight) == 50
    hook = dict(type='SelfBalanceHook')
    run(tmp_path, model, hook, dict(by_epoch=True, max_epochs=3), 'epochs')
    assert len(model.seen) == 18 and min(c + loc for c, loc in model.seen) == 0
    weight = expected_weight(model.seen[12:])
    assert float(model.head.loss_cls.sb_weight) == pytest.approx(weight, rel=1e-6)
    assert float(model.head.loss_cls.sb_sums.abs().sum()) == 0

    logs = lines(tmp_path / 'epochs')
    for epoch, log in enumerate(logs):
        seen = model.seen[6 * epoch : 6 * epoch + 6]
        counted = [(c, loc) for c, loc in seen if c + loc > 0]
        assert log['aLRP_cls'] == pytest.approx(sum(c for c, _ in counted) / len(counted), abs=1e-6)
        assert log['aLRP_loc'] == pytest.approx(sum(v for _, v in counted) / len(counted), abs=1e-6)
        assert log['aLRP'] == pytest.approx(log['aLRP_cls'] + log['aLRP_loc'], abs=1e-6)
    assert logs[0]['sb_weight'] == 50
    assert logs[1]['sb_weight'] == pytest.approx(expected_weight(model.seen[:6]), rel=1e-6)


PARTS = {'aLRP', 'aLRP_cls', 'aLRP_loc'}
EPOCHS, ITERATIONS = dict(by_epoch=True, max_epochs=3), dict(by_epoch=False, max_iters=18)


@pytest.mark.parametrize(
    'length, logger, ends',
    [
        (EPOCHS, dict(interval=50), [6, 12, 18]),  # epochs shorter than the interval
        (EPOCHS, dict(interval=6, ignore_last=False), [6, 12, 18]),
        (EPOCHS, dict(interval=4), [4, 10, 16]),  # counted within an epoch
        (EPOCHS, dict(interval=4, ignore_last=False), [4, 6, 10, 12, 16, 18]),
        (EPOCHS, dict(interval=1), list(range(1, 19))),
        (ITERATIONS, dict(interval=4), [4, 8, 12, 16]),
        (ITERATIONS, dict(interval=50), [6]),  # MMEngine logs at the loader's end, once
    ],
)
def test_every_line_of_the_log_has_the_mean_since_the_last(tmp_path, length, logger, ends):
    """Whatever the interval. A line without a positive since the last has none, not the old one."""
    model = Toy()
    hook = dict(type='SelfBalanceHook', by_epoch=length['by_epoch'])
    hooks = dict(logger=dict(type='LoggerHook', **logger))
    run(tmp_path, model, hook, length, 'lines', default_hooks=hooks)
    logs = lines(tmp_path / 'lines')
    assert [log['step'] for log in logs] == ends
    for start, end, log in zip([0, *ends], ends, logs):
        counted = [(cls, loc) for cls, loc in model.seen[start:end] if cls + loc > 0]
        assert PARTS & log.keys() == (PARTS if counted else set()) and 'sb_weight' in log
        for index, name in enumerate(['aLRP_cls', 'aLRP_loc'] if counted else []):
            mean = sum(pair[index] for pair in counted) / len(counted)
            assert log[name] == pytest.approx(mean, abs=1e-6)


def test_without_a_logger_nothing_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(SelfBalanceHook, '_log', lambda *_: 1 / 0)
    model = Toy()
    run(
        tmp_path,
        model,
        dict(type='SelfBalanceHook'),
        EPOCHS,
        'quiet',
        default_hooks=dict(logger=None),
    )
    assert float(model.head.loss_cls.sb_weight) == pytest.approx(
        expected_weight(model.seen[12:]), rel=1e-6
    )


def test_a_log_interval_of_its_own_counts_over_the_run(tmp_path):
    model = Toy()
    hook = dict(type='SelfBalanceHook', log_interval=4)
    hooks = dict(logger=dict(type='LoggerHook', interval=1))
    run(tmp_path, model, hook, dict(by_epoch=True, max_epochs=2), 'own', default_hooks=hooks)
    logs = lines(tmp_path / 'own')
    assert ['aLRP' in log for log in logs] == [False] * 3 + [True] * 9
    groups = [{log['aLRP'] for log in logs[start : start + 4]} for start in (3, 7)]
    assert [len(group) for group in groups] == [1, 1] and groups[0] != groups[1]


def test_by_iterations(tmp_path):
    model = Toy(loc_weight=7.0)
    hook = dict(type='SelfBalanceHook', interval=4, by_epoch=False)
    run(tmp_path, model, hook, dict(by_epoch=False, max_iters=10), 'iterations')
    expected = expected_weight(model.seen[4:8])
    assert float(model.head.loss_cls.sb_weight) == pytest.approx(expected, rel=1e-6)
    assert float(model.head.loss_cls.sb_sums[2]) == sum(c + v > 0 for c, v in model.seen[8:])


class Copies(TorchDispatchMode):
    """Counts what waits for a device: a number taken out of a tensor."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize('log_interval', [None, 3])
def test_nothing_is_copied_to_the_host_between_logs(tmp_path, monkeypatch, log_interval):
    """Two logs in six iterations; what the hook does in the others waits for no device."""
    copies = []

    def counted(call):
        def wrapped(self, *args, **kwargs):
            with Copies() as mode:
                call(self, *args, **kwargs)
            copies.append(mode.count)

        return wrapped

    def lists(self):  # on a CPU it is no operation of its own
        return [self[i].item() for i in range(len(self))]

    monkeypatch.setattr(torch.Tensor, 'tolist', lists)
    monkeypatch.setattr(
        SelfBalanceHook, 'after_train_iter', counted(SelfBalanceHook.after_train_iter)
    )
    monkeypatch.setattr(aLRPLoss, '_record', counted(aLRPLoss._record))
    monkeypatch.setattr(aLRPLoss, 'rebalance', counted(aLRPLoss.rebalance))
    hook = dict(type='SelfBalanceHook', log_interval=log_interval)
    hooks = dict(logger=dict(type='LoggerHook', interval=3))
    run(tmp_path, Toy(), hook, dict(by_epoch=True, max_epochs=1), 'copies', default_hooks=hooks)
    recorded, after = copies[:-1:2], copies[1:-1:2]
    assert recorded == [0] * 6 and copies[-1] == 0
    assert [count > 0 for count in after] == [False, False, True] * 2


def test_values_that_are_not_finite_are_skipped_and_reported(tmp_path):
    model = Toy(poison=(2,))
    hook = dict(type='SelfBalanceHook')
    runner = run(tmp_path, model, hook, dict(by_epoch=True, max_epochs=1), 'poison')
    assert float(model.head.loss_cls.sb_weight) == pytest.approx(
        expected_weight([s for s in model.seen if s[1] == s[1]]), rel=1e-6
    )
    log = next((tmp_path / 'poison').glob(f'{runner.timestamp}/*.log')).read_text()
    assert 'not finite in 1 iterations of this period, summed over all processes' in log


def test_a_constant_weight_stays_and_is_logged(tmp_path):
    model = Toy(self_balance=False, loc_weight=3.0)
    run(
        tmp_path,
        model,
        dict(type='SelfBalanceHook'),
        dict(by_epoch=True, max_epochs=2),
        'constant',
    )
    assert float(model.head.loss_cls.sb_weight) == 3
    assert all(log['aLRP_loc'] > 0 for log in lines(tmp_path / 'constant'))


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_resumed_run_goes_on_with_the_same_weight(tmp_path, by_epoch):
    """Also from a checkpoint in the middle of a period, where the sums are half full."""
    steps = dict(max_epochs=4) if by_epoch else dict(max_iters=20)
    half = dict(max_epochs=2) if by_epoch else dict(max_iters=10)
    hook = dict(
        type='SelfBalanceHook',
        by_epoch=by_epoch,
        interval=3 if by_epoch else 7,
    )

    def train(name, length, **kw):
        torch.manual_seed(0)
        model = Toy()
        run(tmp_path, model, hook, dict(by_epoch=by_epoch, **length), name, **kw)
        return model

    whole = train(f'whole{by_epoch}', steps)
    train(f'half{by_epoch}', half)
    last = tmp_path / f'half{by_epoch}' / ('epoch_2.pth' if by_epoch else 'iter_10.pth')
    if not last.exists():
        last = next((tmp_path / f'half{by_epoch}').glob('*.pth'))
    resumed = train(f'half{by_epoch}', steps, load_from=str(last), resume=True)
    a, b = whole.head.loss_cls, resumed.head.loss_cls
    assert float(a.sb_weight) != 50 and torch.equal(a.sb_weight, b.sb_weight)
    assert torch.equal(a.sb_sums, b.sb_sums) and float(a.sb_sums[2]) > 0
    assert torch.equal(whole.linear.weight, resumed.linear.weight)


def test_training_on_from_weights_starts_with_the_weight_of_the_config(tmp_path):
    hook = dict(type='SelfBalanceHook', interval=2)
    two = dict(by_epoch=True, max_epochs=3)
    first = Toy(loc_weight=5.0)
    run(tmp_path, first, hook, two, 'first')  # its last period is half full
    trained = tmp_path / 'first/epoch_3.pth'
    assert float(first.head.loss_cls.sb_sums[2]) > 0 and float(first.head.loss_cls.sb_weight) != 5
    torch.manual_seed(1)
    second, log = Toy(loc_weight=7.0), dict(by_epoch=True, max_epochs=2)
    run(tmp_path, second, hook, log, 'second', load_from=str(trained))
    assert lines(tmp_path / 'second')[0]['sb_weight'] == 7
    assert float(second.head.loss_cls.sb_weight) == pytest.approx(
        expected_weight(second.seen), rel=1e-6
    )


class Twins(BaseModel):
    """Two heads of one name, the second twice as heavy."""

    def __init__(self):
        super().__init__()
        self.one, self.two = Toy(), Toy(loc_weight=20.0)

    def forward(self, inputs, mode='loss'):
        losses = {'one': self.one(inputs), 'two': self.two(inputs)}
        return {f'{head}_{key}': v for head, own in losses.items() for key, v in own.items()}


def test_two_heads_of_one_name_balance_and_log_each(tmp_path):
    model = Twins()
    hook = dict(type='SelfBalanceHook')
    run(tmp_path, model, hook, dict(by_epoch=True, max_epochs=1), 'twins')
    (log,) = lines(tmp_path / 'twins')
    assert (log['one.head.sb_weight'], log['two.head.sb_weight']) == (50, 20)
    for toy in (model.one, model.two):
        assert float(toy.head.loss_cls.sb_weight) == pytest.approx(
            expected_weight(toy.seen), rel=1e-6
        )


@pytest.mark.parametrize(
    'paths, names',
    [
        (['bbox_head.loss_cls'], ['']),
        (['head.0.loss_cls', 'head.1.loss_cls'], ['0.', '1.']),
        (['head.loss_cls', 'teacher.head.loss_cls'], ['head.', 'teacher.head.']),
        (['head.loss_cls', 'head.loss_aux'], ['loss_cls.', 'loss_aux.']),
        (['a.b.c.loss', 'x.b.c.loss', 'x.y.c.loss'], ['a.b.c.', 'x.b.c.', 'y.c.']),
    ],
)
def test_names_are_short_and_never_shared(paths, names):
    assert shortest_names(paths) == names


@pytest.mark.parametrize('self_balance, with_hook', [(True, False), (True, True), (False, False)])
def test_a_loss_that_nobody_balances_is_named(
    digits, tmp_path, monkeypatch, self_balance, with_hook
):
    cfg = tiny.load(
        digits,
        tmp_path / 'run',
        model__bbox_head__loss_cls=dict(
            _delete_=True, type='aLRPLoss', self_balance=self_balance, loc_weight=1.0
        ),
        model__bbox_head__loss_bbox=dict(_delete_=True, type='GIoULoss'),
        model__bbox_head__reg_decoded_bbox=True,
        custom_hooks=[dict(type='SelfBalanceHook')] if with_hook else [],
    )
    monkeypatch.setattr(launch.Runner, 'train', lambda self: None)
    launch.train(cfg)
    (log,) = (path.read_text() for path in (tmp_path / 'run').glob('*/*.log'))
    warned = 'bbox_head.loss_cls of self_balance=True without SelfBalanceHook' in log
    assert warned == (self_balance and not with_hook)


def test_misuse_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'^interval'):
        SelfBalanceHook(interval=0)
    with pytest.raises(ValueError, match=r'^log_interval must be None or .* got 0'):
        SelfBalanceHook(log_interval=0)
    hook = dict(type='SelfBalanceHook')
    with pytest.raises(ValueError, match='by_epoch=False'):
        run(tmp_path, Toy(), hook, dict(by_epoch=False, max_iters=2), 'misuse')
    model = Toy()
    model.head.loss_cls = torch.nn.Identity()
    with pytest.raises(ValueError, match='no aLRPLoss'):
        run(tmp_path, model, hook, dict(by_epoch=True, max_epochs=1), 'none')
