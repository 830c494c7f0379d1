"""Which clients read a file exactly, and what the others do."""

import pytest
import torch
from torch import nn

from networks.files.client_support import (
    CLIENTS,
    EFFECTS,
    UNCHECKED,
    Form,
    exact_clients,
    forms_in,
    misreadings,
    unreadable,
)
from tests.networks.files.random_files import dora_of, file_of, lora_of, normal

LINEAR, CONVOLUTION = nn.Linear(4, 6), nn.Conv2d(4, 6, 3)
LOKR = {"lokr_w1": normal(2, 2), "lokr_w2": normal(3, 2)}
OFT = {"oft_blocks": normal(2, 3, 3), "alpha": torch.tensor(0.0)}
WEB_UIS = ["ComfyUI", "A1111", "Forge", "SD.Next"]

CASES = {
    "lora": (lora_of(LINEAR), [Form.LORA], list(CLIENTS)),
    "tucker": ({**lora_of(CONVOLUTION), "lora_mid.weight": normal(4, 4, 3, 3)}, [Form.LORA_TUCKER], WEB_UIS),
    "loha": ({"hada_w1_a": normal(2, 2)}, [Form.LOHA], WEB_UIS),
    "lokr": (LOKR, [Form.LOKR], WEB_UIS),
    "lokr, factored": ({"lokr_w1_a": normal(2, 2)}, [Form.LOKR], WEB_UIS),
    "lokr tucker": ({**LOKR, "lokr_t2": normal(2, 2)}, [Form.LOKR_TUCKER], ["A1111", "SD.Next"]),
    "oft": (OFT, [Form.OFT], ["ComfyUI", "A1111", "SD.Next"]),
    "oft rescaled": ({**OFT, "rescale": normal(6, 1)}, [Form.OFT_RESCALE], ["A1111", "SD.Next"]),
    "oft constrained": ({**OFT, "alpha": torch.tensor(0.1)}, [Form.OFT_CONSTRAINT], ["A1111", "SD.Next"]),
    "boft": ({"oft_blocks": normal(2, 3, 2, 2), "alpha": torch.tensor(0.0)}, [Form.BOFT], ["ComfyUI"]),
    "boft without alpha": ({"oft_blocks": normal(2, 3, 2, 2)}, [Form.BOFT_WITHOUT_ALPHA], []),
    "glora": ({"a1.weight": normal(4, 2), "a2.weight": normal(2, 4)}, [Form.GLORA], ["ComfyUI"]),
    "ia3": ({"weight": normal(6), "on_input": torch.tensor(0)}, [Form.IA3], ["A1111", "SD.Next"]),
    "ia3 on a convolution": ({"weight": normal(1, 6, 1, 1)}, [Form.IA3_CONVOLUTION], []),
    "full": ({"diff": normal(6, 4), "diff_b": normal(6)}, [Form.FULL], WEB_UIS),
    "norm": ({"w_norm": normal(6), "b_norm": normal(6)}, [Form.NORM], WEB_UIS),
    "half a norm": ({"w_norm": normal(6)}, [Form.NORM_HALF], []),
    "t-lora": ({"q_layer.weight": normal(6, 2)}, [Form.T_LORA], []),
    "dora per input": (dora_of(LINEAR, True), [Form.LORA, Form.DORA_PER_INPUT], WEB_UIS),
    "dora per output": (dora_of(CONVOLUTION, False), [Form.LORA, Form.DORA_PER_OUTPUT], ["SD.Next"]),
    "dora, flat": ({**lora_of(LINEAR), "dora_scale": normal(6)}, [Form.LORA, Form.DORA_FLAT], ["SD.Next"]),
    "dora of lokr": ({**LOKR, "dora_scale": normal(1, 4)}, [Form.LOKR, Form.DORA_PER_INPUT], WEB_UIS),
    "half a lora": ({"lora_up.weight": normal(6, 2)}, [Form.UNKNOWN], []),
    "unknown": ({"strange": normal(1)}, [Form.UNKNOWN], []),
}


@pytest.mark.parametrize(("layer", "forms", "clients"), CASES.values(), ids=CASES)
def test_forms_and_who_reads_them(layer, forms, clients):
    tensors = file_of({"lora_unet_conv_in": layer})
    assert list(forms_in(tensors)) == forms
    assert exact_clients(tensors) == clients
    assert {misreading.client for misreading in misreadings(tensors)} == set(CLIENTS) - set(clients)


def test_every_form_has_a_case():
    of_files = {Form.PEFT_LORA, Form.PEFT_DORA, Form.EMBEDDING, Form.LORA_SD2_PROJECTION, Form.LORA_ALPHAS}
    assert {form for _, forms, _ in CASES.values() for form in forms} | of_files == set(Form)
    assert EFFECTS.keys() == set(Form)
    assert len(EFFECTS) == 26


def test_diffusers_names():
    path = "unet.mid_block.attentions.0.proj_in"
    lora = {f"{path}.lora_A.weight": normal(2, 4), f"{path}.lora_B.weight": normal(4, 2)}
    assert forms_in(lora) == {Form.PEFT_LORA: 1}
    assert exact_clients(lora) == ["ComfyUI", "diffusers"]
    dora = {**lora, f"{path}.lora_magnitude_vector": normal(4)}
    assert forms_in(dora) == {Form.PEFT_DORA: 1}
    assert exact_clients(dora) == ["diffusers"]


def test_bundled_embeddings_spoil_a_file_for_diffusers():
    tensors = {**file_of({"lora_unet_conv_in": lora_of(LINEAR)}), "bundle_emb.cat.string_to_param.*": normal(1, 8)}
    assert forms_in(tensors) == {Form.LORA: 1, Form.EMBEDDING: 1}
    assert exact_clients(tensors) == ["A1111"]


def test_what_is_told():
    tensors = file_of({"lora_unet_a": dora_of(LINEAR, False), "lora_unet_b": dora_of(LINEAR, False)})
    told = {misreading.client: misreading for misreading in unreadable(tensors)}
    assert told.keys() == {"ComfyUI", "A1111", "Forge", "diffusers"}
    assert told["ComfyUI"].layers == 2
    assert str(told["A1111"]) == "A1111: DoRA per output: loads it wrong: takes norms per input"


def test_what_was_not_tried_is_no_fault():
    boft = file_of({"lora_unet_a": {"oft_blocks": normal(2, 3, 2, 2), "alpha": torch.tensor(0.0)}})
    assert [misreading.client for misreading in unreadable(boft)] == ["A1111", "Forge", "diffusers"]
    assert {misreading.client for misreading in misreadings(boft) if misreading.effect == UNCHECKED} == {"SD.Next"}


@pytest.mark.parametrize(
    ("text_layer", "width", "is_sd2"),
    [
        ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 1024, True),
        ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 768, False),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", 1024, True),
        ("lora_te_text_model_encoder_layers_0_mlp_fc2", 1024, False),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", 1024, False),
    ],
)
def test_projections_of_sd2(text_layer, width, is_sd2):
    """diffusers has linear layers where files of kohya's names have convolutions."""
    projection = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = file_of({projection: lora_of(nn.Conv2d(4, 6, 1)), text_layer: lora_of(nn.Linear(width, 6))})
    assert (forms_in(tensors)[Form.LORA_SD2_PROJECTION] == 1) is is_sd2
    assert ("diffusers" in exact_clients(tensors)) is not is_sd2


def test_alphas_unlike_the_others():
    """Each part of the model counts for itself; the U-Net's feed-forward layers are read well."""
    unet, text = "lora_unet_mid_block_attentions_0_transformer_blocks_0_", "lora_te_text_model_encoder_layers_0_"
    alphas = {
        f"{unet}attn1_to_q": 2.0, f"{unet}attn1_to_k": 1.0, f"{unet}attn2_to_out_0": 1.0, f"{unet}ff_net_2": 4.0,
        f"{text}self_attn_q_proj": 3.0, f"{text}mlp_fc1": 3.0,
    }  # fmt: skip
    tensors = file_of({name: lora_of(LINEAR, alpha=alpha) for name, alpha in alphas.items()})
    assert forms_in(tensors) == {Form.LORA: 6, Form.LORA_ALPHAS: 1}
    assert exact_clients(tensors) == WEB_UIS
