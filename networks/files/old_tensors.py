"""What old releases of other trainers left out of a layer's tensors, or wrote in another form."""

from collections.abc import Mapping

import torch

from library.errors import UserError

_RANKED = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "a2.weight")
"""Tensors with as many rows as the rank; of several, the first one counts."""
_TAKES_SCALAR = ("lora_up.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a")
"""One factor of each product."""

_ORTHOGONAL_WITHIN = 1e-3


def modernise(name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A layer's tensors with `alpha`, which is taken for the rank where it is missing, without `scalar` (LyCORIS),
    which is multiplied in, and with `oft_blocks` instead of `oft_diag`.

    Args:
        tensors: of one layer, by suffix.

    Raises:
        UserError: there is no such form of them, or tensors are of impossible sizes.
    """
    tensors = {suffix: _of_its_size(f"{name}.{suffix}", tensor) for suffix, tensor in tensors.items()}
    scalar = tensors.pop("scalar", None)
    if scalar is not None:
        factor = next((suffix for suffix in _TAKES_SCALAR if suffix in tensors), None)
        if factor is None:
            raise UserError(f"network file: '{name}.scalar' belongs to a kind for which it has no known meaning")
        tensors[factor] = tensors[factor] * scalar.to(tensors[factor].dtype)
    if "oft_diag" in tensors:
        tensors["oft_blocks"] = _blocks_of_rotations(name, tensors.pop("oft_diag"))
        tensors["alpha"] = torch.tensor(0.0)  # the constraint, which has no part in what was stored
    if "alpha" not in tensors:
        tensors |= _default_alpha(tensors)
    return tensors


def _of_its_size(key: str, tensor: torch.Tensor) -> torch.Tensor:
    """An alpha that is a list of one number becomes that number."""
    if not tensor.numel():
        raise UserError(f"network file: '{key}' holds no numbers; use another file")
    if not key.endswith(".alpha"):
        return tensor
    if tensor.numel() > 1:
        raise UserError(f"network file: '{key}' holds {tensor.numel()} numbers instead of one; use another file")
    return tensor.reshape(()) if tensor.ndim else tensor


def _default_alpha(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With which the scale is 1, or, where alpha is a constraint, there is none. Empty for kinds without alpha."""
    ranked = next((suffix for suffix in _RANKED if suffix in tensors), None)
    if ranked is not None:
        return {"alpha": torch.tensor(float(len(tensors[ranked])))}
    if "lokr_w2" in tensors:
        return {"alpha": torch.tensor(1.0)}
    return {"alpha": torch.tensor(0.0)} if "oft_blocks" in tensors else {}


def _blocks_of_rotations(name: str, rotations: torch.Tensor) -> torch.Tensor:
    """(blocks, size, size) rotations R, as LyCORIS up to 1.8 stored them -> B with R = (I + Q)(I - Q)^-1, Q = B - B^T.

    Raises:
        UserError: they are no rotations, or turn by 180 degrees, for which there is no B.
    """
    exact = rotations.double()
    identity = torch.eye(exact.shape[-1], dtype=exact.dtype).expand_as(exact)
    is_orthogonal = torch.allclose(exact @ exact.mT, identity, atol=_ORTHOGONAL_WITHIN)
    skew, failed = torch.linalg.solve_ex(exact + identity, exact - identity)
    if not is_orthogonal or failed.any() or not torch.isfinite(skew).all():
        raise UserError(
            f"network file: '{name}.oft_diag', as LyCORIS up to 1.8 wrote it, is no rotation and cannot be read; "
            "train the network again with a newer OFT"
        )
    blocks: torch.Tensor = (skew - skew.mT) / 4  # exactly skew, whatever was rounded
    return blocks.to(rotations.dtype)
