"""From the loss of each value to that of each image, where masks say how much each place counts."""

import torch


def mean_per_image(
    losses: torch.Tensor,  # (batch, channels, height, width)
    masks: torch.Tensor | None = None,  # (batch, height, width), 0 to 1; None = everything counts
    is_normalized: bool = False,
) -> torch.Tensor:
    """Mean over everything but the batch. Shape (batch,).

    Masks are factors of the loss, and the mean is that over the whole picture all the same: a picture of which half
    is masked out weighs half. If it is normalised, the mean is that over what the mask leaves, and a picture that is
    masked out entirely has the loss 0.
    """
    if masks is None:
        return losses.flatten(1).mean(dim=1)
    means = (losses * masks.unsqueeze(1)).flatten(1).mean(dim=1)
    if not is_normalized:
        return means
    areas = masks.flatten(1).mean(dim=1)
    return means / torch.where(areas > 0, areas, 1.0)


def softened(masks: torch.Tensor, unmasked_weight: float) -> torch.Tensor:
    """Masks of any shape in which what they leave out counts this much instead of not at all."""
    return unmasked_weight + (1 - unmasked_weight) * masks
