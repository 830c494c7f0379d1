"""Averages from snapshot files."""

import pytest
import torch
from safetensors.torch import load_file

from library.averaging.moving_average import MovingAverages, power_function
from library.averaging.power_profiles import Profile, nearest_combination
from library.averaging.snapshot_facts import TRACKED_WIDTHS, SnapshotFacts, snapshot_steps, without_facts
from library.averaging.snapshots import find_snapshots
from library.averaging.synthesis import sufficient_spacing, synthesise
from library.errors import UserError
from networks.files.weights_file import write_network_file

EVERY, STEPS = 5, 40
METADATA = {"ss_network_module": "networks.lora", "ss_steps": "40", "modelspec.hash_sha256": "0x00"}


def write_run(folder, run="a", dtype=None, every=EVERY, steps=STEPS, wanted=0.15, skipped=()):
    """A trajectory with snapshots; returns the average of the wanted width that was kept beside them.

    Args:
        skipped: steps that move nothing, as with fp16.
    """
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    weights = torch.nn.Parameter(torch.randn(6, 4))
    decays = {f"{width}": power_function(width) for width in (*TRACKED_WIDTHS, wanted)}
    averages = MovingAverages([weights], decays)
    for step in range(1, steps + 1):
        if step not in skipped:
            with torch.no_grad():
                weights += 0.1 * torch.randn(6, 4) + 0.02
            averages.after_step()
        for width in TRACKED_WIDTHS:
            if step in snapshot_steps(every, steps):
                facts = SnapshotFacts(run, width, averages.updates(f"{width}"), step, every)
                with averages.applied(f"{width}"):
                    write_snapshot(folder, facts, weights.detach().clone(), dtype)
    with averages.applied(f"{wanted}"):
        return weights.detach().clone()


def write_snapshot(folder, facts, values, dtype=None):
    tensors = {"x.lora_up.weight": values, "x.alpha": torch.tensor(0.3), "x.constant": torch.full((3,), 1 / 3)}
    write_network_file(name_of(folder, facts.step, facts.width), tensors, dtype, METADATA | facts.metadata())


def name_of(folder, step, width):
    return folder / f"step{step:08d}-sigma{width:g}.safetensors"


def test_the_average_that_was_not_kept(tmp_path):
    """To the error of the profile, which 8 snapshots reach, of weights that move by about 1."""
    kept = write_run(tmp_path)
    made = synthesise(find_snapshots(tmp_path), 0.15)
    assert made.combination.error < 0.04
    found = made.tensors["x.lora_up.weight"]
    last = load_file(name_of(tmp_path, STEPS, 0.05))["x.lora_up.weight"]
    assert (found - kept).abs().max() < 0.01
    assert (last - kept).abs().max() > 0.2


def test_an_average_up_to_an_earlier_step(tmp_path):
    write_run(tmp_path / "long")
    kept = write_run(tmp_path / "short", steps=25)
    made = synthesise(find_snapshots(tmp_path / "long", step=25), 0.15)
    assert (made.tensors["x.lora_up.weight"] - kept).abs().max() < 0.02
    assert made.metadata["ss_ema_updates"] == "25"


@pytest.mark.parametrize("width", [0.1, 0.15])
def test_skipped_steps_change_nothing(tmp_path, width):
    """Some before the first snapshot, some between two, and some before the last."""
    write_run(tmp_path / "some", steps=47, skipped={*range(1, 6), *range(21, 26), *range(39, 48)})
    write_run(tmp_path / "same", steps=28)
    snapshots = find_snapshots(tmp_path / "some")
    assert sorted({snapshot.facts.updates for snapshot in snapshots}) == [0, 5, 10, 15, 20, 25, 28]
    made = synthesise(snapshots, width)
    same = synthesise(find_snapshots(tmp_path / "same"), width)
    assert sum(made.combination.coefficients) == pytest.approx(1, abs=1e-12)
    assert torch.equal(made.tensors["x.lora_up.weight"], same.tensors["x.lora_up.weight"])


def test_nothing_but_skipped_steps(tmp_path):
    write_run(tmp_path, steps=5, skipped=range(1, 6))
    with pytest.raises(UserError, match="the snapshots up to step 5 hold no averages: all steps before were skipped"):
        synthesise(find_snapshots(tmp_path), 0.1)


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", TRACKED_WIDTHS)
def test_a_tracked_width_is_the_last_snapshot(tmp_path, width, dtype):
    write_run(tmp_path, dtype=dtype)
    for step in (20, STEPS):
        made = synthesise(find_snapshots(tmp_path, step), width).tensors
        snapshot = load_file(name_of(tmp_path, step, width))
        assert made.keys() == snapshot.keys()
        assert all(torch.equal(made[name], tensor) for name, tensor in snapshot.items())


def test_what_does_not_change_is_taken_over(tmp_path):
    write_run(tmp_path, dtype=torch.float16)
    made = synthesise(find_snapshots(tmp_path), 0.2).tensors
    assert torch.equal(made["x.alpha"], torch.tensor(0.3))
    assert torch.equal(made["x.constant"], torch.full((3,), 1 / 3, dtype=torch.float16))
    assert made["x.lora_up.weight"].dtype == torch.float16


def test_sums_are_rounded_once(tmp_path):
    """Of half-precision snapshots, to what their own rounding leaves open: 2^-11 of each, times the magnification."""
    kept = write_run(tmp_path, wanted=0.07)
    exact = synthesise(find_snapshots(tmp_path), 0.07)
    write_run(tmp_path / "half", dtype=torch.float16, wanted=0.07)
    made = synthesise(find_snapshots(tmp_path / "half"), 0.07).tensors["x.lora_up.weight"].float()
    room = 2**-11 * kept.abs().max() * (exact.combination.magnification + 1)
    assert (made - exact.tensors["x.lora_up.weight"]).abs().max() < room


def test_metadata(tmp_path):
    write_run(tmp_path)
    made = synthesise(find_snapshots(tmp_path), 0.15)
    assert made.metadata == {
        "ss_network_module": "networks.lora",
        "ss_steps": "40",
        "ss_ema_sigma_rel": "0.15",
        "ss_ema_updates": "40",
        "ss_ema_synthesized_from": f"16 snapshots; error of the profile {made.combination.error:.2g}",
        **{name: text for name, text in made.metadata.items() if name.startswith("sshs_")},
    }


def test_facts_are_read_back():
    facts = SnapshotFacts("run", 0.05, 7, 8, 3)
    assert SnapshotFacts.of_metadata(facts.metadata() | METADATA) == facts
    assert without_facts(facts.metadata() | METADATA) == METADATA
    assert SnapshotFacts.of_metadata(METADATA) is None
    assert SnapshotFacts.of_metadata(facts.metadata() | {"ss_ema_step": "x"}) is None


@pytest.mark.parametrize(
    ("every", "last", "steps"), [(5, 12, [5, 10, 12]), (5, 10, [5, 10]), (5, 3, [3]), (1, 2, [1, 2])]
)
def test_steps_of_snapshots(every, last, steps):
    assert snapshot_steps(every, last) == steps


def test_mixed_runs(tmp_path):
    write_run(tmp_path, run="a", steps=20)
    write_snapshot(tmp_path, SnapshotFacts("b", 0.05, 10, 10, EVERY), torch.zeros(6, 4))
    with pytest.raises(UserError, match=r"holds snapshots of 2 runs, such as step00000020-sigma0.1.safetensors, step0"):
        find_snapshots(tmp_path)


def test_missing_snapshots(tmp_path):
    write_run(tmp_path)
    name_of(tmp_path, 15, 0.05).unlink()
    name_of(tmp_path, 20, 0.1).unlink()
    with pytest.raises(
        UserError, match=r"lacks 2 snapshots: sigma_rel 0\.05 of step 15, sigma_rel 0\.1 of step 20; with"
    ):
        find_snapshots(tmp_path)
    assert len(find_snapshots(tmp_path, may_lack_some=True)) == 14
    assert len(find_snapshots(tmp_path, step=10)) == 4
    with pytest.raises(
        UserError, match=r"--step 12: there is no snapshot of it; there are those of step 5, 10, 15, \.\.\., 40"
    ):
        find_snapshots(tmp_path, step=12)


def test_the_folder_around_snapshots(tmp_path):
    write_run(tmp_path / "dog-ema-snapshots")
    write_network_file(tmp_path / "dog.safetensors", {"x.alpha": torch.ones(())}, None, METADATA)
    with pytest.raises(UserError, match=r"holds no snapshots; did you mean '.*dog-ema-snapshots'\?$"):
        find_snapshots(tmp_path)


@pytest.mark.parametrize(
    ("width", "steps", "every", "coarser"), [(0.15, 100, 16, 20), (0.2, 1000, 90, 100), (0.25, 50, 2, 3)]
)
def test_how_often_snapshots_would_be_enough(width, steps, every, coarser):
    def error(spacing):
        tracked = [Profile(one, float(end)) for end in snapshot_steps(spacing, steps) for one in TRACKED_WIDTHS]
        return nearest_combination(tracked, Profile(width, float(steps))).error

    assert sufficient_spacing(width, steps, 0.05) == every
    assert error(every) <= 0.05 < error(coarser)


@pytest.mark.parametrize(("width", "steps"), [(0.15, 5), (0.01, 1000)])
def test_no_spacing_is_enough(width, steps):
    assert sufficient_spacing(width, steps, 0.02) is None


def test_no_snapshots(tmp_path):
    with pytest.raises(UserError, match="holds no snapshots; training writes them with --ema_snapshots_every_n_steps"):
        find_snapshots(tmp_path)


def test_a_truncated_snapshot(tmp_path):
    write_run(tmp_path)
    file = name_of(tmp_path, 10, 0.05)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"step00000010-sigma0\.05\.safetensors' cannot be read"):
        find_snapshots(tmp_path)


def test_a_snapshot_with_a_changed_byte(tmp_path):
    write_run(tmp_path)
    file = name_of(tmp_path, 10, 0.05)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"step00000010-sigma0\.05\.safetensors' is damaged"):
        find_snapshots(tmp_path)
    assert len(find_snapshots(tmp_path, step=5)) == 2


def test_a_file_that_was_not_finished(tmp_path):
    """Left behind where training was killed while it wrote."""
    write_run(tmp_path)
    (tmp_path / ".step00000045-sigma0.05.safetensors.x.partial.safetensors").write_bytes(b"half")
    assert len(find_snapshots(tmp_path)) == 2 * STEPS // EVERY


def test_another_file_in_the_folder(tmp_path):
    write_run(tmp_path)
    write_network_file(tmp_path / "dog.safetensors", {"x.alpha": torch.ones(())}, None, METADATA)
    with pytest.raises(UserError, match=r"dog\.safetensors' is no snapshot of averaged weights; move it out"):
        find_snapshots(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"y": torch.zeros(1)}, "hold tensors of different names"),
        ({"x": torch.zeros(2)}, "differ in the shape or precision of x"),
        ({"x": torch.zeros(1, dtype=torch.float16)}, "differ in the shape or precision of x"),
        ({"x": torch.ones(1, dtype=torch.int64)}, "x holds whole numbers that change"),
    ],
)
def test_snapshots_of_different_networks(tmp_path, tensors, message):
    first = {"x": torch.zeros(1, dtype=torch.int64)} if "whole" in message else {"x": torch.zeros(1)}
    for width, content in zip(TRACKED_WIDTHS, (first, tensors), strict=True):
        facts = SnapshotFacts("a", width, 5, 5, 5)
        write_network_file(name_of(tmp_path, 5, width), content, None, facts.metadata())
    with pytest.raises(UserError, match=message):
        synthesise(find_snapshots(tmp_path), 0.07)
