"""Cases that nobody chose: any text, any sizes, any shape, drawn by hypothesis."""
import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import tiktoken
import torch
import workbench
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygpt import GPT, BPETokenizer, CharTokenizer, GPTConfig, full_loss, get_batch, next_token_loss, split

PATTERN = r" ?\w+| ?[^\w\s]+|\s+"
ANY = st.text() | st.text(alphabet="a", max_size=50) | st.text(alphabet=" \n\tab'é日🙂\x00\u200d\u0301", max_size=50)
# What both regular expressions, Python's and tiktoken's, call a letter, a space or neither (they differ on joiners and marks).
COMMON = st.text(alphabet=st.characters(max_codepoint=0x24F, categories=["Lu", "Ll", "Nd", "Po", "Ps", "Sm"]) | st.sampled_from(" \n\t日本🙂"))
few = functools.partial(settings, deadline=None)


@st.composite
def configs(draw):
    """Any small shape of a GPT."""
    heads = draw(st.integers(1, 4))
    return GPTConfig(
        vocab_size=draw(st.integers(1, 40)), block_size=draw(st.integers(1, 12)), n_embd=heads * draw(st.integers(1, 6)), n_head=heads,
        n_layer=draw(st.integers(1, 3)), bias=draw(st.booleans()), activation=draw(st.sampled_from(["relu", "gelu"])),
        tie_weights=draw(st.booleans()),
    )  # fmt: skip


# ---- Text -------------------------------------------------------------------------------------


@few(max_examples=60)
@given(ANY, ANY, st.integers(256, 330))
def test_what_was_learned_from_one_text_encodes_any_other_and_back(learned, text, vocab_size):
    tokenizer = BPETokenizer.train(learned, vocab_size)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.vocab_size <= vocab_size and all(0 <= i < tokenizer.vocab_size for i in ids)
    assert len(ids) <= len(text.encode("utf-8"))


@few(max_examples=40)
@given(COMMON, COMMON, st.integers(256, 330))
def test_tiktoken_gives_the_same_ids_for_the_same_merges(learned, text, vocab_size):
    tokenizer = BPETokenizer.train(learned, vocab_size)
    ranks = {piece: i for i, piece in tokenizer.vocab.items()}
    if len(ranks) < len(tokenizer.vocab):  # tiktoken knows a piece by its bytes: two ways to the same bytes are one to it
        return
    theirs = tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    assert tokenizer.encode(text) == theirs.encode(text, disallowed_special=())


@given(st.text(alphabet=st.characters(categories=["Cs"]), min_size=1, max_size=3))
def test_half_a_surrogate_pair_is_no_text_to_bytes_and_a_character_to_the_other(text):
    with pytest.raises(ValueError, match="surrogates not allowed"):
        BPETokenizer({}).encode(text)
    assert CharTokenizer(text).decode(CharTokenizer(text).encode(text)) == text


@given(ANY.filter(bool), st.data())
def test_any_character_that_is_not_there_is_named(text, data):
    missing = data.draw(st.characters().filter(lambda char: char not in text))
    with pytest.raises(ValueError, match=f"at place {len(text)} is not among the {len(set(text))} known ones"):
        CharTokenizer(text).encode(text + missing)


# ---- Batches ----------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 30), st.floats(0, 1))
def test_batches_of_any_size_hold_stretches_of_the_data_and_what_follows(N, B, T, fraction):
    data = torch.randperm(N)
    if N <= T:
        with pytest.raises(ValueError, match="are too few"):
            get_batch(data, B, T)
        return
    x, y = get_batch(data, B, T)
    assert x.shape == y.shape == (B, T)
    place = {symbol: i for i, symbol in enumerate(data.tolist())}
    for inputs, targets in zip(x.tolist(), y.tolist()):
        start = place[inputs[0]]
        assert inputs == data[start : start + T].tolist() and targets == data[start + 1 : start + T + 1].tolist()
    first, rest = split(data, fraction)
    assert torch.equal(torch.cat([first, rest]), data)


@few(max_examples=30)
@given(configs(), st.integers(2, 60), st.integers(1, 9))
def test_the_full_loss_is_the_mean_over_all_targets_however_they_are_cut(config, N, batch_size):
    torch.manual_seed(0)
    model, data, T = GPT(config), torch.randint(config.vocab_size, (N,)), config.block_size
    losses = [
        next_token_loss(model(data[None, start : start + T][:, : N - 1 - start]), data[None, start + 1 : start + T + 1]).item() * min(T, N - 1 - start)
        for start in range(0, N - 1, T)
    ]
    assert full_loss(model, data, T, batch_size) == pytest.approx(sum(losses) / (N - 1), abs=1e-5)


# ---- Models -----------------------------------------------------------------------------------


@few(max_examples=40)
@given(configs(), st.integers(1, 3), st.data())
def test_no_shape_sees_the_future(config, B, data):
    torch.manual_seed(0)
    model, T = GPT(config), data.draw(st.integers(1, config.block_size))
    change = data.draw(st.integers(0, T - 1))
    idx = torch.randint(config.vocab_size, (B, T))
    changed = idx.clone()
    changed[:, change:] = torch.randint(config.vocab_size, (B, T - change))
    before, after = model(idx), model(changed)
    assert before.shape == (B, T, config.vocab_size)
    assert torch.allclose(before[:, :change], after[:, :change], atol=1e-6)


@few(max_examples=25)
@given(configs(), st.integers(0, 3), st.dictionaries(st.text(max_size=5), st.integers() | st.floats(allow_nan=False) | st.text(), max_size=3))
def test_any_checkpoint_makes_the_round_trip_bit_for_bit(config, steps, notes):
    notes = {f"note_{name}": value for name, value in notes.items()}

    def setup(seed):
        torch.manual_seed(seed)
        model = GPT(config)
        return model, torch.optim.AdamW(model.parameters(), lr=0.01), torch.Generator().manual_seed(seed)

    def go_on(model, optimizer, generator):
        x, y = get_batch(torch.arange(50) % config.vocab_size, 2, config.block_size, generator)
        optimizer.zero_grad()
        next_token_loss(model(x), y).backward()
        optimizer.step()

    ours, theirs = setup(1), setup(2)
    for _ in range(steps):
        go_on(*ours)
    with TemporaryDirectory() as folder:
        workbench.save_checkpoint(Path(folder) / "model.pt", *ours, **notes)
        assert workbench.load_checkpoint(Path(folder) / "model.pt", *theirs) == notes
    go_on(*ours)
    go_on(*theirs)
    assert all(map(torch.equal, ours[0].state_dict().values(), theirs[0].state_dict().values()))
