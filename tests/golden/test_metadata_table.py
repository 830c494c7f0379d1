"""metadata.json: the metadata of whole runs, model hashes, file hashes, modelspec fields."""

import json
import re
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from library.dataset.batch_plan import count_batches
from library.metadata.model_hashes import hash_model
from library.metadata.modelspec import as_data_url, modelspec_fields
from library.metadata.training_metadata import MetadataWriter, ModelOrigin, RunFacts
from library.models.checkpoints.identification import Identity, ModelKind
from library.models.family import SD1, SD2, SDXL, family_of_options
from library.optimizers.optimizer_choice import choose_optimizer
from library.options.command_line import build_parser
from library.options.groups import MetadataOptions, TimestepOptions
from library.options.resolution import resolve_options
from library.options.schema import all_options
from library.training.preflight import check_run
from library.training.step_counts import count_steps
from networks.files.weights_file import network_hashes
from tests.golden.tables import FOLDER, numbered, table, tensors

TABLE = table("metadata")

PATTERNS = {
    "<random integer>": r"\d+",
    "<unix seconds>": r"\d+\.\d+",
    "<local time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    "<commit>": r"\S+",
    "<sha256>": r"[0-9a-f]{64}",
    "<8 hex>": r"[0-9a-f]{8}",
}
WRITTEN_WITH_THE_FILE = ("sshs_model_hash", "sshs_legacy_hash")


def recipe_file(path: Path, length: int, a: int, b: int) -> Path:
    path.write_bytes(bytes((i * a + b) % 251 for i in range(251)) * (length // 251 + 1))
    with open(path, "rb+") as file:
        file.truncate(length)
    return path


def make_images(folder: Path, description) -> None:
    for subfolder, images in description["folders"].items():
        (folder / subfolder).mkdir(parents=True)
        for name, width, height, caption in images:
            path = folder / subfolder / name
            Image.new("RGB", (width, height)).save(path)
            if caption is not None:
                path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    if "config" in description:
        (folder / "dataset.toml").write_text(description["config"], encoding="utf-8")


def uses_pending_options(options) -> bool:
    return any(all_options()[name.removeprefix("--")].traits.pending for name in options)


def command_line(options, folder: Path) -> list[str]:
    arguments = ["--output_dir", str(folder / "out")]
    for name, value in options.items():
        arguments.append(name)
        if isinstance(value, list):
            arguments += value
        elif value is not None:
            arguments.append(value)
    return arguments


def plan_of(run, folder: Path, monkeypatch):
    """The plan of a golden run, made from its command line and images of the sizes it names."""
    make_images(folder, run["dataset"])
    data_dir = run["options"].get("--train_data_dir")
    if data_dir and not (folder / data_dir).exists():
        (folder / data_dir).mkdir()
        for subfolder in run["dataset"]["folders"]:
            (folder / subfolder).rename(folder / data_dir / subfolder)
    model = run["options"]["--pretrained_model_name_or_path"]
    recipe_file(folder / model, 1200000, 7, 3)
    monkeypatch.chdir(folder)
    kind = ModelKind.SD2 if "--v2" in run["options"] else ModelKind.SD1
    # models stand for themselves: metadata show nothing of what is in them
    monkeypatch.setattr("library.training.model_checks.inspect_model", lambda source, option: Identity(kind))
    parser = build_parser("train_network.py", "")
    return check_run(resolve_options(parser, command_line(run["options"], folder)), (SD1, SD2))


def facts_of(plan, started_at=0.5) -> tuple[RunFacts, int]:
    training = plan.resolved.settings.training
    counts = count_steps(count_batches(plan.datasets), 1, 1, training.max_train_steps, training.max_train_epochs)
    hashes: Future = Future()
    hashes.set_result(hash_model(Path(plan.base.model.source.place)))
    facts = RunFacts(
        session_id=123,
        started_at=started_at,
        seed=training.seed,
        max_train_steps=counts.max_train_steps,
        num_epochs=counts.num_epochs,
        batches_per_epoch=counts.batches_per_process,
        num_processes=1,
        optimizer=choose_optimizer(plan.resolved.settings.optimizer).describe(),
        model=ModelOrigin(plan.base.model.name, hashes),
        vae=None,
        thumbnail=thumbnail_of(plan.resolved.values()),
    )
    return facts, counts.steps_per_epoch


def thumbnail_of(options) -> str | None:
    thumbnail = options.get("metadata_thumbnail")
    return as_data_url(thumbnail) if thumbnail else None


def comparable(key: str, value: str):
    """JSON fields are compared by content: the order of folders is the file system's."""
    is_json = key.endswith(("datasets", "dirs", "frequency", "args", "bucket_info"))
    return json.loads(value) if is_json else value


def available_runs():
    return [run for run in TABLE["runs"] if not uses_pending_options(run["options"])]


@pytest.mark.parametrize(("name", "run"), numbered(available_runs(), "name"))
def test_metadata_of_a_run(name, run, tmp_path, monkeypatch):
    plan = plan_of(run, tmp_path, monkeypatch)
    facts, steps_per_epoch = facts_of(plan)
    writer = MetadataWriter(plan.resolved, plan.family, plan.datasets, facts)
    for file in run["files"]:
        saved_in_between = re.search(r"-step(\d{8})\.", file["file"])
        step = int(saved_in_between.group(1)) if saved_in_between else facts.max_train_steps
        epoch = (step - 1) // steps_per_epoch if saved_in_between else facts.num_epochs
        found = writer.metadata(step, epoch)
        expected = {key: value for key, value in file["metadata"].items() if key not in WRITTEN_WITH_THE_FILE}
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            if value in PATTERNS:
                assert re.fullmatch(PATTERNS[value], found[key]), key
            else:
                assert comparable(key, found[key]) == comparable(key, value), key


def test_every_run_is_available():
    assert len(available_runs()) == len(TABLE["runs"]) >= 1


def origin(path: str, hash_path: Path | None) -> ModelOrigin:
    if hash_path is None:
        return ModelOrigin(path, None)
    hashes: Future = Future()
    hashes.set_result(hash_model(hash_path))
    return ModelOrigin(path, hashes)


def test_another_vae_is_named(tmp_path):
    """With the hashes of its own file; one from a hub has none."""
    case = next(case for case in TABLE["model_hash"] if "length" in case)
    file = recipe_file(tmp_path / "my vae.pt", case["length"], case["a"], case["b"])
    assert origin(str(file), file).fields("vae") == {
        "ss_vae_name": "my vae.pt", "ss_vae_hash": case["short"], "ss_new_vae_hash": case["long"],
    }  # fmt: skip
    assert origin("owner/vae", None).fields("vae") == {"ss_vae_name": "owner/vae"}


@pytest.mark.parametrize(("name", "case"), numbered(TABLE["model_hash"]))
def test_model_hashes(name, case, tmp_path):
    place = tmp_path / "model"
    if case.get("case") == "a folder":
        place.mkdir()
    elif "length" in case:
        recipe_file(place, case["length"], case["a"], case["b"])
    hashes = hash_model(place)
    assert (hashes.short, hashes.full) == (case["short"], case["long"])


@pytest.mark.parametrize(("name", "case"), numbered(TABLE["adapter_hash"], "file"))
def test_network_hashes(name, case):
    weights = tensors(Path(case["file"]).stem)
    assert (FOLDER / case["file"]).exists()
    hashes = network_hashes(weights, case["metadata_before_hashing"])
    assert hashes["sshs_model_hash"] == case["sshs_model_hash"]
    assert hashes["sshs_legacy_hash"] == case["sshs_legacy_hash"]


@pytest.mark.parametrize(("name", "case"), numbered(TABLE["title_and_fields"]))
def test_modelspec_fields(name, case):
    options = case["options"]
    families = (SDXL,) if case["sdxl"] else (SD1, SD2)
    found = modelspec_fields(
        family_of_options(families, options.get("v2", False), options.get("v_parameterization", False)),
        MetadataOptions(**{key: value for key, value in options.items() if key.startswith("metadata_")}),
        TimestepOptions(**{key: value for key, value in options.items() if key.endswith("_timestep")}),
        options.get("output_name"),
        tuple(options["resolution"]) if "resolution" in options else None,
        saved_at=0.0,
        clip_skip=options.get("clip_skip"),
        thumbnail=thumbnail_of(options),
    )
    assert found.keys() == case["modelspec"].keys()
    for key, value in case["modelspec"].items():
        if value in PATTERNS:
            assert re.fullmatch(PATTERNS[value], found[key]), key
        else:
            assert found[key] == value, key
