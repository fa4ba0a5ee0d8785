"""The configs of the papers against their recipes, held here a second time, by hand."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.engine.hooks import NumClassCheckHook
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.hub import get_config

from rankdet.datasets.official import COCO_CLASSES, VOC_CLASSES
from rankdet.engine.preflight import leaf_datasets
from rankdet.engine.pretrained import pretrained_weights
from tests.configs.zoo import CONFIGS, PAPERS, load, path_of

# For each paper: words of the name to what the recipe says; later lines add to earlier ones.
RECIPES = {
    'ap_loss': {
        '': dict(lr=0.001, gpus=2, images=8, warm_up=1 / 3, score_thr=0.01, box=(1.0, 0.25)),
        '-160e_': dict(length=160, steps=[110, 140]),
        '-100e_': dict(length=100, steps=[60, 80]),
        'retinanet_': dict(scales=2, ratios=[0.5, 1.0, 2.0], iou=(0.5, 0.4)),
        'ssd512_': dict(iou=(0.5, 0.5)),
        'r50': dict(test=(1000, 600)),
        'r101.*-512': dict(test=(833, 500)),
        'r101.*-800': dict(test=(1333, 800)),
        'ssd512': dict(test=(512, 512)),
        '_focal_': dict(focal=(2.0, 0.25)),
        'ssd512.*_focal_': dict(focal=(1.0, 0.25)),
    },
    'alrp_loss': {
        '': dict(gpus=4, length=100, warm_up=0.001, score_thr=0.05),
        '_alrp-loss_.*-512': dict(lr=0.008, images=8),
        '_alrp-loss_.*-800': dict(lr=0.004, images=4),
        '_ap-loss_': dict(lr=0.002, images=8),
        'foveabox.*_focal_': dict(lr=0.02, images=8, focal=(1.5, 0.4), box=(0.11, 1.0)),
        'foveabox.*_ap-loss_': dict(box=(0.11, 0.25)),
        'retinanet_.*_ap-loss_': dict(box=(1.0, 0.25)),
        'faster-rcnn.*_alrp-loss_': dict(lr=0.012),
        'faster-rcnn.*_ce-': dict(lr=0.04, images=8),
        '-512': dict(steps=[75, 95], test=(833, 500)),
        '-800': dict(steps=[60, 80], test=(1333, 800)),
        'retinanet_': dict(steps=[60, 80], scales=2, ratios=[0.5, 1.0, 2.0], iou=(0.5, 0.4)),
        'retinanet-atss_.*-512': dict(scales=2, ratios=[1.0]),
        'retinanet-atss_.*-800': dict(scales=3, ratios=[1.0]),
    },
    'dr_loss': {
        '': dict(lr=0.01, gpus=8, images=2, warm_up=1 / 3, box=(0.11, 0.25), scales=3),
        '_': dict(ratios=[0.5, 1.0, 2.0]),
        '-90k_': dict(length=90_000, steps=[60_000, 80_000]),
        '-135k_': dict(length=135_000, steps=[90_000, 120_000]),
        '-180k_': dict(length=180_000, steps=[120_000, 160_000]),
        '-8.75k_': dict(length=8750, steps=[6250], lr=0.008),
        '_dr-loss_': dict(score_thr=0.2, iou=(0.5, 0.5)),
        '101': dict(score_thr=0.1),
        '_focal_': dict(score_thr=0.05, iou=(0.5, 0.4), focal=(2.0, 0.25)),
        'coco-400': dict(test=(667, 400)),
        'coco-500': dict(test=(833, 500)),
        'coco-600': dict(test=(1000, 600)),
        'coco-700': dict(test=(1167, 700)),
        '-800': dict(test=(1333, 800)),
    },
}
DATA = {
    'coco': ['instances_train2017.json'],
    'voc07': ['VOC2007/instances_trainval.json'],
    'voc0712': ['VOC2007/instances_trainval.json', 'VOC2012/instances_trainval.json'],
    'voc07++12': [
        *('VOC2007/instances_trainval.json', 'VOC2007/instances_test.json'),
        'VOC2012/instances_trainval.json',
    ],
}
CAFFE = [102.9801, 115.9465, 122.7717]
RGB, RGB_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
ONES = [1.0, 1.0, 1.0]
# Backbone: weights, style, mean, deviation, whether RGB.
BACKBONES = {
    'r50-caffe': ('open-mmlab://detectron/resnet50_caffe', 'caffe', CAFFE, ONES, False),
    'r101-caffe': ('open-mmlab://detectron/resnet101_caffe', 'caffe', CAFFE, ONES, False),
    'x101-32x8d': (
        *('open-mmlab://detectron2/resnext101_32x8d', 'pytorch'),
        *(RGB[::-1], RGB_STD[::-1], False),
    ),
    'vgg16': ('open-mmlab://vgg16_caffe', None, RGB, ONES, True),
    'r50': ('torchvision://resnet50', 'pytorch', RGB, RGB_STD, True),
    'r101': ('torchvision://resnet101', 'pytorch', RGB, RGB_STD, True),
    'x101-64x4d': ('open-mmlab://resnext101_64x4d', 'pytorch', RGB, RGB_STD, True),
    'x101-64x4d-dcn': ('open-mmlab://resnext101_64x4d', 'pytorch', RGB, RGB_STD, True),
}
NAMES = [
    f'{folder}/{path.stem}' for folder in PAPERS for path in sorted((CONFIGS / folder).glob('*.py'))
]
# One of each kind of detector, loss and number of classes.
KINDS = [
    'ap_loss/retinanet_r50-caffe_fpn_ap-loss_2xb8-160e_voc0712-512',
    'ap_loss/retinanet_r50-caffe_fpn_ohem_2xb8-100e_coco-512',
    'ap_loss/ssd512_vgg16_focal_2xb8-160e_voc0712-512',
    'alrp_loss/retinanet-atss_x101-64x4d-dcn_fpn_alrp-loss_4xb4-100e_coco-800',
    'alrp_loss/foveabox_r50_fpn_alrp-loss_4xb8-100e_coco-512',
    'alrp_loss/faster-rcnn_r50_fpn_alrp-loss_4xb8-100e_coco-512',
    'alrp_loss/faster-rcnn_r50_fpn_ce-giou_4xb8-100e_coco-512',
    'dr_loss/retinanet_x101-32x8d_fpn_dr-loss_8xb2-135k_coco-640-800',
]


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules(init_default_scope=True)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def config_of(name: str) -> Config:
    return load(path_of(*name.split('/')))


def words(name: str) -> SimpleNamespace:
    """What a name says."""
    folder, _, stem = name.partition('/')
    _, backbone, *neck, loss, _, data = stem.split('_')
    data, _, size = data.partition('-')
    return SimpleNamespace(
        folder=folder, backbone=backbone, neck=neck, loss=loss, data=data, size=size
    )


def recipe(name: str) -> SimpleNamespace:
    folder, stem = name.split('/')
    found = {}
    for pattern, facts in RECIPES[folder].items():
        if re.search(pattern, stem):
            found |= facts
    return SimpleNamespace(**found)


# --- the recipe --------------------------------------------------------------------------------


def test_the_schedule(name):
    config, said = config_of(name), recipe(name)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 1e-4)
    assert optimizer.lr == said.lr
    assert config.train_dataloader.batch_size == said.images
    assert config.auto_scale_lr == dict(enable=False, base_batch_size=said.gpus * said.images)
    warm_up, steps = config.param_scheduler
    assert (warm_up.type, warm_up.by_epoch, warm_up.begin, warm_up.end) == (
        *('LinearLR', False, 0, 500),
    )
    assert warm_up.start_factor == said.warm_up
    assert (steps.type, steps.milestones, steps.gamma) == ('MultiStepLR', said.steps, 0.1)
    in_iterations = name.startswith('dr_loss')
    loop = config.train_cfg
    assert loop.type == ('IterBasedTrainLoop' if in_iterations else 'EpochBasedTrainLoop')
    assert loop.get('max_iters' if in_iterations else 'max_epochs') == said.length
    assert steps.by_epoch == (not in_iterations) == config.log_processor.by_epoch
    checkpoints = config.default_hooks.checkpoint
    assert checkpoints.get('by_epoch', True) == (not in_iterations)
    logger = config.default_hooks.logger
    assert logger.get('log_metric_by_epoch', True) == (not in_iterations)
    assert said.length % loop.val_interval == 0, 'the last model is validated'
    assert said.length % checkpoints.interval == 0, 'the last model is saved'


def dense_head(model):
    return model.get('bbox_head') or model.rpn_head


def test_anchors_and_assignment(name):
    config, said = config_of(name), recipe(name)
    generator = dense_head(config.model).get('anchor_generator') or {}
    if hasattr(said, 'scales'):
        assert generator.octave_base_scale == 4
        assert (generator.scales_per_octave, generator.ratios) == (said.scales, said.ratios)
        assert dense_head(config.model).bbox_coder.target_stds == [0.1, 0.1, 0.2, 0.2]
    assigner = (config.model.train_cfg or {}).get('assigner')
    if hasattr(said, 'iou'):
        assert assigner.type == 'MaxIoUAssigner'
        assert (assigner.pos_iou_thr, assigner.neg_iou_thr) == said.iou
        assert assigner.min_pos_iou == 0
    elif 'atss' in name:
        assert assigner == dict(type='ATSSAssigner', topk=9)


def test_losses(name):
    config, said = config_of(name), recipe(name)
    head = config.model.roi_head.bbox_head if 'faster' in name else config.model.bbox_head
    kinds = {
        'ap-loss': 'APLoss',
        'auc-loss': 'AUCLoss',
        'alrp-loss': 'aLRPLoss',
        'dr-loss': 'DRLoss',
        'ohem': 'OHEMCrossEntropyLoss',
        'focal': 'FocalLoss',
        'ce-l1': 'CrossEntropyLoss',
        'ce-giou': 'CrossEntropyLoss',
    }
    assert head.loss_cls.type == kinds[words(name).loss]
    if hasattr(said, 'focal'):
        assert (head.loss_cls.gamma, head.loss_cls.alpha) == said.focal
    if hasattr(said, 'box'):
        assert head.loss_bbox.type == 'SmoothL1Loss'
        assert (head.loss_bbox.beta, head.loss_bbox.loss_weight) == said.box
    if words(name).loss == 'alrp-loss':
        assert head.loss_bbox == dict(type='GIoULoss')
        assert head.get('reg_decoded_bbox', 'fovea' in name)
        assert head.loss_cls.loc_weight == 50
    hooks = [hook.type for hook in config.get('custom_hooks', [])]
    assert hooks == (['SelfBalanceHook'] if words(name).loss == 'alrp-loss' else [])


def test_the_parameters_of_dr_loss():
    name = 'dr_loss/retinanet_r50-caffe_fpn_dr-loss_8xb2-90k_coco-800'
    loss = MODELS.build(config_of(name).model.bbox_head.loss_cls)
    default = MODELS.build(dict(type='DRLoss'))
    assert loss.options == default.options
    assert loss.options['neg_lambda'] == pytest.approx(0.0798236)


def test_faster_rcnn():
    alrp, l1, giou = (
        config_of(f'alrp_loss/faster-rcnn_r50_fpn_{loss}_4xb8-100e_coco-512').model
        for loss in ('alrp-loss', 'ce-l1', 'ce-giou')
    )
    assert (alrp.rpn_head.loss_cls.tau, alrp.rpn_head.loss_cls.loss_weight) == (0.7, 0.2)
    assert alrp.rpn_head.reg_decoded_bbox and alrp.rpn_head.loss_bbox == dict(type='GIoULoss')
    for part in (alrp.rpn_head, alrp.roi_head.bbox_head):
        assert part.bbox_coder.target_stds == [0.1, 0.1, 0.2, 0.2]
    for stage in (alrp.train_cfg.rpn, alrp.train_cfg.rcnn):
        assert stage.sampler == dict(type='PseudoSampler')
    assert alrp.train_cfg.rpn.assigner.pos_iou_thr == 0.7
    assert l1.roi_head.bbox_head.loss_bbox.type == 'L1Loss'
    assert giou.roi_head.bbox_head.loss_bbox == dict(type='GIoULoss', loss_weight=10.0)
    assert giou.roi_head.bbox_head.reg_decoded_bbox
    assert giou.rpn_head == l1.rpn_head


def test_what_is_kept_after_the_detector(name):
    config, said = config_of(name), recipe(name)
    kept = config.model.test_cfg
    kept = kept.get('rcnn', kept)
    assert kept.score_thr == said.score_thr
    assert (kept.nms, kept.max_per_img) == (dict(type='nms', iou_threshold=0.5), 100)
    assert kept.get('nms_pre', 1000) == 1000


# --- the name ----------------------------------------------------------------------------------


def test_the_data(name):
    config, said = config_of(name), words(name)
    trained = [
        f'{Path(part.data_root).name}/{Path(part.ann_file).name}'.removeprefix('coco/')
        for part in leaf_datasets(config.train_dataloader.dataset)
    ]
    assert trained == DATA[said.data]
    classes = COCO_CLASSES if said.data == 'coco' else VOC_CLASSES
    head = config.model.roi_head.bbox_head if 'faster' in name else config.model.bbox_head
    assert head.num_classes == len(classes)
    assert config.test_pipeline[1].scale == recipe(name).test
    resize = next(t for t in config.train_pipeline if 'Resize' in t.type)
    if said.folder == 'dr_loss' and said.size == '640-800':
        assert resize.scales == [(1333, side) for side in (640, 672, 704, 736, 768, 800)]
    elif said.folder == 'dr_loss':
        assert min(resize.scale) == int(said.size)
    else:
        assert resize.scale == (int(said.size),) * 2


def test_backbone_and_preprocessing_belong_together(name):
    config, said = config_of(name), words(name)
    weights, style, mean, std, is_rgb = BACKBONES[said.backbone]
    [found] = pretrained_weights(config)  # in the host's list, or this raises
    assert (found.where, found.name) == ('model.backbone', weights)
    backbone, pixels = config.model.backbone, config.model.data_preprocessor
    assert backbone.get('style') == style
    assert (list(pixels.mean), list(pixels.std), pixels.bgr_to_rgb) == (mean, std, is_rgb)
    # What Expand fills with, and what mmengine.hub takes.
    assert config.data_preprocessor == pixels
    depth = re.match(r'[a-z]+(\d+)', said.backbone)
    assert backbone.depth == int(depth[1])
    groups = re.search(r'(\d+)x(\d+)d', said.backbone)
    if groups:
        assert (backbone.type, backbone.groups, backbone.base_width) == (
            *('ResNeXt', int(groups[1]), int(groups[2])),
        )
    if said.backbone != 'vgg16':
        assert config.model.neck.type == 'FPN' and said.neck == ['fpn']
        assert (backbone.frozen_stages, backbone.norm_eval) == (1, True)
        # Also its affine part, in the papers on frozen batch norm.
        assert backbone.norm_cfg.requires_grad == (said.folder == 'alrp_loss')
    assert ('dcn' in backbone) == ('dcn' in said.backbone)


def test_the_comment_states_the_recipe(name):
    path, said = path_of(*name.split('/')), recipe(name)
    head = re.match(r'(?:#.*\n)+', path.read_text())[0]
    text = ' '.join(line.removeprefix('#').strip() for line in head.splitlines())
    unit = 'iterations' if name.startswith('dr_loss') else 'epochs'
    for fact in (
        f'Batch {said.gpus} x {said.images}',
        f'earning rate {said.lr}',
        f'{said.length:,} {unit}',
    ):
        assert fact in text, fact
    assert re.search(r'printed|released', text)
    assert len(path.read_text().splitlines()) <= 35, 'short enough to read at a glance'


# --- what the host does with them --------------------------------------------------------------


@pytest.mark.parametrize('name', KINDS)
def test_the_model_has_the_classes_of_the_data(name):
    config = config_of(name)
    with torch.device('meta'):
        model = MODELS.build(config.model)
    classes = COCO_CLASSES if 'coco' in name else VOC_CLASSES
    dataset = SimpleNamespace(metainfo=dict(classes=classes))
    runner = SimpleNamespace(model=model, train_dataloader=SimpleNamespace(dataset=dataset))
    NumClassCheckHook()._check_head(runner, 'train')
    dataset.metainfo['classes'] = classes[1:]
    with pytest.raises(AssertionError):
        NumClassCheckHook()._check_head(runner, 'train')
    kinds = {module_name.split('.')[1]: type(m).__name__ for module_name, m in deformable(model)}
    assert set(kinds) == ({'layer2', 'layer3', 'layer4'} if 'dcn' in name else set())


def deformable(model):
    return [(n, m) for n, m in model.named_modules() if 'DeformConv' in type(m).__name__]


@pytest.mark.parametrize('as_base', [False, True])
def test_from_an_installed_package(as_base, tmp_path):
    name = 'dr_loss/retinanet_r50-caffe_fpn_focal_8xb2-8.75k_voc07-800.py'
    if as_base:
        (tmp_path / 'own.py').write_text(f"_base_ = 'rankdet::{name}'\n")
        config = Config.fromfile(tmp_path / 'own.py')
    else:
        config = get_config(f'rankdet::{name}')
    assert config.optim_wrapper.optimizer.lr == 0.008
    assert config.model.bbox_head.loss_cls.type == 'FocalLoss'


def test_every_base_is_used():
    """Data sets are offered beyond the papers; models, schedules and their kin are not."""
    bases = {
        path
        for folder in ('models', 'schedules', 'testing')
        for path in (CONFIGS / '_base_' / folder).glob('*.py')
    } | set((CONFIGS / '_base_').glob('*.py'))
    unused = bases - reached([path_of(*name.split('/')) for name in NAMES])
    assert not unused


def reached(paths) -> set[Path]:
    found = set()
    for path in paths:
        text = path.read_text()
        block = re.search(r"^_base_ = (\[.*?\]|'.*?')", text, re.MULTILINE | re.DOTALL)
        for base in re.findall(r"'([^']+)'", block[1]) if block else []:
            if '::' not in base:
                found |= {(path.parent / base).resolve()}
    return found | reached(found) if found else found
