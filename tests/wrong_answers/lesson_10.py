"""Plausible wrong answers to the exercises of lesson 10: {check: [(answer, what its message must say), ...]}."""
import copy

import torch
import torch.nn.functional as F


def loss(logits, targets, reduction="mean"):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction).item()


def stream(model, idx):
    xs = [model.embed(idx)]
    for block in model.blocks:
        xs.append(block(xs[-1]))
    return xs


def lens(model, idx, targets):
    return [loss(model.lm_head(model.norm(x)), targets) for x in stream(model, idx)]


def renormed(model, idx, targets):
    x, losses = model.embed(idx), []
    for block in [*model.blocks, None]:
        x = model.norm(x)
        losses.append(loss(model.lm_head(x), targets))
        x = block(x) if block else x
    return losses


def alone(model, idx, targets):
    x = model.embed(idx)
    return [loss(model.lm_head(model.norm(y)), targets) for y in (x, *(block(x) for block in model.blocks))]


def silence(*names, where="ffwd", shift=0, give_back=True):
    def without(model, l, idx, targets):
        layer = getattr(model.blocks[(l + shift) % len(model.blocks)], where)
        kept = {name: p.data.clone() for name, p in layer.named_parameters()}
        for name, p in layer.named_parameters():
            if name in names:
                p.data.zero_()
        found = loss(model(idx), targets)
        for name, p in layer.named_parameters():
            if give_back:
                p.data.copy_(kept[name])
        return found

    return without


def no_block(model, l, idx, targets):
    other = copy.deepcopy(model)
    del other.blocks[l]
    return loss(other(idx), targets)


def all_layers(model, l, idx, targets):
    other = copy.deepcopy(model)
    for block in other.blocks:
        block.ffwd.contract.weight.data.zero_()
        block.ffwd.contract.bias.data.zero_()
    return loss(other(idx), targets)


def handed_on(model, l, idx, targets):
    other = copy.deepcopy(model)
    other.blocks[l].ffwd = torch.nn.Identity()
    return loss(other(idx), targets)


def blind(weights):
    return bool((weights.triu(diagonal=1) == 0).all())


def whole(weights, dim=-1):
    sums = weights.sum(dim=dim)
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-5)


WRONG = {
    "check_after_the_same": [
        ([0, 1, 0, 1, 0, 0, 0], "same character"),
        ([0, 1, 0, 1, 0, 1, 0], "itself included"),
        ([0, 0, 1, 0, 1, 0, 1], "the future"),
        ([1, 0, 1, 0, 1, 0, 0], "BEFORE"),
        ([1, 0, 1, 0, 0, 0, 0], "BEFORE"),
        ([0, 0, 0, 0, 1, 0, 0], "only the latest"),
        ([0, 0, 1, 0, 0, 0, 0], "only the first"),
        ([False, True, False, True, False, False, False], "same character"),
        ([2, 4], "one for each character"),
        ("nn", "a list of numbers"),
    ],
    "check_lens": [
        (lambda model, idx, targets: [loss(model.lm_head(x), targets) for x in stream(model, idx)], "last norm is left out"),
        (lambda model, idx, targets: lens(model, idx, targets)[1:], "the first guess is missing"),
        (lambda model, idx, targets: lens(model, idx, targets)[:-1], "the last guess is missing"),
        (renormed, "handed on to the next block"),
        (alone, "given the embedding"),
        (lambda model, idx, targets: lens(model, idx, targets)[::-1], "turned round"),
        (lambda model, idx, targets: [loss(model(idx), targets)] * (len(model.blocks) + 1), "loss at the end"),
        (lambda model, idx, targets: [loss(model.lm_head(model.norm(x)), targets, "sum") for x in stream(model, idx)], "these are sums"),
        (lambda model, idx, targets: [loss(model.lm_head(model.norm(x)).softmax(dim=-1), targets) for x in stream(model, idx)], "a softmax stands before the loss"),
        (lambda model, idx, targets: [loss(model.lm_head(model.norm(x))[:, -1:], targets[:, -1:]) for x in stream(model, idx)], "the last position only"),
        (lambda model, idx, targets: loss(model(idx), targets), "a list of losses"),
    ],
    "check_loss_without_feed_forward": [
        (silence("contract.weight"), "its last bias"),
        (silence("expand.weight", "expand.bias"), "its last bias"),
        (silence("expand.weight"), "at the entrance"),
        (silence(), "the whole model"),
        (all_layers, "ALL blocks"),
        (handed_on, "silence adds 0"),
        (lambda model, l, idx, targets: silence("contract.weight", "contract.bias")(model, l, idx, targets) - loss(model(idx), targets), "by how much the loss grows"),
        (no_block, "its attention must still be heard"),
        (silence("proj.weight", "proj.bias", where="attn"), "the attention of the block"),
        (silence("contract.weight", "contract.bias", shift=-1), "another block"),
        (silence("contract.weight", "contract.bias", give_back=False), "give back"),
        (silence("contract.weight", "contract.bias"), "`finally`"),
    ],
    "check_maps_are_causal": [
        (lambda weights: bool((weights.tril() == 0).all()), "which part may not"),
        (lambda weights: bool((weights.triu() == 0).all()), "which part may not"),
        (lambda weights: blind(weights) and bool((weights.sum(dim=-1) == 1).all()), "rounding error"),
        (whole, "without any mask"),
        (blind, "AFTER the softmax"),
        (lambda weights: whole(weights) and blind(weights[0, 0, 0]), "every block and head"),
        (lambda weights: whole(weights) and blind(weights[:1]), "every row of every text"),
        (lambda weights: (weights.triu(diagonal=1) == 0).all(dim=-1), "truth values"),
        (lambda weights: blind(weights) and whole(weights, dim=-2), "along a row"),
    ],
}
