"""Plausible wrong answers to the exercises of lesson 00: {check: [(answer, what its message must say), ...]}."""
import torch


def slope(loss_at, w):
    return (loss_at(w + 1e-4) - loss_at(w - 1e-4)) / 2e-4


def in_place(scores):
    scores -= scores.amax(dim=1, keepdim=True)
    return scores.exp() / scores.exp().sum(dim=1, keepdim=True)


def shifted_along(scores):
    powers = (scores - scores.max(dim=1).values).exp()
    return powers / powers.sum(dim=1, keepdim=True)


def thirty_steps(loss_at, w, rate):
    for _ in range(30):
        w -= rate * slope(loss_at, w)
    return w


def text_for_error(outputs, targets):
    return ((outputs - targets) ** 2).mean() if outputs.shape == targets.shape else "error"


def squares_if(same):
    """A loss that refuses where `same` does not hold."""

    def loss(outputs, targets):
        assert same(outputs, targets)
        return ((outputs - targets) ** 2).mean()

    return loss


def no_error(outputs, targets):
    if outputs.shape == targets.shape:
        return ((outputs - targets) ** 2).mean()


WRONG = {
    "check_shape_of_sum": [
        ((5, 1, 3), "the 4 is lost"),
        ((5, 4, 1), "the 3 is lost"),
        ((4, 3), "three dimensions"),
        ((4, 5, 3), "LAST numbers meet"),
        ((9, 2, 4), "not yet"),
        (60, "a shape is asked for"),
        ("(5, 4, 3)", "a shape is asked for"),
    ],
    "check_softmax_rows": [
        (lambda scores: scores.exp() / scores.exp().sum(dim=1), "number j of each row"),
        (lambda scores: torch.softmax(scores, dim=0), "columns sum to one"),
        (lambda scores: scores.exp() / scores.exp().sum(), "whole table"),
        (lambda scores: scores / scores.sum(dim=1, keepdim=True), "exponentiated first"),
        (lambda scores: scores.exp() / scores.exp().sum(dim=1, keepdim=True), "near 1000"),
        (lambda scores: (scores - scores.max()).exp() / (scores - scores.max()).exp().sum(dim=1, keepdim=True), "near 1000 spoils"),
        (shifted_along, "what you subtract"),
        (in_place, "changes its argument"),
        (lambda scores: torch.log_softmax(scores, dim=1), "LOGARITHMS"),
        (lambda scores: torch.softmax(scores, dim=1), "PyTorch's own softmax"),
        (lambda scores: scores.softmax(-1), "PyTorch's own softmax"),
    ],
    "check_step_downhill": [
        (lambda loss_at, w, rate: w + rate * slope(loss_at, w), "UPHILL"),
        (lambda loss_at, w, rate: w - slope(loss_at, w), "multiplied by the learning rate"),
        (lambda loss_at, w, rate: w - 0.1 * slope(loss_at, w), "built in"),
        (lambda loss_at, w, rate: w - rate * 2 * (w - 3), "belongs to the loss of 2.6"),
        (lambda loss_at, w, rate: w - rate * 2 * slope(loss_at, w), "twice too long"),
        (lambda loss_at, w, rate: w - rate * loss_at(w), "the loss itself"),
        (lambda loss_at, w, rate: w, "hardly moved"),
        (lambda loss_at, w, rate: w - rate * (loss_at(w + 1e-4) - loss_at(w - 1e-4)), "not divided by"),
        (lambda loss_at, w, rate: w - rate * (loss_at(w + 1e-4) - loss_at(w - 1e-4)) / 2 * 1e-4, "not divided by"),
        (thirty_steps, "where many steps arrive"),
        (lambda loss_at, w, rate: rate * -slope(loss_at, w), "the step alone"),
        (lambda loss_at, w, rate: w + rate * abs(slope(loss_at, w)), "right for one loss"),
        (lambda loss_at, w, rate: loss_at(w).backward(), "raised AttributeError"),
    ],
    "check_border_rate": [
        (0.5, "a single step arrives"),
        (0.9, "still settles"),
        (1.1, "runs away"),
        (-1.0, "goes uphill"),
        ("1.0", "a number is asked for"),
    ],
    "check_safe_loss": [
        (squares_if(lambda one, other: True), "outputs (4, 1) and targets (4) are accepted"),
        (squares_if(lambda one, other: one.numel() == other.numel()), "outputs (4, 1) and targets (4) are accepted"),
        (squares_if(lambda one, other: one.dim() == other.dim()), "as many dimensions"),
        (squares_if(lambda one, other: other.dim() >= one.dim()), "the other way round"),
        (squares_if(lambda one, other: one.shape[1:] == other.shape[1:]), "the single target is repeated"),
        (lambda outputs, targets: ((outputs.flatten() - targets.flatten()) ** 2).mean(), "guessing is no refusal"),
        (no_error, "returning or printing something is no error"),
        (text_for_error, "returning or printing something is no error"),
        (squares_if(lambda one, other: one.shape != other.shape), "the same shape (4,) are refused"),
        (squares_if(lambda one, other: one.dim() == other.dim() == 1), "the same shape (3, 2) are refused"),
        (lambda outputs, targets: ((outputs - targets) ** 2).sum(), "the mean is asked for"),
        (lambda outputs, targets: ((outputs - targets) ** 2).mean().item(), "must stay a tensor"),
    ],
}
