"""Encodes the captions of a run before it begins, if that is wanted."""

import logging
from dataclasses import dataclass, replace

from accelerate import Accelerator

from library.caching.content_identity import weights_fingerprint
from library.caching.text_cache_plan import TextCachePlan, plan_text_cache
from library.caching.text_encoder_identity import settings_key
from library.caching.text_encoder_outputs import CaptionEncoder, bytes_per_caption, encode_in_memory
from library.caching.text_outputs_on_disk import encode_on_disk
from library.dataset.batches.batch_preparation import EncodedCaptions
from library.diffusion.conditioning import TextConditioning, TokenizedCaptions
from library.models.adapter import ModelAdapter
from library.training.batch_schedule import BatchSchedule
from library.training.model_setup import CPU, dtype_of, free_device_memory
from library.training.preflight import RunPlan, cache_folder
from library.training.process_group import processes_of

logger = logging.getLogger(__name__)

CAPTIONS_AT_ONCE = 8


@dataclass(frozen=True)
class CachedText:
    lookup: EncodedCaptions
    variants: int | None
    """Most different captions of an image; None = a new one for each exposure."""


def cache_text(
    plan: RunPlan, model: ModelAdapter, schedule: BatchSchedule, accelerator: Accelerator
) -> CachedText | None:
    """Brings the text encoders to the device. Encodes all captions of the run, if they are to be cached; the text
    encoders then leave the device again.

    Raises:
        UserError: the outputs are not finite, or cannot be kept.
    """
    cache, device = plan.resolved.settings.cache, accelerator.device
    model.move_text_encoders(device)
    if not cache.caches_text:
        return None
    encoder = _encoder(model, accelerator)
    _, empty_caption = next(replace(encoder, show_progress=False).encode([""]))
    everyone = range(schedule.num_processes)
    cache_plan = plan_text_cache(
        list(schedule.of_run(everyone)),
        schedule.captions,
        bytes_per_caption(empty_caption),
        cache.text_encoder_cache_budget,
    )
    variants = cache_plan.exposed.variants
    logger.log(logging.INFO if variants is None else logging.WARNING, cache_plan.report)
    lookup = _encode_all(plan, model, encoder, cache_plan, schedule, accelerator)
    if not plan.resolved.settings.memory.highvram:
        model.move_text_encoders(CPU)
        free_device_memory(device)
    return CachedText(lookup, variants)


def _encoder(model: ModelAdapter, accelerator: Accelerator) -> CaptionEncoder:
    def encode(tokens: TokenizedCaptions) -> TextConditioning:
        with accelerator.autocast():
            return model.encode_text(tokens)

    return CaptionEncoder(
        model.tokenize, encode, CAPTIONS_AT_ONCE, accelerator.device, show_progress=accelerator.is_main_process
    )


def _encode_all(
    plan: RunPlan,
    model: ModelAdapter,
    encoder: CaptionEncoder,
    cache_plan: TextCachePlan,
    schedule: BatchSchedule,
    accelerator: Accelerator,
) -> EncodedCaptions:
    if not plan.resolved.settings.cache.cache_text_encoder_outputs_to_disk:
        # each process keeps what its own batches need
        mine = schedule.of_run([accelerator.process_index])
        return encode_in_memory(encoder, cache_plan.exposed.of_run(mine)).conditioning
    folder = cache_folder(plan.resolved, plan.datasets) / "text_encoder_outputs" / _key(plan, model)
    return encode_on_disk(
        encoder,
        cache_plan.captions,
        folder,
        processes_of(accelerator),
        is_trusted=plan.resolved.settings.cache.skip_cache_check,
    ).conditioning


def _key(plan: RunPlan, model: ModelAdapter) -> str:
    settings = plan.resolved.settings
    return settings_key(
        family=plan.family.name,
        weights=weights_fingerprint(model.text_encoders()),
        token_length=model.tokenize.limit,
        weighted_captions=settings.text.weighted_captions,
        clip_skip=settings.model.layer_from_end if plan.family.uses_clip_skip else None,
        precision=dtype_of(settings.precision),
    )
