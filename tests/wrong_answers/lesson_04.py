"""Plausible wrong answers to the exercises of lesson 04: {check: [(answer, what its message must say), ...]}."""
import math

import torch
import torch.nn.functional as F


def head(scale=None, diagonal=1, hidden=-math.inf, dim=-1, order=(0, 1, 2), after=False):
    """A head with one mistake."""

    def my_head(x, W_query, W_key, W_value):
        made = [x @ W_query, x @ W_key, x @ W_value]
        q, k, v = (made[i] for i in order)
        T, D = x.shape[1], q.shape[-1]
        scores = q @ k.transpose(-2, -1) / (math.sqrt(D) if scale is None else scale(x, q))
        future = torch.ones(T, T, dtype=torch.bool).triu(diagonal)
        if after:
            return F.softmax(scores, dim=dim).masked_fill(future, 0) @ v
        return F.softmax(scores.masked_fill(future, hidden), dim=dim) @ v

    return my_head


def no_values(x, W_query, W_key, W_value):
    return torch.ones(x.shape[1], x.shape[1]).tril().expand(len(x), -1, -1) @ x


def infinity_times_zero(x, W_query, W_key, W_value):
    q, k, v = x @ W_query, x @ W_key, x @ W_value
    T, D = q.shape[1:]
    return F.softmax(q @ k.transpose(1, 2) / math.sqrt(D) + torch.ones(T, T).triu(1) * -math.inf, dim=-1) @ v


def infinite_weights(x, W_query, W_key, W_value):
    q, k, v = x @ W_query, x @ W_key, x @ W_value
    T, D = q.shape[1:]
    weights = F.softmax(q @ k.transpose(1, 2) / math.sqrt(D), dim=-1)
    return weights.masked_fill(torch.ones(T, T).triu(1) == 1, -math.inf) @ v


def ready_made(x, W_query, W_key, W_value):
    return F.scaled_dot_product_attention(x @ W_query, x @ W_key, x @ W_value, is_causal=True)


def ready_weights(x, W_query, W_key, W_value):
    from tinygpt import causal_weights

    return causal_weights(x @ W_query, x @ W_key) @ (x @ W_value)


def transposed_all(x, W_query, W_key, W_value):
    return (x @ W_query) @ (x @ W_key).mT.mT @ (x @ W_value)


def weights_alone(x, W_query, W_key, W_value):
    return F.softmax((x @ W_query) @ (x @ W_key).transpose(1, 2), dim=-1)


def window(hide, scale=True):
    def my_window_weights(q, k, n):
        T, D = q.shape[-2:]
        scores = q @ k.transpose(-2, -1) / (math.sqrt(D) if scale else 1)
        return F.softmax(scores.masked_fill(hide(torch.ones(T, T, dtype=torch.bool), n), -math.inf), dim=-1)

    return my_window_weights


def cut_after(q, k, n):
    T = q.shape[1]
    return window(lambda ones, n: ones.triu(1))(q, k, n) * torch.ones(T, T).triu(1 - n)


def window_zeros(everything):
    """0 instead of −∞ for what lies far back, or for everything that is hidden."""

    def my_window_weights(q, k, n):
        T, D = q.shape[-2:]
        ones = torch.ones(T, T, dtype=torch.bool)
        scores = (q @ k.transpose(-2, -1) / math.sqrt(D)).masked_fill(ones.tril(-n), 0)
        return F.softmax(scores.masked_fill(ones.triu(1), 0 if everything else -math.inf), dim=-1)

    return my_window_weights


def window_columns(q, k, n):
    T, D = q.shape[-2:]
    ones = torch.ones(T, T, dtype=torch.bool)
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    return F.softmax(scores.masked_fill(ones.triu(1) | ones.tril(-n), -math.inf), dim=-2)


def same(one, other):
    return torch.allclose(one, other, atol=1e-6)


def change(x, t):
    changed = x.clone()
    changed[:, t:] = torch.randn_like(x[:, t:])
    return changed


def only_the_last(layer, x):
    return same(layer(x)[:, :-1], layer(change(x, -1))[:, :-1])


def only_from_one(layer, x):
    return same(layer(x)[:, :1], layer(change(x, 1))[:, :1])


def all_outputs(layer, x):
    return all(same(layer(x), layer(change(x, t))) for t in range(1, x.shape[1]))


def not_the_one_before(layer, x):
    return all(same(layer(x)[:, : t - 1], layer(change(x, t))[:, : t - 1]) for t in range(1, x.shape[1]))


def one_sequence(layer, x):
    return all(same(layer(x)[0, :t], layer(change(x, t))[0, :t]) for t in range(1, x.shape[1]))


def one_channel(layer, x):
    return all(same(layer(x)[:, :t, 0], layer(change(x, t))[:, :t, 0]) for t in range(1, x.shape[1]))


def first_moved(layer, x, t):
    same = (layer(x) - layer(change(x, t))).abs().amax(dim=(0, 2)) < 1e-6
    return same.int().cumprod(dim=0).sum()


def built_in(layer, x):
    return all(same(layer(x)[:, :t], layer(change(x, t))[:, :t]) for t in range(1, 6))


def built_in_first_moved(layer, x):
    return all(first_moved(layer, x, t) >= t for t in range(1, 6))


def in_place(layer, x):
    before = layer(x)[:, :1]
    x[:, 1:] = torch.randn_like(x[:, 1:])
    return same(before, layer(x)[:, :1])


WRONG = {
    "check_row_of_weights": [
        ([0.1, 0.9, 0], "without the division"),
        ([0.37, 0.63, 0], "divided by D"),
        ([0.1, 0.3, 0.6], "nothing is masked"),
        ([0.1, 0.3, 0.0], "before the softmax"),
        ([0.2, 0.6, 0.2], "still takes a share"),
        ([0, 1, 0], "not a weight of 0"),
        ([1, 3, 0], "divide them by their sum"),
        ([0.25, 0.75], "three numbers"),
        ([0, math.log(3), math.log(6)], "mask and softmax are missing"),
        ([0.5, 0.5, 0], "not yet: which scores"),
        ([0.3, 0.9, 0], "sum to 1.20"),
    ],
    "check_my_head": [
        (head(diagonal=99), "position 0 can see position 1"),
        (head(after=True), "after the softmax"),
        (head(hidden=0.0), "e⁰ = 1"),
        (head(dim=1), "wrong dimension"),
        (head(diagonal=0), "close the diagonal"),
        (infinity_times_zero, "0 multiplied by infinity"),
        (infinite_weights, "not for weights"),
        (head(dim=0), "run over the batch"),
        (ready_made, "scaled_dot_product_attention stands in your function"),
        (ready_weights, "causal_weights stands in your function"),
        (head(scale=lambda x, q: math.sqrt(x.shape[-1])), "divided by √C"),
        (head(scale=lambda x, q: 1), "not divided by √D"),
        (head(scale=lambda x, q: q.shape[-1]), "not by its root"),
        (head(order=(1, 0, 2)), "queries and keys are exchanged"),
        (head(order=(0, 1, 1)), "keys are handed over"),
        (no_values, "x itself is averaged"),
        (weights_alone, "product with the values is missing"),
        (transposed_all, "raised RuntimeError"),
    ],
    "check_window_weights": [
        (window(lambda ones, n: ones.triu(1)), "only the future is hidden"),
        (window(lambda ones, n: ones.triu(1) | ones.tril(-n - 1)), "n + 1 positions"),
        (window(lambda ones, n: ones.triu(1) | ones.tril(-n + 1)), "only n - 1 positions"),
        (window(lambda ones, n: ones.tril(-n)), "the future is seen"),
        (window(lambda ones, n: ones.triu(n) | ones.tril(-n)), "reaches forward"),
        (cut_after, "after the softmax"),
        (window_columns, "the columns sum to one"),
        (window_zeros(everything=True), "what is hidden has a score of 0"),
        (window_zeros(everything=False), "what lies far back has a score of 0"),
        (lambda q, k, n: window(lambda ones, n: ones.triu(1) | ones.tril(-n))(k, q, n), "queries and keys are exchanged"),
        (window(lambda ones, n: ones.triu(1) | ones.tril(-n), scale=False), "not divided by √D"),
        (window(lambda ones, n: ones.triu(1) & ones.tril(-n)), "OR too far back"),
    ],
    "check_hides_the_future": [
        (only_the_last, "only position 0 sees position 1"),
        (only_from_one, "last but one"),
        (all_outputs, "a right head is refused"),
        (not_the_one_before, "only position 0 sees position 1"),
        (one_sequence, "last sequence of the batch"),
        (one_channel, "last channel only"),
        (built_in, "(here T = 9: is the number"),
        (built_in_first_moved, "(here T = 4: is the number"),
        (in_place, "writes into x"),
        (lambda layer, x: True, "without any mask"),
        (lambda layer, x: 4, "True or False is wanted"),
        (lambda layer, x: layer(x) == layer(change(x, 1)), "truth values"),
    ],
}
