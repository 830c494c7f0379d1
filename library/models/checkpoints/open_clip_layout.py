"""OpenCLIP's text encoders, as SD 2.x and SDXL files hold them, under the names that transformers has for them."""

import torch

_OUTSIDE = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_IN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_LAYERS = "transformer.resblocks."
_CONSTANTS = frozenset({"logit_scale", "attn_mask"})
"""Not part of the text encoder, or the same in every one."""


def to_transformers(
    weights: dict[str, torch.Tensor], keep_projection: bool
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Renamed tensors, and the names that belong to no module.

    OpenCLIP keeps the projections to queries, keys and values in one matrix (3 width, width), and the projection of
    the pooled text as a matrix that is multiplied from the right.
    """
    renamed: dict[str, torch.Tensor] = {}
    unknown: list[str] = []
    for name, tensor in weights.items():
        if name in _OUTSIDE:
            renamed[_OUTSIDE[name]] = tensor
        elif name in ("text_projection", "text_projection.weight"):
            if keep_projection:  # the longer name is that of files in which it is not transposed
                renamed["text_projection.weight"] = tensor if name.endswith("weight") else tensor.T.contiguous()
        elif name.startswith(_LAYERS):
            in_layer = _layer_tensors(name, tensor)
            renamed |= in_layer
            unknown += [] if in_layer else [name]
        elif name not in _CONSTANTS and not name.endswith("position_ids"):
            unknown.append(name)
    return renamed, unknown


def first_layers(weights: dict[str, torch.Tensor], count: int) -> dict[str, torch.Tensor]:
    """Everything but the layers from number `count` on. Takes transformers' names."""
    prefix = "encoder.layers."

    def is_used(name: str) -> bool:
        return not name.startswith(prefix) or int(name.removeprefix(prefix).split(".")[0]) < count

    return {name: tensor for name, tensor in weights.items() if is_used(name)}


def _layer_tensors(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    number, _, rest = name.removeprefix(_LAYERS).partition(".")
    layer = f"encoder.layers.{number}"
    module, _, kind = rest.rpartition(".")
    if module == "attn" and kind in ("in_proj_weight", "in_proj_bias"):
        parts = tensor.chunk(3)
        ending = kind.removeprefix("in_proj_")
        names = (f"{layer}.self_attn.{part}_proj.{ending}" for part in "qkv")
        return {part: rows.clone() for part, rows in zip(names, parts, strict=True)}
    if module in _IN_LAYER:
        return {f"{layer}.{_IN_LAYER[module]}.{kind}": tensor}
    return {}
