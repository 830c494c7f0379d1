"""The base model and how it is loaded."""

from pathlib import Path
from typing import ClassVar

from library.options.declaration import OptionGroup, option


class ModelOptions(OptionGroup):
    title: ClassVar[str] = "Base model"

    pretrained_model_name_or_path: str | None = option(
        help="The base model: a .safetensors or .ckpt file, a diffusers folder, or a hub id (owner/name). Required."
    )
    v2: bool = option(False, help="The base model is SD 2.x.")
    v_parameterization: bool = option(False, help="The base model predicts velocity (v) instead of noise.")
    clip_skip: int | None = option(
        ge=1,
        unit="layers",
        help="Take the text encoder's n-th layer from the end; 1 is the last. SDXL ignores it: its layer is fixed.",
    )
    vae: str | None = option(
        help="Replacement VAE: a file (a VAE alone or a whole model), a diffusers folder or a hub id."
    )
    no_half_vae: bool = option(
        False,
        help="Keep the VAE in float32 whatever --mixed_precision says. Without it, a picture that overflows in half "
        "precision is encoded in float32 by itself.",
    )
    tokenizer_cache_dir: Path | None = option(
        help="Folder where tokenizers are kept; one found there is used. Nothing is ever downloaded for them."
    )
    disable_mmap_load_safetensors: bool = option(
        False,
        help="Read model files in one go instead of mapping them; for slow network disks. Needs main memory for the "
        "file and the model at once.",
    )

    @property
    def layer_from_end(self) -> int:
        """The text encoder's layer that is taken; 1 = the last."""
        return self.clip_skip or 1
