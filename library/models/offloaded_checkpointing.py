"""Gradient checkpointing that keeps what it needs for the second computation in main memory.

Plain checkpointing drops a block's activations, but keeps its inputs on the device until the backward pass. In a
U-Net the hidden states are nearly all of that.
"""

import weakref
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint


class _InMainMemory(NamedTuple):
    copy: torch.Tensor
    device: torch.device


def checkpoint_in_main_memory(block: nn.Module, hidden_states: torch.Tensor, *others: Any) -> Any:
    """Runs a block and drops its activations; the backward pass fetches the block's input and runs it again.

    To be given to diffusers' `enable_gradient_checkpointing(gradient_checkpointing_func=...)`.

    PyTorch's non-reentrant checkpoint does the recomputation (generators and autocast are as they were the first
    time, and weights reached only inside the block get their gradients). It stores a block's inputs as autograd
    stores tensors, so that hooks around it decide where they stay; inside the block its own hooks are in force.

    Args:
        hidden_states: goes to main memory.
        others: the block's further arguments, of any type. Tensors among them stay where they are: time embedding
            and text are the same objects for all blocks, so that keeping them costs nothing.
    """
    original = weakref.ref(hidden_states)  # autograd keeps the hooks, which must not keep the tensor

    def pack(tensor: torch.Tensor) -> torch.Tensor | _InMainMemory:
        return _offload(tensor) if tensor is original() else tensor

    with saved_tensors_hooks(pack, _fetch):
        return checkpoint(block, hidden_states, *others, use_reentrant=False)


def _offload(tensor: torch.Tensor) -> _InMainMemory:
    """On CUDA the copy is page-locked, so that neither direction makes the program wait: the transfers queue up
    with the kernels."""
    if tensor.device.type == "cpu":
        return _InMainMemory(tensor, tensor.device)
    copy = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
    return _InMainMemory(copy.copy_(tensor, non_blocking=tensor.is_cuda), tensor.device)


def _fetch(packed: torch.Tensor | _InMainMemory) -> torch.Tensor:
    if isinstance(packed, _InMainMemory):
        return packed.copy.to(packed.device, non_blocking=packed.copy.is_pinned())
    return packed
