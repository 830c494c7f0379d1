"""Trains a LoRA or another network on Stable Diffusion 1.x or 2.x. See README.md and --help."""

import sys

from library.models.family import SD1, SD2
from library.training.command import run_training_command

DESCRIPTION = """Trains a network such as a LoRA on top of an SD 1.x or 2.x model (SDXL: sdxl_train_network.py).
The least you need: --pretrained_model_name_or_path MODEL --train_data_dir FOLDER --resolution 512
--output_dir FOLDER --network_module networks.lora"""


def main() -> int:
    return run_training_command("train_network.py", DESCRIPTION, (SD1, SD2), sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
