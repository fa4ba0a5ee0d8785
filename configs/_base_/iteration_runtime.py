# The runtime of a training that counts iterations: checkpoints and logs by iteration, too.
_base_ = './default_runtime.py'

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2500))
log_processor = dict(by_epoch=False)
