"""SD 1.x, SD 2.x and SDXL alike: files and folders give the right weights, and adapters compute what plain diffusers
pipelines compute on the same weights."""

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_open_clip_checkpoint
from safetensors.torch import save_file

from library.diffusion.conditioning import TokenizedCaptions, size_numbers
from library.errors import UserError
from library.models import family_forms
from library.models.adapter import TextConditioning
from library.models.checkpoints import original_layout, single_file
from library.models.checkpoints.identification import UNET_PREFIX, VAE_PREFIX
from library.models.family import FAMILIES, SD1, SD2, SDXL, predicting_velocity
from library.models.model_parts import ModelPrecision, TextForm
from library.unet_names import unet_modules
from tests.models.loaded import OPTION, assert_weights, load, parts_of
from tests.models.tiny import below, tiny_tokenizer
from tests.models.tiny_families import (
    POOLED_WIDTH,
    TINY_SD2_FORM,
    original_weights_of,
    save_tiny_folder,
    tiny_adapter_of,
    tiny_parts,
    tiny_pipeline_of,
    tiny_unet_of,
)

NEWER = (SD2, SDXL)
TENSORS = {SD1.name: 684 + 180 + 36, SD2.name: 684 + 180 + 36, SDXL.name: 618 + 180 + 36 + 37}
CAPTIONS = ["a cat", "", "sks dog, Gemälde, 東京 🙂", "many words " * 40]
CPU = torch.device("cpu")

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
newer_family = pytest.mark.parametrize("family", NEWER, ids=lambda family: family.name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Family name -> diffusers folder."""
    folders = {family.name: tmp_path_factory.mktemp(family.name) for family in FAMILIES}
    for family in FAMILIES:
        save_tiny_folder(family, folders[family.name])
    return folders


@pytest.fixture(scope="module")
def weights():
    """Family name -> content of a single file."""
    return {family.name: original_weights_of(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def models():
    """Family name -> the models that the files were made of, in an adapter."""
    return {family.name: parts_of(tiny_adapter_of(family)) for family in FAMILIES}


@pytest.fixture(scope="module")
def adapters():
    return {family.name: tiny_adapter_of(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def pipelines():
    return {family.name: tiny_pipeline_of(family) for family in FAMILIES}


@pytest.fixture
def small_tokenizer(monkeypatch):
    monkeypatch.setattr(single_file, "standard_clip_tokenizer", tiny_tokenizer)


@pytest.fixture(autouse=True)
def few_layers(monkeypatch):
    monkeypatch.setattr(family_forms, "SD2_FORM", TINY_SD2_FORM)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def save(weights, path, dtype=torch.float32):
    content = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in content.items()}, path)
    else:
        torch.save({"state_dict": content, "epoch": 3}, path)
    return path


# ---- names, with diffusers' own conversion as the judge


@every_family
def test_unet_names_are_those_that_diffusers_gives(family, weights):
    expected = tiny_unet_of(family)
    theirs = convert_ldm_unet_checkpoint(weights[family.name], dict(expected.config))
    unet = below(UNET_PREFIX, weights[family.name])
    attention = [bool(getattr(block, "attentions", None)) for block in expected.down_blocks]
    assert attention == ([False, True, True] if family is SDXL else [True, True, True, False])
    ours, unknown = original_layout.rename(unet, unet_modules(attention))
    assert unknown == []
    assert ours.keys() == theirs.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert torch.equal(ours[name], value), name
        assert torch.equal(theirs[name], value), name


def test_sdxl_files_have_the_names_that_everyone_has(weights):
    assert {
        "model.diffusion_model.label_emb.0.0.weight",
        "model.diffusion_model.label_emb.0.2.bias",
        "model.diffusion_model.input_blocks.3.0.op.weight",
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.input_blocks.8.1.transformer_blocks.1.ff.net.0.proj.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.1.norm3.bias",
        "model.diffusion_model.output_blocks.2.2.conv.weight",
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.output_blocks.8.0.skip_connection.weight",
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.1.model.text_projection",
        "conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_bias",
        "conditioner.embedders.1.model.logit_scale",
        "first_stage_model.encoder.down.0.block.0.conv1.weight",
    } <= weights[SDXL.name].keys()


@newer_family
def test_open_clip_names_are_those_that_diffusers_gives(family, models, weights):
    part, prefix = {
        SD2.name: ("text_encoder", "cond_stage_model.model."),
        SDXL.name: ("text_encoder_2", "conditioner.embedders.1.model."),
    }[family.name]
    encoder = models[family.name][part]
    expected = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
    theirs = {
        name.removeprefix("text_model."): value
        for name, value in convert_open_clip_checkpoint(encoder, weights[family.name], prefix).items()
    }
    left_over = theirs.keys() - expected.keys()
    assert len(left_over) == (0 if family is SDXL else 16)
    assert all(name.startswith("encoder.layers.2.") for name in left_over)
    for name, value in expected.items():
        assert torch.equal(theirs[name], value), name


# ---- files and folders


@newer_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("extension", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "at once"])
def test_a_single_file_gives_the_weights_it_was_made_of(
    tmp_path, small_tokenizer, models, weights, family, extension, dtype, use_mmap
):
    path = save(weights[family.name], tmp_path / f"Modell für mich{extension}", dtype)
    adapter = load(path, family=family, use_mmap=use_mmap)
    assert_weights(adapter, models[family.name], dtype, count=TENSORS[family.name])


@every_family
def test_a_folder_gives_the_weights_it_was_made_of(folders, models, family):
    adapter = load(folders[family.name], family=family)
    assert_weights(adapter, models[family.name], count=TENSORS[family.name])


@newer_family
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize(
    "precision",
    [ModelPrecision(torch.float16, torch.float32), ModelPrecision(torch.bfloat16, torch.bfloat16)],
    ids=str,
)
def test_precision(tmp_path, small_tokenizer, folders, models, weights, family, kind, precision):
    path = folders[family.name]
    if kind == "file":
        path = save(weights[family.name], tmp_path / "model.safetensors")
    adapter = load(path, precision, family)
    assert_weights(adapter, models[family.name], precision=precision, count=TENSORS[family.name])


def computed(adapter, family):
    """What depends on numbers of heads, activations, depths and the like, which are in no file."""
    tokens = adapter.tokenize(["a cat on skis", "dog"])
    sizes = torch.tensor([[64, 96, 0, 8, 64, 64], [128, 128, 4, 0, 64, 64]])
    pixels = torch.randint(0, 256, (1, 3, 64, 64), generator=generator(1), dtype=torch.uint8)
    with torch.no_grad():
        text = adapter.encode_text(tokens)
        latents = adapter.encode_images(pixels, torch.randn(1, 4, 8, 8, generator=generator(2)))
        noisy = torch.randn(2, 4, 8, 8, generator=generator(3))
        prediction = adapter.predict(noisy, torch.tensor([10, 900]), text, sizes)
    pooled = (text.pooled,) if family is SDXL else ()
    return text.hidden_states, prediction, latents, *pooled


@every_family
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_loaded_model_computes_what_the_model_computes(
    tmp_path, small_tokenizer, folders, weights, adapters, family, kind
):
    path = save(weights[family.name], tmp_path / "model.safetensors") if kind == "file" else folders[family.name]
    loaded = load(path, family=family)
    for ours, expected in zip(computed(loaded, family), computed(adapters[family.name], family), strict=True):
        assert expected.std() > 0.01
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert parts_of(loaded)["vae"].config.scaling_factor == family.latent_scale


@newer_family
def test_markers_do_not_disturb(tmp_path, small_tokenizer, models, weights, family):
    """Empty tensors that say by their names how a model was trained."""
    markers = {name: torch.tensor([]) for name in ("v_pred", "ztsnr", "model.diffusion_model.v_pred")}
    path = save({**weights[family.name], **markers}, tmp_path / "model.safetensors")
    adapter = load(path, family=predicting_velocity(family))
    assert_weights(adapter, models[family.name], count=TENSORS[family.name])
    assert adapter.family.prediction_type == "v"


# ---- a separate VAE


@pytest.mark.parametrize("form", ["file", "diffusers file", "whole model", "folder", "model folder"])
@pytest.mark.parametrize("kind", ["file", "folder"])
@newer_family
def test_a_separate_vae(tmp_path, small_tokenizer, folders, models, weights, family, kind, form):
    own = weights[family.name]
    path = save(own, tmp_path / "model.safetensors") if kind == "file" else folders[family.name]
    changed = {name: value + 1 if name.startswith("first_stage_model.") else value for name, value in own.items()}
    vae = tiny_parts(family).vae
    for parameter in vae.parameters():
        parameter.data += 1
    vae_path = tmp_path / "vae.safetensors"
    if form == "file":
        alone = below(VAE_PREFIX, changed)
        save(alone, vae_path)
    elif form == "diffusers file":
        save(vae.state_dict(), vae_path)
    elif form == "whole model":
        save(changed, vae_path)
    elif form == "folder":
        vae_path = tmp_path / "vae folder"
        vae.save_pretrained(vae_path)
    else:
        vae_path = tmp_path / "model folder"
        vae.save_pretrained(vae_path / "vae")
    adapter = load(path, family=family, vae=vae_path)
    assert_weights(adapter, {**models[family.name], "vae": vae}, count=TENSORS[family.name])
    assert parts_of(adapter)["vae"].config.scaling_factor == family.latent_scale


def test_a_separate_vae_replaces_one_that_is_missing(tmp_path, small_tokenizer, models, weights):
    own = weights[SDXL.name]
    without = {name: value for name, value in own.items() if not name.startswith("first_stage_model.")}
    vae = save(below(VAE_PREFIX, own), tmp_path / "vae.ckpt")
    adapter = load(save(without, tmp_path / "model.safetensors"), family=SDXL, vae=vae)
    assert_weights(adapter, models[SDXL.name], count=TENSORS[SDXL.name])


# ---- incomplete files


INCOMPLETE = {
    "projection of the pooled text": (SDXL, ["conditioner.embedders.1.model.text_projection"],
        "1 tensors are missing, text_projection.weight among them"),
    "second encoder": (SDXL, ["conditioner.embedders.1."], "it holds no tensors named conditioner.embedders.1.model.*"),
    "embedding of sizes": (SDXL, ["model.diffusion_model.label_emb.0.0."],
        "the layers of 2 tensors cannot be told, add_embedding.linear_2."),
    "second layer of that": (SDXL, ["model.diffusion_model.label_emb.0.2."],
        "2 tensors are missing, add_embedding.linear_2.weight among them"),
    "a block of a transformer": (SDXL, ["model.diffusion_model.middle_block.1.transformer_blocks.1.norm1."],
        "tensors cannot be told, down_blocks.2.attentions."),
    "queries, keys and values": (SD2, ["cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias"],
        "3 tensors are missing, "),
    "layers of the encoder": (SD2, ["cond_stage_model.model.transformer."],
        "encoder.layers.0.mlp.fc1.weight is missing"),
    "last norm": (SD2, ["cond_stage_model.model.ln_final."], "2 tensors are missing, "),
    "words": (SD2, ["cond_stage_model.model.token_embedding."], "embeddings.token_embedding.weight is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", INCOMPLETE)
def test_incomplete_files(tmp_path, small_tokenizer, weights, case):
    family, prefixes, expected = INCOMPLETE[case]
    own = weights[family.name]
    left = {name: value for name, value in own.items() if not name.startswith(tuple(prefixes))}
    assert 0 < len(left) < len(own)
    path = save(left, tmp_path / "model.safetensors")
    with pytest.raises(UserError) as caught:
        load(path, family=family)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{OPTION} '{path}' is incomplete: ")
    assert expected in problem


def test_unknown_tensors_of_an_open_clip_encoder(tmp_path, small_tokenizer, weights):
    name = "cond_stage_model.model.transformer.resblocks.0.attn.gate"
    path = save({**weights[SD2.name], name: torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(
        UserError, match=r"the layers of 1 tensors cannot be told, transformer\.resblocks\.0\.attn\.gate"
    ):
        load(path, family=SD2)


# ---- the same numbers as a plain pipeline's


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def theirs_of(pipeline, captions, **arguments):
    """Hidden states, and the pooled text or None."""
    with torch.no_grad():
        encoded = pipeline.encode_prompt(
            captions, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=False, **arguments
        )
    return encoded[0], encoded[2] if len(encoded) == 4 else None


@every_family
def test_text_conditioning(adapters, pipelines, family):
    ours = adapters[family.name].encode_text(adapters[family.name].tokenize(CAPTIONS))
    states, pooled = theirs_of(pipelines[family.name], CAPTIONS)
    assert ours.hidden_states.shape == (4, 77, 96 if family is SDXL else 32)
    assert_equal(ours.hidden_states, states)
    assert (pooled is None) == (ours.pooled is None) == (family is not SDXL)
    if pooled is not None:
        assert ours.pooled.shape == (4, POOLED_WIDTH)
        assert_equal(ours.pooled, pooled)


@pytest.mark.parametrize("clip_skip", [1, 2])
@pytest.mark.parametrize("family", [SD1, SD2], ids=lambda family: family.name)
def test_clip_skip(pipelines, family, clip_skip):
    """The pipeline's own way of leaving out layers asks for a module that transformers no longer has."""
    adapter, pipeline = tiny_adapter_of(family, TextForm(clip_skip=clip_skip)), pipelines[family.name]
    ids = pipeline.tokenizer(CAPTIONS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states[-clip_skip]
        theirs = pipeline.text_encoder.final_layer_norm(states)
    assert_equal(adapter.encode_text(adapter.tokenize(CAPTIONS)).hidden_states, theirs)
    usual, _ = theirs_of(pipeline, CAPTIONS)
    assert torch.allclose(theirs, usual, atol=1e-5) == (clip_skip == 1)


@pytest.mark.parametrize("family", [SD1, SD2], ids=lambda family: family.name)
def test_clip_skip_beyond_the_first_layer(family):
    with pytest.raises(UserError, match="--clip_skip 3: the text encoder of this model has 2 layers"):
        tiny_adapter_of(family, TextForm(clip_skip=3))


def test_sdxl_knows_no_clip_skip(adapters):
    adapter = tiny_adapter_of(SDXL, TextForm(clip_skip=2))
    tokens = adapter.tokenize(CAPTIONS)
    ours, usual = adapter.encode_text(tokens), adapters[SDXL.name].encode_text(tokens)
    assert torch.equal(ours.hidden_states, usual.hidden_states)
    assert torch.equal(ours.pooled, usual.pooled)


@every_family
def test_prediction(adapters, pipelines, family):
    adapter, pipeline = adapters[family.name], pipelines[family.name]
    latents = torch.randn(3, 4, 16, 8, generator=generator(1))
    steps = torch.tensor([0, 500, 999])
    states, pooled = theirs_of(pipeline, CAPTIONS[:3])
    places = [((64, 128), (0, 0), (64, 128)), ((1000, 500), (12, 3), (64, 128)), ((333, 777), (0, 40), (64, 128))]
    sizes = torch.tensor([size_numbers(*place) for place in places])
    arguments = {}
    if family is SDXL:
        time_ids = [
            pipeline._get_add_time_ids(
                (original[1], original[0]), (crop[1], crop[0]), (target[1], target[0]), torch.float32, POOLED_WIDTH
            )
            for original, crop, target in places
        ]
        arguments = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.cat(time_ids)}}
    with torch.no_grad():
        ours = adapter.predict(latents, steps, TextConditioning(states, pooled), sizes)
        theirs = pipeline.unet(latents, steps, encoder_hidden_states=states, **arguments).sample
        elsewhere = adapter.predict(latents, steps, TextConditioning(states, pooled), sizes + 100)
    assert ours.shape == latents.shape
    assert_equal(ours, theirs)
    assert torch.equal(ours, elsewhere) == (family is not SDXL), "sizes matter to SDXL, and only there"


@every_family
def test_encoding_and_decoding_of_pictures(adapters, pipelines, family):
    adapter, vae = adapters[family.name], pipelines[family.name].vae
    pixels = torch.randint(0, 256, (2, 3, 64, 128), generator=generator(1), dtype=torch.uint8)
    draws = torch.randn(2, 4, 8, 16, generator=generator(5))
    with torch.no_grad():
        posterior = vae.encode(pixels / 127.5 - 1).latent_dist
        theirs = posterior.sample(generator(5)) * vae.config.scaling_factor
        decoded = vae.decode(theirs / vae.config.scaling_factor).sample
    ours = adapter.encode_images(pixels, draws)
    assert_equal(ours, theirs)
    difference = adapter.decode_latents(ours).int() - ((decoded + 1) * 127.5).clamp(0, 255).round().int()
    assert difference.abs().max() <= 1
    assert (difference != 0).float().mean() < 1e-3


# ---- long and weighted captions


@every_family
def test_each_chunk_is_encoded_by_itself(adapters, family):
    """Two chunks of 75 tokens: each is what a caption of its words alone gives."""
    one, two = adapters[family.name], tiny_adapter_of(family, TextForm(chunks=2))
    words = ["cat " * 75, "dog " * 20]
    long = two.encode_text(two.tokenize(["".join(words), words[1]]))
    short = one.encode_text(one.tokenize(words))
    assert long.hidden_states.shape[:2] == (2, 2 + 2 * 75)
    torch.testing.assert_close(long.hidden_states[0, :76], short.hidden_states[0, :76], rtol=0, atol=1e-5)
    torch.testing.assert_close(long.hidden_states[0, 76:], short.hidden_states[1, 1:], rtol=0, atol=1e-5)
    if family is SDXL:
        torch.testing.assert_close(long.pooled, short.pooled, rtol=0, atol=1e-5)
        assert not torch.allclose(long.pooled[0], long.pooled[1], atol=1e-3), "the first chunk decides"


@every_family
def test_weights_multiply_hidden_states(adapters, family):
    weighted = tiny_adapter_of(family, TextForm(weighted=True))
    tokens = weighted.tokenize(["cat (dog:1.5) cat", "cat"])
    plain = adapters[family.name].tokenize(["cat dog cat", "cat"])
    assert plain.weights is None
    for ours, expected in zip(tokens.ids, plain.ids, strict=True):
        assert torch.equal(ours, expected)
    ours, without = weighted.encode_text(tokens), weighted.encode_text(TokenizedCaptions(tokens.ids))
    factors = torch.ones(2, 77)
    factors[0, 2] = 1.5
    torch.testing.assert_close(ours.hidden_states, without.hidden_states * factors.unsqueeze(-1), rtol=0, atol=1e-6)
    if family is SDXL:
        assert torch.equal(ours.pooled, without.pooled), "the pooled text is not weighted"


# ---- what is trained, and what is not


@every_family
def test_everything_is_frozen_and_gradients_flow(family):
    adapter = tiny_adapter_of(family)
    models = (adapter._unet, adapter._codec.vae, *adapter.text_encoders())
    assert len(models) == 2 + family.num_text_encoders
    assert not any(parameter.requires_grad for model in models for parameter in model.parameters())
    assert not any(module.training for model in models for module in model.modules())
    latents = torch.randn(1, 4, 8, 8, generator=generator(1), requires_grad=True)
    adapter.predict(
        latents, torch.tensor([1]), adapter.encode_text(adapter.tokenize(["a cat"])), torch.ones(1, 6).long()
    ).sum().backward()
    assert latents.grad.abs().sum() > 0


@every_family
def test_views(family):
    adapter = tiny_adapter_of(family)
    views = adapter.views()
    assert type(views.unet).__name__ == ("SdxlUNet2DConditionModel" if family is SDXL else "UNet2DConditionModel")
    first = views.unet.input_blocks[0][0] if family is SDXL else views.unet.conv_in
    assert first is adapter._unet.conv_in
    assert views.vae is adapter._codec.vae
    as_kohya = views.text_encoders_as_kohya()
    assert isinstance(as_kohya, list) == (family is SDXL)
    encoders = as_kohya if family is SDXL else [as_kohya]
    assert len(encoders) == family.num_text_encoders
    for view, encoder in zip(encoders, adapter.text_encoders(), strict=True):
        real = getattr(encoder, "text_model", encoder).encoder.layers[0].mlp.fc1
        assert view.get_submodule("text_model.encoder.layers.0.mlp.fc1") is real


# ---- files as other programs write them


def rewritten(weights, change):
    return {changed: value for name, value in weights.items() if (changed := change(name)) is not None}


def test_sd2_files_that_lack_the_layer_which_is_not_used(tmp_path, weights, models, small_tokenizer):
    """As diffusers' own conversion writes them."""
    last = "cond_stage_model.model.transformer.resblocks.2."
    shorter = rewritten(weights[SD2.name], lambda name: None if name.startswith(last) else name)
    assert len(shorter) == len(weights[SD2.name]) - 12
    loaded = load(save(shorter, tmp_path / "short.safetensors"), family=SD2)
    assert_weights(loaded, models[SD2.name], count=TENSORS[SD2.name])


def test_sdxl_files_of_comfyui(tmp_path, weights, models, small_tokenizer):
    second = "conditioner.embedders.1.model."
    more = {**weights[SDXL.name], f"{second}transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}
    loaded = load(save(more, tmp_path / "comfy.safetensors"), family=SDXL)
    assert_weights(loaded, models[SDXL.name], count=TENSORS[SDXL.name])


def test_sdxl_files_whose_projection_is_not_transposed(tmp_path, weights, models, small_tokenizer):
    name = "conditioner.embedders.1.model.text_projection"
    other = dict(weights[SDXL.name])
    other[f"{name}.weight"] = other.pop(name).T.contiguous()
    loaded = load(save(other, tmp_path / "other.safetensors"), family=SDXL)
    assert_weights(loaded, models[SDXL.name], count=TENSORS[SDXL.name])


def test_a_bare_vae_with_the_names_of_older_releases(tmp_path, weights, models, small_tokenizer):
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    vae = dict(models[SDXL.name]["vae"].state_dict())
    for newer, old in older.items():
        vae = {name.replace(newer, old): value for name, value in vae.items()}
    assert sum(".query." in name for name in vae) == 4
    path = save(weights[SDXL.name], tmp_path / "model.safetensors")
    loaded = load(path, family=SDXL, vae=save(vae, tmp_path / "vae.safetensors"))
    assert_weights(loaded, models[SDXL.name], count=TENSORS[SDXL.name])
