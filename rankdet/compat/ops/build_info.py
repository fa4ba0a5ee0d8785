"""What mmcv's environment report prints about its compilers: there were none."""


def get_compiler_version() -> str:
    return 'n/a (ops served by rankdet from torchvision)'


def get_compiling_cuda_version() -> str:
    return 'n/a (ops served by rankdet from torchvision)'
