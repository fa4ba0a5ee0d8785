"""Installs the package with its configs. Reads the version without importing anything."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list:
    lines = (ROOT / name).read_text(encoding='utf-8').splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith(('#', '-r'))]


setup(
    name='rankdet',
    version=re.search(r"__version__ = '(.+)'", (ROOT / 'rankdet/__init__.py').read_text())[1],
    description='Object detectors trained by ranking: AP, aLRP and DR Loss for MMDetection 3.x',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    classifiers=[
        'Intended Audience :: Science/Research',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in (10, 11, 12, 13)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    packages=find_packages(include=['rankdet', 'rankdet.*']),
    # rankdet/.mim points at configs/ and tools/; it is where MMDetection looks for
    # `_base_ = 'rankdet::...'`.
    package_data={
        'rankdet': ['py.typed', *(f'.mim/**/*.{kind}' for kind in ('py', 'yml', 'sh', 'md'))]
    },
    install_requires=requirements('requirements.txt'),
    extras_require={'dev': requirements('requirements-dev.txt')},
    entry_points={'console_scripts': ['rankdet = rankdet.__main__:main']},
    zip_safe=False,
)
