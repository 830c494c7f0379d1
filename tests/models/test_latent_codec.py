"""Pictures whose latents overflow in half precision: computed in float32, each by itself, or refused."""

import pytest
import torch
from torch import nn

from library.models.latent_codec import LatentCodec, NonFiniteLatentsError
from tests.models.tiny import tiny_vae

SCALE = 0.13025


class Overflow(nn.Module):
    """Stands after a layer of the VAE, and does as real VAEs in float16: bright pictures overflow."""

    def __init__(self, limit: float, also_in_float32: bool = False):
        super().__init__()
        self.limit, self.also_in_float32 = limit, also_in_float32
        self.calls: list[tuple[torch.dtype, int]] = []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.calls.append((values.dtype, len(values)))
        if values.dtype is torch.float32 and not self.also_in_float32:
            return values
        too_large = values.float().mean(dim=(1, 2, 3), keepdim=True) > self.limit
        return torch.where(too_large, torch.tensor(torch.inf, dtype=values.dtype), values)


def codec_with(overflow: Overflow, dtype: torch.dtype) -> LatentCodec:
    vae = tiny_vae().to(dtype)
    with torch.no_grad():
        vae.encoder.conv_in.weight.zero_()
        vae.encoder.conv_in.weight[:, :, 1, 1] = 1
    vae.encoder.conv_in = nn.Sequential(vae.encoder.conv_in, overflow)
    return LatentCodec(vae.eval().requires_grad_(False), SCALE)


def pictures(*brightness: int) -> torch.Tensor:
    noise = torch.randint(-9, 10, (len(brightness), 3, 64, 64), generator=torch.Generator().manual_seed(1))
    return (torch.tensor(brightness).view(-1, 1, 1, 1) + noise).to(torch.uint8)


def draws(count: int) -> torch.Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_only_broken_pictures_are_computed_in_float32(dtype):
    overflow = Overflow(limit=1.0)
    codec = codec_with(overflow, dtype)
    pixels = pictures(100, 240, 90, 245)
    latents = codec.encode(pixels, draws(4))
    exact = codec_with(Overflow(limit=1.0), dtype)
    exact.vae.float()
    expected = exact.encode(pixels, draws(4))
    assert latents.dtype is torch.float32
    assert latents.isfinite().all()
    torch.testing.assert_close(latents[[1, 3]], expected[[1, 3]], rtol=0, atol=1e-6)
    assert (latents[[0, 2]] - expected[[0, 2]]).abs().max() > 1e-6, "these stay in half precision"
    torch.testing.assert_close(latents, expected, rtol=0.1, atol=0.05)
    assert codec.vae.dtype is dtype, "what follows is as fast as before"
    assert overflow.calls == [(dtype, 4)]


def test_what_becomes_of_a_picture_does_not_depend_on_those_before_it():
    codec, fresh = (codec_with(Overflow(limit=1.0), torch.float16) for _ in range(2))
    codec.encode(pictures(240, 245), draws(2))
    dark = pictures(100)
    assert torch.equal(codec.encode(dark, draws(1)), fresh.encode(dark, draws(1)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_pictures_without_any_finite_latents_are_named(dtype):
    codec = codec_with(Overflow(limit=1.0, also_in_float32=True), dtype)
    with pytest.raises(NonFiniteLatentsError) as caught:
        codec.encode(pictures(100, 240, 90, 245), draws(4))
    assert caught.value.rows == [1, 3]


def test_nothing_is_copied_where_nothing_overflows():
    codec = codec_with(Overflow(limit=1e6), torch.float16)
    codec.encode(pictures(100, 240), draws(2))
    assert codec._exact_copy is None


class BrokenDecoding(nn.Module):
    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        if latents.dtype is torch.float32:
            return latents
        bright = latents.float().mean(dim=(1, 2, 3), keepdim=True) > 0
        return torch.where(bright, torch.tensor(torch.nan, dtype=latents.dtype), latents)


def test_decoding():
    codec, exact = LatentCodec(tiny_vae().half(), SCALE), LatentCodec(tiny_vae().half().float(), SCALE)
    codec.vae.post_quant_conv = nn.Sequential(BrokenDecoding(), codec.vae.post_quant_conv)
    latents = 0.05 * draws(2) + torch.tensor([-0.02, 0.02]).view(2, 1, 1, 1)
    decoded, expected = codec.decode(latents), exact.decode(latents)
    assert decoded.dtype is torch.uint8
    assert expected.float().std() > 1
    assert (decoded.int() - expected.int()).abs().max() <= 2
    assert torch.equal(decoded[1:], exact.decode(latents[1:])), "computed by itself"


def test_both_copies_move():
    codec = codec_with(Overflow(limit=1.0), torch.float16)
    codec.encode(pictures(240), draws(1))
    codec.move(torch.device("meta"))
    for vae in (codec.vae, codec._exact_copy):
        assert {parameter.device.type for parameter in vae.parameters()} == {"meta"}
