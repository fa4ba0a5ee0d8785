"""Every kernel passes the compiler for a GPU, on a machine without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
# Times ten: of H100 and H200, and of the oldest that Triton supports.
CAPABILITIES = '90', '80'


def kernels_of(name):
    """Kernels of a module: the functions under ``triton.jit`` that are launched."""
    import ast

    source = (FOLDER.parents[1] / 'rankdet' / 'kernels' / f'{name}.py').read_text()
    for node in ast.parse(source).body:
        is_jit = any('jit' in ast.unparse(d) for d in getattr(node, 'decorator_list', []))
        if is_jit and node.name not in ('smaller', 'packing'):
            yield node.name


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason="Triton's compilers are for Linux")
def test_every_kernel_compiles():
    done = subprocess.run(
        [sys.executable, str(FOLDER / 'compile_for_gpu.py'), *CAPABILITIES],
        cwd=FOLDER.parents[1],
        env={**os.environ, 'TRITON_INTERPRET': '0', 'PYTHONPATH': str(FOLDER.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    compiled = {tuple(line.split()[:2]) for line in done.stdout.splitlines()}
    kernels = [kernel for name in ('positives', 'negatives', 'dr') for kernel in kernels_of(name)]
    assert compiled == {(kernel, capability) for kernel in kernels for capability in CAPABILITIES}
