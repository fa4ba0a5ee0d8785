"""The papers' tables: what a metafile says is what is shown, and what is wrong in it is named."""

import csv
import io
import json
from copy import deepcopy

import pytest
from mmengine.fileio import dump

from rankdet.analysis.paper_tables import (
    find_rows,
    find_tables,
    read_metafile,
    read_papers,
    with_results,
)
from rankdet.analysis.reproduce.columns import decimals, table_values, unfilled
from rankdet.analysis.reproduce.show import format_tables, markdown_table

OURS = dict(
    Metrics={'AP': 52.84, 'rho': 0.46},
    Command='python tools/train.py config.py',
    Seed=0,
    Device='2 x A',
    Commit='abc',
    Date='2026-01-01',
    Versions={'torch': '2'},
)
CONTENT = dict(
    Collections=[dict(Name='one')],
    Models=[{'Name': 'model', 'In Collection': 'one', 'Config': 'configs/one/model.py'}],
    Tables=[
        dict(
            Name='table-1',
            Title='Deltas',
            Source='Table 1',
            Data='voc0712',
            Columns=['AP', 'AP50', 'rho'],
            Rows=[
                dict(Name='0.25', Model='model', Options={'model.delta': 0.25},
                     Paper=dict(AP=53.1, AP50=None, rho=0.45), Lost=['AP50'], Ours=OURS),
                {'Name': 'quoted', 'Label': 'a | b', 'Test Data': 'COCO test-dev',
                 'Paper': dict(AP=50.0, AP50=81.25)},
            ],
        ),
        dict(Name='own', Title='Own', Columns=['AP'], Rows=[dict(Name='a', Model='model')]),
    ],
)  # fmt: skip


def write(tmp_path, change=lambda content: None, folder='one'):
    content = deepcopy(CONTENT)
    change(content)
    path = tmp_path / folder / 'metafile.yml'
    path.parent.mkdir(parents=True, exist_ok=True)
    dump(content, str(path), file_format='yml')
    return path


@pytest.fixture
def paper(tmp_path):
    return read_metafile(write(tmp_path))


def test_a_table_beside_ours(paper):
    assert markdown_table(paper.tables[0]).splitlines() == [
        r'|        |   AP |        ours | AP50 | ours |  rho |         ours |',
        r'| ------ | ---: | ----------: | ---: | ---: | ---: | -----------: |',
        r'| 0.25   | 53.1 | 52.8 (-0.3) |    † |      | 0.45 | 0.46 (+0.01) |',
        r'| a \| b | 50.0 |             | 81.2 |      |      |              |',
        '',
        '† not in the texts at hand: lost there, if the paper prints it.',
    ]


def test_a_table_that_no_paper_has(paper):
    own = paper.tables[1]
    assert markdown_table(own) == '|   | AP |\n| - | -: |\n| a |    |'
    measured = with_results(own, {'one/own/a': OURS})
    assert markdown_table(measured).splitlines()[2] == '| a | 52.8 |'
    assert paper.tables[0].in_a_paper and not measured.in_a_paper
    (row,) = csv.DictReader(io.StringIO(format_tables([measured], 'csv')))
    assert (row['AP paper'], row['AP ours'], row['AP difference']) == ('', '52.84', '')


def test_a_page_tells_where_our_numbers_come_from(paper):
    page = format_tables(paper.tables)
    assert '### one/table-1: Deltas' in page and '### one/own: Own' in page
    line = '0.25: command python tools/train.py config.py; seed 0; device 2 x A; commit abc; '
    assert f'{line}date 2026-01-01; versions torch 2' in page


def test_what_all_of_ours_share_is_said_once(paper):
    other = OURS | dict(Command='python tools/train.py other.py', Seed=1)
    results = {'one/table-1/quoted': other | dict(Versions={'torch': '2', 'mmdet': '3'})}
    *_, one, two, last = format_tables([with_results(paper.tables[0], results)]).split('\n\n')
    assert one == '0.25: command python tools/train.py config.py; seed 0; versions torch 2'
    command = 'command python tools/train.py other.py'
    assert two == f'a | b: {command}; seed 1; versions torch 2, mmdet 3'
    assert last == 'All of them: device 2 x A; commit abc; date 2026-01-01'
    page = format_tables([with_results(paper.tables[0], {'one/table-1/quoted': other})])
    assert page.count('versions') == page.count('; versions torch 2') == 1


def test_a_result_of_another_training_is_marked(paper):
    marked = OURS | dict(Remark='from random weights')
    table = with_results(paper.tables[0], {'one/table-1/0.25': marked})
    assert '| 0.25 (ours from random weights) |' in markdown_table(table)
    (first, _) = csv.DictReader(io.StringIO(format_tables([table], 'csv')))
    assert first['label'] == '0.25 (ours from random weights)' and first['versions'] == 'torch 2'
    (content,) = json.loads(format_tables([table], 'json'))
    assert content['rows'][0]['provenance']['Remark'] == 'from random weights'


def test_csv_and_json_say_the_same(paper):
    table = paper.tables[0]
    first, second = csv.DictReader(io.StringIO(format_tables([table], 'csv')))
    assert first['AP paper'] == '53.1' and first['AP ours'] == '52.84'
    assert float(first['AP difference']) == -0.3 and first['AP50 paper'] == ''
    assert first['lost'] == 'AP50' and first['commit'] == 'abc' and second['AP ours'] == ''
    (content,) = json.loads(format_tables([table], 'json'))
    assert [row['row'] for row in content['rows']] == ['one/table-1/0.25', 'one/table-1/quoted']
    numbers = content['rows'][0]['numbers']
    assert numbers['AP'] == dict(paper=53.1, ours=52.84, difference=-0.3)
    assert numbers['AP50'] == dict(paper=None, ours=None, difference=None)
    assert content['rows'][0]['provenance']['Seed'] == 0
    assert content['rows'][1]['provenance'] is None


@pytest.mark.parametrize('ours, shown', [(53.14, '53.1 (+0.0)'), (53.06, '53.1 (+0.0)')])
def test_a_difference_of_what_is_printed(tmp_path, ours, shown):
    def change(content):
        content['Tables'][0]['Rows'][0]['Ours']['Metrics']['AP'] = ours

    assert shown in markdown_table(read_metafile(write(tmp_path, change)).tables[0])


def test_a_style_that_is_none(paper):
    with pytest.raises(ValueError, match=r"'markdown', 'csv', 'json'.*got 'html'"):
        format_tables(paper.tables, 'html')


# --- addresses ---------------------------------------------------------------------------------


def test_names_of_rows_and_tables(tmp_path):
    write(tmp_path)
    papers = read_papers(tmp_path)
    every = ['one/table-1/0.25', 'one/table-1/quoted', 'one/own/a']
    for targets, expected in (
        (['all'], every),
        (['one'], every),
        (['one/table-1'], every[:2]),
        (['own'], every[2:]),
        (['table-1/0.25'], every[:1]),
        (['one/own/a', 'own', 'one/table-1/0.25'], [every[2], every[0]]),
    ):
        assert [row.address for row in find_rows(papers, targets)] == expected
    assert [table.name for table in find_tables(papers, 'one')] == ['table-1', 'own']


@pytest.mark.parametrize(
    'name, nearest', [('tabel-1', 'table-1'), ('one/table-1/0.26', 'one/table-1/0.25')]
)
def test_an_unknown_name_gets_the_nearest(paper, name, nearest):
    with pytest.raises(ValueError, match=f"no table or row '{name}'; nearest: .*{nearest}"):
        find_rows([paper], [name])


def test_a_name_that_two_folders_have(tmp_path):
    write(tmp_path)
    write(tmp_path, folder='two')
    papers = read_papers(tmp_path)
    with pytest.raises(ValueError, match='own is in one/own, two/own: say which'):
        find_rows(papers, ['own'])
    with pytest.raises(ValueError, match='own/a is one/own/a, two/own/a: say which'):
        find_rows(papers, ['own/a'])


def test_no_metafile_at_all(tmp_path):
    with pytest.raises(ValueError, match=r'has no \*/metafile.yml'):
        read_papers(tmp_path)


def test_where_a_row_is_tested(paper):
    quoted = find_rows([paper], ['table-1/quoted'])[0]
    assert quoted.withheld and quoted.test_env == {'COCO_TEST': 'test-dev'}
    row = find_rows([paper], ['own/a'])[0]
    assert not row.withheld and row.test_env == {}
    assert row.config == 'configs/one/model.py' and quoted.config is None


# --- faults ------------------------------------------------------------------------------------


def row(content):
    return content['Tables'][0]['Rows'][0]


def table(content):
    return content['Tables'][0]


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: row(c).update(Model='modle'), r"row table-1/0.25: .* no model 'modle'"),
        (lambda c: row(c).update(Name=0.25), 'Name must be text, got 0.25'),
        (lambda c: row(c).update(Name='quoted'), "two rows 'quoted'"),
        (lambda c: row(c).update(Name='a/b'), 'no "/", got \'a/b\''),
        (lambda c: row(c)['Paper'].update(AP='53'), "Paper AP must be a number, got '53'"),
        (lambda c: row(c)['Paper'].update(AP=float('nan')), 'Paper AP must be a number'),
        (lambda c: row(c)['Paper'].update(AP95=1.0), r"Paper has \['AP95'\]"),
        (lambda c: row(c).update(Lost=['AP']), 'AP is both printed and lost'),
        (lambda c: row(c).update(Options='a=1'), "Options must be a mapping, got 'a=1'"),
        (lambda c: row(c)['Ours'].pop('Commit'), 'Ours lacks Commit'),
        (lambda c: row(c)['Ours']['Metrics'].update(AP='x'), 'Metrics of Ours must be numbers'),
        (lambda c: row(c).update(Ours=52.8), 'Ours must be null or a mapping, got 52.8'),
        (lambda c: row(c).pop('Model'), 'Ours without a Model'),
        (lambda c: row(c).update({'Test Data': 'COCO testdev'}), "Test Data .*'COCO testdev'"),
        (lambda c: table(c).pop('Title'), "table 'table-1': Title must be text, got None"),
        (lambda c: table(c).pop('Columns'), 'no list Columns'),
        (lambda c: table(c).update(Columns=['AP', 'AP']), "two columns 'AP'"),
        (lambda c: table(c).update(Rows=[]), 'no list Rows'),
        (lambda c: table(c).update(Name='own'), "two tables 'own'"),
        (lambda c: table(c).update(Tool='robust'), "Tool must be one of .*'robustness'.*'robust'"),
        (lambda c: table(c).update(Tool='robustness'), 'only Tool test has TTA and servers'),
        (lambda c: c['Models'].append(c['Models'][0]), "two models 'model'"),
        (lambda c: c['Models'][0].pop('Config'), "model 'model': Config must be text"),
    ],
)
def test_a_fault_is_named(tmp_path, change, message):
    path = write(tmp_path, change)
    with pytest.raises(ValueError, match=message) as error:
        read_metafile(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('text', ['a: [', '- 1', 'a: b: c'])
def test_a_file_that_is_no_metafile(tmp_path, text):
    path = write(tmp_path)
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_metafile(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


# --- columns -----------------------------------------------------------------------------------


def test_what_fills_a_column():
    metrics = {
        'coco/bbox_mAP': 0.531,
        'det/AP': 0.53149,
        'coco/bbox_mAP_s': -1.0,
        'det/rho': -0.1234567,
        'det/AP50': float('nan'),
        'voc/VOC_AP50_area': 0.839,
    }
    metrics |= {'black/AP50': 0.652, 'adversarial/AP50': 0.689, 'deepfool/L2': 16.4321987}
    columns = ['AP', 'AP_S', 'ρ', 'AP50', 'VOC', 'voc/VOC_AP50_area']
    columns += ['Black Patch', 'Advs-Patch', 'DeepFool']
    found = table_values(metrics, columns, {'VOC': 'voc/VOC_AP50_area'})
    assert found == {
        'AP': 53.15,
        'ρ': -0.1235,
        'VOC': 83.9,
        'voc/VOC_AP50_area': 83.9,
        'Black Patch': 65.2,
        'Advs-Patch': 68.9,
        'DeepFool': 16.4322,
    }
    assert unfilled(metrics, [*columns, 'AP90']) == ['VOC', 'AP90']
    assert [decimals(name) for name in ('AP', 'rho')] == [1, 2]
