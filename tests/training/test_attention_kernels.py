"""--mem_eff_attn: PyTorch's memory-efficient kernel and nothing faster."""

import pytest
import torch
from torch.backends import cuda
from torch.nn.functional import scaled_dot_product_attention

from library.training.attention_kernels import attention_kernels


def allowed() -> dict[str, bool]:
    return {
        "flash": cuda.flash_sdp_enabled(),
        "memory-efficient": cuda.mem_efficient_sdp_enabled(),
        "maths": cuda.math_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
    }


def test_only_the_memory_efficient_kernel_and_its_fallback_are_allowed():
    before = allowed()
    with attention_kernels(memory_efficient=True):
        assert allowed() == {"flash": False, "memory-efficient": True, "maths": True, "cudnn": False}
    assert allowed() == before


def test_nothing_is_changed_without_it():
    before = allowed()
    with attention_kernels(memory_efficient=False):
        assert allowed() == before
    assert allowed() == before


def test_the_kernels_come_back_after_an_error():
    before = allowed()
    with pytest.raises(RuntimeError, match="out of memory"), attention_kernels(memory_efficient=True):
        raise RuntimeError("out of memory")
    assert allowed() == before


def test_attention_and_its_gradients_are_the_same():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 10, 8, requires_grad=True) for _ in range(3))

    def attention(memory_efficient: bool) -> list[torch.Tensor]:
        with attention_kernels(memory_efficient):
            output = scaled_dot_product_attention(query, key, value)
            return [output, *torch.autograd.grad(output.square().sum(), (query, key, value))]

    for restricted, free in zip(attention(True), attention(False), strict=True):
        torch.testing.assert_close(restricted, free, rtol=1e-5, atol=1e-6)


def test_the_fused_kernel_of_this_device_is_not_used():
    """On a CPU the fused kernel is the flash one; what remains is plain mathematics, seen by its operators."""
    query = torch.randn(1, 1, 4, 8)

    def operators(memory_efficient: bool) -> set[str]:
        with torch.profiler.profile() as profile, attention_kernels(memory_efficient):
            scaled_dot_product_attention(query, query, query)
        return {event.name for event in profile.events()}

    fused = "aten::_scaled_dot_product_flash_attention_for_cpu"
    assert fused in operators(False)
    assert fused not in operators(True)
    assert "aten::_scaled_dot_product_attention_math" in operators(True)
