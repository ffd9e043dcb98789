"""Plausible wrong answers to the exercises of lesson 01: {check: [(answer, what its message must say), ...]}."""
import math

import torch


def loss(counts, first, second, k):
    probs = (counts + k) / (counts + k).sum(dim=1, keepdim=True)
    return -probs[first, second].log().mean().item()


def lowest(score):
    """A `best_k` that takes the k with the lowest score(counts + k, counts, first, second)."""
    return lambda counts, first, second, choices: min(choices, key=lambda k: score(counts + k, counts, first, second).item())


def judged(divide):
    """A `best_k` with the right loss of wrong probabilities, divide(counts + k, counts)."""
    return lowest(lambda raised, counts, first, second: -divide(raised, counts)[first, second].log().mean())


def rows(table):
    return table / table.sum(dim=1, keepdim=True)


def first_choice(counts, first, second, choices):
    best = math.inf
    for k in choices:
        if loss(counts, first, second, k) < best:
            return k


def last_choice(counts, first, second, choices):
    for k in choices:
        best = k
    return best


def first_row_only(probs):
    for row in probs:
        return abs(row.sum().item() - 1) < 1e-5


def last_row_only(probs):
    for row in probs:
        good = abs(row.sum().item() - 1) < 1e-5
    return good


def triples_once_each(ids, V):
    table = torch.zeros(V, V, V)
    table[ids[:-2], ids[1:-1], ids[2:]] += 1
    return table


def once_each(ids, V):
    table = torch.zeros(V, V)
    table[ids[:-1], ids[1:]] += 1
    return table


WRONG = {
    "check_loss_of_cab": [
        (2 * math.log(3), "the sum of the two surprises"),
        (2.5, "which pairs has the word"),
        (-math.log(3), "never negative"),
        (math.log2(3), "in bits"),
        (math.log(2) / 2, "without smoothing"),
        (0.2554, "grows by 5"),
        ("ln 3", "a number is asked for"),
    ],
    "check_best_k": [
        (lambda counts, first, second, choices: max(choices, key=lambda k: loss(counts, first, second, k)), "HIGHEST"),
        (lambda counts, first, second, choices: min(choices), "smallest k"),
        (judged(lambda raised, counts: raised / counts.sum(dim=1, keepdim=True)), "added to the counts only"),
        (judged(lambda raised, counts: raised / raised.sum(dim=1)), "keepdim"),
        (judged(lambda raised, counts: raised / raised.sum(dim=0)), "columns sum to one"),
        (judged(lambda raised, counts: raised / raised.sum()), "whole table sums to one"),
        (lowest(lambda raised, counts, first, second: -rows(raised)[second, first].log().mean()), "are exchanged"),
        (lowest(lambda raised, counts, first, second: -rows(raised)[first, second].mean()), "LOGARITHM"),
        (lowest(lambda raised, counts, first, second: -rows(raised).log().mean()), "over the whole table instead"),
        (first_choice, "FIRST of the choices"),
        (last_choice, "LAST of the choices"),
        (lambda counts, first, second, choices: 1, "none of the choices"),
        (lambda counts, first, second, choices: min(loss(counts, first, second, k) for k in choices), "none of the choices"),
        (lambda counts, first, second, choices: print(choices), "returned nothing"),
    ],
    "check_count_pairs": [
        (lambda ids, V: torch.bincount(ids[1:] * V + ids[:-1], minlength=V * V).view(V, V), "exchanged"),
        (lambda ids, V: torch.bincount(ids[:-1] * V + ids[1:]).view(V, V), "raised RuntimeError"),
        (lambda ids, V: torch.bincount(ids * V + ids.roll(-1), minlength=V * V).view(V, V), "paired with the first"),
        (lambda ids, V: torch.bincount(ids[:-2] * V + ids[1:-1], minlength=V * V).view(V, V), "the last pair is missing"),
        (once_each, "counted once at most"),
        (lambda ids, V: torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V), "has the shape"),
    ],
    "check_count_triples": [
        (lambda ids, V: torch.bincount(ids[2:] * V * V + ids[1:-1] * V + ids[:-2], minlength=V**3).view(V, V, V), "turned round"),
        (lambda ids, V: torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V).view(V, V), "has the shape"),
        (lambda ids, V: torch.bincount(ids[:-3] * V * V + ids[1:-2] * V + ids[2:-1], minlength=V**3).view(V, V, V), "add up to"),
        (lambda ids, V: torch.bincount(ids[:-2] * V + ids[1:-1] * V + ids[2:], minlength=V**3).view(V, V, V), "number of a triple"),
        (triples_once_each, "counted once at most"),
    ],
    "check_rows_sum_to_one": [
        (lambda probs: (probs.sum(dim=1) == 1).all(), "with a tolerance"),
        (lambda probs: torch.allclose(probs.sum(dim=0), torch.ones_like(probs[0])), "a right table is refused"),
        (lambda probs: torch.allclose(probs.sum(), torch.tensor(float(len(probs)), dtype=probs.dtype)), "not at the total"),
        (lambda probs: True, "is accepted"),
        (lambda probs: (probs.sum(dim=1) - 1 < 1e-5).all(), "sum to 0.4"),
        (lambda probs: (probs.sum(dim=1) > 0.99999).all(), "sum to 1.6"),
        (first_row_only, "does the loop end"),
        (last_row_only, "forgotten when the next"),
        (lambda probs: all(round(row.sum().item()) == 1 for row in probs), "are the sums rounded"),
        (lambda probs: (probs.sum(dim=1) - 1).abs() < 1e-5, "truth values"),
    ],
}
