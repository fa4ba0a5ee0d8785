"""Segment operations against plain loops."""

import pytest
import torch

from rankdet.functional._groups import Groups

LAYOUTS = dict(
    one=None,
    images=torch.tensor([3, 1, 2, 0]),
    far_apart=torch.tensor([2**40, -5, 0, 7]),
    shared_rows=torch.tensor([4, 4, -1, 4]),
    items=torch.tensor([1, 0, 0, 1, 2, 2, 1, 0, 0, 1, 2, 5]),
    unsigned=torch.tensor([255, 0, 255, 3], dtype=torch.uint8),
)


@pytest.fixture(params=LAYOUTS)
def layout(request):
    """Groups over 12 items, and the id of each item."""
    ids = LAYOUTS[request.param]
    each = torch.zeros(12) if ids is None else ids.repeat_interleave(12 // len(ids))
    return Groups.from_ids(ids, 12, torch.device('cpu')), each


def test_items_of_an_id_share_a_group_and_no_others(layout):
    groups, ids = layout
    group = groups.of(torch.arange(12))
    assert torch.equal(group[:, None] == group, ids[:, None] == ids)
    assert group.min() >= 0 and group.max() < groups.count


def test_sum_amax_split(layout):
    groups, ids = layout
    values = torch.randn(12, generator=torch.Generator().manual_seed(0)).abs()
    for item in range(12):
        members = ids == ids[item]
        group = groups.of(torch.tensor(item))
        assert groups.sum(values)[group].item() == pytest.approx(values[members].sum().item())
        assert groups.amax(values)[group] == values[members].max()
        spread = groups.spread(groups.sum(values)).expand_as(groups.rows(values)).reshape(-1)
        assert spread[item] == groups.sum(values)[group]
    positions = torch.tensor([1, 2, 3, 8, 11])
    parts = groups.split(positions)
    assert torch.equal(torch.cat(list(parts.values())).sort().values, positions)
    assert all(ids[part].unique().numel() == 1 for part in parts.values())


@pytest.mark.parametrize('seed', range(5))
def test_hardest(layout, seed):
    groups, ids = layout
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 4, (12,), generator=generator).float()  # many ties
    eligible = torch.rand(12, generator=generator) < 0.7
    quota = torch.randint(0, 5, (groups.count,), generator=generator)
    expected = torch.zeros(12, dtype=torch.bool)
    for value in ids.unique():
        members = [i for i in range(12) if ids[i] == value and eligible[i]]
        members.sort(key=lambda i: -values[i])
        expected[members[: quota[groups.of(torch.tensor(int((ids == value).nonzero()[0])))]]] = True
    assert torch.equal(groups.hardest(values, eligible, quota), expected)


def test_hardest_ranks_what_is_not_finite(layout):
    """NaN before all else, an eligible -inf before what is not eligible."""
    groups, _ = layout
    quota = torch.ones(groups.count)
    values = torch.full((12,), -torch.inf)
    eligible = torch.arange(12) >= 6
    kept = groups.hardest(values, eligible, quota)
    assert torch.equal(kept, groups.hardest(torch.zeros(12), eligible, quota))
    values[1::2], values[0::2] = torch.nan, torch.inf
    kept = groups.hardest(values, torch.ones(12, dtype=torch.bool), quota)
    assert kept.sum() == groups.of(torch.arange(12)).unique().numel()
    assert values[kept].isnan().sum() == groups.of(torch.arange(1, 12, 2)).unique().numel()


@pytest.mark.parametrize('shape', [(0,), (3, 0), (0, 4)])
def test_nothing(shape):
    ids = torch.arange(shape[0])
    groups = Groups.from_ids(ids, 0, torch.device('cpu'))
    empty = torch.zeros(0)
    assert groups.sum(empty).sum() == 0
    assert groups.amax(empty).sum() == 0
    assert groups.hardest(empty, empty.bool(), torch.ones(groups.count).long()).numel() == 0
