"""The command by which guides train SDXL with LyCORIS, as it stands.

Paths, sizes and the number of steps are those of a tiny model. --mixed_precision is bf16, since fp16 needs a GPU.
"""

import json
import shlex

import pytest
import torch
from safetensors.torch import load_file

from library.models.family import SDXL
from tests.models.tiny_families import save_tiny_folder
from tests.training.command import train_sdxl
from tests.training.running import metadata_of

COMMAND = """
  --lowram --resolution="64,64" --enable_bucket --min_bucket_reso=64 --max_bucket_reso=128 --network_alpha=4
  --save_model_as="safetensors" --network_module="lycoris.kohya"
  --network_args "preset=full" "conv_dim=8" "conv_alpha=4" "use_tucker=False" "use_scalar=False"
                 "rank_dropout_scale=False" "algo=locon" "train_norm=False"
                 "block_dims={dims}" "block_alphas={alphas}"
  --network_dropout=0 --lr_scheduler="cosine" --learning_rate=0.0001 --unet_lr=0.0001 --text_encoder_lr=0.0001
  --network_dim=4 --output_name="NAME" --scale_weight_norms=1 --no_half_vae --save_every_n_epochs=50
  --mixed_precision="bf16" --save_precision="fp16" --caption_extension=".txt" --cache_latents
  --cache_latents_to_disk --optimizer_type="AdamW" --max_grad_norm=1 --keep_tokens=1
  --max_data_loader_n_workers=8 --bucket_reso_steps=32 --multires_noise_iterations=10
  --multires_noise_discount=0.1 --log_prefix=xl-locon --gradient_accumulation_steps=2
  --gradient_checkpointing --train_batch_size=2 --dataset_repeats=0 --max_train_steps=4 --shuffle_caption
  --sdpa --sample_prompts="{prompts}" --sample_sampler="euler_a" --sample_every_n_steps=2
""".format(dims=",".join(["8"] * 25), alphas=",".join(["0.0625"] * 25), prompts="{prompts}")


@pytest.fixture
def arguments(tmp_path, train_data_dir):
    model, prompts = tmp_path / "model", tmp_path / "prompts.txt"
    save_tiny_folder(SDXL, model)
    prompts.write_text(
        "# a comment\nscore_9, a cat --n low quality --w 64 --h 64 --d 1 --l 6.0 --s 2\n", encoding="utf-8"
    )
    paths = [
        "--pretrained_model_name_or_path",
        model,
        "--train_data_dir",
        train_data_dir,
        "--output_dir",
        tmp_path / "o",
    ]
    return [*map(str, paths), *shlex.split(COMMAND.format(prompts=prompts))]


def test_the_command_runs(arguments, tmp_path, capsys):
    assert train_sdxl(*arguments) == 0
    weights = load_file(tmp_path / "o" / "NAME.safetensors")
    assert {name.partition(".")[2] for name in weights} == {"alpha", "lora_down.weight", "lora_up.weight"}
    assert len(weights) == 3 * (24 + 257)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    ups = {name: value for name, value in weights.items() if name.endswith("lora_up.weight")}
    assert sum(bool(value.any()) for value in ups.values()) == len(ups) - 6  # the last layer of CLIP-L is not used
    convolution = weights["lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight"]
    assert convolution.shape == (8, 32, 3, 3)
    assert weights["lora_unet_input_blocks_4_1_proj_in.lora_down.weight"].shape[0] == 4
    metadata = metadata_of(tmp_path / "o" / "NAME.safetensors")
    assert metadata["ss_network_module"] == "lycoris.kohya"
    assert json.loads(metadata["ss_network_args"])["algo"] == "locon"

    shown = " ".join(capsys.readouterr().err.split())
    for name in ("block_dims", "block_alphas"):
        assert f"--network_args {name}: lycoris.kohya does not read this argument; it has no effect." in shown
    assert shown.count("does not read this argument") == 2


def test_dora_names_the_programs_that_read_it_wrongly(arguments, capsys):
    arguments = ["dora_wd=True" if word == "use_scalar=False" else word for word in arguments]
    assert train_sdxl(*arguments, "--max_train_steps=1") == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert (
        "--network_args dora_wd=True: LyCORIS keeps one magnitude for each output, which A1111 reads wrongly" in shown
    )
