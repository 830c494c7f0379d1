"""The base model and how it is loaded."""

from typing import ClassVar

from library.options.declaration import OptionGroup, option

SD2 = "SD 2.x and v-prediction models"
CHECKPOINTS = "loading further kinds of model files"


class ModelOptions(OptionGroup):
    title: ClassVar[str] = "Base model"

    pretrained_model_name_or_path: str | None = option(
        help="The base model: a .safetensors or .ckpt file, a diffusers folder, or a hub id (owner/name). Required."
    )
    v2: bool = option(False, help="The base model is SD 2.x.", pending=SD2)
    v_parameterization: bool = option(False, help="The base model predicts velocity (v) instead of noise.", pending=SD2)
    clip_skip: int | None = option(
        ge=1, unit="layers", help="Take the text encoder's n-th layer from the end; 1 is the last.", pending=SD2
    )
    vae: str | None = option(help="Replacement VAE: a file, a diffusers folder or a hub id.", pending=CHECKPOINTS)
    no_half_vae: bool = option(False, help="Keep the VAE in float32 whatever --mixed_precision says.")
    tokenizer_cache_dir: str | None = option(
        help="Folder where tokenizers are kept for offline use.", pending=CHECKPOINTS
    )
    disable_mmap_load_safetensors: bool = option(
        False, help="Read model files in one go instead of mapping them; for slow network disks.", pending=CHECKPOINTS
    )
