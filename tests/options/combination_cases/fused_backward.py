"""Steps within the backward pass."""

from tests.options.combination_cases.case import Case

PROBLEMS = [
    Case(
        "--fused_backward_pass",
        "--fused_backward_pass with --max_grad_norm 1, the default: the norm over all gradients is not known before "
        "the last one; give --max_grad_norm 0",
        "--fused_backward_pass --max_grad_norm 0",
    ),
    Case(
        "--fused_backward_pass --max_grad_norm 0.5",
        "--fused_backward_pass with --max_grad_norm 0.5: the norm over all gradients is not known before the last one; "
        "give --max_grad_norm 0",
        "--max_grad_norm 0.5",
    ),
    Case(
        "--fused_backward_pass --max_grad_norm 0 --gradient_accumulation_steps 2",
        "--fused_backward_pass with --gradient_accumulation_steps 2: weights move in each backward pass, so that "
        "nothing is accumulated; leave one of them out",
        "--fused_backward_pass --max_grad_norm 0 --gradient_accumulation_steps 1",
    ),
    Case(
        "--fused_backward_pass --max_grad_norm 0 --mixed_precision fp16",
        "--fused_backward_pass with --mixed_precision fp16: when a gradient overflows, the weights before it have "
        "moved already; use --mixed_precision bf16",
        "--fused_backward_pass --max_grad_norm 0 --mixed_precision bf16",
    ),
]
