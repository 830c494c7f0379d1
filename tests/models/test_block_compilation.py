"""--torch_compile: the blocks of a U-Net, with the network inside them."""

import pytest
import torch
from torch._dynamo import config as dynamo
from torch._dynamo.exc import Unsupported
from torch._dynamo.utils import counters
from torch._inductor.exc import CppCompileError, InductorError

from library.errors import UserError
from library.models import block_compilation
from library.models.block_compilation import check_backend, compile_blocks, compiler_errors_in_one_line
from library.models.eight_bit_weights import store_in_eight_bits
from library.models.offloaded_checkpointing import checkpoint_in_main_memory
from tests.models.two_level_unet import BLOCKS, apply_lora, forward_and_backward, two_level_unet

KINDS_OF_BLOCKS = 8
"""Seven pairs of widths of residual blocks, and one width of transformer blocks."""


@pytest.fixture(autouse=True)
def nothing_compiled_yet():
    """An exhausted limit is an error in these tests, instead of a silent return to uncompiled blocks."""
    torch.compiler.reset()
    counters.clear()
    with dynamo.patch(fail_on_recompile_limit_hit=True):
        yield
    torch.compiler.reset()


@pytest.fixture(params=["kept", "checkpointed", "checkpointed in main memory"])
def unet(request):
    unet = two_level_unet()
    if request.param == "checkpointed":
        unet.enable_gradient_checkpointing()
    if request.param == "checkpointed in main memory":
        unet.enable_gradient_checkpointing(checkpoint_in_main_memory)
    return unet


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def test_blocks_share_graphs_and_sizes_seen_before_compile_nothing(unet):
    network = apply_lora(unet)
    limit = dynamo.recompile_limit
    assert compile_blocks(unet, "eager") == BLOCKS
    forward_and_backward(unet, network, 16, 16)
    assert graphs() == KINDS_OF_BLOCKS < BLOCKS
    forward_and_backward(unet, network, 16, 8)
    after_two_sizes = graphs()
    assert after_two_sizes <= 2 * KINDS_OF_BLOCKS
    for height, width in [(16, 16), (16, 8), (8, 16), (24, 16), (16, 16)]:
        forward_and_backward(unet, network, height, width)
    assert graphs() == after_two_sizes
    assert counters["frames"]["total"] == counters["frames"]["ok"] == after_two_sizes
    assert not counters["graph_break"]
    assert dynamo.recompile_limit == limit


def test_batches_and_previews_stay_within_the_limit():
    """More graphs than PyTorch's own limit, and all of them compiled."""
    unet = two_level_unet()
    network = apply_lora(unet)
    compile_blocks(unet, "eager")
    for batch in (1, 2):
        for size in (16, 24):
            forward_and_backward(unet, network, size, 16, batch)
            with torch.no_grad():
                unet(torch.randn(batch, 4, size, 16), torch.full((batch,), 3), torch.randn(batch, 7, 16))
    compiled = graphs()
    assert compiled > 2 * dynamo.recompile_limit
    assert counters["frames"]["total"] == counters["frames"]["ok"] == compiled
    forward_and_backward(unet, network, 32, 16, batch=5)
    assert graphs() == compiled


def test_compiled_blocks_compute_what_uncompiled_ones_do(unet):
    network = apply_lora(unet, dropout=0.2)
    expected, expected_gradients = forward_and_backward(unet, network)
    compile_blocks(unet, "aot_eager")
    prediction, gradients = forward_and_backward(unet, network)
    assert graphs() == KINDS_OF_BLOCKS
    assert_same_training(prediction, gradients, expected, expected_gradients)


def test_weights_in_eight_bits_are_compiled_without_a_break():
    unet = two_level_unet()
    store_in_eight_bits(unet, torch.float32)
    network = apply_lora(unet)
    expected = forward_and_backward(unet, network)
    compile_blocks(unet, "aot_eager")
    actual = forward_and_backward(unet, network)
    assert graphs() == KINDS_OF_BLOCKS
    assert not counters["graph_break"]
    assert_same_training(*actual, *expected)


@pytest.mark.slow
def test_inductor_computes_the_same():
    """Its gradients, too, for one image, where the blocks' input is a transposed view.

    Where PyTorch is installed below a folder with a blank in its name, C++ compilers fail: then it must be told so.
    """
    unet = two_level_unet()
    network = apply_lora(unet)
    expected = forward_and_backward(unet, network)
    compile_blocks(unet, "inductor")
    if " " in torch.__file__:
        with pytest.raises(UserError, match="holds a blank"), compiler_errors_in_one_line("inductor"):
            forward_and_backward(unet, network)
        return
    actual = forward_and_backward(unet, network)
    assert graphs() == KINDS_OF_BLOCKS
    assert_same_training(*actual, *expected)


def assert_same_training(prediction, gradients, expected, expected_gradients):
    torch.testing.assert_close(prediction, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        scale = expected_gradients[name].abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=0, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_backends_that_need_nothing_are_there(backend):
    check_backend(backend)


@pytest.mark.parametrize("backend", ["ofi", "nvprims_nvfuser", "inductr"])
def test_a_compiler_that_this_pytorch_does_not_have_is_refused(backend):
    with pytest.raises(UserError) as error:
        compile_blocks(two_level_unet(), backend)
    assert f"--dynamo_backend {backend}" in str(error.value)
    assert "eager, aot_eager, " in str(error.value)
    assert "inductor" in str(error.value)


@pytest.mark.parametrize(
    ("backend", "has_gpu", "has_package", "has_compiler", "need"),
    [
        ("tvm", False, False, True, "the package tvm"),
        ("cudagraphs", False, True, True, "an NVIDIA GPU"),
        ("inductor", True, False, True, "the package triton"),
        ("inductor", False, True, False, "a C++ compiler"),
        ("inductor", False, False, True, None),
        ("inductor", True, True, False, None),
    ],
)
def test_what_a_compiler_needs_is_found_out_before(monkeypatch, backend, has_gpu, has_package, has_compiler, need):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(block_compilation, "find_spec", lambda name: object() if has_package else None)
    monkeypatch.setattr(block_compilation, "_finds_cpp_compiler", lambda: has_compiler)
    if need is None:
        check_backend(backend)
        return
    with pytest.raises(UserError, match=f"--dynamo_backend {backend} needs {need}".replace("+", r"\+")):
        check_backend(backend)


COMPILE_ERROR = CppCompileError(["c++"], "a\nb.cpp:3: error: no\n")


@pytest.mark.parametrize("error", [Unsupported("x"), COMPILE_ERROR, InductorError(COMPILE_ERROR, None)], ids=type)
def test_a_compiler_that_fails_is_told_in_one_line(error):
    with pytest.raises(UserError) as caught, compiler_errors_in_one_line("inductor"):
        raise error
    (problem,) = caught.value.problems
    assert problem.startswith("--dynamo_backend inductor: the compiler failed: ")
    assert "\n" not in problem
    if not isinstance(error, Unsupported):
        assert "b.cpp:3: error: no" in problem


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), compiler_errors_in_one_line("inductor"):
        raise ZeroDivisionError
