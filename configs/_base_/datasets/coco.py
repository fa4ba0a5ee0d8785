# COCO: trained on trainval35k, validated and tested on minival. Without pipelines, which the files
# coco_*.py add. Three environment variables choose among what holds the same images:
#   COCO_ROOT=FOLDER       where annotations/, train2017/, ... are (data/coco/)
#   COCO_NAMES=2014        train2014 + valminusminival2014, minival2014, test-dev2015, instead of
#                          train2017, val2017, test-dev2017. Split val2014 once, which needs
#                          instances_val2017.json beside it:
#       python tools/dataset_converters/split_coco_val2014.py data/coco/annotations
#   COCO_TEST=test-dev     test.py writes results for the server instead of measuring: give it
#                          --save-results PREFIX, and tools/pack_results.py packs them
# Crowds are handed over as ignored (gt_instances_ignore). With MMDetection's default
# ignore_iof_thr=-1 an assigner trains on them as background, as all three releases do.
data_root = '{{$COCO_ROOT:data/coco}}'
names = '{{$COCO_NAMES:2017}}'
test_on = '{{$COCO_TEST:minival}}'

if names == '2017':
    train_parts = [('instances_train2017', 'train2017/')]
    minival = ('instances_val2017', 'val2017/')
    test_dev = ('image_info_test-dev2017', 'test2017/')
elif names == '2014':
    train_parts = [
        ('instances_train2014', 'train2014/'),
        ('instances_valminusminival2014', 'val2014/'),
    ]
    minival = ('instances_minival2014', 'val2014/')
    test_dev = ('image_info_test-dev2015', 'test2015/')
else:
    raise ValueError(f'COCO_NAMES must be 2017 or 2014, got {names!r}')
if test_on not in ('minival', 'test-dev'):
    raise ValueError(f'COCO_TEST must be minival or test-dev, got {test_on!r}')

train_sets = [
    dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file=f'annotations/{ann_file}.json',
        data_prefix=dict(img=folder),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
    )
    for ann_file, folder in train_parts
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    # Augmentation is a function of (seed, epoch, index): a resumed run sees the same images.
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(type='SeededDataset', dataset=dict(type='ConcatDataset', datasets=train_sets)),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file=f'annotations/{minival[0]}.json',
        data_prefix=dict(img=minival[1]),
        test_mode=True,
    ),
)
# pycocotools' AP beside AP90, oLRP and rank correlation of rankdet.evaluation.
val_evaluator = [
    dict(
        type='CocoMetric',
        ann_file=f'{data_root}/annotations/{minival[0]}.json',
        metric='bbox',
    ),
    dict(
        type='DetectionMetric',
        ann_file=f'{data_root}/annotations/{minival[0]}.json',
        bounds=False,
    ),
]
test_dataloader = val_dataloader
test_evaluator = val_evaluator
if test_on == 'test-dev':
    test_dataloader = dict(
        val_dataloader,
        dataset=dict(
            val_dataloader['dataset'],
            ann_file=f'annotations/{test_dev[0]}.json',
            data_prefix=dict(img=test_dev[1]),
        ),
    )
    test_evaluator = dict(
        type='CocoMetric',
        ann_file=f'{data_root}/annotations/{test_dev[0]}.json',
        metric='bbox',
        format_only=True,
        outfile_prefix='work_dirs/coco_test-dev/detections',
    )
