"""Sphinx builds these pages: make docs."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = 'rankdet'
author = copyright = 'The rankdet authors'
release = re.search(r"__version__ = '(.+)'", (ROOT / 'rankdet/__init__.py').read_text())[1]

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode',
              'sphinx.ext.mathjax']  # fmt: skip
exclude_patterns = ['_build', 'examples', 'records']
html_theme = 'furo'
html_title = f'rankdet {release}'
myst_enable_extensions = ['dollarmath', 'attrs_inline']
myst_heading_anchors = 3
nb_execution_mode = 'off'  # tests run the notebook
autodoc_typehints = 'description'
autodoc_member_order = 'bysource'
autodoc_inherit_docstrings = False
napoleon_use_ivar = True
nitpicky = False
linkcheck_anchors = False


def link_to_the_repository(app, docname, source):
    """Pages link to files beside docs/, which a site does not have: name them instead."""
    source[0] = re.sub(r'\[([^\]]+)\]\(\.\./([^)]+)\)', r'`\2`', source[0])


def setup(app):
    import rankdet.plugin  # noqa: F401  before any import of MMDetection

    app.connect('source-read', link_to_the_repository)
