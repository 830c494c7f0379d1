"""Cached outputs are what the text encoders say, wherever they are kept."""

import multiprocessing
import pickle
import threading

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from library.caching.text_encoder_outputs import CaptionEncoder, OutputsInMemory, bytes_per_caption, encode_in_memory
from library.caching.text_outputs_on_disk import encode_on_disk
from library.diffusion.conditioning import TextConditioning
from library.errors import UserError
from tests.caching.stand_in_encoder import (
    CPU,
    POOLED_WIDTH,
    TOKENS,
    WIDTH,
    StandInEncoder,
    assert_same,
    encoder_of,
    look_up,
    tokenize,
)

CAPTIONS = [f"caption {number}" for number in range(10)] + ["", "ein Hündchen, 犬\nzwei", "\udcff class"]
BATCH = ["caption 3", "", "caption 3", "caption 9"]


def in_memory(encoder, captions, tmp_path):
    return encode_in_memory(encoder, captions)


def on_disk(encoder, captions, tmp_path):
    return encode_on_disk(encoder, captions, tmp_path)


STORES = [in_memory, on_disk]
in_every_store = pytest.mark.parametrize("store", STORES)


@in_every_store
@pytest.mark.parametrize("has_pooled", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_outputs_are_those_of_a_direct_call(tmp_path, store, has_pooled, dtype):
    model = StandInEncoder(has_pooled, dtype)
    outputs = store(encoder_of(model, len(BATCH)), CAPTIONS, tmp_path)
    with torch.no_grad():
        direct = model(tokenize(BATCH))
    assert direct.hidden_states.dtype == dtype
    assert_same(outputs.conditioning(BATCH), direct)


@in_every_store
def test_a_real_clip_gives_the_same_bits_in_batches_of_one_size(tmp_path, store):
    torch.manual_seed(0)
    configuration = CLIPTextConfig(
        vocab_size=500, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=498, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    clip = CLIPTextModel(configuration).eval()

    def encode_text(tokens):
        said = clip(tokens.ids[0].flatten(1))
        return TextConditioning(said.last_hidden_state, said.pooler_output)

    outputs = store(CaptionEncoder(tokenize, encode_text, 4, CPU), CAPTIONS, tmp_path)
    with torch.no_grad():
        assert_same(outputs.conditioning(BATCH), encode_text(tokenize(BATCH)))


@in_every_store
def test_each_distinct_caption_is_encoded_once(tmp_path, store):
    model = StandInEncoder()
    store(encoder_of(model, batch_size=1), [*BATCH, "caption 9", *BATCH], tmp_path)
    assert sorted(model.encoded) == ["", "caption 3", "caption 9"]


@in_every_store
def test_outputs_do_not_depend_on_how_many_captions_there_are(tmp_path, store):
    """The last batch is filled up, so that a resumed encoding goes on with the same bits."""
    few = store(encoder_of(StandInEncoder()), CAPTIONS[:5], tmp_path / "few")
    all_of_them = store(encoder_of(StandInEncoder()), CAPTIONS, tmp_path / "all")
    assert_same(few.conditioning(CAPTIONS[:5]), all_of_them.conditioning(CAPTIONS[:5]))


@in_every_store
def test_every_batch_has_the_same_shape(tmp_path, store):
    sizes = []

    def encode_text(tokens):
        sizes.append(len(tokens.ids[0]))
        return StandInEncoder()(tokens)

    store(CaptionEncoder(tokenize, encode_text, 5, CPU), CAPTIONS, tmp_path)
    assert sizes == [5, 5, 5]


@in_every_store
def test_no_gradients_are_recorded(tmp_path, store):
    text = store(encoder_of(StandInEncoder()), CAPTIONS, tmp_path).conditioning(BATCH)
    assert not text.hidden_states.requires_grad
    assert not text.pooled.requires_grad


@in_every_store
def test_a_caption_that_was_not_encoded_is_named(tmp_path, store):
    outputs = store(encoder_of(StandInEncoder()), CAPTIONS, tmp_path)
    with pytest.raises(KeyError, match="'a stranger' was not encoded"):
        outputs.conditioning(["caption 1", "a stranger"])


@in_every_store
def test_batches_are_copies(tmp_path, store):
    outputs = store(encoder_of(StandInEncoder()), CAPTIONS, tmp_path)
    before = outputs.conditioning(["caption 1"])
    outputs.conditioning(["caption 1"]).hidden_states.zero_()
    assert_same(outputs.conditioning(["caption 1"]), before)
    assert before.hidden_states.abs().max() > 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_can_look_captions_up(tmp_path, method):
    outputs = [store(encoder_of(StandInEncoder()), CAPTIONS, tmp_path) for store in STORES]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=look_up, args=(outputs, BATCH, queue))
    process.start()
    found = [queue.get(timeout=60) for _ in outputs]
    process.join()
    for hidden_states, pooled in found:
        text = TextConditioning(torch.from_numpy(hidden_states), torch.from_numpy(pooled))
        assert_same(text, outputs[0].conditioning(BATCH))


@in_every_store
def test_threads_can_look_captions_up(tmp_path, store):
    outputs = store(encoder_of(StandInEncoder()), CAPTIONS, tmp_path)
    expected = outputs.conditioning(CAPTIONS)
    outputs = pickle.loads(pickle.dumps(outputs))
    found = []
    threads = [threading.Thread(target=lambda: found.append(outputs.conditioning(CAPTIONS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for text in found:
        assert_same(text, expected)


def test_memory_holds_the_outputs_and_nothing_else():
    """Padding, and whatever an encoder's outputs are views of, must not stay alive."""

    def views_of_more(tokens):
        said = StandInEncoder()(tokens)
        twice = torch.cat([said.hidden_states, said.hidden_states], dim=1)
        return TextConditioning(twice[:, :TOKENS], said.pooled)

    outputs = encode_in_memory(CaptionEncoder(tokenize, views_of_more, 32, CPU), CAPTIONS).outputs
    assert outputs.hidden_states.untyped_storage().nbytes() == len(CAPTIONS) * TOKENS * WIDTH * 4
    assert outputs.pooled.untyped_storage().nbytes() == len(CAPTIONS) * POOLED_WIDTH * 4


def test_bytes_per_caption():
    captions = torch.zeros(3, 77, 2048), torch.zeros(3, 1280)
    assert bytes_per_caption(TextConditioning(*captions)) == (77 * 2048 + 1280) * 4
    assert bytes_per_caption(TextConditioning(captions[0].bfloat16())) == 77 * 2048 * 2


@in_every_store
@pytest.mark.parametrize("part", ["hidden_states", "pooled"])
def test_outputs_that_are_not_finite_are_refused(tmp_path, store, part):
    def encode_text(tokens):
        said = StandInEncoder()(tokens)
        row = tokens.ids[0][:, 0, 8] == ord("7")
        getattr(said, part)[row] = float("nan")
        return said

    with pytest.raises(UserError, match=r"'caption 7' is not finite; use --mixed_precision bf16"):
        store(CaptionEncoder(tokenize, encode_text, 4, CPU), CAPTIONS, tmp_path)


def test_too_little_memory_is_reported(monkeypatch):
    def no_memory(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    encoder = encoder_of(StandInEncoder())
    monkeypatch.setattr(torch, "empty", no_memory)
    with pytest.raises(UserError, match=r"no memory for 13 captions .* lower --text_encoder_cache_budget"):
        encode_in_memory(encoder, CAPTIONS)


def test_nothing_to_encode_in_memory_is_a_bug():
    with pytest.raises(ValueError, match="no caption"):
        encode_in_memory(encoder_of(StandInEncoder()), [])


def test_many_captions_travel_as_two_tensors():
    """One tensor for each caption would take a file handle each, on the way to a process that starts afresh."""
    outputs = encode_in_memory(encoder_of(StandInEncoder()), [f"caption {number}" for number in range(500)])
    assert isinstance(outputs, OutputsInMemory)
    assert outputs.outputs.hidden_states.shape == (500, TOKENS, WIDTH)
    assert outputs.outputs.pooled.shape == (500, POOLED_WIDTH)
