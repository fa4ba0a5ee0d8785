"""The page on safety says what the code does."""

import re
from pathlib import Path

import rankdet.untrusted
from rankdet.engine.weights_only import OPTION, RUN_CODE
from rankdet.untrusted.limits import LIMITS
from rankdet.untrusted.names import OUTSIDE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/safety.md').read_text()


def test_limits():
    rows = [line.split('|') for line in PAGE.splitlines() if line.startswith('|')]
    stated = {
        name[1]: int(re.search(r'\d+', limit)[0])
        for *_, limit, variable, _ in rows
        if (name := re.match(r' `(RANKDET_MAX_\w+)`', variable))
    }
    assert stated == LIMITS


def test_variables_and_options():
    for name in re.findall(r'RANKDET_\w+', PAGE):
        assert name in {*LIMITS, RUN_CODE, OUTSIDE}
    assert f'{RUN_CODE}=1' in PAGE and OPTION in PAGE and f'{OUTSIDE}=1' in PAGE
    for tool in ('train', 'test', 'image_demo'):
        assert f"'{OPTION}'" in (ROOT / f'tools/{tool}.py').read_text()


def test_names_of_the_functions():
    (names,) = re.findall(r'from rankdet\.untrusted import (.*)', PAGE)
    assert set(names.split(', ')) <= set(rankdet.untrusted.__all__)


def test_commands_that_take_a_config_say_that_it_is_code():
    for tool in ('train', 'test', 'image_demo', 'robustness', 'report', 'analyze', 'check_data'):
        text = ' '.join((ROOT / f'tools/{tool}.py').read_text().split('"""')[1].split())
        assert 'onfigs are Python code' in text, tool
