"""Lesson 08: the cache changes nothing but time, and every way to choose keeps to its definition."""
import math

import lessons
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygpt import GPT, Cached, GPTConfig, generate

LESSON = lessons.definitions_of(
    next(path for path in lessons.LESSONS if lessons.number(path) == "08"), seed=5, model=None, device="cpu", tokenizer=None
)
keep, make_pick = LESSON["keep"], LESSON["make_pick"]
WAYS = [{"temperature": 0}, {}, {"temperature": 0.5}, {"temperature": 1.7}, {"top_k": 3}, {"top_p": 0.6}, {"temperature": 0.8, "top_k": 9, "top_p": 0.9}]
T = 8


# ---- The cache --------------------------------------------------------------------------------


def model_with(**changes):
    """A small model in 64 bits, its weights large enough that every position counts."""
    torch.manual_seed(changes.pop("seed", 0))
    model = GPT(GPTConfig(**{"vocab_size": 11, "block_size": T, "n_embd": 12, "n_head": 3, "n_layer": 2} | changes)).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


@given(
    st.sampled_from(WAYS), st.sampled_from([1, 2, 5]), st.sampled_from([1, T - 1, T, T + 5]), st.integers(0, 2 * T),
    st.fixed_dictionaries({
        "bias": st.booleans(), "activation": st.sampled_from(["relu", "gelu"]), "tie_weights": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.5]), "seed": st.integers(0, 99),
    }),
)  # fmt: skip
@settings(deadline=None)
def test_cached_writing_equals_plain_writing_token_for_token(way, B, prompt, new, changes):
    seed = changes["seed"]
    model = model_with(**changes)
    idx = torch.randint(11, (B, prompt))
    texts = [generate(m, idx, new, make_pick(**way), torch.Generator().manual_seed(seed)) for m in (model, Cached(model))]
    assert torch.equal(*texts) and texts[0].shape == (B, prompt + new)
    assert model.training  # as it was


def test_the_cached_logits_are_the_last_row_of_the_plain_ones():
    model = model_with().eval()
    cached, idx = Cached(model), torch.randint(11, (3, T))
    for t in range(1, T + 1):
        plain, quick = model(idx[:, :t]), cached(idx[:, :t])
        assert quick.shape == (3, 1, 11)
        assert torch.allclose(quick, plain[:, -1:], atol=1e-12)


def test_the_cache_works_out_one_position_a_step_within_the_context_and_all_of_them_beyond_it():
    model = model_with().eval()
    worked_out = []
    model.blocks[0].norm1.register_forward_hook(lambda _, inputs, out: worked_out.append(out.shape[1]))
    generate(Cached(model), torch.zeros(1, 3, dtype=torch.long), T)
    assert worked_out == [3] + [1] * (T - 3) + [T] * 2


def test_a_cache_that_is_given_another_text_begins_anew():
    model = model_with().eval()
    cached = Cached(model)
    for idx in (torch.zeros(1, 4), torch.ones(1, 5), torch.ones(2, 6), torch.zeros(2, 1), torch.tensor([[0.0, 1], [1, 1]])):
        idx = idx.long()
        assert torch.allclose(cached(idx)[:, -1], model(idx)[:, -1], atol=1e-12)


def test_an_empty_prompt_is_refused_with_a_cache_as_without():
    with pytest.raises(ValueError, match="the prompt is empty"):
        generate(Cached(model_with()), torch.zeros(1, 0, dtype=torch.long), 3)


# ---- Choosing, against its definition ---------------------------------------------------------


def kept_by_definition(probs, top_k, top_p):
    """The ids that remain, one list of probabilities at a time, by plain counting; among equals the smaller id first."""
    order = sorted(range(len(probs)), key=lambda i: (-probs[i], i))
    if top_k:
        order = order[:top_k]
    if top_p == 1:
        return set(order)
    kept, together = [], 0.0
    for i in order:
        if kept and together >= top_p:
            break
        kept.append(i)
        together += probs[i]
    return set(kept)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12), st.one_of(st.none(), st.integers(1, 15)),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 0.999, 1.0]),
)  # fmt: skip
def test_exactly_the_right_symbols_are_kept_and_their_proportions_too(counts, top_k, top_p):
    weights = [2.0**count for count in counts]  # many ties
    probs = [weight / sum(weights) for weight in weights]
    logits = torch.tensor([probs], dtype=torch.float64).log()
    kept = keep(logits, top_k, top_p)
    wanted = kept_by_definition(probs, top_k, top_p)
    near = {round(sum(sorted(probs, reverse=True)[: n + 1]), 12) for n in range(len(probs))}
    if round(top_p, 12) in near and top_p < 1:
        return  # the border falls on a symbol to the last digit: rounding decides
    assert {i for i, value in enumerate(kept[0].tolist()) if value > -math.inf} == wanted
    assert torch.equal(kept[kept > -math.inf], logits[kept > -math.inf])


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ({}, [0, 1, 2, 3]), ({"top_p": 1.0}, [0, 1, 2, 3]), ({"top_p": 0.0}, [1]), ({"top_k": 1}, [1]), ({"top_k": 2}, [1, 2]),
        ({"top_k": 99}, [0, 1, 2, 3]), ({"top_p": 0.3}, [1]), ({"top_p": 0.5}, [1, 2]), ({"top_p": 0.85}, [0, 1, 2]),
        ({"top_k": 2, "top_p": 0.85}, [1, 2]),
    ],
)  # fmt: skip
def test_ties_and_borders_worked_out_by_hand(setting, kept):
    logits = torch.tensor([[0.2, 0.35, 0.35, 0.1]]).log()  # 1 before 2: among equals the smaller id
    assert keep(logits, **setting).isfinite().nonzero()[:, 1].tolist() == kept


def test_rows_of_a_batch_are_cut_each_for_itself():
    logits = torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.3, 0.3]]).log()
    assert keep(logits, top_p=0.8).isfinite().tolist() == [[True, False, False], [True, True, True]]


@pytest.mark.parametrize("way", WAYS)
def test_the_frequencies_of_many_draws_agree_with_the_probabilities(way):
    probs = torch.tensor([0.02, 0.3, 0.25, 0.18, 0.1, 0.07, 0.05, 0.03], dtype=torch.float64)
    temperature = way.get("temperature", 1.0)
    powers = probs ** (1 / temperature) if temperature else (probs == probs.max()).double()
    powers = powers / powers.sum()
    kept = kept_by_definition(powers.tolist(), way.get("top_k"), way.get("top_p", 1.0))
    wanted = torch.tensor([p if i in kept else 0.0 for i, p in enumerate(powers.tolist())], dtype=torch.float64)
    wanted = wanted / wanted.sum()
    n = 20_000
    draws = make_pick(**way)(probs.log().repeat(n, 1), torch.Generator().manual_seed(1))
    assert draws.shape == (n, 1)
    frequencies = torch.bincount(draws[:, 0], minlength=8) / n
    limit = 4.5 * (wanted * (1 - wanted) / n).sqrt()  # 4.5 standard deviations of a share of n draws
    assert ((frequencies - wanted).abs() <= limit).all()


def test_temperature_zero_is_greedy_and_needs_no_luck():
    logits = torch.randn(50, 9)
    assert torch.equal(make_pick(temperature=0)(logits), logits.argmax(dim=-1, keepdim=True))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"temperature": -0.1}, "temperature=-0.1: it must be 0 "), ({"temperature": math.inf}, "temperature=inf"),
        ({"temperature": math.nan}, "temperature=nan"), ({"top_k": 0}, "top_k=0: keep at least 1"), ({"top_k": -3}, "top_k=-3"),
        ({"top_p": -0.1}, "top_p=-0.1: it is a probability"), ({"top_p": 1.01}, "top_p=1.01"), ({"top_p": math.nan}, "top_p=nan"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_in_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_pick(**wrong)


# ---- What the lesson measures -----------------------------------------------------------------


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab", max_size=12))
def test_the_longest_copy_is_the_longest_of_all_stretches(text, source):
    stretches = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    longest = max((len(stretch) for stretch in stretches if stretch in source), default=0)
    found = LESSON["longest_copy"](text, source)
    assert len(found) == longest and found in text and found in source


def test_unknown_words_are_counted_with_all_their_characters():
    words = LESSON["WordTokenizer"]("to be or not to be", vocab_size=3)
    text = "to be, quick"
    assert words.encode(text) == [words.ids["to"], words.ids[" be"], 0, 0]
    assert words.spelled(text) == len(",") + len(" quick")
