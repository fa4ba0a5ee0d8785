"""Compile every kernel for a GPU that need not be there: what a test of this folder runs.

The interpreter is more lenient than the compiler. Instead of launching a kernel this program
compiles it, with the types and sizes of that launch, down to machine code.
"""

from __future__ import annotations

import inspect
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rankdet.kernels import dr, ranking

TYPES = {
    torch.float16: '*fp16', torch.bfloat16: '*bf16', torch.float32: '*fp32',
    torch.float64: '*fp64', torch.int8: '*i8', torch.uint8: '*u8', torch.int32: '*i32',
    torch.int64: '*i64', int: 'i32', float: 'fp32',
}  # fmt: skip
COMPILED = {}
CAPABILITIES = [int(text) for text in sys.argv[1:]]


def compile_instead(kernel, programs, *arguments, **sizes):
    constants = {p.name for p in kernel.params if p.is_constexpr}
    given = dict(zip(kernel.arg_names, arguments)) | sizes
    signature = {
        name: 'constexpr'
        if name in constants
        else TYPES[getattr(given[name], 'dtype', type(given[name]))]
        for name in kernel.arg_names
    }
    if 'constexprs' in inspect.signature(ASTSource).parameters:
        fixed = {(i,): given[n] for i, n in enumerate(kernel.arg_names) if n in constants}
        source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
    else:  # Triton 3.2
        types = {name: kind for name, kind in signature.items() if name not in constants}
        fixed = {name: given[name] for name in constants}
        source = ASTSource(fn=kernel, signature=types, constants=fixed)
    for capability in CAPABILITIES:
        # What differs with types and sizes is not the GPU's: the first one sees all of that.
        if capability != CAPABILITIES[0] and (kernel.__name__, capability) in COMPILED:
            continue
        target = GPUTarget('cuda', capability, 32)
        binary = triton.compile(source, target=target, options=dict(enable_fp_fusion=False))
        sizes = COMPILED.setdefault((kernel.__name__, capability), [])
        sizes.append(len(binary.asm['cubin']))


def launch_all(dtype: torch.dtype, rule: str, delta: float, class_indices: bool) -> None:
    logits, labels = torch.zeros(800, dtype=dtype), torch.zeros(10, dtype=torch.int64)
    errors, one = torch.zeros(10), torch.ones(())
    if class_indices:
        found = ranking.find_positives(logits, labels, errors if rule == 'alrp' else None)
    else:
        labels = torch.zeros(800, dtype=torch.int8)
        found = ranking.given_positives(errors, slice(0, 10), errors if rule == 'alrp' else None)
    ranked = ranking.rank(
        found, logits, labels, rule=rule, delta=delta, class_indices=class_indices,
        num_negatives=torch.ones(1, dtype=torch.float64),
    )  # fmt: skip
    positions = None if class_indices else torch.zeros(10, dtype=torch.int32)
    ranking.gradient(
        ranked.state, logits, labels, one, class_indices=class_indices, positions=positions
    )
    lambdas = dict(pos_lambda=1.0, neg_lambda=0.1, class_indices=class_indices)
    image = torch.zeros(2, dtype=torch.int64)
    _, state = dr.rank(logits, labels, image, 2, value=torch.relu, slope=torch.relu, **lambdas)
    dr.gradient(state, logits, labels, one, **lambdas)
    kind = 'quadratic' if class_indices else 'logistic'
    options = dict(kind=kind, smoothness=6.5, rho=0.5, margin=0.5)
    dr.rank_few(logits, labels, image if class_indices else None, **options, **lambdas)


if __name__ == '__main__':
    ranking.launch = dr.launch = compile_instead
    launch_all(torch.bfloat16, 'alrp', 1.0, True)
    launch_all(torch.float32, 'interpolated_ap', 0.0, False)
    for (name, capability), sizes in COMPILED.items():
        print(name, capability, *sizes)
