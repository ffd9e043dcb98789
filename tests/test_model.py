"""What lessons 04 to 07 build: attention, blocks, GPT, and what they cost.

The references are PyTorch's own attention and encoder layer, GPT-2 as `transformers` has it (with random weights),
PyTorch's counter of operations, finite differences, and loops written here.
"""
import copy
import dataclasses
import math
import os
import random
import re

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here needs a download

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tinygpt import (
    GPT,
    Block,
    FeedForward,
    GPTConfig,
    Head,
    LanguageModel,
    MultiHeadAttention,
    causal_weights,
    count_parameters,
    first_changed,
    init_normal,
    init_scaled,
    next_token_loss,
    operations_per_token,
    train,
)

B, T, H, D, V = 2, 5, 3, 4, 11
C = H * D
CLOSE = {"rtol": 1e-9, "atol": 1e-12}  # float64


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(20)


def randomise(model, std=0.5):
    """Every weight, bias and norm at random, so that none of them can be forgotten unnoticed; in float64."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model.double()


def tiny_gpt(**changes):
    sizes = {"vocab_size": V, "block_size": T, "n_embd": C, "n_head": H, "n_layer": 2} | changes
    return randomise(GPT(GPTConfig(**sizes)))


def vectors(*shape):
    return torch.randn(*shape, dtype=torch.double)


# What maps (B, T, C) to (B, T, C or D), and what maps (B, T) ids to (B, T, V).
BODIES = {
    "Head": lambda: Head(C, D),
    "MultiHeadAttention": lambda: MultiHeadAttention(C, H, bias=True),
    "Block": lambda: Block(C, H),
    "Block, gelu": lambda: Block(C, H, bias=True, activation="gelu"),
}
MODELS = {
    "LanguageModel": lambda: LanguageModel(V, T, C, MultiHeadAttention(C, H)),
    "GPT": lambda: GPT(GPTConfig(V, T, C, H, n_layer=2)),
    "GPT, tied": lambda: GPT(GPTConfig(V, T, C, H, n_layer=3, bias=True, activation="gelu", tie_weights=True)),
}
EVERYTHING = BODIES | MODELS


def example(name, *shape):
    """An input that the module of that name takes."""
    return torch.randint(V, shape) if name in MODELS else vectors(*shape, C)


# ---- All modules: what looks at what ----------------------------------------------------------


@pytest.mark.parametrize("name", EVERYTHING)
def test_changing_the_future_leaves_the_past_alone(name):
    module = randomise(EVERYTHING[name]())
    x = example(name, B, T)
    before = module(x)
    for t in range(1, T):
        changed = x.clone()
        changed[:, t:] = (x[:, t:] + 1) % V
        after = module(changed)
        torch.testing.assert_close(after[:, :t], before[:, :t], **CLOSE)
        assert not torch.allclose(after[:, t], before[:, t])


@pytest.mark.parametrize("name", EVERYTHING)
def test_changing_the_past_changes_the_future(name):
    module = randomise(EVERYTHING[name]())
    x = example(name, B, T)
    before = module(x)
    for t in range(T):
        changed = x.clone()
        changed[:, t] = (x[:, t] + 1) % V
        difference = (module(changed) - before).abs().amax(dim=(0, 2))
        assert (difference[t:] > 1e-6).all()


@pytest.mark.parametrize("name", EVERYTHING)
def test_sequences_of_a_batch_do_not_see_each_other(name):
    module = randomise(EVERYTHING[name]())
    x = example(name, 3, T)
    together = module(x)
    for b in range(3):
        torch.testing.assert_close(together[b : b + 1], module(x[b : b + 1]), **CLOSE)


@pytest.mark.parametrize("name", EVERYTHING)
def test_without_positions_the_order_of_the_past_does_not_matter(name):
    torch.manual_seed(1)
    module = randomise(EVERYTHING[name]())
    if name in MODELS:
        nn.init.zeros_(module.position_embedding.weight)
    depth = len(module.blocks) if hasattr(module, "blocks") else 1
    x = example(name, B, T)
    shuffled = x[:, [2, 0, 3, 1, 4]]
    last, last_shuffled = module(x)[:, -1], module(shuffled)[:, -1]
    if depth == 1:
        torch.testing.assert_close(last, last_shuffled, **CLOSE)
    else:  # the second block sees who could look at whom in the first
        assert not torch.allclose(last, last_shuffled)


@pytest.mark.parametrize("name", MODELS)
def test_with_positions_the_order_of_the_past_matters(name):
    model = randomise(MODELS[name]())
    idx = torch.tensor([[3, 1, 4, 0, 5]])
    assert not torch.allclose(model(idx)[:, -1], model(idx[:, [2, 0, 3, 1, 4]])[:, -1])


@pytest.mark.parametrize("name", EVERYTHING)
def test_one_position_is_enough(name):
    module = randomise(EVERYTHING[name]())
    x = example(name, B, T)
    torch.testing.assert_close(module(x[:, :1]), module(x)[:, :1], **CLOSE)


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_a_module_makes_lies_where_its_input_lies(name):
    module = EVERYTHING[name]().to("meta")  # a device without numbers: it refuses to be mixed with the CPU
    shown = []
    for part in module.modules():
        part.register_forward_pre_hook(lambda part, args: shown.extend(args))
    x = example(name, B, T).to("meta")
    assert module(x.float() if name in BODIES else x).is_meta
    assert all(tensor.is_meta for tensor in shown)


# ---- 04 · One attention head ------------------------------------------------------------------


def attention_by_loop(q, k, v):
    """One query after the other, one key after the other: (T, D) each -> (T, D)."""
    T, D = q.shape
    rows = []
    for t in range(T):
        strengths = [math.exp(sum(a * b for a, b in zip(q[t].tolist(), k[s].tolist())) / math.sqrt(D)) for s in range(t + 1)]
        rows.append(sum(strength / sum(strengths) * v[s] for s, strength in enumerate(strengths)))
    return torch.stack(rows)


def test_causal_weights_agree_with_a_loop():
    q, k, v = vectors(B, T, D), vectors(B, T, D), vectors(B, T, D + 2)
    out = causal_weights(q, k) @ v
    for b in range(B):
        torch.testing.assert_close(out[b], attention_by_loop(q[b], k[b], v[b]))


@pytest.mark.parametrize("shape", [(T, D), (B, T, D), (B, H, T, D)])
def test_causal_weights_agree_with_pytorch(shape):
    q, k, v = 3 * vectors(*shape), vectors(*shape), vectors(*shape)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(causal_weights(q, k) @ v, expected, **CLOSE)


def test_the_weights_of_each_row_sum_to_one_and_the_future_gets_none():
    weights = causal_weights(vectors(B, H, T, D), vectors(B, H, T, D))
    assert weights.shape == (B, H, T, T)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, H, T, dtype=torch.double))
    for row in range(T):
        assert (weights[..., row, : row + 1] > 0).all()
        assert (weights[..., row, row + 1 :] == 0).all()


def test_large_scores_stay_finite():
    q = torch.full((1, T, D), 1e4)
    assert torch.allclose(causal_weights(q, q)[0, -1], torch.full((T,), 1 / T))


@pytest.mark.parametrize("head_size", [1, D, 7])
def test_a_head_agrees_with_pytorch_and_scales_by_its_own_size(head_size):
    head = randomise(Head(C, head_size))
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        "query.weight": (head_size, C),
        "key.weight": (head_size, C),
        "value.weight": (head_size, C),
    }
    x = vectors(B, T, C)
    q, k, v = x @ head.query.weight.T, x @ head.key.weight.T, x @ head.value.weight.T
    out = head(x)
    assert out.shape == (B, T, head_size)
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, is_causal=True), **CLOSE)
    torch.testing.assert_close(out[0], attention_by_loop(q[0], k[0], v[0]))


def test_the_first_changed_position_tells_who_looks_ahead():
    x = vectors(B, T, C)
    for t in range(T):
        changed = x.clone()
        changed[1, t, 3] += 0.1  # one sequence, one position, one channel
        assert first_changed(nn.Identity(), x, changed) == t
        assert first_changed(lambda x: x.cumsum(dim=1), x, changed) == t
        assert first_changed(lambda x: x.flip(1).cumsum(dim=1).flip(1), x, changed) == 0
        assert first_changed(lambda x: x.roll(-1, dims=1), x, changed) == (t - 1) % T
    assert first_changed(nn.Identity(), x, x) == T
    assert first_changed(nn.Identity(), x, x + 1e-8) == T  # rounding is no change
    assert first_changed(nn.Identity(), x, x - 1e-5) == 0


@pytest.mark.parametrize("t", [1, 3, T])
def test_a_language_model_adds_positions_to_tokens_and_scores_what_its_body_returns(t):
    body = nn.Sequential(nn.Linear(C, C), nn.Tanh())
    model = randomise(LanguageModel(V, T, C, body))
    assert model.block_size == T
    assert model.token_embedding.weight.shape == (V, C) and model.position_embedding.weight.shape == (T, C)
    idx = torch.randint(V, (B, t))
    logits = model(idx)
    assert logits.shape == (B, t, V)
    for b in range(B):
        for place in range(t):
            x = model.token_embedding.weight[idx[b, place]] + model.position_embedding.weight[place]
            expected = model.lm_head.weight @ body(x) + model.lm_head.bias
            torch.testing.assert_close(logits[b, place], expected)


# ---- 05 · Several heads -----------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_several_heads_agree_with_pytorch(bias):
    ours = randomise(MultiHeadAttention(C, H, bias=bias))
    assert (ours.qkv.bias is not None) == bias
    theirs = nn.MultiheadAttention(C, H, batch_first=True, dtype=torch.double)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias if bias else torch.zeros(3 * C),
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    x = vectors(B, T, C)
    future = torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)
    expected, _ = theirs(x, x, x, attn_mask=future, need_weights=False)
    torch.testing.assert_close(ours(x), expected, **CLOSE)


def test_several_heads_are_separate_heads_side_by_side():
    together, x = randomise(MultiHeadAttention(C, H)), vectors(B, T, C)
    outs = []
    for h in range(H):
        head = Head(C, D).double()
        for part, layer in enumerate([head.query, head.key, head.value]):
            layer.weight.data = together.qkv.weight[part * C + h * D : part * C + (h + 1) * D]
        outs.append(head(x))
    torch.testing.assert_close(together(x), together.proj(torch.cat(outs, dim=-1)), **CLOSE)


def test_queries_keys_and_values_come_head_by_head():
    attention, x = randomise(MultiHeadAttention(C, H, bias=True)), vectors(B, T, C)
    parts = attention.project(x)
    assert len(parts) == 3
    for part, projected in enumerate(parts):
        assert projected.shape == (B, H, T, D)
        for h in range(H):
            rows = slice(part * C + h * D, part * C + (h + 1) * D)
            expected = F.linear(x, attention.qkv.weight[rows], attention.qkv.bias[rows])
            torch.testing.assert_close(projected[:, h], expected, **CLOSE)


def test_merging_lays_the_heads_side_by_side():
    attention, out = randomise(MultiHeadAttention(C, H)), vectors(B, H, T, D)
    side_by_side = torch.cat([out[:, h] for h in range(H)], dim=-1)
    expected = F.linear(side_by_side, attention.proj.weight, attention.proj.bias)
    torch.testing.assert_close(attention.merge(out), expected, **CLOSE)


def test_one_query_with_all_keys_is_the_last_row():
    attention = MultiHeadAttention(C, H)
    q, k, v = vectors(B, H, T, D), vectors(B, H, T, D), vectors(B, H, T, D)
    every = attention.attend(q, k, v)
    assert every.shape == (B, H, T, D)
    torch.testing.assert_close(attention.attend(q[:, :, -1:], k, v), every[:, :, -1:], **CLOSE)


def test_attention_forgets_its_share_of_weights_in_training_only():
    attention, n, p = MultiHeadAttention(C, H, dropout=0.25), 64, 0.25
    q, k = torch.zeros(B, H, n, D), torch.zeros(B, H, n, D)
    values = torch.eye(n).expand(B, H, n, n)  # what comes out are the weights themselves
    plain = torch.tril(torch.ones(n, n)) / torch.arange(1, n + 1)[:, None]

    torch.testing.assert_close(attention.eval().attend(q, k, values), plain.expand(B, H, n, n))
    weights = attention.train().attend(q, k, values)
    kept = weights > 0
    torch.testing.assert_close(weights, torch.where(kept, plain / (1 - p), torch.tensor(0.0)))
    dropped = 1 - kept.sum().item() / (B * H * n * (n + 1) / 2)
    assert dropped == pytest.approx(p, abs=0.02)  # 12,480 weights: five standard deviations


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ((12, 5), "C=12 does not divide into H=5 heads: choose H from 1, 2, 3, 4, 6, 12"),
        ((64, 5), "C=64 does not divide into H=5 heads: choose H from 1, 2, 4, 8, 16, 32, 64"),
        ((10, 3), "C=10 does not divide into H=3 heads: choose H from 1, 2, 5, 10"),
        ((3, 4), "C=3 does not divide into H=4 heads: choose H from 1, 3"),
    ],
)
def test_heads_that_do_not_divide_the_channels_are_refused_with_the_choices(sizes, sentence):
    with pytest.raises(ValueError) as caught:
        MultiHeadAttention(*sizes)
    assert str(caught.value) == sentence
    C, H = sizes
    with pytest.raises(ValueError, match="choose H from"):
        GPT(GPTConfig(n_embd=C, n_head=H))


# ---- 06 · Blocks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "bend"),
    [("relu", lambda z: max(z, 0.0)), ("gelu", lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2)],
)
def test_the_feed_forward_layer_does_the_same_at_every_position(activation, bend):
    ffwd, x = randomise(FeedForward(C, activation)), vectors(B, T, C)
    assert ffwd.expand.weight.shape == (4 * C, C)
    out = ffwd(x)
    assert out.shape == (B, T, C)
    for b in range(B):
        for t in range(T):
            hidden = [bend(z) for z in (ffwd.expand.weight @ x[b, t] + ffwd.expand.bias).tolist()]
            expected = ffwd.contract.weight @ torch.tensor(hidden, dtype=torch.double) + ffwd.contract.bias
            torch.testing.assert_close(out[b, t], expected)


def test_relu_and_no_bias_are_what_one_gets_without_asking():
    assert FeedForward(C).activation is F.relu
    block = Block(C, H)
    assert block.ffwd.activation is F.relu and block.attn.qkv.bias is None
    assert block.dropout.p == block.attn.dropout == 0.0


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_block_agrees_with_pytorch(activation, bias):
    ours = randomise(Block(C, H, bias=bias, activation=activation))
    theirs = nn.TransformerEncoderLayer(
        C, H, dim_feedforward=4 * C, dropout=0.0, activation=activation, batch_first=True, norm_first=True, dtype=torch.double
    )
    names = {
        "norm1": ours.norm1,
        "norm2": ours.norm2,
        "linear1": ours.ffwd.expand,
        "linear2": ours.ffwd.contract,
        "self_attn.out_proj": ours.attn.proj,
    }
    state = {f"{name}.{which}": getattr(layer, which) for name, layer in names.items() for which in ("weight", "bias")}
    state["self_attn.in_proj_weight"] = ours.attn.qkv.weight
    state["self_attn.in_proj_bias"] = ours.attn.qkv.bias if bias else torch.zeros(3 * C)
    theirs.load_state_dict(state)
    x = vectors(B, T, C)
    future = torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)
    torch.testing.assert_close(ours(x), theirs(x, src_mask=future), **CLOSE)


def test_dropout_falls_on_what_a_block_adds_and_not_on_the_stream():
    n, p = 1_000, 0.25
    for branch in ("attn", "ffwd"):
        block = Block(C, H, dropout=p)
        block.attn.dropout = 0.0
        last = {"attn": block.attn.proj, "ffwd": block.ffwd.contract}
        for name, layer in last.items():  # this branch adds ones, the other one nothing
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, float(name == branch))
        x = torch.randn(1, n, C)
        torch.testing.assert_close(block.eval()(x), x + 1)
        added = block.train()(x) - x
        dropped = (added.abs() < 1e-4).float().mean().item()
        assert dropped == pytest.approx(p, abs=0.02)  # 12,000 channels: five standard deviations
        torch.testing.assert_close(added[added > 0.5].mean(), torch.tensor(1 / (1 - p)))


# ---- Dropout: everywhere, and in training only ------------------------------------------------

RANDOM = {
    "MultiHeadAttention": lambda p: MultiHeadAttention(C, H, dropout=p),
    "Block": lambda p: Block(C, H, dropout=p),
    "GPT": lambda p: GPT(GPTConfig(V, T, C, H, n_layer=2, dropout=p)),
}


@pytest.mark.parametrize("name", RANDOM)
def test_dropout_is_active_in_training_only(name):
    module, plain = randomise(RANDOM[name](0.4)), RANDOM[name](0.0).double()
    plain.load_state_dict(module.state_dict())
    x = example(name, B, T)
    assert not torch.allclose(module(x), module(x))
    torch.testing.assert_close(module.eval()(x), plain(x), **CLOSE)


def test_dropout_reaches_every_part_of_the_model():
    model, idx = randomise(GPT(GPTConfig(V, T, C, H, n_layer=2, dropout=0.4))), torch.randint(V, (B, T))
    assert [block.attn.dropout for block in model.blocks] == [0.4, 0.4]
    assert [block.dropout.p for block in model.blocks] == [0.4, 0.4]
    embedded, expected = model.embed(idx), model.eval().embed(idx)
    kept = embedded != 0
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(embedded[kept], expected[kept] / 0.6)


# ---- 07 · GPT ---------------------------------------------------------------------------------


def gpt2(config):
    """Hugging Face's GPT-2 of the same shape, its random weights, and ours with the same."""
    from transformers import GPT2Config, GPT2LMHeadModel

    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.block_size,
            n_embd=config.n_embd,
            n_head=config.n_head,
            n_layer=config.n_layer,
            activation_function=config.activation,
            tie_word_embeddings=config.tie_weights,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    theirs, ours = randomise(theirs), GPT(config).double()
    missing, unknown = ours.load_state_dict(copy.deepcopy(renamed(theirs, "data")), strict=False)
    assert missing == (["lm_head.weight", "lm_head.bias"] if config.tie_weights else ["lm_head.bias"])
    assert not unknown
    nn.init.zeros_(ours.lm_head.bias)
    return theirs, ours


OUR_NAMES = {
    r"^transformer\.": "",
    r"^wte": "token_embedding",
    r"^wpe": "position_embedding",
    r"^h\.": "blocks.",
    r"^ln_f": "norm",
    r"ln_([12])": r"norm\1",
    r"attn\.c_attn": "attn.qkv",
    r"attn\.c_proj": "attn.proj",
    r"mlp\.c_fc": "ffwd.expand",
    r"mlp\.c_proj": "ffwd.contract",
}


def renamed(theirs, which):
    """Their weights (which="data") or gradients ("grad") under our names; Conv1D keeps its matrices transposed."""
    tensors = {}
    for name, parameter in theirs.named_parameters():
        tensor = getattr(parameter, which)
        if ".c_" in name and name.endswith("weight"):
            tensor = tensor.T
        for old, new in OUR_NAMES.items():
            name = re.sub(old, new, name)
        tensors[name] = tensor
    return tensors


@pytest.mark.parametrize(
    "config",
    [
        GPTConfig(23, 7, n_embd=12, n_head=3, n_layer=2, bias=True, activation="gelu", tie_weights=True),
        GPTConfig(41, 13, n_embd=20, n_head=5, n_layer=3, bias=True, activation="gelu", tie_weights=True),
        GPTConfig(17, 6, n_embd=8, n_head=2, n_layer=1, bias=True, activation="relu", tie_weights=False),
    ],
    ids=["small", "larger", "untied, relu"],
)
def test_gpt_agrees_with_gpt2_in_logits_loss_and_gradients(config):
    theirs, ours = gpt2(config)
    idx = torch.randint(config.vocab_size, (3, config.block_size - 1))

    expected = theirs(idx, labels=idx)
    logits = ours(idx)
    torch.testing.assert_close(logits, expected.logits, **CLOSE)

    loss = next_token_loss(logits[:, :-1], idx[:, 1:])
    torch.testing.assert_close(loss.float(), expected.loss)  # GPT-2 shifts by itself, and rounds to float32
    expected_loss = F.cross_entropy(expected.logits[:, :-1].flatten(0, 1), idx[:, 1:].flatten())
    torch.testing.assert_close(loss, expected_loss, **CLOSE)

    expected_loss.backward()
    loss.backward()
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    del gradients["lm_head.bias"]  # GPT-2 has none
    torch.testing.assert_close(gradients, renamed(theirs, "grad"), **CLOSE)


def test_writing_with_remembered_keys_and_values_gives_the_same_logits():
    model = tiny_gpt(block_size=9, bias=True)
    idx = torch.randint(V, (B, 9))
    memory = [None for _ in model.blocks]
    for start, new in [(0, idx[:, :3])] + [(t, idx[:, t : t + 1]) for t in range(3, 9)]:
        x = model.embed(new, start)
        for i, block in enumerate(model.blocks):
            q, k, v = block.attn.project(block.norm1(x))
            if memory[i]:
                k, v = torch.cat([memory[i][0], k], dim=2), torch.cat([memory[i][1], v], dim=2)
            memory[i] = k, v
            x = x + block.attn.merge(block.attn.attend(q, k, v))
            x = x + block.ffwd(block.norm2(x))
        end = start + new.shape[1]
        torch.testing.assert_close(model.lm_head(model.norm(x)), model(idx[:, :end])[:, start:], **CLOSE)


@pytest.mark.parametrize("start", [0, 2, 4])
def test_embedding_from_a_later_start_is_a_slice_of_the_whole(start):
    model, idx = tiny_gpt(), torch.randint(V, (B, T))
    whole = model.token_embedding.weight[idx] + model.position_embedding.weight
    torch.testing.assert_close(model.embed(idx), whole, **CLOSE)
    torch.testing.assert_close(model.embed(idx[:, start:], start), whole[:, start:], **CLOSE)


@pytest.mark.parametrize(("t", "start"), [(6, 0), (3, 3), (1, 5)])
def test_positions_beyond_the_context_are_refused(t, start):
    model, idx = tiny_gpt(), torch.zeros(B, t, dtype=torch.long)
    with pytest.raises(ValueError, match=r"^6 positions do not fit into the context of 5 \(block_size\)$"):
        model.embed(idx, start)
    if start == 0:
        with pytest.raises(ValueError, match="6 positions do not fit"):
            model(idx)


# ---- 07 · Sizes and first weights -------------------------------------------------------------


def test_the_defaults_are_the_small_gpt():
    assert dataclasses.asdict(GPTConfig()) == {
        "vocab_size": 65,
        "block_size": 32,
        "n_embd": 64,
        "n_head": 4,
        "n_layer": 4,
        "dropout": 0.0,
        "bias": False,
        "activation": "relu",
        "tie_weights": False,
    }


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTConfig().n_layer = 5
    assert dataclasses.replace(GPTConfig(), n_layer=5).n_layer == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [(name, value) for name in ("vocab_size", "block_size", "n_embd", "n_head", "n_layer") for value in (0, -1)]
    + [("dropout", -0.1), ("dropout", 1.0), ("dropout", math.nan), ("activation", "tanh"), ("activation", "")],
)
def test_a_size_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"^{field}={value!r}: (it must|choose)"):
        GPTConfig(**{field: value})


def test_the_smallest_sizes_are_accepted():
    config = GPTConfig(1, 1, 1, 1, 1, dropout=0.99)
    assert GPT(config)(torch.tensor([[0]])).shape == (1, 1, 1)


COMPONENTS = {
    "token_embedding.": "token embedding",
    "position_embedding.": "position embedding",
    ".attn.": "attention",
    ".ffwd.": "feed-forward",
    "norm": "layer norms",
    "lm_head.": "lm_head",
}


def random_configs(n):
    source = random.Random(7)
    for _ in range(n):
        n_head = source.randint(1, 5)
        yield GPTConfig(
            vocab_size=source.randint(1, 90),
            block_size=source.randint(1, 40),
            n_embd=n_head * source.randint(1, 9),
            n_head=n_head,
            n_layer=source.randint(1, 5),
            bias=source.random() < 0.5,
            activation=source.choice(["relu", "gelu"]),
            tie_weights=source.random() < 0.5,
        )


def test_the_formula_counts_the_parameters_of_every_component():
    for config in [GPTConfig(), *random_configs(40)]:
        counted = dict.fromkeys(COMPONENTS.values(), 0)
        for name, parameter in GPT(config).named_parameters():  # shared weights come once
            counted[next(component for part, component in COMPONENTS.items() if part in name)] += parameter.numel()
        assert count_parameters(config) == counted, config


@pytest.mark.parametrize(
    ("config", "total"),
    [
        (GPTConfig(), 209_729),
        (GPTConfig(n_layer=8), 209_729 + 4 * (12 * 64 * 64 + 10 * 64)),
        (GPTConfig(n_embd=192, n_head=6, n_layer=6), 2_697_281),
        (GPTConfig(block_size=256, n_embd=384, n_head=6, n_layer=6, dropout=0.2), 10_788_929),
        (GPTConfig(50257, 1024, 768, 12, 12, bias=True, tie_weights=True), 124_439_808 + 50257),  # GPT-2, and lm_head's bias
    ],
    ids=["small", "deep", "medium", "large", "GPT-2"],
)
def test_the_named_sizes_have_the_published_numbers_of_parameters(config, total):
    assert sum(count_parameters(config).values()) == total
    if total < 1e6:
        assert sum(p.numel() for p in GPT(config).parameters()) == total


def test_the_small_gpt_takes_less_than_a_mebibyte_and_stores_no_mask():
    state = GPT(GPTConfig()).state_dict()
    assert round(sum(t.numel() * t.element_size() for t in state.values()) / 2**20, 2) == 0.80


@pytest.mark.parametrize("config", [GPTConfig(), GPTConfig(n_layer=2, bias=True, activation="gelu", tie_weights=True)])
def test_the_first_loss_is_near_ln_v(config):
    idx = torch.randint(65, (32, 33))
    loss = next_token_loss(GPT(config)(idx[:, :-1]), idx[:, 1:])
    assert loss.item() == pytest.approx(math.log(65), abs=0.02)


def test_the_first_weights_are_small_and_the_first_biases_zero():
    model = GPT(GPTConfig(bias=True))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == float(name.endswith("weight"))).all()
        elif name.endswith("bias"):
            assert (parameter == 0).all()
        else:  # the estimate from n draws varies by std / √(2n), the mean by std / √n: five of each
            n = parameter.numel()
            assert parameter.std().item() == pytest.approx(0.02, abs=5 * 0.02 / math.sqrt(2 * n)), name
            assert abs(parameter.mean().item()) < 5 * 0.02 / math.sqrt(n), name


@pytest.mark.parametrize("tie_weights", [True, False])
def test_the_first_weights_are_whatever_init_makes_them(tie_weights):
    def ones(model):
        init_normal(model)
        nn.init.ones_(model.token_embedding.weight)
        nn.init.constant_(model.lm_head.weight, 2.0)

    model = GPT(GPTConfig(V, T, C, H, 1, tie_weights=tie_weights), init=ones)
    assert (model.token_embedding.weight == 1).all()
    assert (model.lm_head.weight == (1 if tie_weights else 2)).all()  # the shared table is the embedding's


def test_the_scaled_first_weights_keep_the_size_of_a_signal_and_leave_the_stream_alone():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=200, block_size=64, n_embd=128, n_layer=2), init_scaled)
    for name, module in model.named_modules():
        if name.endswith(("attn.proj", "ffwd.contract")):
            assert not module.weight.any(), name
        elif isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(module.in_features**-0.5, rel=0.03), name
        elif isinstance(module, nn.Embedding):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.03), name
        if isinstance(module, nn.Linear) and module.bias is not None:
            assert not module.bias.any(), name


def test_init_normal_takes_any_model():
    model = nn.Sequential(nn.Linear(30, 40), nn.Linear(40, 50, bias=False), nn.LayerNorm(50))
    init_normal(model)
    assert model[0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model[1].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert (model[0].bias == 0).all() and (model[2].weight == 1).all()


def test_tied_weights_stay_one_table():
    model = GPT(GPTConfig(V, T, C, H, n_layer=1, tie_weights=True))
    assert model.lm_head.weight is model.token_embedding.weight
    batch = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    before = model.lm_head.weight.detach().clone()
    train(model, lambda: batch, torch.optim.SGD(model.parameters(), lr=0.5), range(2))
    assert torch.equal(model.lm_head.weight, model.token_embedding.weight)
    assert not torch.equal(model.lm_head.weight, before)
    twin = GPT(model.config)
    twin.load_state_dict(model.state_dict())
    assert twin.lm_head.weight.data_ptr() == twin.token_embedding.weight.data_ptr()
    assert torch.equal(twin(batch[0]), model(batch[0]))

    apart = GPT(GPTConfig(V, T, C, H, n_layer=1))
    assert apart.lm_head.weight.data_ptr() != apart.token_embedding.weight.data_ptr()


@pytest.mark.parametrize(
    "config",
    [
        GPTConfig(23, 7, n_embd=12, n_head=3, n_layer=2),
        GPTConfig(17, 9, n_embd=20, n_head=5, n_layer=3, bias=True, activation="gelu", tie_weights=True),
    ],
    ids=["plain", "tied"],
)
def test_the_estimated_operations_are_the_counted_ones_and_those_without_a_product(config):
    V, T, C, L = config.vocab_size, config.block_size, config.n_embd, config.n_layer
    # What takes part in a matrix product: 4·C·C of attention and 8·C·C of feed-forward in each block, and lm_head.
    # Each such weight costs a product and a sum forward, and twice that backward: 6. The explicit attention forms all
    # T·T scores and sums T·T values: 2·2·T·C for each token and block forward, 12·T·C in all.
    in_products = L * 12 * C * C + V * C
    model, idx = GPT(config), torch.randint(V, (4, T))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        next_token_loss(model(idx), idx).backward()
    counted = counter.get_total_flops() / idx.numel()
    assert counted == 6 * in_products + 12 * L * C * T

    # 6·N also pays for what is only looked up or added: the embedding tables, the norms, the biases.
    N = sum(p.numel() for p in model.parameters())
    only_added = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 1 or "position" in name)
    only_added += 0 if config.tie_weights else V * C  # the token table
    assert N == in_products + only_added
    assert operations_per_token(config) == counted + 6 * only_added


# ---- Gradients and learning -------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERYTHING | {"FeedForward": None, "FeedForward, gelu": None})
def test_gradients_agree_with_finite_differences(name):
    build = EVERYTHING | {
        "Head": lambda: Head(6, 4),
        "MultiHeadAttention": lambda: MultiHeadAttention(6, 3, bias=True),
        "FeedForward": lambda: FeedForward(6),
        "FeedForward, gelu": lambda: FeedForward(6, "gelu"),
        "Block": lambda: Block(6, 3),
        "Block, gelu": lambda: Block(6, 3, bias=True, activation="gelu"),
        "LanguageModel": lambda: LanguageModel(5, 3, 6, Head(6, 6)),
        "GPT": lambda: GPT(GPTConfig(5, 3, n_embd=4, n_head=2, n_layer=2)),
        "GPT, tied": lambda: GPT(GPTConfig(5, 3, n_embd=4, n_head=2, n_layer=1, activation="gelu", tie_weights=True)),
    }
    module = randomise(build[name]())
    names, parameters = zip(*module.named_parameters())
    if name in MODELS:
        idx = torch.randint(5, (2, 3))
        targets, inputs = torch.randint(5, (2, 3)), ()

        def outcome(*values):
            return next_token_loss(torch.func.functional_call(module, dict(zip(names, values)), (idx,)), targets)

    else:
        inputs = (vectors(2, 3, 6).requires_grad_(),)

        def outcome(x, *values):
            return torch.func.functional_call(module, dict(zip(names, values)), (x,)).square().sum()

    assert torch.autograd.gradcheck(outcome, inputs + parameters)


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_weight_takes_part(name):
    module = randomise(EVERYTHING[name]())
    module(example(name, B, T)).square().sum().backward()
    for which, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, which


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_block_learns_one_batch_by_heart(activation):
    x, y = torch.randint(13, (4, 8)), torch.randint(13, (4, 8))
    x[:, 0] = torch.arange(4)  # the rows differ from the start, so that every target can be known
    model = LanguageModel(13, 8, 32, Block(32, 4, activation=activation))
    losses = train(model, lambda: (x, y), torch.optim.AdamW(model.parameters(), lr=1e-2), range(300))
    assert losses[0] > 2
    assert losses[-1] < 0.1
