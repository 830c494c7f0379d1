"""Which of PyTorch's attention kernels training may use."""

from contextlib import AbstractContextManager, nullcontext

from torch.nn.attention import SDPBackend, sdpa_kernel


def attention_kernels(memory_efficient: bool) -> AbstractContextManager[object]:
    """While it is entered, scaled_dot_product_attention uses its memory-efficient kernel, and plain mathematics
    where that kernel does not exist, as on a CPU. On leaving, the kernels allowed before are allowed again.

    The choice holds for all threads of the process. It has to enclose the backward passes as well, since gradient
    checkpointing computes attention a second time there.

    Args:
        memory_efficient: False changes nothing: PyTorch then takes the fastest kernel it has.
    """
    if not memory_efficient:
        return nullcontext()
    return sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
