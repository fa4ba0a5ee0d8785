# The runtime of a training that counts iterations: checkpoints, logs and metrics by iteration, too.
_base_ = './default_runtime.py'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=2500),
)
log_processor = dict(by_epoch=False)
