# Faster R-CNN with cross-entropy and GIoU, weighed 10, in the second stage (Table 8).
# Batch 4 x 8, 100 epochs: printed; learning rate 0.04, steps at 75 and 95, weight: released.
_base_ = './faster-rcnn_r50_fpn_ce-l1_4xb8-100e_coco-512.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            reg_decoded_bbox=True,
            loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=10.0),
        )
    )
)
