"""Plausible wrong answers to the exercises of lesson 11: {check: [(answer, what its message must say), ...]}."""
import copy

import torch


def moving(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def freeze(shift=0, freeze_too=(), thaw=True, count=moving):
    def before(model, first):
        for name, p in model.named_parameters():
            late = name.startswith(("norm.", "lm_head.")) or name.startswith("blocks.") and int(name.split(".")[1]) >= first + shift
            if not late or name.startswith(freeze_too):
                p.requires_grad_(False)
            elif thaw:
                p.requires_grad_(True)
        return count(model)

    return before


def attribute(model, first):
    for part in (model.token_embedding, model.position_embedding, *model.blocks[:first]):
        part.requires_grad = False
    return moving(model)


def blocks_only(model, first):
    model.blocks[:first].requires_grad_(False)
    return moving(model)


def one_table(model, first):
    found = freeze()(model, first)
    model.position_embedding.requires_grad_(True)
    return found


def wrong_end(model, first):
    model.requires_grad_(True)
    for part in (model.token_embedding, model.position_embedding, *model.blocks[first:]):
        part.requires_grad_(False)
    return moving(model)


def join(old, new, n, m):
    return torch.cat([old[0][:n], new[0][:m]]), torch.cat([old[1][:n], new[1][:m]])


def crossed(old, new, share):
    B = len(old[0])
    n = round(share * B)
    return torch.cat([old[0][:n], new[0][n:]]), torch.cat([old[1][:n], new[1][: B - n]])


def pull(factor=2.0, use=lambda p, change: p.grad.add_(change), number=lambda strength, square: strength * square, skip=True):
    def back(model, old, strength):
        square = 0.0
        with torch.no_grad():
            for p, before in zip(model.parameters(), old.parameters()):
                if p.grad is None and skip:
                    continue
                square += ((p - before) ** 2).sum().item()
                use(p, factor * strength * (p - before))
        return number(strength, square)

    return back


def held(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def inside(p, some):
    return any(p is q for q in some)


def needed(model):
    return [p for p in model.parameters() if p.requires_grad]


WRONG = {
    "check_head_parameters": [
        (4160, "has a bias"),
        (4224, "not for each channel"),
        (4353, "the last norm"),
        (54145, "the lesson's cell"),
        (205504, "stay fixed"),
        (4225.5, "not yet"),
    ],
    "check_freeze_before": [
        (attribute, "nothing is frozen"),
        (lambda model, first: freeze()(copy.deepcopy(model), first), "done on a copy"),
        (blocks_only, "both tables still move"),
        (one_table, "one of the two tables"),
        (freeze(shift=1), "one block too many"),
        (freeze(shift=-1), "one block too few"),
        (wrong_end, "the wrong end"),
        (freeze(freeze_too=("norm.",)), "`norm` does not move"),
        (freeze(freeze_too=("lm_head.bias",)), "`lm_head` does not move as a whole"),
        (freeze(freeze_too=("blocks.3.norm1",)), "as a whole or not at all"),
        (freeze(thaw=False), "everything frozen, and it still is"),
        (freeze(count=lambda model: len(needed(model))), "counts the tensors"),
        (freeze(count=lambda model: model), "a number is asked for"),
    ],
    "check_mix": [
        (lambda old, new, share: join(old, new, len(old[0]), len(new[0])), "all windows of both"),
        (lambda old, new, share: join(new, old, round(share * len(old[0])), len(old[0]) - round(share * len(old[0]))), "exchanged"),
        (lambda old, new, share: join(old, new, int(share * len(old[0])), len(old[0]) - int(share * len(old[0]))), "do not cut off"),
        (crossed, "belongs to another window"),
        (lambda old, new, share: torch.cat([old[0], new[0]]), "a pair (x, y)"),
        (lambda old, new, share: tuple((share * a + (1 - share) * b).long() for a, b in zip(old, new)), "none of the given windows"),
        (lambda old, new, share: new, "0 of 16 windows"),
    ],
    "check_pull_back": [
        (pull(factor=1.0), "a factor 2"),
        (pull(factor=-2.0), "AWAY"),
        (pull(use=lambda p, change: p.grad.copy_(change)), "do not replace it"),
        (pull(use=lambda p, change: p.sub_(change)), "the weights have changed"),
        (pull(use=lambda p, change: p.grad + change), "as before"),
        (pull(number=lambda strength, square: square), "lacks the strength"),
        (pull(number=lambda strength, square: strength * square**0.5), "the distance, not its square"),
        (pull(number=lambda strength, square: None), "returned nothing"),
        (pull(skip=False), "its `p.grad` is None"),
    ],
    "check_will_train": [
        (lambda model, optimizer: all(p in held(optimizer) for p in model.parameters()), "raised RuntimeError"),
        (lambda model, optimizer: bool(needed(model)) and all(inside(p, held(optimizer)) for p in model.parameters()), "need not be there"),
        (lambda model, optimizer: bool(held(optimizer)) and all(inside(p, needed(model)) for p in held(optimizer)), "holds these, too"),
        (lambda model, optimizer: bool(needed(model)) and all(inside(p, optimizer.param_groups[0]["params"]) for p in needed(model)), "two groups"),
        (lambda model, optimizer: bool(needed(model)), "compare by `is` or `id`"),
        (lambda model, optimizer: all(inside(p, held(optimizer)) for p in needed(model)), "everything is frozen"),
        (lambda model, optimizer: all(inside(p, list(model.parameters())) for p in held(optimizer)) and any(p.requires_grad for p in held(optimizer)), "parameters of the MODEL"),
        (lambda model, optimizer: any(inside(p, held(optimizer)) for p in needed(model)), "a layer was replaced"),
    ],
}
