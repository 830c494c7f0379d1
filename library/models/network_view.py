"""The model as kohya's network modules know it.

Network modules find their targets by class names and build key names from module paths. Both differ between
diffusers, transformers and the tool whose file format we write, and they change between releases. So a
network is never given the model itself, but a tree of empty containers with the expected class and child
names, whose leaves are the model's real layers: patching a leaf's `forward` patches the model.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from library.unet_names import unet_modules


class ViewContainer(nn.Module):
    """Stands for a module of the model; everything but its children is the real module's."""

    def stand_for(self, real: nn.Module) -> None:
        """To be called once the children are in place: from then on the real module's attributes show."""
        self.__dict__["_real"] = (real,)  # in a tuple, so that it is not registered as a child

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.__dict__["_real"][0](*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "_real" not in self.__dict__:
                raise
            return getattr(self.__dict__["_real"][0], name)


UNET_CLASS_NAMES: Mapping[str, str] = {
    "Attention": "CrossAttention",
    # The layers below it are targets by name; as a class it would be found a second time by modules that
    # list both, and stop them with a duplicate key.
    "TimestepEmbedding": "TimeEmbedding",
}
"""diffusers class -> the class name network modules expect; all others are the same."""

CHILD_ORDER: Mapping[str, tuple[str, ...]] = {"BasicTransformerBlock": ("attn1", "ff", "attn2")}
"""Class -> children that come first, in this order: tensors then have the order they have in other files."""


def view_of_unet(unet: nn.Module) -> nn.Module:
    """The view of a diffusers U-Net with diffusers' child names, as SD 1.x and 2.x networks use them."""
    return _view(unet, UNET_CLASS_NAMES)


def view_of_sdxl_unet(unet: nn.Module) -> nn.Module:
    """The view of a diffusers U-Net with the child names of the original SDXL code, as SDXL networks use them."""
    attention = [bool(getattr(block, "attentions", None)) for block in unet.get_submodule("down_blocks").children()]
    tree: dict[str, Any] = {}
    for ours, theirs in unet_modules(attention):
        module = _submodule(unet, ours)
        if module is not None:
            *parents, last = theirs.split(".")
            place = tree
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = _view(module, UNET_CLASS_NAMES)
    return _structure(tree, SDXL_UNET_CLASS, unet)


SDXL_UNET_CLASS = "SdxlUNet2DConditionModel"

_CLASS_BY_CHILD: Mapping[str, str] = {"in_layers": "ResnetBlock2D", "op": "Downsample2D", "conv": "Upsample2D"}
"""Which class a level of the original structure has that diffusers does not: told by a child it has."""


def _submodule(root: nn.Module, path: str) -> nn.Module | None:
    try:
        return root.get_submodule(path)
    except AttributeError:
        return None


def _structure(tree: Mapping[str, Any], class_name: str, real: nn.Module | None = None) -> nn.Module:
    """Containers for the levels that exist in the original structure only; they stand for nothing but the root."""
    indexed = (nn.ModuleList,) if class_name == "ModuleList" else ()
    container: ViewContainer = type(class_name, (ViewContainer, *indexed), {})()
    for name, child in tree.items():
        if isinstance(child, dict):
            kind = next((kind for mark, kind in _CLASS_BY_CHILD.items() if mark in child), "ModuleList")
            container.add_module(name, _structure(child, kind))
        else:
            container.add_module(name, child)
    if real is not None:
        container.stand_for(real)
    return container


def view_of_clip(text_encoder: nn.Module) -> nn.Module:
    """The view of a CLIP text encoder, always with the level `text_model` that key names contain."""
    if hasattr(text_encoder, "text_model"):
        return _view(text_encoder, {})
    inner = _view(text_encoder, {"CLIPTextModel": "CLIPTextTransformer"})
    return _container(text_encoder, "CLIPTextModel", {"text_model": inner})


def leaves_of(view: nn.Module) -> dict[str, nn.Module]:
    """Path -> layer of every leaf."""
    return {
        f"{path}.{name}" if path else name: layer
        for path, module in view.named_modules()
        if isinstance(module, ViewContainer)
        for name, layer in module.named_children()
        if not isinstance(layer, ViewContainer)
    }


def changes_to_view(view: nn.Module, leaves: Mapping[str, nn.Module]) -> list[str]:
    """Paths at which a network changed the view instead of the model's layers, so that the model takes no notice.

    Leaves that were replaced, removed or added, and containers whose `forward` was patched or hooked.

    Args:
        leaves: of the view before the network was made.
    """
    now = leaves_of(view)
    replaced = [path for path in {**leaves, **now} if leaves.get(path) is not now.get(path)]
    patched = [
        path
        for path, module in view.named_modules()
        if isinstance(module, ViewContainer)
        and ("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)
    ]
    return replaced + patched


def _view(module: nn.Module, class_names: Mapping[str, str]) -> nn.Module:
    name = type(module).__name__
    children = dict(module.named_children())
    first = {child: children.pop(child) for child in CHILD_ORDER.get(name, ()) if child in children}
    children = {child: _view(inner, class_names) for child, inner in (first | children).items()}
    if not children:
        return module
    return _container(module, class_names.get(name, name), children)


def _container(real: nn.Module, class_name: str, children: Mapping[str, nn.Module]) -> ViewContainer:
    indexed = tuple(kind for kind in (nn.ModuleList, nn.ModuleDict, nn.Sequential) if isinstance(real, kind))
    container: ViewContainer = type(class_name, (ViewContainer, *indexed), {})()
    for name, child in children.items():
        container.add_module(name, child)
    container.stand_for(real)
    return container
