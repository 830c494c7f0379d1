"""What the tensors of a file change in the layers of a model; the definitions are those of the kinds themselves."""

import copy
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from library.errors import UserError
from library.wording import listed
from networks.files.client_support import Form, forms_in
from networks.files.layer_skeletons import skeleton_of
from networks.files.plain_forms import LayerChange
from networks.kinds.catalogue import recognise, tensors_by_layer

_MOST_NAMES = 3

_OF_THE_WEIGHT = frozenset({
    Form.DORA_PER_INPUT, Form.DORA_PER_OUTPUT, Form.DORA_FLAT, Form.OFT, Form.OFT_RESCALE, Form.OFT_CONSTRAINT,
    Form.BOFT, Form.BOFT_WITHOUT_ALPHA, Form.GLORA, Form.IA3, Form.IA3_CONVOLUTION,
})  # fmt: skip
"""Forms whose change depends on the weight that is changed."""


def changes_in(
    tensors: Mapping[str, torch.Tensor], base: Mapping[str, nn.Module] | None = None
) -> Iterator[LayerChange]:
    """The change of each layer's weight and bias at strength 1, in float32.

    Args:
        tensors: by our names.
        base: the model's layers by our names, in any precision; needed by kinds whose change depends on the weights.

    Raises:
        UserError: at once, if tensors are of no known kind, or the base model is needed and lacks layers.
    """
    layers = tensors_by_layer(tensors)
    _check(layers, base)
    return (_change(name, of_layer, base) for name, of_layer in layers.items())


@torch.no_grad()
def _change(name: str, tensors: Mapping[str, torch.Tensor], base: Mapping[str, nn.Module] | None) -> LayerChange:
    layer = skeleton_of(name, tensors) if base is None else _in_float32(base[name])
    kind = recognise(tensors)
    if kind is None or layer is None:
        raise ValueError(f"{name} was not checked")
    adapted = kind.from_tensors(name, layer, tensors)
    bias = adapted.delta_bias()
    return name, adapted.delta_weight().detach().float(), None if bias is None else bias.detach().float()


def _in_float32(layer: nn.Module) -> nn.Module:
    """One layer at a time, since all together would be as large as the model."""
    in_float32 = all(parameter.dtype is torch.float32 for parameter in layer.parameters())
    return layer if in_float32 else copy.deepcopy(layer).float()


def _check(layers: Mapping[str, Mapping[str, torch.Tensor]], base: Mapping[str, nn.Module] | None) -> None:
    """
    Raises:
        UserError: see changes_in; lists everything.
    """
    problems = []
    unknown = [name for name, tensors in layers.items() if recognise(tensors) is None]
    if unknown:
        problems.append(f"the tensors of {_some(unknown)} are of no kind that is known here")
    if base is not None:
        missing = [name for name in layers if name not in base]
        if missing:
            problems.append(f"--base: the model has no layers named {_some(missing)}; give the model it was trained on")
    else:
        need_base = [name for name, tensors in layers.items() if _depends_on_weight(name, tensors)]
        if need_base:
            problems.append(f"the change of {_some(need_base)} depends on the model's weights: give it with --base")
    if problems:
        raise UserError(problems)


def _depends_on_weight(name: str, tensors: Mapping[str, torch.Tensor]) -> bool:
    forms = forms_in({f"{name}.{suffix}": tensor for suffix, tensor in tensors.items()})
    return bool(_OF_THE_WEIGHT & forms.keys())


def _some(names: Iterable[str]) -> str:
    return listed(list(names), _MOST_NAMES)
