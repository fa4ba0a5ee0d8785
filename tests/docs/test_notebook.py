"""The notebook runs from its first cell to its last, on less data than it shows."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
ROOT = Path(__file__).parents[2]


def test_walk_through(tmp_path, monkeypatch):
    monkeypatch.setenv('WALK_SCENES', '16')
    monkeypatch.setenv('WALK_DIR', str(tmp_path))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    notebook = nbformat.read(ROOT / 'docs/walk_through.ipynb', as_version=4)
    where = dict(metadata=dict(path=str(ROOT / 'docs')))
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name='python3', resources=where)
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert not [o for cell in code for o in cell.outputs if o.output_type == 'error']
    assert (tmp_path / 'ap/epoch_3.pth').is_file()
