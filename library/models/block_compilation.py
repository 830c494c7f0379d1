"""Compiles the repeated blocks of a U-Net instead of the whole: a block that occurs seventy times is compiled once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from library.errors import UserError

_TOLD = re.compile(r"(?<![A-Za-z])error:", re.IGNORECASE)
"""What a compiler's own message begins with, unlike the names of exceptions that wrap it."""

REPEATED_BLOCKS = (BasicTransformerBlock, ResnetBlock2D)

GRAPHS_PER_BLOCK = 12
"""Training, previews, and the predictions without the network where its output is preserved, each for one image and for
several, each for the first size and for all others: sizes are variables of a graph from the second one on."""


def compile_blocks(unet: nn.Module, backend: str) -> int:
    """Has the transformer and residual blocks of a diffusers U-Net compiled, in place, when they first run.

    To be called when networks are applied: what they have hooked into a block's layers is compiled with it. Blocks
    of the same widths and with the same kind of hooks share their graphs, since weights are arguments of a graph.
    They are all runs of one function, though, of which PyTorch compiles only eight versions unless told otherwise
    and then computes without compiling. Hence the limit, which holds for these blocks alone; PyTorch's bound of 256
    versions of a function over the whole process remains.

    Compiled graphs live as long as the process, for all its models; `torch.compiler.reset()` drops them.

    Args:
        backend: name of a compiler of torch.compile.

    Returns:
        How many blocks there are.

    Raises:
        UserError: see check_backend.
    """
    check_backend(backend)
    blocks = [module for module in unet.modules() if isinstance(module, REPEATED_BLOCKS)]
    for block in blocks:
        block.register_forward_pre_hook(_make_input_contiguous)  # not compiled itself: it comes before the graph
        block.forward = torch.compile(block.forward, backend=backend, recompile_limit=GRAPHS_PER_BLOCK * len(blocks))
    return len(blocks)


def _make_input_contiguous(block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """For one image the hidden states may be a transposed view of the latents. For such an input inductor computes
    a wrong gradient on CPUs, off by several percent (PyTorch 2.13); and it would need graphs of its own."""
    hidden_states, *others = inputs
    return (hidden_states.contiguous(), *others)


def check_backend(name: str) -> None:
    """
    Raises:
        UserError: this PyTorch has no such compiler, or something that it needs is not there.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if name not in known:
        usual = ", ".join(("eager", "aot_eager", *torch.compiler.list_backends()))
        raise UserError(f"--dynamo_backend {name}: this PyTorch has no such compiler; choose one of {usual}")
    need = _missing_for(name)
    if need:
        raise UserError(
            f"--dynamo_backend {name} needs {need}, which is not here; provide it, or leave out --torch_compile"
        )


def _missing_for(backend: str) -> str | None:
    """What a backend cannot do without and does not find here."""
    if backend == "tvm" and find_spec("tvm") is None:
        return "the package tvm"
    if backend == "cudagraphs" and not torch.cuda.is_available():
        return "an NVIDIA GPU"
    if backend == "inductor" and torch.cuda.is_available():
        return None if find_spec("triton") else "the package triton (triton-windows on Windows)"
    if backend == "inductor" and not _finds_cpp_compiler():
        return "a C++ compiler"
    return None


def _finds_cpp_compiler() -> bool:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


@contextmanager
def compiler_errors_in_one_line(backend: str) -> Iterator[None]:
    """What goes wrong in a compiler while a block is compiled, at its first use, is not the user's program.

    Raises:
        UserError: with the compiler's last words, instead of thousands of lines.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = next((line for line in lines if _TOLD.search(line)), " ".join(lines) or type(error).__name__)
        hint = " (C++ compilers fail where a folder's name holds a blank)" if backend == "inductor" else ""
        raise UserError(
            f"--dynamo_backend {backend}: the compiler failed: {told[:300]}{hint}; "
            "leave out --torch_compile, or choose another backend"
        ) from None
