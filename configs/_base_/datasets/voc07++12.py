# VOC07++12: trained on both years' trainval and VOC2007's test, tested on VOC2012's test. AP Loss,
# Sec. 4.1.2. Without pipelines, which the files voc07++12_*.py add.
#
# VOC2012's test is measured by a server: test.py writes the results, and tools/pack_results.py packs
# them; give test.py --save-results PREFIX. Validation is on VOC2007's test, which is trained on: it
# shows that training goes on, not how good the detector is.
_base_ = './voc.py'

train_sets = [_base_.voc07_trainval, _base_.voc07_test, _base_.voc12_trainval]
test_dataloader = dict(dataset=dict(data_root=f'{_base_.voc_root}/VOC2012'))
test_evaluator = dict(
    type='CocoMetric',
    ann_file=f'{_base_.voc_root}/VOC2012/instances_test.json',
    metric='bbox',
    format_only=True,
    outfile_prefix='work_dirs/voc12_test/detections',
)
_base_.pop('test_evaluator')  # a list, which a dict cannot be merged with
