"""Plausible wrong answers to the exercises of lesson 06: {check: [(answer, what its message must say), ...]}."""
import torch
import torch.nn.functional as F


def norm(dim=-1, eps=1e-5, correction=0):
    def my_layer_norm(x):
        return (x - x.mean(dim, keepdim=True)) / (x.var(dim, keepdim=True, correction=correction) + eps).sqrt()

    return my_layer_norm


def eps_outside(x):
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + 1e-5)


def variance_for_root(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5)


def ready_made(x):
    return F.layer_norm(x, x.shape[-1:])


def ready_module(x):
    return torch.nn.LayerNorm(x.shape[-1])(x)


def norm_in_place(x):
    x -= x.mean(-1, keepdim=True)
    return x / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()


def no_keepdim(x):
    return (x - x.mean(-1)) / (x.var(-1, correction=0) + 1e-5).sqrt()


def forgetful(x, norm1, attn, norm2, expand, contract):
    x = attn(norm1(x))
    return contract(F.relu(expand(norm2(x))))


def post_ln(x, norm1, attn, norm2, expand, contract):
    x = norm1(x + attn(x))
    return norm2(x + contract(F.relu(expand(x))))


def no_bend(x, norm1, attn, norm2, expand, contract):
    x = x + attn(norm1(x))
    return x + contract(expand(norm2(x)))


def side_by_side(x, norm1, attn, norm2, expand, contract):
    return x + attn(norm1(x)) + contract(F.relu(expand(norm2(x))))


def on_the_copy(x, norm1, attn, norm2, expand, contract):
    x = norm1(x)
    x = x + attn(x)
    x = norm2(x)
    return x + contract(F.relu(expand(x)))


def no_norms(x, norm1, attn, norm2, expand, contract):
    x = x + attn(x)
    return x + contract(F.relu(expand(x)))


def block_in_place(x, norm1, attn, norm2, expand, contract):
    x += attn(norm1(x))
    x += contract(F.relu(expand(norm2(x))))
    return x


def one_norm(x, norm1, attn, norm2, expand, contract):
    x = x + attn(norm1(x))
    return x + contract(F.relu(expand(norm1(x))))


def second_not_added(x, norm1, attn, norm2, expand, contract):
    x = x + attn(norm1(x))
    return contract(F.relu(expand(norm2(x))))


def loss(model, x, y):
    return F.cross_entropy(model(x).transpose(1, 2), y)


def as_it_was(model, x, y):
    with torch.no_grad():
        return loss(model, x, y).item()


def stays_in_eval(model, x, y):
    model.eval()
    with torch.no_grad():
        return loss(model, x, y).item()


def always_train(model, x, y):
    model.eval()
    with torch.no_grad():
        value = loss(model, x, y).item()
    model.train()
    return value


def recorded(model, x, y):
    was_training = model.training
    model.eval()
    value = loss(model, x, y).item()
    model.train(was_training)
    return value


def switched_off(model, x, y):
    was_training = model.training
    model.eval()
    torch.set_grad_enabled(False)
    value = loss(model, x, y).item()
    model.train(was_training)
    return value


def dropout_gone(model, x, y):
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0
    return as_it_was(model, x, y)


def summed(model, x, y):
    was_training = model.training
    model.eval()
    with torch.no_grad():
        value = loss(model, x, y).item() * y.numel()
    model.train(was_training)
    return value


WRONG = {
    "check_parameters_of_feed_forward": [
        (800, "two matrices alone"),
        (880, "counted as 40"),
        (820, "counted as 10"),
        (220, "how many channels lie between"),
        (440, "a way back"),
        (840, "one of the two biases"),
        (810, "one of the two biases"),
        (450, "one of the two matrices"),
        (33088, "not yet: for each of the two layers"),
    ],
    "check_my_layer_norm": [
        (norm(correction=1), "divides by C"),
        (norm(dim=1), "positions of a sequence"),
        (norm(dim=(0, 1)), "that is batch norm"),
        (norm(dim=(1, 2)), "for a whole sequence"),
        (norm(eps=0), "where is the 1e-5"),
        (norm(eps=1e-3), "right for ordinary numbers"),
        (eps_outside, "not to its root"),
        (variance_for_root, "must be its root"),
        (ready_made, "layer_norm stands in your function"),
        (ready_module, "LayerNorm stands in your function"),
        (norm_in_place, "changes its argument"),
        (no_keepdim, "raised RuntimeError"),
    ],
    "check_my_block": [
        (forgetful, "nothing is added"),
        (post_ln, "this is Post-LN"),
        (no_bend, "no bend"),
        (side_by_side, "reads the old x"),
        (on_the_copy, "the normalised copies are added"),
        (no_norms, "both norms are missing"),
        (block_in_place, "writes into the caller's x"),
        (one_norm, "norm1 is used twice"),
        (second_not_added, "the second half does not add"),
    ],
    "check_loss_of": [
        (as_it_was, "dropout is still on"),
        (stays_in_eval, "afterwards it is not"),
        (always_train, "afterwards it is training"),
        (recorded, "gradients are recorded"),
        (switched_off, "gradients stay switched off"),
        (dropout_gone, "gone for good"),
        (summed, "this is the sum"),
    ],
}
