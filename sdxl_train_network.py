"""Trains a LoRA or another network on Stable Diffusion XL and its descendants. See README.md and --help."""

import sys

from library.models.family import SDXL
from library.training.command import run_training_command

DESCRIPTION = """Trains a network such as a LoRA on top of a Stable Diffusion XL model (others: train_network.py).
The least you need: --pretrained_model_name_or_path MODEL --train_data_dir FOLDER --resolution 1024
--output_dir FOLDER --network_module networks.lora"""


def main() -> int:
    return run_training_command("sdxl_train_network.py", DESCRIPTION, (SDXL,), sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
