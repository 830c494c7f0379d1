"""Preview images: defaults, names, independence from training."""

import contextlib
import dataclasses
import random

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, StableDiffusionPipeline

from library.models.family import SD2, SDXL, predicting_velocity
from library.options.groups import SamplingOptions
from library.sampling import previews
from library.sampling.generation import PictureRequest, generate
from library.sampling.previews import draw_previews, preview_file_name, preview_prompts
from library.sampling.samplers import build_sampler
from library.training.preview_schedule import PreviewSchedule
from library.training.weight_versions import WeightVersion
from tests.models.tiny import tiny_adapter
from tests.models.tiny_families import tiny_adapter_of, tiny_pipeline_of

CPU = torch.device("cpu")


def request(**changes) -> PictureRequest:
    values = {
        "prompt": "a cat", "negative_prompt": "", "width": 64, "height": 72, "steps": 3, "scale": 5.0,
        "sampler": "ddim", "seed": 3,
    }  # fmt: skip
    return PictureRequest(**{**values, **changes})


@pytest.fixture(scope="module")
def model():
    return tiny_adapter()


def test_defaults_and_seeds_that_stay_the_same():
    prompts = [{"prompt": "a", "enum": 0}, {"prompt": "b", "enum": 1, "seed": 9, "sample_sampler": "euler"}]
    first, second = preview_prompts(prompts, "euler_a", default_size=512, run_seed=1)
    assert first.request == PictureRequest("a", "", 512, 512, 30, 7.5, "euler_a", first.request.seed)
    assert not first.seed_was_given
    assert (second.request.seed, second.request.sampler, second.seed_was_given) == (9, "euler", True)
    assert preview_prompts(prompts, "euler_a", default_size=512, run_seed=1)[0].request.seed == first.request.seed
    assert preview_prompts(prompts, "euler_a", default_size=512, run_seed=2)[0].request.seed != first.request.seed


def test_file_names():
    with_seed, without = preview_prompts(
        [{"prompt": "a", "enum": 0, "seed": 7}, {"prompt": "b", "enum": 11}], "ddim", default_size=512, run_seed=1
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


@pytest.mark.parametrize("name", ["ddim", "euler", "euler_a"])
@pytest.mark.parametrize("steps", [1, 30, 999, 1000])
def test_samplers_take_any_number_of_steps(name, steps):
    sampler = build_sampler(name, "epsilon", steps)
    sampler.set_timesteps(steps)
    first = sampler.timesteps[0]
    assert len(sampler.timesteps) == steps
    assert 0 <= sampler.timesteps.min() <= first <= 999
    latents = sampler.scale_model_input(torch.ones(1, 4, 8, 8), first)
    assert sampler.step(latents, first, latents).prev_sample.isfinite().all()


def test_ddim_timesteps_are_those_of_other_trainers():
    sampler = build_sampler("ddim", "epsilon", 50)
    sampler.set_timesteps(50)
    assert sampler.timesteps.tolist() == list(range(981, 0, -20))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ddim", DDIMScheduler), ("euler", EulerDiscreteScheduler), ("k_euler_a", EulerAncestralDiscreteScheduler)],
)
def test_samplers(name, kind):
    sampler = build_sampler(name, "epsilon", 30)
    assert type(sampler) is kind
    assert sampler.config.prediction_type == "epsilon"
    assert build_sampler(name, "v", 30).config.prediction_type == "v_prediction"


def test_unknown_samplers_are_no_ddim():
    with pytest.raises(ValueError, match="nonsense"):
        build_sampler("nonsense", "epsilon", 30)


def test_the_picture_is_that_of_a_diffusers_pipeline(model):
    tokenizer = model.tokenize.tokenizers[0]._tokenizer
    pipeline = StableDiffusionPipeline(
        model._codec.vae, *model.text_encoders(), tokenizer, model._unet, build_sampler("ddim", "epsilon", 3),
        None, None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 9, 8, generator=torch.Generator().manual_seed(3))
    theirs = pipeline(
        "a cat", negative_prompt="", width=64, height=72, num_inference_steps=3, guidance_scale=5.0, latents=latents
    ).images[0]
    difference = [abs(a - b) for a, b in zip(theirs.tobytes(), generate(model, request(), CPU).tobytes(), strict=True)]
    assert max(difference) <= 1


# ---- other families

KINDS = {
    "SD 2.x": (SD2, False),
    "SD 2.x v": (predicting_velocity(SD2), False),
    "SDXL": (SDXL, False),
    "SDXL v": (predicting_velocity(SDXL), False),
    "SDXL v, zero terminal SNR": (predicting_velocity(SDXL), True),
}


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_other_families_are_those_of_a_diffusers_pipeline(kind, sampler):
    family, zero_terminal_snr = KINDS[kind]
    model, pipeline = tiny_adapter_of(family), tiny_pipeline_of(family)
    prediction_type = "v_prediction" if family.prediction_type == "v" else "epsilon"
    own = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": prediction_type,
    }
    if zero_terminal_snr:
        own |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if sampler == "ddim":
        scheduler = DDIMScheduler(**own, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    else:
        scheduler = EulerDiscreteScheduler(**own)
    pipeline.register_modules(scheduler=scheduler)
    latents = torch.randn(1, 4, 9, 8, generator=torch.Generator().manual_seed(3))
    theirs = pipeline(
        "a cat", negative_prompt="dog", width=64, height=72, num_inference_steps=4, guidance_scale=5.0, latents=latents
    ).images[0]
    wanted = request(sampler=sampler, negative_prompt="dog", steps=4, zero_terminal_snr=zero_terminal_snr)
    ours = generate(model, wanted, CPU)
    difference = [abs(a - b) for a, b in zip(theirs.tobytes(), ours.tobytes(), strict=True)]
    assert len(set(theirs.tobytes())) > 20
    assert max(difference) <= 1


@pytest.mark.parametrize("name", ["ddim", "euler", "euler_a"])
@pytest.mark.parametrize("steps", [1, 4, 30, 1000])
def test_zero_terminal_snr_begins_at_pure_noise(name, steps):
    """The last timestep, where the schedule has no signal left, is the first that is taken."""
    sampler = build_sampler(name, "v", steps, zero_terminal_snr=True)
    sampler.set_timesteps(steps)
    assert sampler.timesteps[0] == 999
    assert len(sampler.timesteps) == steps
    assert sampler.config.rescale_betas_zero_snr
    assert sampler.alphas_cumprod[999] < 1e-7
    usual = build_sampler(name, "v", steps)
    assert not usual.config.rescale_betas_zero_snr
    latents = sampler.scale_model_input(torch.ones(1, 4, 8, 8), sampler.timesteps[0])
    assert sampler.step(latents, sampler.timesteps[0], latents).prev_sample.isfinite().all()


@pytest.mark.parametrize("name", ["ddim", "euler", "euler_a"])
def test_noise_prediction_does_without_zero_terminal_snr(name):
    sampler = build_sampler(name, "epsilon", 30, zero_terminal_snr=True)
    assert sampler.config == build_sampler(name, "epsilon", 30).config


def test_prompts_carry_the_size_and_schedule_of_the_model():
    (prompt,) = preview_prompts([{"prompt": "a", "enum": 0}], "ddim", 1024, 1, zero_terminal_snr=True)
    assert prompt.request.size == (1024, 1024)
    assert prompt.request.zero_terminal_snr


def test_a_long_prompt_is_not_cut(model):
    """Pictures use as many chunks as the prompt needs, whatever captions have."""
    words = "sks dog " * 40
    assert len(model.tokenize([words]).ids[0][0]) == 1
    pictures = [generate(model, request(prompt=prompt, steps=1), CPU).tobytes() for prompt in (words, words + "cat")]
    assert pictures[0] != pictures[1]


def test_a_preview_that_fails_does_not_stop_the_others(model, tmp_path, caplog):
    prompts = preview_prompts(
        [{"prompt": "a", "enum": 0, "width": 64, "height": 64, "sample_steps": 1, "sample_sampler": "broken"},
         {"prompt": "b", "enum": 1, "width": 64, "height": 64, "sample_steps": 1}], "ddim", 512, 1,
    )  # fmt: skip
    saved = draw_previews(model, prompts, tmp_path, "x", "000000", CPU)
    assert [path.name[:12] for path in saved] == ["x_000000_01_"]
    assert "preview 0 could not be drawn; training goes on" in caplog.text
    assert [path.name for path in (tmp_path / "sample").iterdir()] == [saved[0].name]


@pytest.mark.parametrize("error", [IndexError("i"), TypeError("t"), ZeroDivisionError("z"), KeyError("k")])
def test_no_error_of_a_preview_gets_through(monkeypatch, tmp_path, caplog, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(previews, "generate", fail)
    assert (
        draw_previews(None, preview_prompts([{"prompt": "a", "enum": 0}], "ddim", 512, 1), tmp_path, "x", "1", CPU)
        == []
    )
    assert type(error).__name__ in caplog.text


def test_an_interruption_gets_through(monkeypatch, tmp_path):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(previews, "generate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_previews(None, preview_prompts([{"prompt": "a", "enum": 0}], "ddim", 512, 1), tmp_path, "x", "1", CPU)


def test_a_folder_that_cannot_be_made(model, tmp_path, caplog):
    (tmp_path / "sample").write_text("a file is in the way")
    assert (
        draw_previews(model, preview_prompts([{"prompt": "a", "enum": 0}], "ddim", 512, 1), tmp_path, "x", "1", CPU)
        == []
    )
    assert "training goes on" in caplog.text


class FakeModel:
    """Remembers where VAE and text encoders are; moving the VAE to the device fails if it is told to."""

    def __init__(self, error: BaseException | None = None):
        self.vae_place = self.text_encoders_place = torch.device("cpu")
        self.error = error

    def move_text_encoders(self, device):
        self.text_encoders_place = device

    def move_vae(self, device):
        self.vae_place = device
        if self.error is not None and device.type != "cpu":
            raise self.error


class FakeAccelerator:
    device = torch.device("meta")
    process_index, num_processes = 1, 2
    is_main_process = False

    def __init__(self):
        self.waited = False

    def autocast(self):
        return contextlib.nullcontext()

    def wait_for_everyone(self):
        self.waited = True


def schedule_of(model, output_dir, text_encoders_home=CPU) -> PreviewSchedule:
    prompts = preview_prompts([{"prompt": "a", "enum": number} for number in range(3)], "ddim", 512, 1)
    return PreviewSchedule(
        FakeAccelerator(), model, torch.nn.Linear(1, 1), SamplingOptions(sample_at_first=True), prompts, output_dir,
        "x", CPU, text_encoders_home,
    )  # fmt: skip


def test_training_goes_on_when_the_vae_does_not_fit(tmp_path, caplog):
    schedule = schedule_of(FakeModel(torch.OutOfMemoryError("out of memory")), tmp_path)
    schedule.at_first()
    assert schedule.model.vae_place == schedule.model.text_encoders_place == CPU
    assert schedule.network.training
    assert schedule.accelerator.waited
    assert "out of memory" in caplog.text


def test_an_interruption_leaves_things_in_place(tmp_path):
    schedule = schedule_of(FakeModel(KeyboardInterrupt()), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        schedule.at_first()
    assert schedule.model.vae_place == schedule.model.text_encoders_place == CPU
    assert schedule.network.training


def test_each_process_draws_its_share_with_the_network_at_rest(monkeypatch, tmp_path):
    seen = []

    def generate_nothing(model, request, device):
        seen.append((model.vae_place, model.text_encoders_place, schedule.network.training, request.seed))
        raise IndexError

    monkeypatch.setattr(previews, "generate", generate_nothing)
    schedule = schedule_of(FakeModel(), tmp_path)
    schedule.at_first()
    device = torch.device("meta")
    assert seen == [(device, device, False, schedule.prompts[1].request.seed)]
    assert schedule.network.training
    assert schedule.accelerator.waited


@pytest.mark.parametrize("home", [CPU, torch.device("meta")])
def test_text_encoders_go_back_to_where_training_needs_them(monkeypatch, tmp_path, home):
    monkeypatch.setattr(previews, "generate", lambda *_: None)
    schedule = schedule_of(FakeModel(), tmp_path, text_encoders_home=home)
    schedule.at_first()
    assert (schedule.model.vae_place, schedule.model.text_encoders_place) == (CPU, home)


def test_previews_are_drawn_with_weights_of_the_schedules_version(monkeypatch, tmp_path):
    seen, state = [], {"version": "trained"}

    @contextlib.contextmanager
    def apply():
        state["version"] = "average"
        yield
        state["version"] = "trained"

    monkeypatch.setattr(previews, "generate", lambda *_: seen.append(state["version"]))
    schedule = dataclasses.replace(schedule_of(FakeModel(), tmp_path), version=WeightVersion("-ema", apply))
    schedule.at_first()
    assert seen == ["average"]
    assert state["version"] == "trained"
