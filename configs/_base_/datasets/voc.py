# PASCAL VOC in the layout of its development kit, as COCO files made once from its XML:
#   python tools/dataset_converters/voc_to_coco.py data/VOCdevkit/VOC2007 \
#       --split trainval test --out data/VOCdevkit/VOC2007
#   python tools/dataset_converters/voc_to_coco.py data/VOCdevkit/VOC2012 \
#       --split trainval --out data/VOCdevkit/VOC2012
#   python tools/dataset_converters/voc_to_coco.py data/VOCdevkit/VOC2012 \
#       --split test --images-only --out data/VOCdevkit/VOC2012    (only for VOC12 test)
# Folders called VOC2007 and VOC2012 get VOC's 20 classes in their official order, a test set without
# annotations too. Under other names the classes are those that the annotations name, and without
# annotations they have to be given: --classes aeroplane bicycle ...
# COCO files because the papers measure VOC as COCO does; VOC's own AP is measured beside it.
# VOC_ROOT=FOLDER is where VOC2007 and VOC2012 are (data/VOCdevkit).
#
# Difficult objects are handed over as ignored (gt_instances_ignore), never as objects to find. With
# MMDetection's default ignore_iof_thr=-1 an assigner trains on them as background, as the releases
# of AP and DR Loss do; ignore_iof_thr=0.5 leaves them out. Measured, they count as nothing, and so
# does every detection on one. DetectionMetric, like VOC's kit, asks for an IoU with it; CocoMetric
# takes it for a crowd, on which any detection inside counts as nothing, and its AP may be higher.
voc_root = '{{$VOC_ROOT:data/VOCdevkit}}'
metainfo = dict(
    classes=(
        *('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow'),
        *('diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa'),
        *('train', 'tvmonitor'),
    ),
)

voc07_trainval, voc07_test, voc12_trainval = [
    dict(
        type='CocoDataset',
        data_root=f'{voc_root}/{year}',
        metainfo=metainfo,
        ann_file=f'instances_{split}.json',
        data_prefix=dict(img=''),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
    )
    for year, split in (('VOC2007', 'trainval'), ('VOC2007', 'test'), ('VOC2012', 'trainval'))
]
# Each of voc07.py, voc12.py ... says in train_sets what it trains on.
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    # Augmentation is a function of (seed, epoch, index): a resumed run sees the same images.
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(type='SeededDataset', dataset=dict(type='ConcatDataset')),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root=f'{voc_root}/VOC2007',
        metainfo=metainfo,
        ann_file='instances_test.json',
        data_prefix=dict(img=''),
        test_mode=True,
    ),
)
val_evaluator = [
    dict(type=metric, ann_file=f'{voc_root}/VOC2007/instances_test.json', **options)
    for metric, options in (
        ('CocoMetric', dict(metric='bbox')),
        ('DetectionMetric', dict(bounds=False)),
        ('VOCAPMetric', dict()),
    )
]
test_dataloader = val_dataloader
test_evaluator = val_evaluator
