"""Encodes the images of a run before it begins, if that is wanted."""

from accelerate import Accelerator

from library.caching.content_identity import weights_fingerprint
from library.caching.encoded_latents import EncodedLatents
from library.caching.latent_encoding import LatentEncoder
from library.caching.latent_pictures import pictures_of, settings_key
from library.caching.latents_in_memory import DTYPE as IN_MEMORY
from library.caching.latents_in_memory import encode_in_memory
from library.caching.latents_on_disk import DTYPE as ON_DISK
from library.caching.latents_on_disk import encode_on_disk, fingerprints_of
from library.dataset.batches.cached_latents import LatentSource
from library.models.adapter import ModelAdapter
from library.training.model_setup import CPU, free_device_memory
from library.training.preflight import RunPlan, cache_folder
from library.training.process_group import processes_of


def cache_latents(plan: RunPlan, model: ModelAdapter, seed: int, accelerator: Accelerator) -> LatentSource | None:
    """Brings the VAE to the device. Encodes all pictures of the run, if they are to be cached; the VAE then leaves
    the device again.

    Raises:
        UserError: an image cannot be read or encoded, or the latents cannot be kept.
    """
    settings = plan.resolved.settings
    model.move_vae(accelerator.device)
    if not settings.cache.caches_latents:
        return None
    encoder = LatentEncoder(
        model=model,
        reader=plan.pictures,
        device=accelerator.device,
        batch_size=settings.cache.vae_batch_size,
        dtype=ON_DISK if settings.cache.cache_latents_to_disk else IN_MEMORY,
        resamples=settings.cache.resample_latents,
        tolerates_unusable=settings.data.unreadable_images == "skip",
        show_progress=accelerator.is_main_process,
    )
    latents = _encode_all(plan, encoder, seed, accelerator)
    if not settings.memory.highvram:
        model.move_vae(CPU)
        free_device_memory(accelerator.device)
    return latents


def _encode_all(plan: RunPlan, encoder: LatentEncoder, seed: int, accelerator: Accelerator) -> EncodedLatents:
    wanted, processes = pictures_of(plan.datasets), processes_of(accelerator)
    cache = plan.resolved.settings.cache
    if not cache.cache_latents_to_disk:
        return encode_in_memory(encoder, wanted, seed, processes)
    folder = cache_folder(plan.resolved, plan.datasets) / "latents" / _key(encoder)
    fingerprints = fingerprints_of(encoder, wanted, processes)
    processes.in_turn(plan.pictures.keep_facts)  # each adds to what those before it wrote
    return encode_on_disk(encoder, wanted, fingerprints, folder, processes, is_trusted=cache.skip_cache_check)


def _key(encoder: LatentEncoder) -> str:
    family, vae = encoder.model.family, encoder.model.views().vae
    return settings_key(
        weights=weights_fingerprint([vae]),
        precision=next(vae.parameters()).dtype,
        layout=family.latents,
        scale=family.latent_scale,
        resamples=encoder.resamples,
    )
