"""The SD 1.x adapter against the parts of a plain diffusers pipeline with the same weights."""

import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from library.diffusion.conditioning import TextConditioning
from library.models.clip_tokenizer import CaptionTokenizer
from library.models.family import FAMILIES, SD1, SDXL, ModelFamily
from library.models.model_parts import ModelParts, ModelRequest
from library.models.stable_diffusion.adapter import StableDiffusion
from networks.lora import create_network
from tests.models.tiny import (
    IN_FULL,
    NOWHERE,
    tiny_adapter,
    tiny_pipeline,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)
from tests.models.tiny_families import tiny_adapter_of

CAPTIONS = ["a cat", "", "sks dog, Gemälde, 東京 🙂", "many words " * 40]
SCALING_FACTOR = 0.18215
NO_SIZES = torch.zeros(3, 6, dtype=torch.int64)


@pytest.fixture(scope="module")
def adapter():
    return tiny_adapter()


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(width: int, height: int, seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def as_pixels(pictures: list[Image.Image]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in pictures])


# ---- the same numbers as the pipeline's


def test_text_conditioning(adapter, pipeline):
    ours = adapter.encode_text(adapter.tokenize(CAPTIONS)).hidden_states
    with torch.no_grad():
        theirs, _ = pipeline.encode_prompt(CAPTIONS, torch.device("cpu"), 1, do_classifier_free_guidance=False)
    assert ours.shape == (4, 77, 32)
    assert_equal(ours, theirs)


def test_prediction(adapter, pipeline):
    latents = torch.randn(3, 4, 8, 16, generator=generator(1))
    states = torch.randn(3, 77, 32, generator=generator(2))
    steps = torch.tensor([0, 500, 999])
    with torch.no_grad():
        ours = adapter.predict(latents, steps, TextConditioning(states), NO_SIZES)
        theirs = pipeline.unet(latents, steps, encoder_hidden_states=states).sample
        one_by_one = [
            adapter.predict(latents[[row]], steps[[row]], TextConditioning(states[[row]]), NO_SIZES[[row]])
            for row in range(3)
        ]
    assert ours.shape == latents.shape
    assert_equal(ours, theirs)
    torch.testing.assert_close(torch.cat(one_by_one), theirs, rtol=0, atol=1e-5)


def test_encoding_of_pictures(adapter, pipeline):
    pictures = [picture(128, 64, seed) for seed in (1, 2)]
    draws = torch.randn(2, 4, 8, 16, generator=generator(5))
    with torch.no_grad():
        posterior = pipeline.vae.encode(pipeline.image_processor.preprocess(pictures)).latent_dist
        theirs = posterior.sample(generator(5)) * SCALING_FACTOR
    ours = adapter.encode_images(as_pixels(pictures), draws)
    assert ours.dtype == torch.float32
    assert_equal(ours, theirs)
    assert_equal(adapter.encode_images(as_pixels(pictures), torch.zeros_like(draws)), posterior.mode() * SCALING_FACTOR)


def test_decoding_of_latents(adapter, pipeline):
    latents = 0.2 * torch.randn(2, 4, 8, 16, generator=generator(6))
    with torch.no_grad():
        decoded = pipeline.vae.decode(latents / SCALING_FACTOR).sample
    theirs = [torch.from_numpy(np.array(one)) for one in pipeline.image_processor.postprocess(decoded, "pil")]
    ours = adapter.decode_latents(latents)
    assert ours.dtype == torch.uint8
    assert ours.shape == (2, 3, 64, 128)
    difference = (ours.permute(0, 2, 3, 1).int() - torch.stack(theirs).int()).abs()
    assert ours.float().std() > 1
    # a value half-way between two may be rounded either way
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3


def test_decoded_values_stay_in_range(adapter):
    extreme = adapter.decode_latents(torch.full((1, 4, 8, 8), 60.0))
    assert extreme.min() < 5 or extreme.max() > 250
    assert extreme.float().std() > 0


def test_a_vae_in_half_precision_gives_and_takes_float32():
    adapter, exact = tiny_adapter(), tiny_adapter()
    adapter._codec.vae.to(torch.bfloat16)
    pixels, draws = as_pixels([picture(64, 64, 3)]), torch.randn(1, 4, 8, 8, generator=generator(1))
    latents = adapter.encode_images(pixels, draws)
    assert latents.dtype == torch.float32
    torch.testing.assert_close(latents, exact.encode_images(pixels, draws), rtol=0.05, atol=0.02)
    assert adapter.decode_latents(latents).dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_are_what_latents_are_drawn_from(dtype):
    adapter = tiny_adapter()
    adapter._codec.vae.to(dtype)
    pixels, draws = as_pixels([picture(64, 64, 3), picture(64, 64, 4)]), torch.randn(2, 4, 8, 8, generator=generator(1))
    moments = adapter.latent_moments(pixels)
    assert moments.mean.dtype == moments.deviation.dtype == torch.float32
    assert (moments.deviation > 0).all()
    assert torch.equal(moments.mean, adapter.encode_images(pixels, torch.zeros_like(draws)))
    torch.testing.assert_close(
        moments.mean + moments.deviation * draws, adapter.encode_images(pixels, draws), rtol=1e-5, atol=1e-6
    )


def test_autocast_leaves_a_float32_vae_in_float32(adapter):
    """--no_half_vae together with --mixed_precision."""
    pixels, draws = as_pixels([picture(64, 64, 3)]), torch.randn(1, 4, 8, 8, generator=generator(1))
    latents = adapter.encode_images(pixels, draws)
    decoded = adapter.decode_latents(latents)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adapter.encode_images(pixels, draws), latents)
        assert torch.equal(adapter.decode_latents(latents), decoded)


# ---- tokens


def test_tokens(adapter):
    tokenized = adapter.tokenize(CAPTIONS)
    (in_chunks,) = tokenized.ids
    assert tokenized.weights is None
    assert in_chunks.dtype == torch.int64
    assert in_chunks.shape == (4, 1, 77)
    tokens = in_chunks[:, 0]
    start, end = len(tiny_tokenizer()) - 2, len(tiny_tokenizer()) - 1
    assert tokens[:, 0].tolist() == [start] * 4
    assert tokens[1].tolist() == [start] + [end] * 76
    assert tokens[0, :4].tolist() == [start, 320, 513, end]
    assert tokens[3, 76] == end
    assert end not in tokens[3, :76].tolist()


def test_loader_processes_are_sent_the_tokenizer_without_the_model(adapter):
    """Where processes are not forked, everything a worker needs is pickled."""
    message = pickle.dumps(adapter.tokenize)
    weights = sum(p.numel() * 4 for p in (*adapter._unet.parameters(), *adapter._codec.vae.parameters()))
    assert len(message) < 100_000 < weights
    (tokens,) = pickle.loads(message)(CAPTIONS).ids
    assert torch.equal(tokens, adapter.tokenize(CAPTIONS).ids[0])


# ---- what is trained, and what is not


def test_everything_is_frozen():
    unet, text_encoder, vae = tiny_unet(), tiny_text_encoder(519), tiny_vae()
    for model in (unet, text_encoder, vae):
        model.train()
        assert all(parameter.requires_grad for parameter in model.parameters())
    parts = ModelParts(unet, (text_encoder,), (CaptionTokenizer(tiny_tokenizer()),), vae)
    StableDiffusion(ModelRequest(NOWHERE, SD1, IN_FULL), parts)
    counted = 0
    for model in (unet, text_encoder, vae):
        for parameter in model.parameters():
            assert not parameter.requires_grad
            counted += 1
        assert not any(module.training for module in model.modules())
    assert counted == 684 + 180 + 36


def test_pictures_leave_no_graph_but_predictions_may(adapter):
    latents = torch.randn(1, 4, 8, 8, generator=generator(1), requires_grad=True)
    assert not adapter.encode_images(as_pixels([picture(64, 64, 1)]), latents).requires_grad
    states = adapter.encode_text(adapter.tokenize(["a cat"]))
    assert not states.hidden_states.requires_grad
    adapter.predict(latents, torch.tensor([1]), states, NO_SIZES[:1]).sum().backward()
    assert latents.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in adapter._unet.parameters())


def adapter_with_network(family: ModelFamily, checkpointing: str):
    """An adapter with a network whose `up` matrices are not zero, so that every gradient matters."""
    adapter = tiny_adapter_of(family)
    if checkpointing != "none":
        adapter.enable_gradient_checkpointing(in_main_memory=checkpointing == "in main memory")
    views = adapter.views()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(4)
        network = create_network(1.0, 2, 1, views.vae, views.text_encoders_as_kohya(), views.unet)
        for layer in (*network.unet_loras, *network.text_encoder_loras):
            layer.lora_up.weight.normal_(0, 0.05)
    network.apply_to(views.text_encoders_as_kohya(), views.unet, True, True)
    calls: Counter = Counter()
    text_encoder = adapter.text_encoders()[0]
    for name, layer in {
        "unet": adapter._unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q,
        "text encoder": getattr(text_encoder, "text_model", text_encoder).encoder.layers[0].mlp.fc1,
    }.items():
        layer.register_forward_hook(lambda *_, name=name: calls.update([name]))
    return adapter, network, calls


def gradients_of(family: ModelFamily, checkpointing: str):
    adapter, network, calls = adapter_with_network(family, checkpointing)
    conditioning = adapter.encode_text(adapter.tokenize(["a cat", "sks dog"]))
    # on the lowest level more than one cell must be left, or attention has nothing to choose from
    latents = torch.randn(2, 4, 16, 16, generator=generator(1))
    prediction = adapter.predict(latents, torch.tensor([10, 800]), conditioning, NO_SIZES[:2])
    prediction.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return prediction.detach(), gradients, calls


@pytest.mark.parametrize("checkpointing", ["on the device", "in main memory"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_gradient_checkpointing_changes_no_gradient(family, checkpointing):
    prediction, gradients, calls = gradients_of(family, "none")
    again, recomputed, calls_again = gradients_of(family, checkpointing)
    assert calls == {"unet": 1, "text encoder": 1}
    assert calls_again == {"unet": 2, "text encoder": 2}, "nothing was recomputed"
    torch.testing.assert_close(again, prediction, rtol=0, atol=1e-6)
    assert gradients.keys() == recomputed.keys()
    unused = {name for name, gradient in gradients.items() if gradient is None}
    if family is SDXL:
        # the U-Net takes the penultimate layer of both encoders; only the second one's last layer has another use
        assert len(gradients) == 2 * (192 + 24)
        assert len(unused) == 2 * 6
        assert all(name.startswith("lora_te1_text_model_encoder_layers_1_") for name in unused)
    else:
        assert len(gradients) == 2 * (192 + 12)
        assert not unused
    for name, gradient in gradients.items():
        if name not in unused:
            assert gradient.abs().max() > 0, name
            torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-9)


# ---- the rest of the protocol


def test_moving_parts():
    """The meta device shows what moved without needing a GPU."""
    moved, meta = tiny_adapter_of(SDXL), torch.device("meta")

    def places() -> list[set[str]]:
        models = (moved._unet, *moved.text_encoders(), moved._codec.vae)
        return [{parameter.device.type for parameter in model.parameters()} for model in models]

    moved.move_vae(meta)
    assert places() == [{"cpu"}, {"cpu"}, {"cpu"}, {"meta"}]
    moved.move_unet(meta)
    assert places() == [{"meta"}, {"cpu"}, {"cpu"}, {"meta"}]
    moved.move_text_encoders(meta)
    assert places() == [{"meta"}, {"meta"}, {"meta"}, {"meta"}]


def test_views_and_family(adapter):
    views = adapter.views()
    assert adapter.family is SD1
    assert adapter._unet.config.in_channels == SD1.latents.channels
    assert views.vae is adapter._codec.vae
    assert views.unet.conv_in is adapter._unet.conv_in
    assert len(views.text_encoders) == SD1.num_text_encoders == 1
    assert views.text_encoders_as_kohya() is views.text_encoders[0]
    assert adapter.views() is views


def test_conditionings_are_joined_in_order_and_taken_apart():
    first, second = torch.zeros(1, 77, 2), torch.ones(2, 77, 2)
    joined = TextConditioning.concatenate([TextConditioning(first), TextConditioning(second)])
    assert joined.hidden_states[:, 0, 0].tolist() == [0.0, 1.0, 1.0]
    assert joined.pooled is None
    parts = [TextConditioning(first, torch.zeros(1, 3)), TextConditioning(second, torch.tensor([[1.0] * 3, [2.0] * 3]))]
    joined = TextConditioning.concatenate(parts)
    assert joined.pooled[:, 0].tolist() == [0.0, 1.0, 2.0]
    rows = joined.rows()
    assert [row.hidden_states.shape for row in rows] == [(1, 77, 2)] * 3
    assert [row.pooled.tolist() for row in rows] == [[[0.0] * 3], [[1.0] * 3], [[2.0] * 3]]
