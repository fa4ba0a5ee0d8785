"""What of the documentation's commands was not run here, and what runs those that no parser reads.

A command stands for all of its page that begin so.
"""

import re

GPU = 'needs a GPU'
GPUS_VOC = 'needs GPUs and VOC'
GPUS_COCO = 'needs GPUs and COCO'

#: By page: commands that cannot be run here, and why. Each is marked so where it stands.
NOT_RUN = {
    'README.md': {'python tools/reproduce.py run ap_loss/table-1-delta/0.25 --gpus 2': GPUS_VOC},
    'docs/distributed.md': {
        'tools/dist_train.sh CONFIG 8': 'needs 8 GPUs',
        'tools/dist_test.sh CONFIG CHECKPOINT 8': 'needs 8 GPUs',
        'NNODES=2 NODE_RANK=0': 'needs two nodes of 8 GPUs',
        'NNODES=2 NODE_RANK=1': 'needs two nodes of 8 GPUs',
    },
    'docs/kernels.md': {
        'python -m pytest tests/kernels': GPU,
        'python tools/benchmarks/benchmark_losses.py --device cuda': GPU,
    },
    'docs/reproduce.md': {
        'python tools/reproduce.py run ap_loss/table-1-delta/0.25 --gpus 2 --record': GPUS_VOC,
        'python tools/download_backbones.py configs/*_loss/*.py': 'needs a network',
        'BACKBONES=FOLDER python tools/reproduce.py run ROW': 'needs GPUs and VOC or COCO',
        'BACKBONES=none python tools/reproduce.py run ROW': 'needs GPUs and VOC or COCO',
    },
    'docs/safety.md': {'python tools/unpack.py VOCtrainval_06-Nov-2007.tar': 'needs VOC'},
    'docs/speed.md': {
        'python tools/benchmarks/benchmark_losses.py --device cuda': GPU,
        'python -m pytest tests/kernels/test_on_a_gpu.py tests/models/test_head_waits.py': GPU,
        'python -m tools.benchmarks.benchmark_step --device cuda': GPU,
        'python -m tools.benchmarks.benchmark_scale --device cuda': GPU,
        'python -m tools.benchmarks.benchmark_global --device cuda': GPU,
    },
    'configs/ap_loss/README.md': {
        'tools/dist_train.sh configs/ap_loss/': GPUS_VOC,
        'tools/dist_test.sh configs/ap_loss/': GPUS_VOC,
        'python tools/train.py configs/ap_loss/': GPUS_VOC,
        'python tools/test.py configs/ap_loss/': GPUS_VOC,
    },
    'configs/alrp_loss/README.md': {
        'tools/dist_train.sh configs/alrp_loss/': GPUS_COCO,
        'tools/dist_test.sh configs/alrp_loss/': GPUS_COCO,
        'python tools/train.py configs/alrp_loss/': GPUS_COCO,
        'COCO_TEST=test-dev python tools/test.py configs/alrp_loss/': GPUS_COCO,
    },
    'configs/dr_loss/README.md': {
        'tools/dist_train.sh configs/dr_loss/': GPUS_COCO,
        'tools/dist_test.sh configs/dr_loss/': GPUS_COCO,
        'python tools/test.py configs/dr_loss/': GPUS_COCO,
        'python tools/sweep_scores.py data/coco/': GPUS_COCO,
        'COCO_TEST=test-dev python tools/test.py configs/dr_loss/': GPUS_COCO,
    },
}

#: Words that tell a command that may need more than a CPU: it must be on one of the two lists.
SIGNS = re.compile(
    r'--device[ =]cuda|--gpus|on_a_gpu|\bsrun\b|NNODES=|dist_\w+\.sh .*\b8$'
    r'|data/(?:coco|VOCdevkit)|VOCtrainval|COCO_TEST|download_backbones'
    r'|configs/(?:ap|alrp|dr)_loss/|reproduce\.py run (?:ROW|(?:ap|alrp|dr)_loss)'
)

EVALUATION = 'tests/docs/test_evaluation.py'
#: Commands that have such a sign, or that are no tool's, and what runs them all the same.
RUN_BY = {
    'srun --nodes=2': 'tests/docs/test_slurm_line.py',
    'python tools/dataset_converters/voc_to_coco.py data/VOCdevkit/': EVALUATION,
    'python tools/dataset_converters/split_coco_val2014.py data/coco/annotations': EVALUATION,
    'python tools/check_data.py data/': EVALUATION,
    'python tools/pack_results.py coco data/coco/': EVALUATION,
    'python tools/pack_results.py voc data/VOCdevkit/': EVALUATION,
    'TRITON_INTERPRET=1 python -m pytest tests/kernels': 'tests/kernels/conftest.py',
    'make ': '.ci/run',
    '.ci/run': '.ci/run',
    'pip install': 'tools/check_versions.sh',
    'python -c "import rankdet.plugin"': 'Makefile',
    # These compare two commits of the history, and no test does: the page says what they found.
    '(cd work_dirs/at-$commit': 'docs/learning.md',
    'python -c "import torch; old, new': 'docs/learning.md',
}

#: Of the shell and of git, and a function that a page defines.
SHELL_WORDS = {'git', 'source', 'for', 'done', 'record()', 'record', '}'}
