import torch

from tests.engine.tiny import digits  # noqa: F401

torch.set_num_threads(1)
