"""Plausible wrong answers to the exercises of lesson 01: {check: [(answer, what its message must say), ...]}."""
import math

import torch


def loss(counts, first, second, k):
    probs = (counts + k) / (counts + k).sum(dim=1, keepdim=True)
    return -probs[first, second].log().mean().item()


def once_each(ids, V):
    table = torch.zeros(V, V)
    table[ids[:-1], ids[1:]] += 1
    return table


WRONG = {
    "check_loss_of_cab": [
        (2 * math.log(3), "the sum of the two surprises"),
        (-math.log(3), "never negative"),
        (math.log2(3), "in bits"),
        (math.log(2) / 2, "without smoothing"),
        (0.2554, "grows by 5"),
        ("ln 3", "a number is asked for"),
    ],
    "check_best_k": [
        (lambda counts, first, second, choices: max(choices, key=lambda k: loss(counts, first, second, k)), "HIGHEST"),
        (lambda counts, first, second, choices: min(choices), "smallest k"),
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
    ],
    "check_rows_sum_to_one": [
        (lambda probs: (probs.sum(dim=1) == 1).all(), "with a tolerance"),
        (lambda probs: torch.allclose(probs.sum(dim=0), torch.ones_like(probs[0])), "a right table is refused"),
        (lambda probs: torch.allclose(probs.sum(), torch.tensor(float(len(probs)), dtype=probs.dtype)), "not at the total"),
        (lambda probs: True, "is accepted"),
        (lambda probs: (probs.sum(dim=1) - 1).abs() < 1e-5, "truth values"),
    ],
}
