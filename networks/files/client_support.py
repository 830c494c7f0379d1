"""Which programs read which forms of a network, and what the others make of them.

Measured with ComfyUI 0.3.64, A1111 1.10 and diffusers 0.42.1; read from the code of Forge and of SD.Next (July 2026).
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import torch

from networks.files.layer_names import is_pointwise_projection, looks_like_sdxl, part_of
from networks.kinds.catalogue import tensors_by_layer

COMFYUI, A1111, FORGE, SD_NEXT, DIFFUSERS = "ComfyUI", "A1111", "Forge", "SD.Next", "diffusers"
CLIENTS = (COMFYUI, A1111, FORGE, SD_NEXT, DIFFUSERS)


class Form(Enum):
    """How the change of a layer is written down, as far as programs treat it differently."""

    LORA = "LoRA"
    LORA_SD2_PROJECTION = "LoRA on SD 2.x's projections, as convolutions"
    LORA_ALPHAS = "LoRA layers whose alpha is unlike the others'"
    LORA_TUCKER = "LoCon in tucker form"
    LOHA = "LoHa"
    LOKR = "LoKr"
    LOKR_TUCKER = "LoKr in tucker form"
    OFT = "OFT"
    OFT_RESCALE = "OFT with rescaling"
    OFT_CONSTRAINT = "OFT with a constraint"
    BOFT = "BOFT"
    BOFT_WITHOUT_ALPHA = "BOFT without alpha"
    GLORA = "GLoRA"
    IA3 = "(IA)^3"
    IA3_CONVOLUTION = "(IA)^3 on convolutions"
    FULL = "full difference"
    NORM = "norm layers"
    NORM_HALF = "norm layers without weight or bias"
    T_LORA = "T-LoRA"
    DORA_PER_INPUT = "DoRA per input"
    DORA_PER_OUTPUT = "DoRA per output"
    DORA_FLAT = "DoRA with magnitudes of one axis"
    PEFT_LORA = "LoRA with diffusers' names"
    PEFT_DORA = "DoRA with diffusers' names"
    EMBEDDING = "bundled embedding"
    UNKNOWN = "tensors of an unknown kind"


EXACT = ""
UNCHECKED = "not checked"
_NOT_READ = "does not load it"
_REFUSED = "refuses the whole file"
_OTHER_ORDER = "stops with an error of shapes: it expects the order of factors of older files"
_OUTPUT_NORM_OF_BASE = "loads it wrong: divides by the norms of the base model's weights, not of the changed ones"
_IGNORED_MAGNITUDES = "loads it wrong: drops the magnitudes with a warning"

EFFECTS: Mapping[Form, tuple[str, str, str, str, str]] = {
    Form.LORA: (EXACT, EXACT, EXACT, EXACT, EXACT),
    Form.LORA_SD2_PROJECTION: (EXACT, EXACT, EXACT, EXACT, "stops with an error of shapes; give it diffusers' names"),
    Form.LORA_ALPHAS: (EXACT, EXACT, EXACT, EXACT, "loads it wrong: takes the others' alpha; give it diffusers' names"),
    Form.LORA_TUCKER: (EXACT, EXACT, EXACT, EXACT, _REFUSED),
    Form.LOHA: (EXACT, EXACT, EXACT, EXACT, _REFUSED),
    Form.LOKR: (EXACT, EXACT, EXACT, EXACT, _REFUSED),
    Form.LOKR_TUCKER: ("leaves out these layers with a line in its log", EXACT, UNCHECKED, EXACT, _REFUSED),
    Form.OFT: (EXACT, EXACT, _NOT_READ, EXACT, _REFUSED),
    Form.OFT_RESCALE: ("loads it wrong: ignores the rescaling", EXACT, _NOT_READ, EXACT, _REFUSED),
    Form.OFT_CONSTRAINT: ("loads it wrong: takes a tighter constraint", EXACT, _NOT_READ, EXACT, _REFUSED),
    Form.BOFT: (EXACT, "loads it exactly at strength 1 only", _NOT_READ, UNCHECKED, _REFUSED),
    Form.BOFT_WITHOUT_ALPHA: (
        "leaves out these layers with an error in its log", UNCHECKED, _NOT_READ, UNCHECKED, _REFUSED,
    ),
    Form.GLORA: (EXACT, _OTHER_ORDER, _OTHER_ORDER, _OTHER_ORDER, _REFUSED),
    Form.IA3: (_NOT_READ, EXACT, _NOT_READ, EXACT, _REFUSED),
    Form.IA3_CONVOLUTION: (_NOT_READ, "stops with an error", _NOT_READ, "stops with an error", _REFUSED),
    Form.FULL: (EXACT, EXACT, EXACT, EXACT, _REFUSED),
    Form.NORM: (EXACT, EXACT, EXACT, EXACT, _REFUSED),
    Form.NORM_HALF: (UNCHECKED, _NOT_READ, UNCHECKED, _NOT_READ, _REFUSED),
    Form.T_LORA: (_NOT_READ, _NOT_READ, _NOT_READ, _NOT_READ, _REFUSED),
    Form.DORA_PER_INPUT: (EXACT, EXACT, EXACT, EXACT, _IGNORED_MAGNITUDES),
    Form.DORA_PER_OUTPUT: (
        _OUTPUT_NORM_OF_BASE, "loads it wrong: takes norms per input", _OUTPUT_NORM_OF_BASE, EXACT, _IGNORED_MAGNITUDES,
    ),
    Form.DORA_FLAT: (
        "stops with an error, or loads it wrong where a layer is square", "loads it wrong", UNCHECKED, EXACT,
        _IGNORED_MAGNITUDES,
    ),
    Form.PEFT_LORA: (EXACT, _NOT_READ, UNCHECKED, UNCHECKED, EXACT),
    Form.PEFT_DORA: (UNCHECKED, _NOT_READ, UNCHECKED, UNCHECKED, EXACT),
    Form.EMBEDDING: (
        "does not load it as a LoRA; put the same file among its embeddings as well", EXACT, UNCHECKED, UNCHECKED,
        _REFUSED,
    ),
    Form.UNKNOWN: (UNCHECKED, UNCHECKED, UNCHECKED, UNCHECKED, _REFUSED),
}  # fmt: skip
"""Form -> what each of CLIENTS does with it; EXACT = it computes what was trained."""

_SD2_TEXT_WIDTH = 1024
_LORA_FACTORS = {"lora_down.weight", "lora_up.weight"}

_ALPHA_OF_MOST = re.compile(r"_attn[12]_to_|lora_te\d?_")
"""Layers for which diffusers takes the most frequent alpha of their part of the model; of others it finds their own."""
_FROM_TEXT = ("_q_proj.lora_down.weight", "_fc1.lora_down.weight")

_PEFT_MARK = ".lora_"
"""After the name of a layer; in files of diffusers' names, that name has dots."""

_FORM_OF_SUFFIX: Mapping[str, Form] = {
    "hada_w1_a": Form.LOHA,
    "lokr_t2": Form.LOKR_TUCKER,
    "lokr_w1": Form.LOKR,
    "lokr_w1_a": Form.LOKR,
    "a1.weight": Form.GLORA,
    "diff": Form.FULL,
    "diff_b": Form.FULL,
    "q_layer.weight": Form.T_LORA,
    "lora_mid.weight": Form.LORA_TUCKER,
    "lora_up.weight": Form.LORA,
}
"""Of the suffixes that a layer has, the first in this order tells its form."""


@dataclass(frozen=True)
class Misreading:
    """A client that does not compute with a file what was trained, or has not been tried with it."""

    client: str
    form: Form
    layers: int
    """Number of layers concerned."""
    effect: str

    def __str__(self) -> str:
        return f"{self.client}: {self.form.value}: {self.effect}"


def misreadings(tensors: Mapping[str, torch.Tensor]) -> list[Misreading]:
    """What clients do not read exactly; those that were not tried count, with the effect UNCHECKED."""
    counts = forms_in(tensors)
    return [
        Misreading(client, form, layers, effect)
        for number, client in enumerate(CLIENTS)
        for form, layers in counts.items()
        if (effect := EFFECTS[form][number]) != EXACT
    ]


def unreadable(tensors: Mapping[str, torch.Tensor]) -> list[Misreading]:
    """What clients are known not to read exactly."""
    return [misreading for misreading in misreadings(tensors) if misreading.effect != UNCHECKED]


def exact_clients(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """The clients that compute with a file what was trained."""
    others = {misreading.client for misreading in misreadings(tensors)}
    return [client for client in CLIENTS if client not in others]


def forms_in(tensors: Mapping[str, torch.Tensor]) -> Counter[Form]:
    """Form -> number of layers that have it; one layer may have several, such as LoRA and DoRA."""
    dotted = {key for key in tensors if "." in key.partition(_PEFT_MARK)[0] and _PEFT_MARK in key}
    counts = Counter(_form_of_dotted_layers(dotted))
    others = tensors_by_layer({key: tensor for key, tensor in tensors.items() if key not in dotted})
    is_sd2, unlike_others = is_of_sd2(tensors), _unlike_others(others)
    for name, of_layer in others.items():
        forms = _forms_of_layer(name, of_layer)
        if is_sd2 and Form.LORA in forms and is_pointwise_projection(name):
            forms.append(Form.LORA_SD2_PROJECTION)
        if Form.LORA in forms and name in unlike_others:
            forms.append(Form.LORA_ALPHAS)
        counts.update(forms)
    return counts


def _unlike_others(layers: Mapping[str, Mapping[str, torch.Tensor]]) -> set[str]:
    """Layers whose own alpha diffusers does not find."""
    alphas = {name: float(tensors["alpha"]) for name, tensors in layers.items() if _has_alpha(tensors)}
    frequent: dict[str | None, float] = {}
    for part in {part_of(name) for name in alphas}:
        of_part = Counter(alpha for name, alpha in alphas.items() if part_of(name) == part)
        frequent[part] = of_part.most_common(1)[0][0]
    return {name for name, alpha in alphas.items() if _ALPHA_OF_MOST.search(name) and alpha != frequent[part_of(name)]}


def _has_alpha(tensors: Mapping[str, torch.Tensor]) -> bool:
    return "alpha" in tensors and tensors["alpha"].numel() == 1


def is_of_sd2(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether a LoRA by our names belongs to SD 2.x, by the width of its text encoder where it takes part."""
    return any(
        tensor.shape[1] == _SD2_TEXT_WIDTH
        for key, tensor in tensors.items()
        if key.endswith("_attn2_to_k.lora_down.weight") or (key.startswith("lora_te_") and key.endswith(_FROM_TEXT))
    ) and not looks_like_sdxl(tensors)


def _form_of_dotted_layers(keys: Collection[str]) -> Iterator[Form]:
    with_magnitudes = {key.split(_PEFT_MARK)[0] for key in keys if ".lora_magnitude_vector" in key}
    for layer in {key.split(_PEFT_MARK)[0] for key in keys}:
        yield Form.PEFT_DORA if layer in with_magnitudes else Form.PEFT_LORA


def _forms_of_layer(name: str, tensors: Mapping[str, torch.Tensor]) -> list[Form]:
    if name == "bundle_emb":
        return [Form.EMBEDDING]
    if "oft_blocks" in tensors:
        return _forms_of_rotations(tensors)
    if "w_norm" in tensors or "b_norm" in tensors:
        return [Form.NORM if {"w_norm", "b_norm"} <= tensors.keys() else Form.NORM_HALF]
    if "weight" in tensors:
        return [Form.IA3 if tensors["weight"].ndim == 1 else Form.IA3_CONVOLUTION]
    form = next((form for suffix, form in _FORM_OF_SUFFIX.items() if suffix in tensors), Form.UNKNOWN)
    if form in (Form.LORA, Form.LORA_TUCKER) and not tensors.keys() >= _LORA_FACTORS:
        form = Form.UNKNOWN
    return [form, *_form_of_magnitudes(tensors)]


def _forms_of_rotations(tensors: Mapping[str, torch.Tensor]) -> list[Form]:
    if tensors["oft_blocks"].ndim == 4:
        return [Form.BOFT if "alpha" in tensors else Form.BOFT_WITHOUT_ALPHA]
    forms = [Form.OFT_RESCALE] if "rescale" in tensors else []
    if "alpha" in tensors and float(tensors["alpha"]) > 0:
        forms.append(Form.OFT_CONSTRAINT)
    return forms or [Form.OFT]


def _form_of_magnitudes(tensors: Mapping[str, torch.Tensor]) -> list[Form]:
    magnitudes = tensors.get("dora_scale")
    if magnitudes is None:
        return []
    if magnitudes.ndim == 1:
        return [Form.DORA_FLAT]
    return [Form.DORA_PER_INPUT if len(magnitudes) == 1 else Form.DORA_PER_OUTPUT]
