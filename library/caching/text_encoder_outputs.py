"""Captions encoded once before training: how they are encoded, and how they are kept in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from library.diffusion.conditioning import TextConditioning, TokenizedCaptions
from library.errors import UserError

Tokenize = Callable[[Sequence[str]], TokenizedCaptions]
EncodeText = Callable[[TokenizedCaptions], TextConditioning]


def bytes_per_caption(outputs: TextConditioning) -> int:
    """What each caption of these takes up, in memory as on the disk."""
    tensors = [outputs.hidden_states] if outputs.pooled is None else [outputs.hidden_states, outputs.pooled]
    return sum(tensor.nbytes for tensor in tensors) // len(outputs.hidden_states)


@dataclass(frozen=True)
class CaptionEncoder:
    """The text encoders of a model, and how they are run."""

    tokenize: Tokenize
    encode_text: EncodeText
    """as in a training step: with the same precision"""
    batch_size: int
    """Captions encoded at once. With that of training, outputs are the same bits that training would compute."""
    device: torch.device
    show_progress: bool = False

    def encode(self, captions: Sequence[str]) -> Iterator[tuple[list[str], TextConditioning]]:
        """Captions in batches, each with its outputs on the CPU, in the precision in which they come.

        Raises:
            UserError: an output is not finite.
        """
        with tqdm(total=len(captions), desc="encoding captions", disable=not self.show_progress) as bar:
            for start in range(0, len(captions), self.batch_size):
                batch = list(captions[start : start + self.batch_size])
                yield batch, self._encode(batch)
                bar.update(len(batch))

    @torch.no_grad()
    def _encode(self, batch: Sequence[str]) -> TextConditioning:
        # kernels round differently for other batch sizes: filled up, the last batch does not depend on how many
        # captions there are, so that an encoding that was resumed gives the same bits
        filled = [*batch, *[batch[-1]] * (self.batch_size - len(batch))]
        outputs = self.encode_text(self.tokenize(filled).to(self.device))
        rows = len(batch)
        pooled = None if outputs.pooled is None else _copy_to_cpu(outputs.pooled[:rows])
        copied = TextConditioning(_copy_to_cpu(outputs.hidden_states[:rows]), pooled)
        _require_finite(batch, copied)
        return copied


@dataclass(frozen=True)
class OutputsInMemory:
    """Encoded captions of a run."""

    rows: Mapping[str, int]
    """caption -> its row in `outputs`"""
    outputs: TextConditioning

    def conditioning(self, captions: Sequence[str]) -> TextConditioning:
        """The outputs of these captions, one row each.

        Raises:
            KeyError: a caption was not encoded, which is a bug.
        """
        rows = torch.tensor([_find(self.rows, caption) for caption in captions])
        pooled = self.outputs.pooled
        return TextConditioning(self.outputs.hidden_states[rows], None if pooled is None else pooled[rows])


def encode_in_memory(encoder: CaptionEncoder, captions: Sequence[str]) -> OutputsInMemory:
    """Encodes each distinct caption; there is at least one.

    Raises:
        UserError: an output is not finite, or the memory does not suffice.
    """
    distinct = list(dict.fromkeys(captions))
    outputs: TextConditioning | None = None
    filled = 0
    for batch, encoded in encoder.encode(distinct):
        outputs = outputs or _allocate(len(distinct), encoded)
        end = filled + len(batch)
        outputs.hidden_states[filled:end] = encoded.hidden_states
        if outputs.pooled is not None and encoded.pooled is not None:
            outputs.pooled[filled:end] = encoded.pooled
        filled = end
    if outputs is None:
        raise ValueError("there is no caption to encode")
    return OutputsInMemory({caption: row for row, caption in enumerate(distinct)}, outputs)


def _allocate(captions: int, like: TextConditioning) -> TextConditioning:
    """One tensor for all captions: thousands of small ones would not fit through the doors between processes."""

    def rows(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty((captions, *tensor.shape[1:]), dtype=tensor.dtype)

    try:
        return TextConditioning(rows(like.hidden_states), None if like.pooled is None else rows(like.pooled))
    except RuntimeError:
        size = captions * bytes_per_caption(like) / 2**30
        raise UserError(
            f"--cache_text_encoder_outputs: there is no memory for {captions} captions ({size:.1f} GiB); lower "
            "--text_encoder_cache_budget, or use --cache_text_encoder_outputs_to_disk"
        ) from None


def _find(rows: Mapping[str, int], caption: str) -> int:
    try:
        return rows[caption]
    except KeyError:
        raise KeyError(f"the caption {caption!r} was not encoded") from None


def _copy_to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Compact, without what the tensor may be a view of."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _require_finite(captions: Sequence[str], outputs: TextConditioning) -> None:
    for caption, row in zip(captions, outputs.rows(), strict=True):
        if not all(part.isfinite().all() for part in (row.hidden_states, row.pooled) if part is not None):
            raise UserError(
                f"the text encoder's output for the caption '{caption}' is not finite; use --mixed_precision bf16 or "
                "no, and leave out --full_fp16"
            )
