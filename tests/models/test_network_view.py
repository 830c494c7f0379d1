"""The model as network modules see it: the model's own layers under kohya's names."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import CLIPTextModelWithProjection

from library.models.network_view import changes_to_view, leaves_of, view_of_clip, view_of_unet
from networks.arguments.kinds import LoRAArguments
from networks.network.chosen_layers import selection_of
from networks.targeting.targets import find_targets
from tests.models.full_size import empty_sd15_text_encoder, empty_sd15_unet
from tests.models.tiny import clip_configuration, tiny_text_encoder, tiny_unet

VOCABULARY = 300
SELECTION = selection_of(LoRAArguments())
MODULE_LISTS = json.loads(Path(__file__).with_name("module_lists_sd15.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def unet():
    return tiny_unet()


@pytest.fixture(scope="module")
def text_encoder():
    return tiny_text_encoder(VOCABULARY)


@pytest.fixture(scope="module")
def with_projection():
    """The other layout of CLIP: everything but the projection is one level deeper."""
    return CLIPTextModelWithProjection(clip_configuration(VOCABULARY)).eval()


def childless(model: nn.Module) -> dict[str, nn.Module]:
    return {path: module for path, module in model.named_modules() if not list(module.children())}


def class_counts(view: nn.Module) -> Counter:
    return Counter(type(module).__name__ for module in view.modules())


def test_the_unets_leaves_are_its_own_layers_under_their_own_paths(unet):
    view = view_of_unet(unet)
    leaves, own = leaves_of(view), childless(unet)
    assert len(leaves) == len(own) == 485
    assert leaves.keys() == own.keys()
    assert all(leaves[path] is layer for path, layer in own.items())
    assert {id(parameter) for parameter in view.parameters()} == {id(parameter) for parameter in unet.parameters()}


def test_the_text_encoders_leaves_are_its_own_layers_one_level_down(text_encoder, with_projection):
    leaves, own = leaves_of(view_of_clip(text_encoder)), childless(text_encoder)
    assert len(leaves) == len(own) == 21
    assert leaves.keys() == {f"text_model.{path}" for path in own}
    assert all(leaves[f"text_model.{path}"] is layer for path, layer in own.items())

    deeper, own = leaves_of(view_of_clip(with_projection)), childless(with_projection)
    assert deeper.keys() == own.keys() == leaves.keys() | {"text_projection"}
    assert all(deeper[path] is layer for path, layer in own.items())


def test_key_names_of_both_clip_layouts_are_the_same(text_encoder, with_projection):
    names = [
        [target.name for target in find_targets(view_of_clip(model), nn.Module(), SELECTION)]
        for model in (text_encoder, with_projection)
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 12
    assert names[0][0].startswith("lora_te_text_model_encoder_layers_0_")
    assert "lora_te_text_model_encoder_layers_1_self_attn_out_proj" in names[0]


def test_class_names_of_the_unet(unet):
    view = view_of_unet(unet)
    counts = class_counts(view)
    assert type(view).__name__ == "UNet2DConditionModel"
    expected = {
        "Transformer2DModel": 16, "BasicTransformerBlock": 16, "CrossAttention": 32, "FeedForward": 16,
        "ResnetBlock2D": 22, "Downsample2D": 3, "Upsample2D": 3, "TimeEmbedding": 1, "CrossAttnDownBlock2D": 3,
        "DownBlock2D": 1, "UpBlock2D": 1, "CrossAttnUpBlock2D": 3, "Conv2d": 97, "Linear": 184,
    }  # fmt: skip
    assert {name: counts[name] for name in expected} == expected
    # these would be found a second time, or not at all, by modules written for kohya's own classes
    assert not {"Attention", "TimestepEmbedding"} & counts.keys()


def test_class_names_of_the_text_encoder(text_encoder):
    view = view_of_clip(text_encoder)
    assert type(view).__name__ == "CLIPTextModel"
    assert type(view.text_model).__name__ == "CLIPTextTransformer"
    counts = class_counts(view)
    assert (counts["CLIPAttention"], counts["CLIPMLP"], counts["CLIPEncoderLayer"]) == (2, 2, 2)
    assert counts["CLIPTextModel"] == 1


def test_blocks_list_their_children_in_the_order_of_other_tools(unet):
    block = view_of_unet(unet).mid_block.attentions[0].transformer_blocks[0]
    assert [name for name, _ in block.named_children()][:3] == ["attn1", "ff", "attn2"]
    assert len(list(block.children())) == len(list(unet.mid_block.attentions[0].transformer_blocks[0].children())) == 6


def test_lists_of_blocks_can_be_walked_through(unet, text_encoder):
    view = view_of_unet(unet)
    assert isinstance(view.down_blocks, torch.nn.ModuleList)
    assert [type(block).__name__ for block in view.down_blocks] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert len(view.up_blocks) == 4
    assert view.up_blocks[-1].attentions[2].proj_out is unet.up_blocks[3].attentions[2].proj_out
    last = view_of_clip(text_encoder).text_model.encoder.layers[-1]
    assert last.mlp.fc2 is text_encoder.encoder.layers[1].mlp.fc2


def test_attributes_and_calls_are_the_models(unet, text_encoder):
    view = view_of_unet(unet)
    assert view.config is unet.config
    assert view.dtype == torch.float32
    assert view.device == torch.device("cpu")
    assert view.enable_gradient_checkpointing.__self__ is unet
    assert view.mid_block.attentions[0].in_channels == 64
    assert view.down_blocks[0].attentions[1].transformer_blocks[0].attn1.heads == 8
    assert not hasattr(view, "no_such_attribute")
    with pytest.raises(AttributeError, match="no_such_attribute"):
        _ = view.mid_block.no_such_attribute
    clip = view_of_clip(text_encoder)
    assert clip.config is text_encoder.config
    assert clip.text_model.config is text_encoder.config
    assert clip.get_input_embeddings() is text_encoder.get_input_embeddings()

    latents, ids = torch.ones(1, 4, 8, 8), torch.arange(77)[None]
    with torch.no_grad():
        states = text_encoder(ids).last_hidden_state
        assert torch.equal(clip(ids).last_hidden_state, states)
        assert torch.equal(clip(input_ids=ids).last_hidden_state, states)
        step = torch.tensor([3])
        assert torch.equal(view(latents, step, states).sample, unet(latents, step, encoder_hidden_states=states).sample)


def test_moving_and_freezing_the_view_does_it_to_the_model():
    unet = tiny_unet()
    view = view_of_unet(unet)
    view.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    view.to(torch.float64)
    assert {parameter.dtype for parameter in unet.parameters()} == {torch.float64}


def outputs(unet, text_encoder) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        states = text_encoder(torch.arange(77)[None]).last_hidden_state
        latents = torch.linspace(-2, 2, 4 * 8 * 8).view(1, 4, 8, 8)
        return states, unet(latents, torch.tensor([400]), states).sample


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ("unet", "conv_in"),
        ("unet", "time_embedding.linear_2"),
        ("unet", "down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_v"),
        ("unet", "mid_block.attentions.0.transformer_blocks.0.ff.net.2"),
        ("unet", "up_blocks.0.upsamplers.0.conv"),
        ("text encoder", "text_model.encoder.layers.1.mlp.fc1"),
        ("text encoder", "text_model.encoder.layers.0.self_attn.v_proj"),
    ],
)
def test_patching_a_leaf_patches_the_model(unet, text_encoder, part, path):
    view = view_of_unet(unet) if part == "unet" else view_of_clip(text_encoder)
    leaf = leaves_of(view)[path]
    states, sample = outputs(unet, text_encoder)
    original = leaf.forward
    leaf.forward = lambda x, *others: original(x, *others) * 1.5
    patched_states, patched_sample = outputs(unet, text_encoder)
    del leaf.forward
    assert torch.equal(patched_states, states) == (part == "unet")
    assert not torch.equal(patched_sample, sample)
    restored = outputs(unet, text_encoder)
    assert torch.equal(restored[0], states)
    assert torch.equal(restored[1], sample)


def test_every_target_is_called_as_a_module(unet, text_encoder):
    """A fused path that read the weights instead would leave a network without effect there, silently."""
    targets = list(find_targets(view_of_clip(text_encoder), view_of_unet(unet), SELECTION))
    assert len(targets) == 192 + 12
    calls = Counter()

    def record(target):
        original = target.layer.forward

        def forward(x, *arguments, **keywords):
            calls[target.name] += 1
            return original(x, *arguments, **keywords)

        target.layer.forward = forward

    for target in targets:
        record(target)
    outputs(unet, text_encoder)
    for target in targets:
        del target.layer.forward
    assert calls == {target.name: 1 for target in targets}


# ---- module lists of the full-size model, as other tools have them


@pytest.fixture(scope="module")
def full_size_views():
    return view_of_unet(empty_sd15_unet()), view_of_clip(empty_sd15_text_encoder())


def layers_inside(view: nn.Module, prefix: str, classes: set[str]) -> set[str]:
    """Key names of all linear layers and convolutions inside modules of these classes."""
    return {
        f"{prefix}.{path}.{inner}".replace(".", "_")
        for path, module in view.named_modules()
        if type(module).__name__ in classes
        for inner, layer in module.named_modules()
        if type(layer).__name__ in ("Linear", "Conv2d")
    }


def layers_named(view: nn.Module, prefix: str, paths: set[str]) -> set[str]:
    found = {path for path, _ in view.named_modules() if path in paths}
    assert found == paths
    return {f"{prefix}.{path}".replace(".", "_") for path in found}


BLOCKS = {"ResnetBlock2D", "Downsample2D", "Upsample2D"}
TEXT = {"CLIPAttention", "CLIPMLP"}
ENDS = {"conv_in", "conv_out"}
TIME = {"time_embedding.linear_1", "time_embedding.linear_2"}


@pytest.mark.parametrize(
    ("name", "size", "unet_classes", "unet_paths", "text_classes"),
    [
        ("lora", 264, {"Transformer2DModel"}, set(), TEXT),
        ("lora_with_convolutions", 350, {"Transformer2DModel"} | BLOCKS, set(), TEXT),
        ("attention", 176, {"CrossAttention"}, set(), {"CLIPAttention"}),
        ("convolution_preset", 88, BLOCKS, ENDS, set()),
        ("full", 354, {"Transformer2DModel"} | BLOCKS, ENDS | TIME, TEXT),
    ],
)
def test_module_lists(full_size_views, name, size, unet_classes, unet_paths, text_classes):
    unet, text_encoder = full_size_views
    found = layers_inside(unet, "lora_unet", unet_classes)
    found |= layers_named(unet, "lora_unet", unet_paths)
    found |= layers_inside(text_encoder, "lora_te", text_classes)
    assert sorted(found) == MODULE_LISTS[name]
    assert len(found) == size


def test_the_accident_of_the_attention_preset_is_left_out(full_size_views):
    """Elsewhere the class TimestepEmbedding, meant for another model, brings two more layers into this preset."""
    unet, _ = full_size_views
    accident = set(MODULE_LISTS["attention_preset"]) - set(MODULE_LISTS["lora"])
    assert accident == {"lora_unet_time_embedding_linear_1", "lora_unet_time_embedding_linear_2"}
    assert set(MODULE_LISTS["lora"]) < set(MODULE_LISTS["attention_preset"])
    assert layers_inside(unet, "lora_unet", {"TimestepEmbedding"}) == set()


def test_the_full_list_is_every_layer_of_the_unet(full_size_views):
    unet, _ = full_size_views
    layers = {path for path, leaf in leaves_of(unet).items() if type(leaf) in (nn.Linear, nn.Conv2d)}
    everything = {f"lora_unet_{path.replace('.', '_')}" for path in layers}
    assert len(everything) == 282
    assert everything == {name for name in MODULE_LISTS["full"] if name.startswith("lora_unet_")}


def test_our_own_discovery_finds_the_list(full_size_views):
    unet, text_encoder = full_size_views
    targets = list(find_targets(text_encoder, unet, SELECTION))
    assert len(targets) == 264
    assert sorted(target.name for target in targets) == MODULE_LISTS["lora"]
    assert len({id(target.layer) for target in targets}) == 264


# ---- networks that change the view instead of the model's layers


class Wrapper(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.base_layer = layer


def wrap_layer(view):
    view.mid_block.attentions[0].proj_in = Wrapper(view.mid_block.attentions[0].proj_in)


def wrap_block(view):
    view.mid_block.attentions = Wrapper(view.mid_block.attentions)


def add_layer(view):
    view.mid_block.adapter = nn.Linear(2, 2)


def remove_layer(view):
    del view.conv_out


def patch_block(view):
    view.mid_block.forward = lambda *arguments: None


def hook_into_block(view):
    view.mid_block.register_forward_pre_hook(lambda *arguments: None)


@pytest.mark.parametrize(
    ("change", "number", "among_them"),
    [
        (wrap_layer, 1, "mid_block.attentions.0.proj_in"),
        # its 19 layers under their old names, the wrapper, and the layers inside of it
        (wrap_block, 39, "mid_block.attentions"),
        (add_layer, 1, "mid_block.adapter"),
        (remove_layer, 1, "conv_out"),
        (patch_block, 1, "mid_block"),
        (hook_into_block, 1, "mid_block"),
    ],
)
def test_changes_that_the_model_does_not_see_are_found(unet, change, number, among_them):
    view = view_of_unet(unet)
    leaves = leaves_of(view)
    change(view)
    found = changes_to_view(view, leaves)
    assert among_them in found
    assert len(found) == number


def test_changes_of_layers_are_the_models():
    unet = tiny_unet()
    view = view_of_unet(unet)
    leaves = leaves_of(view)
    view.conv_in.forward = lambda x: x
    view.conv_out.register_forward_hook(lambda *arguments: None)
    view.conv_out.adapter = nn.Linear(2, 2)
    assert changes_to_view(view, leaves) == []
    assert unet.conv_out.adapter.in_features == 2
