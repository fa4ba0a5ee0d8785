"""Says what is missing before an import of the host fails in its depths."""

import importlib.util

HOST = {'mmengine': 'onedl-mmengine', 'mmcv': 'onedl-mmcv', 'mmdet': 'onedl-mmdetection'}


def check_host() -> None:
    """Check that MMDetection is installed and that OpenCV loads.

    Raises:
        ImportError: naming what is missing and the command that installs it.
    """
    for module in HOST:
        if importlib.util.find_spec(module) is None:
            raise ImportError(
                f'rankdet.plugin needs MMDetection 3.x, but {module} is not installed: '
                f'pip install {" ".join(HOST.values())}',
                name=module,
            )
    try:
        import cv2  # noqa: F401
    except ImportError as error:  # libGL.so.1: opencv-python wants the libraries of a desktop
        raise ImportError(
            f'OpenCV does not load ({error}). Where there is no desktop, put its build without '
            'windows over it: pip install --force-reinstall --no-deps opencv-python-headless',
            name='cv2',
        ) from error
