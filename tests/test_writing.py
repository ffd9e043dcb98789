"""Lesson 08: the cache changes nothing but time, and every way to choose keeps to its definition."""
import math
import random

import lessons
import pytest
import tinygpt
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tinygpt import GPT, Cached, CharTokenizer, GPTConfig, generate, train

LESSON = lessons.definitions_of(
    lessons.find("08"),
    seed=5, device="cpu", tokenizer=CharTokenizer("hello, world"), model=GPT(GPTConfig(vocab_size=9, n_layer=1)),
)  # fmt: skip
keep_top_k, keep_top_p, make_pick = LESSON["keep_top_k"], LESSON["keep_top_p"], LESSON["make_pick"]
WAYS = [
    {"temperature": 0}, {}, {"temperature": 0.5}, {"temperature": 1.7}, {"top_k": 3}, {"top_p": 0.6},
    {"temperature": 0.8, "top_k": 9, "top_p": 0.9},
]  # fmt: skip
V, T = 11, 8


# ---- The cache --------------------------------------------------------------------------------


def model_with(seed=0, **changes):
    """A small model in 64 bits, its weights so large that every earlier position counts."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**{"vocab_size": V, "block_size": T, "n_embd": 12, "n_head": 3, "n_layer": 2} | changes)).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


def written(model, idx, new, seed=1, **way):
    return generate(model, idx, new, make_pick(**way), torch.Generator().manual_seed(seed))


@given(
    st.sampled_from(WAYS), st.sampled_from([1, 2, 5]), st.sampled_from([1, T - 1, T, T + 5]), st.integers(0, 2 * T),
    st.fixed_dictionaries({
        "bias": st.booleans(), "activation": st.sampled_from(["relu", "gelu"]), "tie_weights": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.5]), "n_head": st.sampled_from([1, 3, 4]), "n_layer": st.integers(1, 3),
        "seed": st.integers(0, 99),
    }),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_cached_writing_equals_plain_writing_token_for_token(way, B, prompt, new, changes):
    model = model_with(**changes)
    idx = torch.randint(V, (B, prompt))
    texts = [written(writer, idx, new, **way) for writer in (model, Cached(model), Cached(LESSON["Bare"](model)))]
    assert torch.equal(texts[0], texts[1])
    assert torch.equal(texts[0], texts[2])
    assert texts[0].shape == (B, prompt + new)


def test_the_whole_text_decides_each_symbol_so_that_a_wrong_cache_would_show():
    model, idx = model_with().eval(), torch.randint(V, (1, T), generator=torch.Generator().manual_seed(2))
    for place in range(T):
        other = idx.clone()
        other[0, place] = (idx[0, place] + 1) % V
        assert (model(idx)[:, -1] - model(other)[:, -1]).abs().max() > 0.001


def test_the_cached_logits_are_the_last_row_of_the_plain_ones():
    model = model_with().eval()
    cached, idx = Cached(model), torch.randint(V, (3, T))
    for t in range(1, T + 1):
        logits = cached(idx[:, :t])
        assert logits.shape == (3, 1, V)
        assert torch.allclose(logits, model(idx[:, :t])[:, -1:], atol=1e-12)


def test_one_position_a_step_is_worked_out_within_the_context_and_all_of_them_beyond_it():
    model, sizes = model_with(), []
    model.blocks[0].norm1.register_forward_hook(lambda module, inputs, out: sizes.append(out.shape[1]))
    generate(Cached(model), torch.zeros(1, 3, dtype=torch.long), T)
    assert sizes == [3] + [1] * (T - 3) + [T] * 2


def test_a_text_that_goes_on_in_a_second_call_is_taken_up_where_it_ended():
    model, sizes = model_with(), []
    cached, idx = Cached(model), torch.zeros(1, 2, dtype=torch.long)
    halfway = generate(cached, idx, 2, generator=(dice := torch.Generator().manual_seed(3)))
    model.blocks[0].norm1.register_forward_hook(lambda module, inputs, out: sizes.append(out.shape[1]))
    whole = generate(cached, halfway, 3, generator=dice)
    assert sizes == [1, 1, 1]
    assert torch.equal(whole, generate(model, idx, 5, generator=torch.Generator().manual_seed(3)))


def test_a_cache_that_is_given_another_text_begins_anew():
    model = model_with().eval()
    cached = Cached(model)
    for ids in ([[0] * 4], [[1] * 5], [[1] * 6] * 2, [[0]], [[0]], [[0, 1], [1, 1]], [[0, 2, 2], [1, 1, 2]]):
        idx = torch.tensor(ids)
        assert torch.allclose(cached(idx)[:, -1], model(idx)[:, -1], atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_cached_writing_leaves_the_model_in_the_mode_it_was_in(training):
    model = model_with(dropout=0.5).train(training)
    for writer in (Cached(model), Cached(LESSON["Bare"](model))):
        generate(writer, torch.zeros(1, 1, dtype=torch.long), T)
    assert all(module.training == training for module in model.modules())


def test_a_new_cache_sees_what_was_learned_in_between():
    model, idx = model_with(), torch.randint(V, (4, T))
    written(Cached(model), idx[:1, :1], T)
    train(model, lambda: (idx[:, :-1], idx[:, 1:]), torch.optim.SGD(model.parameters(), lr=0.1), range(3))
    assert torch.equal(written(Cached(model), idx[:1, :1], T), written(model, idx[:1, :1], T))


def test_writing_with_a_cache_asks_for_no_gradients():
    logits = Cached(model_with().eval())(torch.zeros(1, 3, dtype=torch.long))
    assert not logits.requires_grad


def test_an_empty_prompt_is_refused_with_a_cache_as_without():
    with pytest.raises(ValueError, match="the prompt is empty"):
        generate(Cached(model_with()), torch.zeros(1, 0, dtype=torch.long), 3)


# ---- Choosing, against its definition ---------------------------------------------------------


def kept_by_definition(probs, top_k=None, top_p=1.0):
    """The set of ids that stay in one list of probabilities, by plain counting; among equals the smaller id first."""
    order = sorted(range(len(probs)), key=lambda i: (-probs[i], i))[:top_k]
    if top_p == 1:
        return set(order)
    total, kept, together = math.fsum(probs[i] for i in order), [], 0.0
    for i in order:
        if kept and together >= top_p:
            break
        kept.append(i)
        together += probs[i] / total
    return set(kept)


def on_the_border(probs, top_p):
    """Whether some of the likeliest have p together but for rounding: then rounding decides."""
    ranked = sorted(probs, reverse=True)
    sums = [math.fsum(ranked[:n]) / math.fsum(ranked[:k]) for k in range(1, len(probs) + 1) for n in range(1, k + 1)]
    return any(abs(total - top_p) < 1e-9 for total in sums) and 0 < top_p < 1


def kept(logits):
    """The ids that are left in each row."""
    return [{i for i, value in enumerate(row) if value > -math.inf} for row in logits.tolist()]


distributions = st.lists(st.integers(0, 6), min_size=1, max_size=12).map(lambda powers: [2.0**power for power in powers])
settings_of_p = st.one_of(st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.floats(0, 1))


@given(distributions, st.integers(1, 15), settings_of_p)
def test_exactly_the_right_symbols_stay_and_their_proportions_too(weights, k, p):
    probs = [weight / sum(weights) for weight in weights]  # with many ties
    logits = torch.tensor([probs], dtype=torch.float64).log()
    assume(not on_the_border(probs, p))
    for out, wanted in (
        (keep_top_k(logits, k), kept_by_definition(probs, top_k=k)),
        (keep_top_p(logits, p), kept_by_definition(probs, top_p=p)),
        (keep_top_p(keep_top_k(logits, k), p), kept_by_definition(probs, k, p)),
    ):
        assert kept(out) == [wanted]
        assert torch.equal(out[out > -math.inf], logits[out > -math.inf])


@pytest.mark.parametrize(
    ("keep", "value", "ids"),
    [
        (keep_top_k, 1, {1}), (keep_top_k, 2, {1, 2}), (keep_top_k, 3, {0, 1, 2}), (keep_top_k, 99, {0, 1, 2, 3}),
        (keep_top_p, 0, {1}), (keep_top_p, 0.0, {1}), (keep_top_p, 0.3, {1}), (keep_top_p, 0.5, {1, 2}),
        (keep_top_p, 0.85, {0, 1, 2}), (keep_top_p, 0.95, {0, 1, 2, 3}), (keep_top_p, 1, {0, 1, 2, 3}),
    ],
)  # fmt: skip
def test_ties_and_borders_worked_out_by_hand(keep, value, ids):
    logits = torch.tensor([[0.2, 0.35, 0.35, 0.1]]).log()  # 1 before 2: among equals the smaller id
    assert kept(keep(logits, value)) == [ids]


def test_a_p_of_one_keeps_even_symbols_that_rounding_makes_vanish():
    logits = torch.tensor([[0.0, -30.0, -60.0, -90.0]])  # together they make 1 after the first, in 32 bits
    assert kept(keep_top_p(logits, 1.0)) == [{0, 1, 2, 3}]


def test_many_equals_are_kept_in_the_order_of_their_ids():
    logits = torch.zeros(2, 500)  # long enough that an unstable sort would mix them
    assert kept(keep_top_k(logits, 37)) == [set(range(37))] * 2
    assert kept(keep_top_p(logits, 0.1999)) == [set(range(100))] * 2


def test_rows_of_a_batch_are_cut_each_for_itself():
    logits = torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.3, 0.3]]).log()
    assert kept(keep_top_p(logits, 0.8)) == [{0}, {0, 1, 2}]


@pytest.mark.parametrize("way", WAYS)
def test_the_frequencies_of_many_draws_agree_with_the_probabilities(way):
    probs = [0.02, 0.3, 0.25, 0.18, 0.1, 0.07, 0.05, 0.03]
    temperature, n = way.get("temperature", 1.0), 20_000
    powers = [p ** (1 / temperature) if temperature else float(p == max(probs)) for p in probs]
    powers = [power / sum(powers) for power in powers]
    stay = kept_by_definition(powers, way.get("top_k"), way.get("top_p", 1.0))
    total = math.fsum(powers[i] for i in stay)
    wanted = torch.tensor([power / total if i in stay else 0.0 for i, power in enumerate(powers)], dtype=torch.float64)
    draws = make_pick(**way)(torch.tensor([probs]).log().repeat(n, 1), torch.Generator().manual_seed(1))
    assert draws.shape == (n, 1)
    frequencies = torch.bincount(draws[:, 0], minlength=8) / n
    limit = 4.5 * (wanted * (1 - wanted) / n).sqrt()  # 4.5 standard deviations of a share of n draws
    assert ((frequencies - wanted).abs() <= limit + 1e-12).all()


def test_a_wrong_temperature_would_be_seen_in_as_many_draws():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().repeat(20_000, 1)
    draws = make_pick(temperature=1.25)(logits, torch.Generator().manual_seed(1))
    share = (draws == 0).double().mean().item()
    assert abs(share - 0.5) > 4.5 * math.sqrt(0.25 / 20_000)


def test_temperature_zero_is_greedy_takes_the_first_of_equals_and_needs_no_luck():
    logits = torch.randint(4, (50, 9)).double()
    wanted = [[row.index(max(row))] for row in logits.tolist()]
    assert make_pick(temperature=0)(logits).tolist() == wanted
    assert make_pick(top_k=1)(logits).tolist() == wanted
    assert make_pick(top_p=0)(logits).tolist() == wanted


def test_the_coldest_and_the_hottest_temperature_still_give_probabilities():
    logits = torch.tensor([[80.0, 79.0, -80.0]]).repeat(100, 1)
    assert make_pick(temperature=0.01)(logits).unique().tolist() == [0]
    assert set(make_pick(temperature=100)(logits, torch.Generator().manual_seed(0)).unique().tolist()) >= {0, 1}


# ---- Bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"temperature": -0.1}, "temperature=-0.1: choose 0 "), ({"temperature": math.inf}, "temperature=inf"),
        ({"temperature": math.nan}, "temperature=nan"), ({"temperature": 1e-50}, "temperature=1e-50"),
        ({"top_k": 0}, "top_k=0: keep at least 1"), ({"top_k": -3}, "top_k=-3"), ({"top_k": math.nan}, "top_k=nan"),
        ({"top_p": -0.1}, "top_p=-0.1: it is a probability"), ({"top_p": 1.01}, "top_p=1.01"), ({"top_p": math.nan}, "top_p=nan"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_in_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        make_pick(**wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "new", "sentence"),
    [
        ("", 5, "the prompt is empty: write at least one character"),
        ("hell€", 5, "character '€' at place 4 is not among the 9 known ones"),
        ("hello", 10**9, "1,000,000,000 new characters: choose a number from 0 to 20,000"),
        ("hello", 20_001, "20,001 new characters"), ("hello", -1, "-1 new characters"),
    ],
)  # fmt: skip
def test_prompts_and_lengths_without_sense_are_refused_in_one_sentence(prompt, new, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        LESSON["write"](prompt, new)
    assert "\n" not in str(caught.value)


def test_a_prompt_is_continued_by_as_many_characters_as_were_asked_for():
    for prompt, new in (("hello", 0), ("h", 7), ("hello, world" * 4, 3)):
        text = LESSON["write"](prompt, new)
        assert text.startswith(prompt) and len(text) == len(prompt) + new


# ---- What the lesson measures -----------------------------------------------------------------


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab", max_size=12))
def test_the_longest_copy_is_the_longest_of_all_stretches(text, source):
    stretches = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    longest = max((len(stretch) for stretch in stretches if stretch in source), default=0)
    found = LESSON["longest_copy"](text, source)
    assert len(found) == longest and found in text and found in source


def test_a_copied_passage_is_found_whatever_stands_around_it():
    dice = random.Random(4)
    source = "".join(dice.choice("abcdefghij ") for _ in range(5_000))
    text = "x" * 30 + source[777:877] + "x" * 30
    assert LESSON["longest_copy"](text, source) == source[777:877]


@given(st.text(alphabet="ab", min_size=1, max_size=20), st.integers(1, 5))
def test_repetition_counts_the_stretches_that_occurred_before(text, n):
    stretches = [text[i : i + n] for i in range(len(text) - n + 1)]
    before = sum(stretch in stretches[:i] for i, stretch in enumerate(stretches))
    assert LESSON["repetition"](text, n) == pytest.approx(before / len(stretches) if stretches else 1.0)


def test_words_that_may_be_cut_and_capitals_do_not_count_as_misspelt():
    misspelling = LESSON["misspelling"]
    assert misspelling("xx The CAT sat; thw yy", {"the", "cat", "sat"}) == 1 / 4
    assert misspelling("xx yy", set()) == misspelling("", set()) == 0


def test_the_surprises_are_those_of_the_windows_one_by_one():
    surprises, model = LESSON["surprises"], LESSON["model"]
    data = torch.randint(9, (2 * 32 + 6,), generator=torch.Generator().manual_seed(0))
    nats = surprises(model, data)
    assert nats.shape == (len(data) - 1,)
    assert nats.mean().item() == pytest.approx(tinygpt.full_loss(model, data, 32), abs=1e-6)
    for i in (0, 31, 32, len(data) - 2):
        start = i // 32 * 32  # each window begins without a past
        with torch.no_grad():
            logits = model(data[None, start : i + 1])[0, -1]
        assert nats[i].item() == pytest.approx(-logits.log_softmax(-1)[data[i + 1]].item(), abs=1e-5)


def test_the_commonest_words_have_ids_and_all_others_share_one():
    words = LESSON["WordTokenizer"]("a be to be, to be to", vocab_size=3)  # " be" and " to" three times each
    assert sorted(words.itos) == [" be", " to", "<unk>"] and words.vocab_size == 3
    assert words.encode("a be to quick,") == [0, words.stoi[" be"], words.stoi[" to"], 0, 0]
