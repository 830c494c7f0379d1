"""Preview images: defaults, names, independence from training, contact sheets."""

import random

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image

from library.errors import UserError
from library.sampling.contact_sheet import draw_contact_sheet, find_previews, moments_in_order
from library.sampling.generation import PictureRequest, generate
from library.sampling.previews import draw_previews, preview_file_name, preview_prompts
from library.sampling.samplers import build_sampler

CPU = torch.device("cpu")


def request(**changes) -> PictureRequest:
    values = {
        "prompt": "a cat", "negative_prompt": "", "width": 64, "height": 72, "steps": 3, "scale": 5.0,
        "sampler": "ddim", "seed": 3,
    }  # fmt: skip
    return PictureRequest(**{**values, **changes})


@pytest.fixture(scope="module")
def model():
    from tests.models.tiny import tiny_adapter

    return tiny_adapter()


def test_defaults_and_seeds_that_stay_the_same():
    prompts = [{"prompt": "a", "enum": 0}, {"prompt": "b", "enum": 1, "seed": 9, "sample_sampler": "euler"}]
    first, second = preview_prompts(prompts, "euler_a", run_seed=1)
    assert first.request == PictureRequest("a", "", 512, 512, 30, 7.5, "euler_a", first.request.seed)
    assert not first.seed_was_given
    assert (second.request.seed, second.request.sampler, second.seed_was_given) == (9, "euler", True)
    assert preview_prompts(prompts, "euler_a", run_seed=1)[0].request.seed == first.request.seed
    assert preview_prompts(prompts, "euler_a", run_seed=2)[0].request.seed != first.request.seed


def test_file_names():
    with_seed, without = preview_prompts(
        [{"prompt": "a", "enum": 0, "seed": 7}, {"prompt": "b", "enum": 11}], "ddim", run_seed=1
    )
    assert preview_file_name("my lora", "000100", with_seed, 0.0).startswith("my lora_000100_00_1970")
    assert preview_file_name("my lora", "000100", with_seed, 0.0).endswith("_7.png")
    assert preview_file_name(None, "e000002", without, 0.0).startswith("e000002_11_")


@pytest.mark.parametrize(("given", "expected"), [(512, 512), (70, 64), (8, 64), (131, 128)])
def test_sizes_are_multiples_of_eight(given, expected):
    assert request(width=given).size[0] == expected


@pytest.mark.parametrize("sampler", ["ddim", "euler", "euler_a", "k_euler", "k_euler_a"])
def test_pictures_depend_on_the_seed_and_nothing_else(model, sampler):
    torch.manual_seed(1)
    first = generate(model, request(sampler=sampler), CPU)
    before = torch.get_rng_state()
    python_state = random.getstate()
    again = generate(model, request(sampler=sampler), CPU)
    assert torch.equal(before, torch.get_rng_state())
    assert python_state == random.getstate()
    assert first.size == (64, 72)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != generate(model, request(sampler=sampler, seed=4), CPU).tobytes()


def test_guidance_and_negative_prompt_matter(model):
    pictures = {
        generate(model, request(**changes), CPU).tobytes()
        for changes in ({}, {"scale": 1.0}, {"scale": 9.0}, {"negative_prompt": "dog"}, {"prompt": "dog"})
    }
    assert len(pictures) == 5


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ddim", DDIMScheduler), ("euler", EulerDiscreteScheduler), ("k_euler_a", EulerAncestralDiscreteScheduler)],
)
def test_samplers(name, kind):
    sampler = build_sampler(name, "epsilon")
    assert type(sampler) is kind
    assert sampler.config.prediction_type == "epsilon"
    assert build_sampler(name, "v").config.prediction_type == "v_prediction"


def test_unknown_samplers_are_no_ddim():
    with pytest.raises(ValueError, match="nonsense"):
        build_sampler("nonsense", "epsilon")


def test_the_picture_is_that_of_a_diffusers_pipeline(model):
    tokenizer = model._tokenizer._tokenizer
    pipeline = StableDiffusionPipeline(
        model._vae, model._text_encoder, tokenizer, model._unet, build_sampler("ddim", "epsilon"), None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 9, 8, generator=torch.Generator().manual_seed(3))
    theirs = pipeline(
        "a cat", negative_prompt="", width=64, height=72, num_inference_steps=3, guidance_scale=5.0, latents=latents
    ).images[0]
    difference = [abs(a - b) for a, b in zip(theirs.tobytes(), generate(model, request(), CPU).tobytes(), strict=True)]
    assert max(difference) <= 1


def test_a_preview_that_fails_does_not_stop_the_others(model, tmp_path, caplog):
    prompts = preview_prompts(
        [{"prompt": "a", "enum": 0, "width": 64, "height": 64, "sample_steps": 1, "sample_sampler": "broken"},
         {"prompt": "b", "enum": 1, "width": 64, "height": 64, "sample_steps": 1}], "ddim", 1,
    )  # fmt: skip
    saved = draw_previews(model, prompts, tmp_path, "x", "000000", CPU)
    assert [path.name[:12] for path in saved] == ["x_000000_01_"]
    assert "preview 0 could not be drawn; training goes on" in caplog.text
    assert [path.name for path in (tmp_path / "sample").iterdir()] == [saved[0].name]


def test_contact_sheet(tmp_path):
    for moment, colour in (("000000", "red"), ("000020", "green"), ("e000002", "blue")):
        for number in (0, 1):
            stamp = {"000000": 0, "000020": 1, "e000002": 2}[moment]
            Image.new("RGB", (64 + 32 * number, 64), colour).save(
                tmp_path / f"my_run_{moment}_{number:02d}_2026112100000{stamp}_5.png"
            )
    (tmp_path / "other.png").write_bytes(b"")
    previews = find_previews(tmp_path)
    assert len(previews) == 6
    moments = moments_in_order(previews)
    assert moments == ["000000", "000020", "e000002"]
    assert {preview.heading for preview in previews} == {"before", "step 20", "epoch 2"}
    sheet = draw_contact_sheet(previews, {0: "a prompt"}, moments)
    assert sheet.width >= 3 * 96
    assert sheet.height >= 2 * 64
    colours = {colour for _, colour in sheet.getcolors(100_000)}
    assert {(255, 0, 0), (0, 128, 0), (0, 0, 255)} <= colours


def test_no_previews(tmp_path):
    with pytest.raises(UserError, match="holds no previews"):
        find_previews(tmp_path)
