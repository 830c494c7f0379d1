"""What single files are taken for."""

import pytest

from library.models.checkpoints.identification import Identity, ModelKind, identify

UNET = "model.diffusion_model."
CONTEXT = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
VAE = {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3), "first_stage_model.decoder.conv_in.weight": (1,)}
SD1_TEXT = {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (49408, 768)}
OLD_SD1_TEXT = {"cond_stage_model.transformer.embeddings.token_embedding.weight": (49408, 768)}
SD2_TEXT = {"cond_stage_model.model.token_embedding.weight": (49408, 1024)}
CLIP_L = {"conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,)}
CLIP_G = {"conditioner.embedders.1.model.ln_final.weight": (1280,)}
REFINER_TEXT = {"conditioner.embedders.0.model.ln_final.weight": (1280,)}
FIRST, SECOND = "text encoder 1 (CLIP ViT-L)", "text encoder 2 (OpenCLIP ViT-bigG)"


def unet(context, channels=4, label=False, **more):
    names = {f"{UNET}input_blocks.0.0.weight": (320, channels, 3, 3), f"{UNET}{CONTEXT}": (320, context)}
    labels = {f"{UNET}label_emb.0.0.weight": (1280, 2816)} if label else {}
    return {**names, **labels, **{UNET + name: (1,) for name in more}}


EMA = {"model_ema.decay": (), "model_ema.diffusion_modelinput_blocks00weight": (320, 9, 3, 3)}
MARKERS = {"v_pred": (0,), "ztsnr": (0,)}

WHOLE_MODELS = {
    "SD1": ({**unet(768), **VAE, **SD1_TEXT}, ModelKind.SD1),
    "old SD1": ({**unet(768), **VAE, **OLD_SD1_TEXT}, ModelKind.SD1),
    "SD1 with averages": ({**EMA, **unet(768), **VAE, **SD1_TEXT}, ModelKind.SD1),
    "SD2": ({**unet(1024), **VAE, **SD2_TEXT}, ModelKind.SD2),
    "SDXL": ({**unet(2048, label=True), **VAE, **CLIP_L, **CLIP_G}, ModelKind.SDXL),
    "SDXL with markers": ({**unet(2048, label=True), **VAE, **CLIP_L, **CLIP_G, **MARKERS}, ModelKind.SDXL),
    "tiny SD1": ({**unet(32), **VAE, **SD1_TEXT}, ModelKind.SD1),
    "tiny SD2": ({**unet(32), **VAE, **SD2_TEXT}, ModelKind.SD2),
    "tiny SDXL": ({**unet(64, label=True), **VAE, **CLIP_L, **CLIP_G}, ModelKind.SDXL),
}


@pytest.mark.parametrize("case", WHOLE_MODELS)
def test_whole_models(case):
    shapes, kind = WHOLE_MODELS[case]
    identity = identify(shapes, {})
    assert (identity.kind, identity.missing) == (kind, ())
    assert (identity.prediction_type == "v", identity.zero_terminal_snr) == ("markers" in case,) * 2


PARTS_OF_SDXL = {"U-Net": unet(2048, label=True), FIRST: CLIP_L, SECOND: CLIP_G, "VAE": VAE}


@pytest.mark.parametrize("missing", PARTS_OF_SDXL)
def test_a_part_of_sdxl_that_is_missing(missing):
    shapes = {name: shape for part, names in PARTS_OF_SDXL.items() if part != missing for name, shape in names.items()}
    assert identify(shapes, {}) == Identity(ModelKind.SDXL, (missing,))


@pytest.mark.parametrize(
    ("shapes", "kind", "missing"),
    [
        (unet(768), ModelKind.SD1, ("text encoder", "VAE")),
        (unet(1024), ModelKind.SD2, ("text encoder", "VAE")),
        (unet(2048, label=True), ModelKind.SDXL, (FIRST, SECOND, "VAE")),
        (unet(32), ModelKind.SD1, ("text encoder", "VAE")),
        ({**unet(768), **VAE}, ModelKind.SD1, ("text encoder",)),
        ({**unet(1024), **VAE}, ModelKind.SD2, ("text encoder",)),
        ({**unet(768), **SD1_TEXT}, ModelKind.SD1, ("VAE",)),
        ({**unet(1024), **SD2_TEXT}, ModelKind.SD2, ("VAE",)),
        ({**VAE, **SD1_TEXT}, ModelKind.SD1, ("U-Net",)),
        ({**VAE, **SD2_TEXT}, ModelKind.SD2, ("U-Net",)),
        ({**unet(768), **SD1_TEXT, "first_stage_model.decoder.conv_in.weight": (1,)}, ModelKind.SD1, ("VAE",)),
        ({**unet(768), **VAE, **SD2_TEXT}, ModelKind.SD1, ("text encoder",)),
    ],
)
def test_parts_that_are_missing(shapes, kind, missing):
    assert identify(shapes, {}) == Identity(kind, missing)


OTHERS = {
    "inpainting": ({**unet(768, 9), **VAE, **SD1_TEXT}, ModelKind.INPAINTING),
    "SDXL inpainting": ({**unet(2048, 9, label=True), **VAE, **CLIP_L, **CLIP_G}, ModelKind.INPAINTING),
    "instruct-pix2pix": ({**unet(768, 8), **VAE, **SD1_TEXT}, ModelKind.INSTRUCTION),
    "depth": ({**unet(1024, 5), **VAE, **SD2_TEXT}, ModelKind.DEPTH),
    "upscaler": ({**unet(1024, 7), **VAE, **SD2_TEXT}, ModelKind.UPSCALER),
    "unCLIP": ({**unet(1024, label=True), **VAE, **SD2_TEXT}, ModelKind.UNCLIP),
    "refiner": ({**unet(1280, label=True), **VAE, **REFINER_TEXT}, ModelKind.REFINER),
    "tiny refiner": ({**unet(64, label=True), **VAE, **REFINER_TEXT}, ModelKind.REFINER),
    "playground": ({**unet(2048, label=True), **VAE, **CLIP_L, **CLIP_G, "edm_mean": (4,)}, ModelKind.EDM),
    "cosxl": ({**unet(2048, label=True), **VAE, **CLIP_L, **CLIP_G, "edm_vpred.sigma_max": ()}, ModelKind.EDM),
    "video": ({**unet(1024, 8, True, **{"input_blocks.1.0.time_stack.x": 1}), **VAE}, ModelKind.VIDEO),
    "SD3": ({f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (1,), **VAE}, ModelKind.SD3),
    "Flux": ({"double_blocks.0.img_attn.qkv.weight": (1,)}, ModelKind.FLUX),
    "Flux with prefix": ({f"{UNET}double_blocks.0.img_attn.qkv.weight": (1,), **VAE}, ModelKind.FLUX),
    "LoRA": ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 8, 1, 1)}, ModelKind.NETWORK),
    "LoRA's bias": ({"lora_te1_text_model_encoder_layers_0_mlp_fc1.diff_b": (4,)}, ModelKind.NETWORK),
    "LyCORIS": ({"lycoris_mid_block_attentions_0_proj_in.hada_w1_a": (4, 8)}, ModelKind.NETWORK),
    "OFT": ({"oft_unet_mid_block_attentions_0_proj_in.oft_blocks": (4, 8, 8)}, ModelKind.NETWORK),
    "PEFT LoRA": ({"unet.mid_block.attentions.0.proj_in.lora_A.weight": (4, 8)}, ModelKind.NETWORK),
    "LoRA of ComfyUI": ({f"{UNET}input_blocks.1.1.proj_in.lora_up.weight": (8, 4)}, ModelKind.NETWORK),
    "old diffusers LoRA": ({"unet.mid_block.attn1.processor.to_q_lora.lora.up.weight": (8, 4)}, ModelKind.NETWORK),
    "LoRA of a text encoder": ({"text_model.encoder.layers.0.mlp.fc1.lora_A.weight": (4, 8)}, ModelKind.NETWORK),
    "LoKr of PEFT": ({"base_model.model.mid_block.proj_in.lokr_w1": (4, 8)}, ModelKind.NETWORK),
    "embedding": ({"emb_params": (2, 768)}, ModelKind.EMBEDDING),
    "embedding of A1111": ({"string_to_param": ()}, ModelKind.EMBEDDING),
    "embedding of diffusers": ({"<cat-toy>": (768,)}, ModelKind.EMBEDDING),
    "embedding of SDXL": ({"clip_g": (2, 1280), "clip_l": (2, 768)}, ModelKind.EMBEDDING),
    "ControlNet": ({"control_model.input_blocks.0.0.weight": (320, 4, 3, 3), **unet(768), **VAE}, ModelKind.CONTROLNET),
    "diffusers ControlNet": ({"conv_in.weight": (1,), "controlnet_cond_embedding.conv_in.weight": (1,)},
                             ModelKind.CONTROLNET),
    "ControlNet-LLLite": ({"lllite_unet_input_blocks_4_1_attn1_to_q.down.0.weight": (1,)}, ModelKind.CONTROLNET),
    "VAE": ({"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)}, ModelKind.VAE),
    "VAE with prefix": (VAE, ModelKind.VAE),
    "VAE of diffusers": ({"encoder.down_blocks.0.resnets.0.conv1.weight": (1,)}, ModelKind.VAE),
    "decoder": ({"decoder.up.0.block.0.conv1.weight": (1,)}, ModelKind.VAE),
    "CLIP": ({"text_model.embeddings.token_embedding.weight": (49408, 768)}, ModelKind.TEXT_ENCODER),
    "OpenCLIP": ({"transformer.resblocks.0.ln_1.weight": (1024,)}, ModelKind.TEXT_ENCODER),
    "T5": ({"encoder.block.0.layer.0.SelfAttention.q.weight": (1,)}, ModelKind.TEXT_ENCODER),
    "text encoder with prefix": (SD1_TEXT, ModelKind.TEXT_ENCODER),
    "both text encoders": ({**CLIP_L, **CLIP_G}, ModelKind.TEXT_ENCODER),
    "U-Net of diffusers": ({"conv_in.weight": (1,), "down_blocks.0.x.weight": (1,)}, ModelKind.UNET),
    "U-Net without prefix": ({"input_blocks.0.0.weight": (320, 4, 3, 3)}, ModelKind.UNET),
    "averages alone": (EMA, ModelKind.UNKNOWN),
    "something else": ({"classifier.weight": (1000, 512)}, ModelKind.UNKNOWN),
    "nothing": ({}, ModelKind.UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_files_that_are_no_base_model(case):
    shapes, kind = OTHERS[case]
    assert identify(shapes, {}) == Identity(kind)


def test_every_kind_can_be_the_verdict():
    verdicts = {kind for _, kind in OTHERS.values()} | {kind for _, kind in WHOLE_MODELS.values()}
    assert verdicts == set(ModelKind)
    assert len({kind.value for kind in ModelKind}) == len(ModelKind) == 20


def test_shapes_without_a_second_side():
    shapes = {f"{UNET}input_blocks.0.0.weight": (1,), f"{UNET}{CONTEXT}": ()}
    assert identify(shapes, {}).kind is ModelKind.SD1


SDXL = WHOLE_MODELS["SDXL"][0]


@pytest.mark.parametrize(
    ("markers", "metadata", "expected", "evidence"),
    [
        ((), {}, None, ""),
        (("v_pred",), {}, "v", "its marker 'v_pred'"),
        ((f"{UNET}v_pred",), {}, "v", "its marker 'v_pred'"),
        ((), {"modelspec.prediction_type": "v"}, "v", "its metadata (modelspec.prediction_type: v)"),
        ((), {"modelspec.predict_key": "v"}, "v", "its metadata (modelspec.predict_key: v)"),
        ((), {"modelspec.prediction_type": "epsilon"}, "epsilon", "its metadata (modelspec.prediction_type: epsilon)"),
        ((), {"modelspec.prediction_type": "flow"}, None, ""),
        (("v_pred",), {"modelspec.prediction_type": "epsilon"}, "v", "its marker 'v_pred'"),
        (("ztsnr",), {}, None, ""),
    ],
)
def test_prediction_types(markers, metadata, expected, evidence):
    identity = identify({**SDXL, **dict.fromkeys(markers, (0,))}, metadata)
    assert identity.kind is ModelKind.SDXL
    assert (identity.prediction_type, identity.prediction_evidence) == (expected, evidence)
    assert identity.zero_terminal_snr == ("ztsnr" in markers)


@pytest.mark.parametrize(
    ("markers", "metadata", "evidence"),
    [
        (("v_pred",), {}, ""),
        (("ztsnr",), {}, "its marker 'ztsnr'"),
        ((), {"ztsnr": "true"}, "its metadata (ztsnr: true)"),
        ((), {"ss_zero_terminal_snr": "True"}, "its metadata (ss_zero_terminal_snr: True)"),
        ((), {"ss_zero_terminal_snr": "False"}, ""),
    ],
)
def test_zero_terminal_snr(markers, metadata, evidence):
    identity = identify({**SDXL, **dict.fromkeys(markers, (0,))}, metadata)
    assert (identity.zero_terminal_snr, identity.zero_terminal_snr_evidence) == (bool(evidence), evidence)
