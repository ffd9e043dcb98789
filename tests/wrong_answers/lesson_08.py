"""Plausible wrong answers to the exercises of lesson 08: {check: [(answer, what its message must say), ...]}."""
import math

import torch


def min_p(logits, m, least=lambda probs: probs.max(dim=-1, keepdim=True).values, removed=-math.inf):
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs < m * least(probs), removed)


def top_p(logits, p, more=1, removed=-math.inf, special=True):
    together = logits.softmax(dim=-1).sort(dim=-1, descending=True).values.cumsum(dim=-1)
    short = (together < p) | ((p == 1) & special)
    rank = logits.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return logits.masked_fill(rank >= short.sum(dim=-1, keepdim=True) + more, removed)


def sorted_top_p(logits, p):
    return top_p(logits.sort(dim=-1, descending=True).values, p)


def places_not_brought_back(logits, p):
    short = top_p(logits, p) == -math.inf
    return logits.masked_fill(short.sort(dim=-1, stable=True).values, -math.inf)


def beyond(logits, p):
    ranked, order = logits.sort(dim=-1, descending=True, stable=True)
    probs = ranked.softmax(dim=-1)
    out = (probs.cumsum(dim=-1) - probs > p) & (p < 1)
    if p == 0:
        out[:, 1:] = True
    return logits.masked_fill(torch.zeros_like(out).scatter(1, order, out), -math.inf)


def by_id(logits, p):
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs.cumsum(dim=-1) - probs >= max(p, 1e-6), -math.inf)


def step(q, k, v, old_k, old_v, keys=None, scale=lambda q: math.sqrt(q.shape[-1]), out=None, own=True):
    all_k, all_v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
    seen_k, seen_v = (all_k, all_v) if own or not old_k.shape[2] else (old_k, old_v)
    weights = (q @ seen_k.transpose(-2, -1) / scale(q)).softmax(dim=-1)
    return weights @ seen_v, all_k, all_v


def masked_step(q, k, v, old_k, old_v):
    all_k, all_v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
    return torch.nn.functional.scaled_dot_product_attention(q, all_k, all_v, is_causal=True), all_k, all_v


def grow(model, writer, longest=20, texts=2, tolerance=1e-4, first=1, every=False, window=True, look=lambda logits: logits):
    for _ in range(texts):
        text = torch.randint(model.config.vocab_size, (2, longest))
        for t in range(first, longest + 1):
            idx = text[:, max(0, t - model.block_size) if window else 0 : t]
            with torch.no_grad():
                ours, theirs = model(idx), writer(idx)
            ours, theirs = (ours, theirs) if every else (ours[:, -1], theirs[:, -1])
            if (look(ours) - look(theirs)).abs().max() > tolerance:
                return False
    return True


WRONG = {
    "check_two_shares": [
        ([0.57, 0.43], "this is top-k alone"),
        ([0.56, 0.32], "this is the temperature alone"),
        ([0.16, 0.09], "do not add up to 1"),
        ([0.54, 0.46], "this is temperature 2"),
        ([0.36, 0.64], "the likelier one comes first"),
        ([0.64, 0.36, 0, 0, 0], "leave out the zeros"),
        (0.64, "two numbers are asked for"),
    ],
    "check_keep_min_p": [
        (lambda logits, m: min_p(logits, m, least=lambda probs: 1), "m itself"),
        (lambda logits, m: min_p(logits, m, least=lambda probs: probs.max()), "of the whole batch"),
        (lambda logits, m: min_p(logits, m, removed=0.0), "get the logit 0"),
        (lambda logits, m: min_p(logits, m).softmax(dim=-1), "these are probabilities"),
        (lambda logits, m: logits.masked_fill(logits < m * logits.max(dim=-1, keepdim=True).values, -math.inf), "the logits are compared"),
        (lambda logits, m: logits.masked_fill(logits.softmax(dim=-1) <= m * logits.softmax(dim=-1).max(dim=-1, keepdim=True).values, -math.inf), "for m = 1 nothing stays"),
        (lambda logits, m: min_p(logits, m, least=lambda probs: probs.max(dim=0, keepdim=True).values), "all symbols stay"),
        (lambda logits, m: logits.masked_fill(logits.softmax(dim=0) < m * logits.softmax(dim=0).max(dim=-1, keepdim=True).values, -math.inf), "all symbols stay"),
        (lambda logits, m: logits.masked_fill(logits.softmax(dim=-1) < logits.softmax(dim=-1).max(dim=-1, keepdim=True).values - m, -math.inf), "m is subtracted"),
        (lambda logits, m: min_p(logits, m).log_softmax(dim=-1), "the kept logits are changed"),
        (lambda logits, m: logits.masked_fill(logits.softmax(dim=-1) >= m * logits.softmax(dim=-1).max(), -math.inf), "the unlikely ones kept"),
    ],
    "check_my_top_p": [
        (lambda logits, p: top_p(logits, p, more=0), "left out"),
        (lambda logits, p: top_p(logits, p, more=2), "one symbol too many"),
        (lambda logits, p: top_p(logits, p, removed=0.0), "get the logit 0"),
        (lambda logits, p: top_p(logits, p, special=False), "for p = 1 all must stay"),
        (sorted_top_p, "come back sorted"),
        (places_not_brought_back, "not those"),
        (by_id, "in the order of their ids"),
        (lambda logits, p: logits.masked_fill(logits.softmax(dim=-1) < p, -math.inf), "SUM"),
        (lambda logits, p: top_p(logits, p).softmax(dim=-1), "these are probabilities"),
        (lambda logits, p: torch.where(top_p(logits, p) == logits, -math.inf, logits), "the other way round"),
        (lambda logits, p: logits[:, :2], "has the shape"),
        (lambda logits, p: logits, "all symbols stay"),
        (beyond, "stop as soon as the sum reaches p"),
        (lambda logits, p: logits.masked_fill(top_p(logits[:1], p) == -math.inf, -math.inf), "each row counts for itself"),
    ],
    "check_my_step": [
        (lambda *five: step(*five, scale=lambda q: 1), "not divided by √D"),
        (lambda *five: step(*five, scale=lambda q: q.shape[-1]), "it is its root"),
        (lambda *five: step(*five, scale=lambda q: math.sqrt(q.shape[1] * q.shape[-1])), "the size of ONE head"),
        (lambda *five: step(*five, own=False), "does not look at itself"),
        (masked_step, "stood at position 0"),
        (lambda q, k, v, old_k, old_v: step(q, k, v, old_k, old_v)[:1] + (old_k, old_v), "the newest must be kept"),
        (lambda q, k, v, old_k, old_v: step(q, k, v, old_k, old_v)[:1] + (k, v), "only the newest"),
        (lambda q, k, v, old_k, old_v: step(q, old_k, old_v, k, v), "in front"),
        (lambda q, k, v, old_k, old_v: step(q, k, v, old_k, old_v)[0], "three things"),
        (lambda q, k, v, old_k, old_v: (v,) + step(q, k, v, old_k, old_v)[1:], "only itself"),
        (lambda *five: step(*five[:2], *five[1:2], five[3], five[3])[:1] + step(*five)[1:], "mix VALUES"),
        (lambda *five: step(*five)[1:] + step(*five)[:1], "all keys come first"),
        (lambda *five: (step(*five)[0], step(*five)[2], step(*five)[1]), "keys and values are exchanged"),
        (lambda *five: step(*five, scale=lambda q: 1 / math.sqrt(q.shape[-1])), "multiplied by √D"),
        (lambda *five: (step(*five)[2].sum(dim=2, keepdim=True),) + step(*five)[1:], "over the single query"),
        (lambda q, k, v, old_k, old_v: step(q * 0, k, v, old_k, old_v), "the same weight"),
    ],
    "check_writes_the_same": [
        (lambda model, writer: True, "compare the logits themselves"),
        (lambda model, writer: grow(model, writer, longest=9, look=lambda logits: logits.argmax(dim=-1)), "compare the logits themselves"),
        (lambda model, writer: False, "the model itself"),
        (lambda model, writer: grow(model, writer, every=True), "beg"),
        (lambda model, writer: grow(model, writer, tolerance=1e-8), "is refused"),
        (lambda model, writer: grow(model, writer, tolerance=0), "a tolerance for rounding"),
        (lambda model, writer: grow(model, writer, longest=2), "grow further"),
        (lambda model, writer: grow(model, writer, texts=1), "a second text"),
        (lambda model, writer: grow(model, writer, longest=6), "beyond the context"),
        (lambda model, writer: grow(model, writer, window=False), "do not fit into the context"),
        (lambda model, writer: grow(model, writer, first=6, longest=6), "the friend's writer"),
    ],
}
