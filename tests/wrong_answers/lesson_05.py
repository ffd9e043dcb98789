"""Plausible wrong answers to the exercises of lesson 05: {check: [(answer, what its message must say), ...]}."""
import torch


def shapes(q=(5, 4, 3, 2), weights=(5, 4, 3, 3), attend=(5, 4, 3, 2), merge=(5, 3, 8)):
    return {"q": q, "weights": weights, "attend": attend, "merge": merge}


def split(x, H):
    B, T, C = x.shape
    return x.view(B, T, H, C // H).transpose(1, 2)


def merge(out):
    return out.transpose(1, 2).flatten(2)


def split_at_once(x, H):
    B, T, C = x.shape
    return x.view(B, H, T, C // H)


def split_in_turn(x, H):
    B, T, C = x.shape
    return x.view(B, T, C // H, H).permute(0, 3, 1, 2)


def no_exchange(x, H):
    B, T, C = x.shape
    return x.view(B, T, H, C // H)


def merge_at_once(out):
    B, H, T, D = out.shape
    return out.reshape(B, T, H * D)


def merge_with_view(out):
    B, H, T, D = out.shape
    return out.transpose(1, 2).view(B, T, H * D)


def one_head_too_wide(qkv, h, H):
    D = qkv.shape[0] // H
    return [part[h * D : (h + 1) * D] for part in (qkv, qkv, qkv)]


def rows(start):
    """Cut D rows for query, key and value, beginning where start(i, h, H, D) says."""

    def weights_of_head(qkv, h, H):
        D = qkv.shape[1] // H
        return tuple(qkv[start(i, h, H, D) :][:D] for i in range(3))

    return weights_of_head


def change(x, places):
    changed = x.clone()
    changed[:, places] = torch.randn_like(x[:, places])
    return changed


def differ(one, other):
    return not torch.allclose(one, other, atol=1e-6)


def in_place(layer, x):
    before = layer(x)[:, -1]
    x[:, 0] = torch.randn_like(x[:, 0])
    return differ(before, layer(x)[:, -1])


WRONG = {
    "check_shapes": [
        (shapes(q=(5, 3, 4, 2)), "head and position are exchanged"),
        (shapes(q=(5, 4, 3, 8)), "not have all C channels"),
        (shapes(weights=(5, 3, 3)), "every head has a map"),
        (shapes(weights=(5, 4, 2, 2)), "D goes away"),
        (shapes(attend=(5, 4, 3, 3)), "their product with v"),
        (shapes(merge=(5, 4, 3, 2)), "still apart"),
        (shapes(merge=(3, 5, 8)), "what each dimension counts"),
        (shapes(merge="(5, 3, 8)"), "tuple of numbers"),
        ({"q": (5, 4, 3, 2)}, "a dictionary with"),
    ],
    "check_factor": [
        (20, "what the colleague divides by"),
        (5, "what one should divide by"),
        (16, "compares roots"),
        (1 / 4, "other way round"),
        (15.0, "a difference"),
        (2, "not yet: what does the colleague"),
        ("4", "a number is asked for"),
    ],
    "check_split_and_merge": [
        ((split_at_once, merge), "split: positions are mixed with heads"),
        ((split_at_once, merge_at_once), "split: positions are mixed with heads"),
        ((split_in_turn, merge), "neighbours"),
        ((no_exchange, merge), "must still be exchanged"),
        ((split, merge_at_once), "merge: positions are mixed with heads"),
        ((split, lambda out: out.transpose(1, 2)), "must still be joined"),
        ((split, lambda out: out.permute(0, 2, 3, 1).flatten(2)), "alternate"),
        ((split, merge_with_view), "raised RuntimeError"),
        (split, "two functions are asked for"),
    ],
    "check_weights_of_head": [
        (rows(lambda i, h, H, D: (3 * h + i) * D), "not sorted by heads first"),
        (rows(lambda i, h, H, D: i * H * D + (h - 1) * D), "counted from 0"),
        (rows(lambda i, h, H, D: (i * H + h) * D if i == 0 else ((3 - i) * H + h) * D), "the order is query, key, value"),
        (one_head_too_wide, "3D rows are too many"),
        (lambda qkv, h, H: [part[h::H] for part in qkv.chunk(3)], "every H-th row"),
        (lambda qkv, h, H: [part.view(part.shape[0], H, -1)[:, h] for part in qkv.chunk(3)], "ROWS"),
        (lambda qkv, h, H: qkv.chunk(3), "the rows of all heads"),
        (lambda qkv, h, H: qkv.view(H, -1, qkv.shape[1])[h], "return three"),
    ],
    "check_hears_the_past": [
        (lambda layer, x: True, "nothing but position 1 is accepted"),
        (lambda layer, x: not differ(layer(x)[:, -1], layer(change(x, 0))[:, -1]), "a right layer is refused"),
        (lambda layer, x: differ(layer(x)[:, -1], layer(change(x, slice(0, -1)))[:, -1]), "ONE position changed at a time"),
        (lambda layer, x: differ(layer(x)[:, -1], layer(change(x, 0))[:, -1]), "the positions between"),
        (lambda layer, x: all(differ(layer(x), layer(change(x, t))) for t in range(x.shape[1])), "the output of the LAST position that is compared"),
        (lambda layer, x: all(differ(layer(x)[:, -1], layer(change(x, t))[:, -1]) for t in range(1, x.shape[1])), "is the first position tried"),
        (lambda layer, x: any(differ(layer(x)[:, -1], layer(change(x, t))[:, -1]) for t in range(x.shape[1] - 1)), "must EVERY change be heard"),
        (lambda layer, x: differ(layer(x)[:, -1], layer(torch.randn_like(x))[:, -1]), "ONE position changed at a time"),
        (lambda layer, x: all(differ(layer(x)[:, -1], layer(change(x, slice(t, None)))[:, -1]) for t in range(x.shape[1])), "leave those after it"),
        (lambda layer, x: all(differ(layer(x)[-1], layer(change(x, t))[-1]) for t in range(x.shape[1])), "the output of the LAST position that is compared"),
        (lambda layer, x: all(differ(layer(x)[:, -1], layer(change(x, t))[:, -1]) for t in range(x.shape[1] - 1)), "deaf to itself"),
        (in_place, "writes into x"),
        (lambda layer, x: layer(x)[:, -1] != layer(change(x, 0))[:, -1], "truth values"),
    ],
}
