"""Fused Triton kernels behind :mod:`rankdet.functional`: the same results in two passes.

Nothing is imported here: the kernels' modules need triton, and load with the first use.

* ``positives``: a few small kernels on the positives, in sorted order.
* ``negatives``: the two passes over the logits, one that counts and one that writes gradients.
* ``ranking``: AP, AUC and aLRP Loss from these.
* ``dr``: DR Loss, which needs no order.

``docs/kernels.md`` says how they work and where their limits are.
"""
