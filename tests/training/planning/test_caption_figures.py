"""Numbers about captions, and examples of what they become."""

from dataclasses import replace

from library.dataset.batch_plan import count_batches
from library.options.dataset_settings import SubsetSettings
from library.training.batch_schedule import BatchSchedule
from library.training.planning.caption_figures import EXAMPLES, caption_figures
from library.training.planning.run_report import first_batches
from library.training.step_counts import count_steps
from tests.training.planning.planned_data import dataset_of, record


def figures_of(*records, **rules):
    dataset = dataset_of(*records, subsets=(SubsetSettings(**rules),))
    schedule = BatchSchedule((dataset,), 5, count_steps(count_batches([dataset]), 1, 1, 100, None), 1)
    return caption_figures(schedule.captions, first_batches(schedule)), schedule


def test_counts():
    figures, _ = figures_of(
        record("a.png", caption="Red hat, 帽子"),
        record("b.png", caption="red hat, , outdoors"),
        record("c.png", caption="sks"),
        record("d.png", caption=""),
        record("e.png", caption="", has_caption=False),
        record("unused.png", caption="", repeats=0),
        record("r.png", caption="red hat", is_reg=True),
        class_tokens="sks",
    )
    assert (figures.images, figures.without, figures.empty, figures.class_words) == (6, 1, 1, 1)
    assert figures.tags == (("red hat", 2), ("帽子", 1), ("outdoors", 1), ("sks", 1))


def test_tags_are_told_apart_by_all_marks_of_the_subset():
    rules = {
        "caption_separator": ";",
        "keep_tokens_separator": ";;;",
        "secondary_separator": "|",
        "shuffle_caption": True,
    }
    figures, _ = figures_of(record("a.png", caption="sks;;;Red hat; big|small, old ;;; end\nnot used"), **rules)
    assert figures.tags == (("sks", 1), ("red hat", 1), ("big", 1), ("small, old", 1), ("end", 1))


def test_tags_of_wildcards():
    figures, _ = figures_of(record("a.png", caption="sks, {red, old|blue} hat\nsks, dog"), enable_wildcard=True)
    assert figures.tags == (("sks", 2), ("{red, old|blue} hat", 1), ("dog", 1))


def test_a_caption_file_may_say_what_the_class_words_say(tmp_path):
    (tmp_path / "a.txt").write_text("sks", encoding="utf-8")
    records = [replace(record(name, caption="sks"), path=tmp_path / name) for name in ("a.png", "b.png")]
    assert figures_of(*records, class_tokens="sks")[0].class_words == 1


def test_examples_are_the_captions_of_the_first_exposures():
    records = [record(f"{number}.png", caption=f"a, b, {number}", repeats=3) for number in range(8)]
    figures, schedule = figures_of(*records, shuffle_caption=True, caption_prefix="sks,")
    first = {}
    for batch in schedule.of_epoch(0, 0):
        first.setdefault(batch.exposures[0].record.name, schedule.captions.of_batch(batch)[0])
    shown = {example.image: example.used for example in figures.examples}
    assert list(shown.items()) == list(first.items())[:EXAMPLES]
    assert len(shown) == EXAMPLES == 5
    assert all("sks" in used for used in shown.values())
    assert len({used.replace(name[0], "") for name, used in shown.items()}) > 1
    assert figures.examples[0].stored == f"a, b, {figures.examples[0].image[0]}"


def test_processes_take_turns():
    dataset = dataset_of(*(record(f"{number}.png") for number in range(5)))
    counts = count_steps(5, 2, 1, 100, None)
    schedule = BatchSchedule((dataset,), 5, counts, 2)
    batches = list(first_batches(schedule))
    shares = schedule.of_epoch(0, 0), schedule.of_epoch(0, 1)
    assert batches == [batch for pair in zip(*shares, strict=True) for batch in pair]
    assert len(batches) == 6
    assert replace(batches[5], step=0).exposures == replace(batches[0], step=0).exposures
