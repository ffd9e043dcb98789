"""Lesson 10: what it measures in a model is what is there, and looking changes nothing."""
import lessons
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygpt import GPT, CharTokenizer, GPTConfig, MultiHeadAttention

TEXT = "to be, or not to be\nThat is"
tokenizer = CharTokenizer(TEXT)
SHAPE = dict(vocab_size=tokenizer.vocab_size, block_size=12, n_embd=12, n_head=3, n_layer=2)
LESSON = lessons.definitions_of(lessons.find("10"), tokenizer=tokenizer, H=3, D=4)


def model_with(seed=0):
    """A small model in 64 bits whose heads all count."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**SHAPE)).double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


def ids(B=2, T=12):
    return torch.randint(tokenizer.vocab_size, (B, T), generator=torch.Generator().manual_seed(3))


# ---- Tables -----------------------------------------------------------------------------------


@given(st.integers(3, 20), st.integers(2, 9), st.integers(0, 99))
@settings(deadline=None)
def test_a_neighbour_is_the_row_of_the_largest_cosine(V, C, seed):
    table = torch.randn(V, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for i, j in enumerate(LESSON["neighbours"](table).tolist()):
        cosines = torch.cosine_similarity(table[i : i + 1], table)
        assert j != i
        assert cosines[j] == pytest.approx(max(c for k, c in enumerate(cosines.tolist()) if k != i))


def test_the_plane_is_the_one_of_the_largest_variance():
    table = torch.randn(30, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * torch.tensor([1.0, 5, 1, 1, 3, 1])
    flat = LESSON["flatten"](table)
    assert flat.shape == (30, 2)
    values = torch.linalg.eigvalsh(torch.cov(table.T))  # ascending
    assert torch.allclose(flat.var(dim=0), values[[-1, -2]])
    assert torch.allclose(flat.mean(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-12)


def test_sounds_and_cases_of_all_symbols():
    assert [LESSON["sound"](char) for char in "aEbB 3\n"] == ["vowel", "vowel", "consonant", "consonant", "other", "other", "other"]
    assert [LESSON["case"](char) for char in "aEbB 3\n"] == ["small", "capital", "small", "capital", "other", "other", "other"]


def test_agreement_is_the_share_of_symbols_whose_neighbour_is_of_their_kind():
    table = torch.eye(tokenizer.vocab_size) * 0.1
    kinds = [LESSON["case"](char) for char in tokenizer.itos]
    for i, kind in enumerate(kinds):
        table[i, ["small", "capital", "other"].index(kind)] += 1  # one direction for each kind
    alone = sum(kinds.count(kind) == 1 for kind in kinds)
    assert LESSON["agreement"](table, LESSON["case"]) == pytest.approx(1 - alone / len(kinds))


# ---- Heads ------------------------------------------------------------------------------------


def test_the_streams_end_where_the_model_does():
    model, idx = model_with(), ids()
    xs = LESSON["streams"](model, idx)
    assert len(xs) == 3
    assert torch.equal(xs[0], model.embed(idx))
    assert torch.equal(model.lm_head(model.norm(xs[-1])), model(idx))


def test_the_maps_are_the_weights_that_the_model_uses():
    model, idx = model_with(), ids()
    maps, seen = LESSON["attention"](model, idx), {}
    for l, block in enumerate(model.blocks):
        block.attn.register_forward_hook(lambda attn, inputs, out, l=l: seen.update({l: (attn, inputs[0], out)}))
    model(idx)
    assert maps.shape == (2, 2, 3, 12, 12)
    for l, (attn, x, out) in seen.items():
        _, _, v = attn.project(x)
        assert torch.allclose(attn.merge(maps[:, l] @ v), out, atol=1e-12)


def test_each_question_by_its_definition_in_words():
    text = "noo no, to\nbe"
    tables = LESSON["questions"](text)
    starts = [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 11, 11]  # where the word at i begins
    for i in range(len(text)):
        wanted = {
            "itself": {i},
            "one before": {i - 1} - {-1},
            "start of word": {starts[i]} - {i},
            "space before word": {starts[i] - 1} - {-1},
            "same character": {j for j in range(i) if text[j] == text[i]},
            "after the same": {j + 1 for j in range(i) if text[j] == text[i]},
        }
        assert {name: set(table[i].nonzero()[:, 0].tolist()) for name, table in tables.items()} == wanted


def test_nothing_is_asked_about_the_future():
    for table in LESSON["questions"](TEXT[:12]).values():
        assert torch.equal(table, table.tril())


def test_a_share_counts_only_the_places_where_there_is_something_to_find():
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.25, 0.25]])[None, None, None]  # (B, L, H, T, T)
    wanted = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]])[None]
    assert LESSON["share"](weights, wanted).tolist() == [[pytest.approx((0.25 + 0.75) / 2)]]


# ---- A head less ------------------------------------------------------------------------------


@pytest.mark.parametrize(("l", "h"), [(0, 0), (0, 2), (1, 1)])
def test_a_silenced_head_adds_nothing_and_the_others_are_as_before(l, h, monkeypatch):
    model, idx = model_with(), ids()
    with LESSON["silenced"](model, l, h):
        silent = model(idx)
    attend = MultiHeadAttention.attend

    def without(self, q, k, v):
        out = attend(self, q, k, v)  # (B, H, T, D)
        if self is model.blocks[l].attn:
            out = out.clone()
            out[:, h] = 0
        return out

    monkeypatch.setattr(MultiHeadAttention, "attend", without)
    assert torch.allclose(silent, model(idx), atol=1e-12)


def test_after_an_error_the_head_speaks_again():
    model, idx = model_with(), ids()
    whole = model(idx)
    with pytest.raises(KeyboardInterrupt), LESSON["silenced"](model, 1, 2):
        assert not torch.equal(model(idx), whole)
        raise KeyboardInterrupt
    assert torch.equal(model(idx), whole)
