"""Plausible wrong answers to the exercises of lesson 12: {check: [(answer, what its message must say), ...]}."""
import math

import torch


def line(xs, ys):
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)
    at = lambda x: my + slope * (x - mx)
    return at, sum((y - at(x)) ** 2 for x, y in zip(xs, ys))


def logs(values):
    return [math.log(value) for value in values]


def predict(fx=math.log, fy=math.log, back=math.exp, keep=slice(None)):
    def at(budgets, losses, target):
        return back(line([fx(b) for b in budgets][keep], [fy(y) for y in losses][keep])[0](fx(target)))

    return at


def no_height(budgets, losses, target):
    at = line(logs(budgets), logs(losses))[0]
    return math.exp((at(1) - at(0)) * math.log(target))


def turned(budgets, losses, target):
    at = line(logs(losses), logs(budgets))[0]
    return math.exp((math.log(target) - at(0)) / (at(1) - at(0)))


def four_points(budgets, losses, target):
    middle = sum(logs(budgets)) / 4
    height = sum(logs(losses)) / 4
    slope = sum((x - middle) * y for x, y in zip(logs(budgets), logs(losses))) / sum((x - middle) ** 2 for x in logs(budgets))
    return math.exp(height + slope * (math.log(target) - middle))


def floor(best=min, skip=True, fx=math.log, fy=math.log, give=lambda floor, spread: floor):
    def choose(budgets, losses, floors):
        spreads = {E: line([fx(b) for b in budgets], [fy(y - E) for y in losses])[1] for E in floors if E < min(losses) or not skip}
        E = best(spreads, key=spreads.get)
        return give(E, spreads[E])

    return choose


def rows(batch):
    return [tuple(row) for row in batch.tolist()]


def kept(parts):
    return [row for part in parts for row in rows(part)]


def even(parts):
    return len({len(part) for part in parts}) == 1


WRONG = {
    "check_halving_factor": [
        (2**0.05, "DOUBLING"),
        (20, "number of doublings"),
        (10, "ordinary axes"),
        (2**-20, "must grow"),
        (math.exp(20), "in the place of e"),
        (10**20, "divided by ten"),
        (4, "a slip"),
        (-20, "a positive number"),
    ],
    "check_power_law": [
        (predict(back=float), "logarithm of the loss"),
        (predict(fx=float, fy=float, back=float), "the numbers themselves"),
        (predict(fy=float, back=float), "only the budgets"),
        (predict(fx=float), "only the losses"),
        (predict(keep=slice(None, None, 3)), "the first and the last point"),
        (predict(keep=slice(-2, None)), "the last two points"),
        (lambda budgets, losses, target: math.exp(sum(x * y for x, y in zip(logs(budgets), logs(losses))) / sum(x * x for x in logs(budgets)) * math.log(target)), "the origin"),
        (no_height, "no height"),
        (predict(back=lambda height: 10**height), "undone by `exp`"),
        (predict(fx=math.log10, fy=math.log10), "undone by 10 **"),
        (turned, "changed places"),
        (lambda budgets, losses, target: math.exp(line(logs(budgets), logs(losses))[0](target)), "`target` on the logarithmic axis"),
        (lambda budgets, losses, target: line(logs(budgets), logs(losses))[0](1) - line(logs(budgets), logs(losses))[0](0), "this is the slope"),
        (four_points, "their number or order"),
        (lambda budgets, losses, target: math.exp(sum(logs(losses)) / len(losses)), "is `target` used"),
    ],
    "check_floor": [
        (floor(best=max), "the LEAST spread"),
        (floor(fy=lambda loss: 1.0), "never subtracted"),
        (lambda budgets, losses, floors: sorted(floors)[2], "a line of its own"),
        (lambda budgets, losses, floors: floor()(budgets, losses, [E for E in floors if E]), "E = 0 is a choice"),
        (floor(skip=False), "leave these out"),
        (floor(give=lambda E, spread: spread), "none of the choices"),
        (lambda budgets, losses, floors: min(floors), "at the edge"),
        (floor(fx=float), "both axes"),
        (lambda budgets, losses, floors: floors.sort(), "returned nothing"),
    ],
    "check_whole_gradient": [
        (lambda gradients, sizes: sum(gradients) / len(gradients), "the mean of the means"),
        (lambda gradients, sizes: sum(gradients), "these are added"),
        (lambda gradients, sizes: sum(g * n for g, n in zip(gradients, sizes)), "the sum over all windows"),
        (lambda gradients, sizes: sum(g * n for g, n in zip(gradients, sizes)) / len(sizes), "the number of parts"),
        (lambda gradients, sizes: sum(g * n for g, n in zip(gradients, sizes[::-1])) / sum(sizes), "the smaller part counts more"),
        (lambda gradients, sizes: (torch.stack(gradients) * torch.tensor(sizes)).sum(dim=0) / sum(sizes), "a whole part"),
        (lambda gradients, sizes: sum(gradients) / sum(sizes), "multiply it by its size"),
        (lambda gradients, sizes: torch.stack(gradients), "has the shape"),
    ],
    "check_is_shared": [
        (lambda batch, parts: torch.equal(torch.cat(parts), batch), "the order of the rows does not matter"),
        (lambda batch, parts: torch.equal(torch.stack(parts, dim=1).flatten(0, 1), batch), "two halves"),
        (lambda batch, parts: len(set(kept(parts))) == len(batch) and even(parts), "drawn twice"),
        (lambda batch, parts: sum(map(len, parts)) == len(batch), "the friend's mistake"),
        (lambda batch, parts: set(kept(parts)) <= set(rows(batch)) and even(parts), "the SAME half"),
        (lambda batch, parts: set(kept(parts)) == set(rows(batch)) and even(parts), "another one too seldom"),
        (lambda batch, parts: sorted(kept(parts)) == sorted(rows(batch)), "parts of 7 and 5"),
        (lambda batch, parts: even(parts) and sorted(sorted(row) for row in kept(parts)) == sorted(sorted(row) for row in rows(batch)), "compare whole rows"),
    ],
}
