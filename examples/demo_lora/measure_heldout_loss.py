"""Measures what the demo LoRA learned: the loss on pictures of the same concept that it never saw.

    python examples/demo_lora/measure_heldout_loss.py output/demo/demo.safetensors

The noise and the timesteps are the same for the base model and the LoRA, so that only the network differs.
Exit code 1 if the loss falls by less than the goal.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import torch  # noqa: E402

from library.dataset.batch_plan import batches_of_epoch  # noqa: E402
from library.dataset.batches.batch_preparation import BatchPreparer  # noqa: E402
from library.dataset.findings import Findings  # noqa: E402
from library.dataset.images.picture_files import FilePictures  # noqa: E402
from library.dataset.records import Dataset  # noqa: E402
from library.dataset.scanning.scan import scan_dataset  # noqa: E402
from library.models.adapter import ModelAdapter  # noqa: E402
from library.models.adapter_loading import load_model  # noqa: E402
from library.models.family import SD1  # noqa: E402
from library.models.model_parts import ModelPrecision, ModelRequest  # noqa: E402
from library.models.model_source import ModelSource, SourceKind  # noqa: E402
from library.options.dataset_settings import DatasetSettings, SubsetSettings  # noqa: E402
from library.options.groups import LossOptions, NoiseOptions, TimestepOptions  # noqa: E402
from library.training.objective import build_objective  # noqa: E402
from networks.lora import create_network_from_weights  # noqa: E402

GOAL = 0.15
"""Share by which the loss must fall."""
DRAWS_PER_IMAGE = 24
SEED = 7


def held_out_images(folder: Path) -> Dataset:
    """Each picture as often as it is measured, every time with other noise and another timestep."""
    subset = SubsetSettings(image_dir=folder, caption_extension=".txt", num_repeats=DRAWS_PER_IMAGE)
    settings = DatasetSettings(
        resolution=(192, 128), enable_bucket=True, min_bucket_reso=128, max_bucket_reso=192, batch_size=8,
        subsets=(subset,),
    )  # fmt: skip
    findings = Findings()
    dataset = scan_dataset(0, settings, findings)
    if findings.problems:
        raise SystemExit("\n".join(findings.problems))
    return dataset


@torch.no_grad()
def measure(model: ModelAdapter, dataset: Dataset) -> float:
    """Mean loss over all draws."""
    objective = build_objective(
        NoiseOptions(), TimestepOptions(), LossOptions(), predicts_velocity=False, device=torch.device("cpu")
    )
    preparer = BatchPreparer((dataset,), SEED, model.family.latents, model.tokenize, 1.0, FilePictures())
    batches = batches_of_epoch([dataset], SEED, epoch=0)
    losses = [objective.losses(model, preparer.prepare(batch)).unweighted for batch in batches]
    return torch.cat(losses).mean().item()


def with_network(model: ModelAdapter, file: Path) -> Callable[[float], None]:
    """Applies a network file, whatever its kind; the result sets its strength."""
    views = model.views()
    network, _ = create_network_from_weights(1.0, str(file), None, views.text_encoders_as_kohya(), views.unet)
    network.apply_to(views.text_encoders_as_kohya(), views.unet)
    network.eval()
    return network.set_multiplier


def heldout_losses(
    file: Path, model_folder: Path = HERE.parent / "demo_model" / "model", images: Path = HERE / "held_out" / "1_sks"
) -> tuple[float, float]:
    """Loss without and with a network file."""
    dataset = held_out_images(images)
    source = ModelSource(SourceKind.FOLDER, str(model_folder))
    model = load_model(ModelRequest(source, SD1, ModelPrecision(torch.float32, torch.float32)))
    set_strength = with_network(model, file)
    set_strength(0.0)
    before = measure(model, dataset)
    set_strength(1.0)
    return before, measure(model, dataset)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lora", type=Path)
    parser.add_argument("--model", type=Path, default=HERE.parent / "demo_model" / "model")
    parser.add_argument("--images", type=Path, default=HERE / "held_out" / "1_sks")
    options = parser.parse_args()
    before, after = heldout_losses(options.lora, options.model, options.images)
    fall = 1 - after / before
    print(f"held-out loss: {before:.4f} without, {after:.4f} with the LoRA: {fall:.0%} lower")
    return 0 if fall >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
