"""The command ``rankdet`` beside its tools."""

import rankdet
from rankdet import __main__ as command


def test_the_version(monkeypatch, capsys):
    monkeypatch.setattr(command.sys, 'argv', ['rankdet', '--version'])
    assert command.main() == 0
    assert capsys.readouterr().out.startswith(f'rankdet {rankdet.__version__} (')
