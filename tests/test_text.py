"""What lessons 01 to 03 build: counting, writing, tokenizers, batches, losses and the training loop.

The expectations come from elsewhere: from plain loops written here, from sums worked out by hand, from PyTorch's
own functions, from tiktoken.
"""
import contextlib
import doctest
import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import tiktoken
import torch
import workbench
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tinygpt
from tinygpt import (
    GPT,
    BigramLanguageModel,
    BPETokenizer,
    CharTokenizer,
    GPTConfig,
    count_pairs,
    estimate_loss,
    evaluating,
    full_loss,
    generate,
    get_batch,
    learn_merges,
    merge,
    next_token_loss,
    sample,
    split,
    split_words,
    train,
    windows,
)

DATA = Path(__file__).resolve().parents[1] / "data"
HELLO = torch.tensor([7, 4, 11, 11, 14, 26, 22, 14, 17, 11, 3])  # "hello world"

# The same examples in every run, however slow the machine.
settings.register_profile("tests", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(20)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def greedy(logits, generator):
    return logits.argmax(dim=-1, keepdim=True)


def tiny_gpt(**changes):
    """A GPT whose every weight is large enough to matter."""
    sizes = {"vocab_size": 11, "block_size": 5, "n_embd": 12, "n_head": 3, "n_layer": 2} | changes
    model = GPT(GPTConfig(**sizes))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


class Diary(nn.Module):
    """Looks each symbol's logits up in a table, and remembers what it was shown and in which state."""

    block_size = 4

    def __init__(self, vocab_size=7):
        super().__init__()
        self.table = nn.Parameter(torch.randn(vocab_size, vocab_size))
        self.inner = nn.Sequential(nn.Dropout(0.5))
        self.seen, self.modes, self.gradients = [], [], []

    def forward(self, idx):
        self.seen.append(idx.clone())
        self.modes.append((self.training, self.inner[0].training))
        self.gradients.append(torch.is_grad_enabled())
        return self.table[idx]


@pytest.mark.parametrize(("module", "least"), [(tinygpt, 4), (workbench, 1)])
def test_the_examples_in_the_docstrings_are_true(module, least):
    failed, attempted = doctest.testmod(module)
    assert failed == 0
    assert attempted >= least


# ---- 01 · Bigram ------------------------------------------------------------------------------


def test_counted_pairs_agree_with_a_counter():
    ids = torch.randint(6, (503,))  # symbol 6 of the 7 never occurs
    expected = Counter(zip(ids.tolist(), ids.tolist()[1:]))
    counts = count_pairs(ids, 7)
    assert counts.shape == (7, 7)
    assert {(i, j): counts[i, j].item() for i in range(7) for j in range(7) if counts[i, j]} == dict(expected)
    assert counts.sum() == 502


def test_one_symbol_makes_no_pair():
    assert count_pairs(torch.tensor([2]), 3).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_row_i_of_the_bigram_table_is_the_answer_after_symbol_i():
    model = BigramLanguageModel(5)
    idx = torch.tensor([[3, 0, 4], [1, 1, 2]])
    logits = model(idx)
    assert logits.shape == (2, 3, 5)
    for b in range(2):
        for t in range(3):
            assert torch.equal(logits[b, t], model.table.weight[idx[b, t]])


def test_the_bigram_by_gradient_reaches_the_loss_of_the_counting_table():
    ids = torch.cat([torch.randint(5, (300,)), torch.randint(2, (101,))])
    pairs = Counter(zip(ids.tolist(), ids.tolist()[1:]))
    firsts = Counter(ids.tolist()[:-1])
    counted = -sum(n * math.log(n / firsts[i]) for (i, _), n in pairs.items()) / 400

    model = BigramLanguageModel(5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = train(model, lambda: (ids[None, :-1], ids[None, 1:]), optimizer, range(300))
    assert losses[-1] == pytest.approx(counted, abs=1e-3)
    assert min(losses) >= counted - 1e-5  # nothing can beat the counts on the text that was counted


def test_twenty_thousand_draws_follow_softmax():
    logits = torch.tensor([1.5, -0.5, 0.0, 2.0, -1.0])
    n = 20_000
    draws = sample(logits.expand(n, 5), generator(1)).flatten()
    expected = n * logits.exp() / logits.exp().sum()
    chi_square = ((torch.bincount(draws, minlength=5) - expected) ** 2 / expected).sum()
    assert chi_square < 23.5  # four degrees of freedom exceed it once in 10,000 times


def test_each_row_is_drawn_from_its_own_logits():
    wanted = torch.tensor([2, 0, 4])
    logits = 60 * F.one_hot(wanted, 5).float()
    assert torch.equal(sample(logits), wanted[:, None])
    same = sample(torch.zeros(200, 5), generator(0))
    assert len(same.unique()) == 5  # rows with equal logits do not share one draw


def test_the_same_generator_makes_the_same_draws_and_leaves_the_global_one_alone():
    logits = torch.randn(50, 7)
    state = torch.get_rng_state()
    first, again, other = (sample(logits, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_evaluating_switches_mode_and_gradients_off_and_gives_both_back(mode, fails):
    model = Diary().train(mode)
    with pytest.raises(KeyError) if fails else contextlib.nullcontext(), evaluating(model):
        assert not model.training and not model.inner[0].training
        assert not torch.is_grad_enabled()
        if fails:
            raise KeyError
    assert model.training == model.inner[0].training == mode
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("new", [0, 1, 6])
def test_generate_keeps_the_prompt_and_adds_as_many_symbols_as_asked(new):
    prompt = torch.tensor([[3, 1, 4], [1, 5, 0]])
    out = generate(Diary(), prompt, new)
    assert out.shape == (2, 3 + new)
    assert torch.equal(out[:, :3], prompt)
    assert torch.equal(prompt, torch.tensor([[3, 1, 4], [1, 5, 0]]))
    assert out.dtype == torch.long and 0 <= out.min() and out.max() < 7


def test_generate_shows_the_model_the_last_block_size_symbols():
    model = Diary()
    out = generate(model, torch.tensor([[3, 1]]), 5)
    assert [seen.shape[1] for seen in model.seen] == [2, 3, 4, 4, 4]
    for place, seen in enumerate(model.seen, start=2):
        assert torch.equal(seen, out[:, max(0, place - 4) : place])


def test_what_lies_further_back_than_block_size_does_not_matter():
    model = tiny_gpt()
    recent = torch.randint(11, (1, 5))
    first, second = torch.zeros(1, 3, dtype=torch.long), torch.full((1, 8), 9)
    continued = [generate(model, torch.cat([old, recent], dim=1), 12, generator=generator(5)) for old in (first, second)]
    assert torch.equal(continued[0][:, 3:], continued[1][:, 8:])


def test_greedy_writing_follows_the_largest_last_logit():
    model = tiny_gpt().eval()
    out = generate(model, torch.tensor([[2, 7]]), 9, pick=greedy)
    expected = [2, 7]
    for _ in range(9):
        expected.append(model(torch.tensor([expected[-5:]]))[0, -1].argmax().item())
    assert out.tolist() == [expected]
    assert len(set(expected)) > 2  # the example is not a constant one


def test_pick_gets_the_last_logits_and_the_generator():
    model, own = Diary(), generator(0)
    calls = []

    def pick(logits, generator):
        calls.append((logits, generator))
        return greedy(logits, generator)

    out = generate(model, torch.tensor([[3, 1], [0, 6]]), 3, pick, own)
    assert all(given is own for _, given in calls)
    for place, (logits, _) in enumerate(calls, start=1):
        assert torch.equal(logits, model.table[out[:, place]])


def test_generate_draws_from_softmax_unless_told_otherwise():
    model = Diary()
    out = generate(model, torch.tensor([[3]]), 4, generator=generator(8))
    by_hand, source = [3], generator(8)
    for _ in range(4):
        probs = model.table[by_hand[-1]].exp() / model.table[by_hand[-1]].exp().sum()
        by_hand.append(torch.multinomial(probs, 1, generator=source).item())
    assert out.tolist() == [by_hand]


def test_the_same_generator_writes_the_same_text():
    model = tiny_gpt()
    first, again, other = (generate(model, torch.tensor([[0]]), 20, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rows_of_a_batch_continue_independently():
    model = tiny_gpt()
    prompts = torch.randint(11, (3, 4))
    together = generate(model, prompts, 8, pick=greedy)
    for b in range(3):
        assert torch.equal(together[b : b + 1], generate(model, prompts[b : b + 1], 8, pick=greedy))


@pytest.mark.parametrize("mode", [True, False])
def test_generate_works_in_evaluation_mode_without_gradients_and_restores_the_mode(mode):
    model = Diary().train(mode)
    generate(model, torch.tensor([[0]]), 3)
    assert model.modes == [(False, False)] * 3
    assert model.gradients == [False] * 3
    assert model.training == mode and torch.is_grad_enabled()


def test_a_pick_that_fails_leaves_the_model_in_training_mode():
    def broken(logits, generator):
        raise RuntimeError("no more ideas")

    model = Diary().train()
    with pytest.raises(RuntimeError, match="no more ideas"):
        generate(model, torch.tensor([[0]]), 3, pick=broken)
    assert model.training and torch.is_grad_enabled()


@pytest.mark.parametrize("new", [0, 3])
def test_an_empty_prompt_is_refused_in_one_sentence(new):
    with pytest.raises(ValueError, match="^the prompt is empty: give at least one symbol"):
        generate(Diary(), torch.zeros(1, 0, dtype=torch.long), new)


def test_the_bigram_writes_from_the_last_symbol_alone():
    model = BigramLanguageModel(3)
    with torch.no_grad():
        model.table.weight.copy_(60 * torch.eye(3)[[1, 2, 0]])  # 0 -> 1 -> 2 -> 0
    shown = []
    model.register_forward_pre_hook(lambda model, args: shown.append(args[0].shape))
    assert generate(model, torch.tensor([[1, 0]]), 5).tolist() == [[1, 0, 1, 2, 0, 1, 2]]
    assert shown == [(1, 1)] * 5  # one symbol is all it can make use of


# ---- 02 · Tokenizer ---------------------------------------------------------------------------


def test_characters_get_ids_in_sorted_order():
    tokenizer = CharTokenizer("to be, or not\n")
    assert tokenizer.itos == ["\n", " ", ",", "b", "e", "n", "o", "r", "t"]
    assert tokenizer.vocab_size == 9
    assert tokenizer.encode("bet") == [3, 4, 8]
    assert tokenizer.decode([8, 6, 5]) == "ton"
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""


@given(st.text())
def test_characters_survive_the_round_trip(text):
    tokenizer = CharTokenizer(text)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text) and set(ids) == set(range(tokenizer.vocab_size))
    assert tokenizer.decode(ids) == text


def test_an_unknown_character_is_named_with_its_first_place():
    with pytest.raises(ValueError) as caught:
        CharTokenizer("hello").encode("hexlzox")
    assert str(caught.value) == "character 'x' at place 2 is not among the 4 known ones"
    assert caught.value.__cause__ is None and caught.value.__suppress_context__  # one sentence, no KeyError above it


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("To be, or not", ["To", " be", ",", " or", " not"]),
        ("ROMEO:\nO, 'tis", ["ROMEO", ":", "\n", "O", ",", " '", "tis"]),
        ("a  b", ["a", "  ", "b"]),
        ("end.\n\nThe", ["end", ".", "\n\n", "The"]),
        (" --wait ...", [" --", "wait", " ..."]),
        ("42 fünf 日本", ["42", " fünf", " 日本"]),
        ("", []),
    ],
)
def test_words_take_the_space_before_them(text, words):
    assert split_words(text) == words


@given(st.text() | st.text(alphabet=" a,\n\t'é_"))
def test_splitting_into_words_loses_nothing(text):
    words = split_words(text)
    assert "".join(words) == text
    assert all(words)
    for word in words:  # one kind of character in each, after at most one space
        letters = word if word.isspace() else word.removeprefix(" ")
        assert len({(c.isalnum() or c == "_", c.isspace()) for c in letters}) == 1


@pytest.mark.parametrize(
    ("ids", "merged"),
    [
        ([7, 7, 7, 9], [256, 7, 9]),
        ([7, 7, 7, 7], [256, 256]),
        ([9, 7, 7], [9, 256]),
        ([7, 9, 7], [7, 9, 7]),
        ([7], [7]),
        ([], []),
    ],
)
def test_a_pair_is_replaced_from_left_to_right(ids, merged):
    before = list(ids)
    assert merge(ids, (7, 7), 256) == merged
    assert ids == before


def test_a_pair_has_an_order():
    assert merge([1, 2, 1, 2, 2, 1], (2, 1), 256) == [1, 256, 2, 256]


@given(st.lists(st.integers(0, 3)), st.integers(0, 3), st.integers(0, 3))
def test_merging_ids_is_replacing_in_a_string(ids, left, right):
    replaced = "".join(map(chr, ids)).replace(chr(left) + chr(right), chr(300))
    assert merge(ids, (left, right), 300) == [ord(c) for c in replaced]


def test_byte_pair_encoding_agrees_with_the_example_by_hand():
    # a a a b d a a a b a c: (a,a) stands 4 times, so Z = aa:      Z a b d Z a b a c
    # (Z,a) and (a,b) twice each; (97,98) is the smaller: Y = ab:  Z Y d Z Y a c
    # (Z,Y) twice: X = ZY:                                         X d X a c
    tokenizer = BPETokenizer.train("aaabdaaabac", 259)
    assert list(tokenizer.merges.items()) == [((97, 97), 256), ((97, 98), 257), ((256, 257), 258)]
    assert tokenizer.encode("aaabdaaabac") == [258, 100, 258, 97, 99]
    assert tokenizer.vocab[258] == b"aaab"
    assert tokenizer.vocab_size == 259


def merges_by_recounting(words, n_merges):
    """The slow way: spell every occurrence as characters, count every pair anew for each merge, replace in strings."""
    texts = ["".join(map(chr, word.encode("utf-8"))) for word in words]
    merges = []
    for new_id in range(256, 256 + n_merges):
        counts = Counter(pair for text in texts for pair in pairwise(text))
        if not counts:
            break
        (left, right), _ = min(counts.items(), key=lambda item: (-item[1], item[0]))
        merges.append(((ord(left), ord(right)), new_id))
        texts = [text.replace(left + right, chr(new_id)) for text in texts]
    return merges


@settings(max_examples=300)
@given(st.text(alphabet="aab ,é\n", max_size=80) | st.text(max_size=40), st.integers(0, 30))
def test_learned_merges_are_those_of_recounting_everything(text, n_merges):
    words = re.findall(r" ?\w+| ?[^\w\s]+|\s+", text)
    tokenizer = BPETokenizer.train(text, 256 + n_merges)
    assert list(tokenizer.merges.items()) == merges_by_recounting(words, n_merges)


def test_a_word_counts_as_often_as_it_occurs():
    assert learn_merges({"ab": 2, "cd": 5, "xab": 2}, 2) == {(99, 100): 256, (97, 98): 257}


def test_the_earliest_learned_merge_is_applied_first():
    tokenizer = BPETokenizer({(98, 99): 256, (97, 98): 257, (97, 256): 258})
    assert tokenizer.encode_word("abc") == [258]
    assert BPETokenizer({(97, 98): 256, (98, 99): 257, (97, 257): 258}).encode_word("abc") == [256, 99]


def test_no_token_reaches_over_the_border_of_a_word():
    tokenizer = BPETokenizer.train("to be or not to be, that\nis " * 30, 320)
    for token in tokenizer.vocab.values():
        assert len(split_words(token.decode("latin-1"))) == 1


SCHOOLED = BPETokenizer.train("To be, or not to be: é è ü 日本語 🙂🙂 aaaaaaaa\n\n" * 3, 256 + 40)


@pytest.mark.parametrize("text", ["", "a" * 37, "🙂👩‍👩‍👧 ñ", "日本語日本", "\x00\r\n\t", "not to be"])
def test_these_texts_survive_byte_pair_encoding(text):
    assert SCHOOLED.decode(SCHOOLED.encode(text)) == text


@given(st.text() | st.text(alphabet=" tobe,日🙂a"))
def test_any_text_survives_byte_pair_encoding(text):
    ids = SCHOOLED.encode(text)
    assert all(0 <= i < SCHOOLED.vocab_size for i in ids)
    assert len(ids) <= len(text.encode("utf-8"))
    assert SCHOOLED.decode(ids) == text


def test_bytes_that_are_no_text_decode_to_the_replacement_character():
    assert SCHOOLED.decode([97, 0xFF, 98]) == "a\ufffdb"


DOWNLOADED = ["tinyshakespeare"] if (DATA / "tinyshakespeare.txt").exists() else []


@pytest.mark.parametrize("corpus", ["six_plays", "letters"] + DOWNLOADED)
def test_encoding_agrees_with_tiktoken(corpus):
    text = (DATA / f"{corpus}.txt").read_text(encoding="utf-8")
    ours = BPETokenizer.train(text[: len(text) // 2], 256 + 200)
    ranks = {token: i for i, token in ours.vocab.items()}
    assert len(ranks) == ours.vocab_size == 456
    theirs = tiktoken.Encoding(
        "test", pat_str=r" ?\w+| ?[^\w\s]+|\s+", mergeable_ranks=ranks, special_tokens={}, explicit_n_vocab=456
    )
    ids = ours.encode(text)
    assert ids == theirs.encode(text)
    assert len(ids) < 0.7 * len(text)
    assert ours.decode(ids) == text


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(ValueError, match="^vocab_size=255 is too small: the 256 bytes come first$"):
        BPETokenizer.train("abab", 255)
    assert BPETokenizer.train("abab", 256).encode("ab") == [97, 98]


def test_learning_stops_early_where_no_pair_is_left():
    tokenizer = BPETokenizer.train("abab", 1000)
    assert tokenizer.vocab_size == 258  # ab and abab
    assert tokenizer.encode("abab") == [257]
    assert BPETokenizer.train("", 1000).vocab_size == 256


# ---- 03 · Batching ----------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "first"), [(10, 9), (37, 33), (1_115_394, 1_003_854), (1, 0)])
def test_the_first_ninety_percent_are_for_training(n, first):
    data = torch.arange(n)
    training, validation = split(data)
    assert len(training) == first
    assert torch.equal(torch.cat([training, validation]), data)


def test_another_share_can_be_asked_for():
    assert [len(part) for part in split(torch.arange(20), 0.25)] == [5, 15]


def test_windows_agree_with_the_worked_example():
    x, y = windows(HELLO, torch.tensor([0, 5]), 5)
    assert x.tolist() == [[7, 4, 11, 11, 14], [26, 22, 14, 17, 11]]
    assert y.tolist() == [[4, 11, 11, 14, 26], [22, 14, 17, 11, 3]]


def test_targets_are_the_inputs_one_step_later():
    data = torch.arange(100, 130)  # every symbol tells its place
    x, y = get_batch(data, 7, 4, generator(0))
    assert x.shape == y.shape == (7, 4)
    for row in range(7):
        start = x[row, 0].item()
        assert x[row].tolist() == list(range(start, start + 4))
        assert y[row].tolist() == list(range(start + 1, start + 5))


def test_every_window_is_equally_likely_from_the_first_to_the_last():
    n = 5_000
    x, y = get_batch(torch.arange(9), n, 4, generator(0))
    starts = torch.bincount(x[:, 0])
    assert len(starts) == 5  # 0 to 4: the last window's last target is the last symbol
    assert y.max() == 8
    assert ((starts - n / 5) ** 2 / (n / 5)).sum() < 23.5  # chi-square, four degrees of freedom, once in 10,000 times


def test_the_same_generator_draws_the_same_batch_and_leaves_the_global_one_alone():
    data = torch.randint(50, (200,))
    state = torch.get_rng_state()
    first, again, other = (get_batch(data, 8, 6, generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_batches_go_to_the_device_asked_for():
    assert [t.device.type for t in get_batch(HELLO, 3, 4)] == ["cpu", "cpu"]
    assert [t.device.type for t in get_batch(HELLO, 3, 4, device="meta")] == ["meta", "meta"]


def test_data_that_holds_no_window_is_refused():
    with pytest.raises(ValueError, match=r"^6 symbols are too few: a window takes 7 \(block_size \+ 1\)$"):
        get_batch(torch.arange(6), 2, 6)
    x, y = get_batch(torch.arange(7), 3, 6)  # exactly one window
    assert x.tolist() == [[0, 1, 2, 3, 4, 5]] * 3
    assert y.tolist() == [[1, 2, 3, 4, 5, 6]] * 3


def test_the_loss_is_the_mean_surprise_at_the_targets():
    logits, targets = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    total = 0.0
    for b in range(2):
        for t in range(3):
            exponentials = [math.exp(z) for z in logits[b, t].tolist()]
            total += -math.log(exponentials[targets[b, t]] / sum(exponentials))
    assert next_token_loss(logits, targets).item() == pytest.approx(total / 6, rel=1e-6)


def test_the_loss_accepts_slices():
    logits, ids = torch.randn(2, 4, 5), torch.randint(5, (2, 4))
    whole = next_token_loss(logits[:, :-1], ids[:, 1:])
    assert torch.equal(whole, next_token_loss(logits[:, :-1].clone(), ids[:, 1:].clone()))


def test_equal_logits_cost_ln_v():
    loss = next_token_loss(torch.full((2, 3, 65), 0.7), torch.randint(65, (2, 3)))
    assert loss.item() == pytest.approx(math.log(65), rel=1e-6)


class Priced(nn.Module):
    """The loss of a batch that holds nothing but symbol i, with target 0, is prices[i]."""

    block_size = 1

    def __init__(self, prices):
        super().__init__()
        # -ln p = ln(1 + exp(-z)) for the logits (z, 0), so z = -ln(exp(price) - 1)
        self.z = nn.Parameter(torch.tensor([-math.log(math.exp(price) - 1) for price in prices]))
        self.modes, self.gradients = [], []

    def forward(self, idx):
        self.modes.append(self.training)
        self.gradients.append(torch.is_grad_enabled())
        return torch.stack([self.z[idx], torch.zeros(idx.shape)], dim=-1)


@pytest.mark.parametrize("mode", [True, False])
def test_estimated_losses_agree_with_the_worked_example(mode):
    model = Priced([1.2, 1.1, 1.15, 1.05, 1.5, 1.45, 1.6, 1.4, 9.0]).train(mode)
    places = {"train": iter([0, 1, 2, 3, 8]), "val": iter([4, 5, 6, 7, 8])}  # a fifth draw would cost 9

    def draw(name):
        return torch.full((2, 3), next(places[name])), torch.zeros(2, 3, dtype=torch.long)

    losses = estimate_loss(model, {"train": lambda: draw("train"), "val": lambda: draw("val")}, eval_iters=4)
    assert losses == {"train": pytest.approx(1.125, abs=1e-6), "val": pytest.approx(1.4875, abs=1e-6)}
    assert all(type(loss) is float for loss in losses.values())
    assert model.modes == [False] * 8 and model.gradients == [False] * 8
    assert model.training == mode and torch.is_grad_enabled()


def test_a_draw_that_fails_leaves_the_model_in_training_mode():
    model = Priced([1.0]).train()
    with pytest.raises(ValueError, match="too few"):
        estimate_loss(model, {"val": lambda: get_batch(HELLO, 2, 99)}, eval_iters=4)
    assert model.training


def loss_symbol_by_symbol(model, data, block_size):
    """Predict every symbol but the first from what its window holds before it, one at a time."""
    total = 0.0
    for place in range(1, len(data)):
        start = (place - 1) // block_size * block_size
        logits = model(data[None, start:place])[0, -1]
        total -= F.log_softmax(logits, dim=-1)[data[place]].item()
    return total / (len(data) - 1)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("n", [2, 4, 5, 6, 7, 10, 11, 13, 26, 28, 36])
def test_the_full_loss_predicts_every_symbol_but_the_first_once(n, mode):
    model = tiny_gpt(dropout=0.5).double().train(mode)
    data = torch.randint(11, (n,))
    loss = full_loss(model, data, block_size=5, batch_size=3)
    assert model.training == mode and torch.is_grad_enabled()
    assert loss == pytest.approx(loss_symbol_by_symbol(model.eval(), data, 5), rel=1e-9)
    assert full_loss(model, data, block_size=5) == pytest.approx(loss, rel=1e-9)
    assert type(loss) is float


def test_the_full_loss_goes_through_the_model_without_gradients_in_batches():
    model = Diary()
    full_loss(model, torch.randint(7, (4 * 5 + 3,)), block_size=4, batch_size=2)
    assert [tuple(seen.shape) for seen in model.seen] == [(2, 4), (2, 4), (1, 4), (1, 2)]
    assert not any(model.gradients)
    model.seen.clear()
    full_loss(model, torch.randint(7, (4 * 300 + 1,)), block_size=4)
    assert [tuple(seen.shape) for seen in model.seen] == [(256, 4), (44, 4)]


# ---- 03 · Training ----------------------------------------------------------------------------


def bigram_gradient(table, x, y):
    """By hand: at every position p - onehot(target) is added to the row of the symbol, and the mean is taken."""
    gradient = torch.zeros_like(table)
    for i, j in zip(x.flatten().tolist(), y.flatten().tolist()):
        gradient[i] += F.softmax(table[i], dim=-1)
        gradient[i, j] -= 1
    return gradient / x.numel()


def bigram_batches(n, V=5):
    return [(torch.randint(V, (2, 3)), torch.randint(V, (2, 3))) for _ in range(n)]


def test_three_steps_of_training_are_three_steps_by_hand():
    model, batches = BigramLanguageModel(5).double(), bigram_batches(3)
    table, losses = model.table.weight.detach().clone(), []
    for x, y in batches:
        losses.append(sum(-F.log_softmax(table[i], dim=-1)[j].item() for i, j in zip(x.flatten(), y.flatten())) / 6)
        table -= 0.7 * bigram_gradient(table, x, y)
    queue = iter(batches)
    returned = train(model, lambda: next(queue), torch.optim.SGD(model.parameters(), lr=0.7), range(3))
    torch.testing.assert_close(model.table.weight.detach(), table)
    assert returned == pytest.approx(losses, rel=1e-9)
    assert all(type(loss) is float for loss in returned)


def test_one_step_of_training_is_one_step_of_adamw_by_hand():
    model, [(x, y)] = BigramLanguageModel(5).double(), bigram_batches(1)
    table = model.table.weight.detach().clone()
    g = bigram_gradient(table, x, y)
    # The first step's means, corrected for their start at zero, are g and g²: decay, then one signed step of size lr.
    expected = table * (1 - 0.1 * 0.3) - 0.1 * g / (g.abs() + 1e-8)
    train(model, lambda: (x, y), torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.3), range(1))
    torch.testing.assert_close(model.table.weight.detach(), expected)


def test_on_step_comes_between_the_gradients_and_the_new_weights():
    model, batches = BigramLanguageModel(5).double(), bigram_batches(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.7)
    queue, before, calls = iter(batches), [], []

    def draw_batch():
        before.append(model.table.weight.detach().clone())
        return next(queue)

    def on_step(step, loss):
        assert type(step) is int and type(loss) is float
        x, y = batches[len(calls)]
        assert torch.equal(model.table.weight, before[-1])
        torch.testing.assert_close(model.table.weight.grad, bigram_gradient(before[-1], x, y))
        calls.append((step, loss))

    losses = train(model, draw_batch, optimizer, range(40, 43), on_step)
    assert calls == list(zip([40, 41, 42], losses))
    assert not torch.equal(model.table.weight, before[-1])


def test_what_on_step_does_to_rate_and_gradients_holds_for_the_same_step():
    model, batches = BigramLanguageModel(5).double(), bigram_batches(2)
    start = model.table.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.7)
    queue = iter(batches)

    def on_step(step, loss):
        optimizer.param_groups[0]["lr"] = [0.0, 0.2][step]
        nn.utils.clip_grad_value_(model.parameters(), 0.01)

    train(model, lambda: next(queue), optimizer, range(2), on_step)
    expected = start - 0.2 * bigram_gradient(start, *batches[1]).clamp(-0.01, 0.01)
    torch.testing.assert_close(model.table.weight.detach(), expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_training_at_its_step(bad):
    model, called = BigramLanguageModel(5), []
    (good, _), (_, targets) = bigram_batches(2)
    queue = iter([(good * 0, targets), (good * 0 + 3, targets)])  # symbol 0, then symbol 3
    with torch.no_grad():
        model.table.weight[3] = math.nan if math.isnan(bad) else -math.inf
        model.table.weight[3, 4] = 0.0
        targets.clamp_(max=3)
    before = []

    def on_step(step, loss):
        called.append(step)

    def draw_batch():
        before.append(model.table.weight.detach().clone())
        return next(queue)

    with pytest.raises(FloatingPointError, match=f"^the loss is {bad} at step 8: try a lower learning_rate$"):
        train(model, draw_batch, torch.optim.SGD(model.parameters(), lr=0.1), range(7, 10), on_step)
    assert called == [7]
    torch.testing.assert_close(model.table.weight.detach(), before[-1], rtol=0, atol=0, equal_nan=True)


def test_training_happens_and_ends_in_training_mode():
    model = Diary().eval()
    batch = torch.randint(7, (2, 3)), torch.randint(7, (2, 3))
    train(model, lambda: batch, torch.optim.SGD(model.parameters(), lr=0.1), range(2))
    assert model.modes == [(True, True)] * 2
    assert model.training and model.inner[0].training


def test_no_steps_change_nothing():
    model = BigramLanguageModel(5)
    assert train(model, None, torch.optim.SGD(model.parameters(), lr=0.1), range(0)) == []


def test_the_same_seeds_give_the_same_training():
    def run(seed):
        torch.manual_seed(seed)
        model, source = tiny_gpt(dropout=0.3), generator(seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        return train(model, lambda: get_batch(HELLO % 11, 3, 5, source), optimizer, range(5))

    assert run(1) == run(1)
    assert run(1) != run(2)
