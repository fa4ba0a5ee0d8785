"""Everything rankdet knows about missing compiled mmcv ops and about versions of its host.

>>> import rankdet.compat
>>> rankdet.compat.install()  # before anything imports mmdet.models  # doctest: +SKIP
"""

from rankdet.compat.finder import install_finder
from rankdet.compat.host import check_host

__all__ = ['install']


def install() -> None:
    """Make ``import mmdet.models`` work on this machine; a second call changes nothing.

    Compiled mmcv ops are used where they are installed. Where they are not, the ops that
    MMDetection's box detectors need come from torchvision. Known faults of old releases of
    the host are mended where, and only where, they are found.

    Raises:
        ImportError: MMDetection is not installed or OpenCV does not load; says what to install.
    """
    check_host()
    install_finder()
    # Imported here, because it imports mmengine and ``import rankdet.compat`` must not.
    from rankdet.compat import quirks

    quirks.mend()
