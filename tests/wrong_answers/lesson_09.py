"""Plausible wrong answers to the exercises of lesson 09: {check: [(answer, what its message must say), ...]}."""
import math

import torch


def schedule(add=1, wave=lambda done: (1 + math.cos(math.pi * done)) / 2, end=0, begin=None, low=None, longer=0):
    def answer(step, max_iters, warmup_iters, floor):
        if step < warmup_iters + longer:
            return (step + add) / warmup_iters
        first = warmup_iters if begin is None else begin
        share = wave((step - first) / (max_iters - end - first))
        return (low or (lambda share, floor: floor + (1 - floor) * share))(share, floor)

    return answer


def adamw(correct=lambda t: t, decoupled=True, root=lambda v: v**0.5 + 1e-8, new=lambda beta: 1 - beta, swap=False, sign=-1, pull=1.0, in_place=False, only_m=False, square=lambda g: g**2, carry=False, once=False):
    def answer(p, gradients, rate, decay, beta1, beta2):
        beta1, beta2 = (beta2, beta1) if swap else (beta1, beta2)
        m = v = 0
        for t, g in enumerate(gradients, 1):
            g = g if decoupled else g + decay * p
            m, v = beta1 * m + new(beta1) * g, beta2 * v + new(beta2) * square(g)
            if once and t < len(gradients):
                continue
            if carry:
                m, v = m / (1 - beta1**t), v / (1 - beta2**t)
            t = math.inf if carry else correct(t)
            step = m / (1 - beta1**t) / root(v / (1 if only_m else 1 - beta2**t)) + (pull * decay * p if decoupled else 0)
            p = p.add_(sign * rate * step) if in_place else p + sign * rate * step
        return p

    return answer


def clip(length=lambda gradients: math.sqrt(sum((g**2).sum().item() for g in gradients)), at_most=True):
    def answer(gradients, limit):
        factor = limit / max(length(gradients), 1e-12)
        factor = min(1, factor) if at_most else factor
        return [g * factor for g in gradients]

    return answer


def in_place(gradients, limit):
    for g in gradients:
        g.mul_(0.5)
    return gradients


def resume(compare=torch.equal, first=9, second=9, last=20, kept=True, against="whole"):
    def answer(go):
        whole, half = go(0, last, None), go(0, first, None)
        resumed = go(second, last, half if kept else None)
        return compare({"whole": whole, "half": half}[against]["weights"], resumed["weights"])

    return answer


WRONG = {
    "check_half_steps": [
        ([100, 600], "counted from 0"),
        ([99, 500], "not at step 0"),
        ([99, 400], "it begins at step 200"),
        ([600, 99], "the way up comes first"),
        ([99, 601], "one step off"),
        ([50, 600], "a quarter of its peak"),
        (99, "two steps are asked for"),
    ],
    "check_my_rate": [
        (schedule(add=0), "the first step learns nothing"),
        (schedule(longer=1), "above the peak"),
        (schedule(wave=lambda done: 1 - done), "straight line"),
        (schedule(low=lambda share, floor: share), "goes down to 0"),
        (schedule(low=lambda share, floor: max(share, floor)), "cut off at the floor"),
        (schedule(low=lambda share, floor: share + floor), "added on top"),
        (schedule(end=1), "one later"),
        (schedule(begin=0), "where the warm-up ends"),
        (schedule(wave=lambda done: math.cos(math.pi * done)), "bring it between 1 and 0"),
        (schedule(wave=lambda done: (1 - math.cos(math.pi * done)) / 2), "the decay goes up"),
        (lambda step, max_iters, warmup_iters, floor: min(1, (step + 1) / warmup_iters) * (floor + (1 - floor) / 2 * (1 + math.cos(math.pi * max(0, step - warmup_iters) / (max_iters - warmup_iters)))), "ZeroDivisionError"),
    ],
    "check_my_adamw": [
        (adamw(correct=lambda t: math.inf), "the first ones are too small"),
        (adamw(correct=lambda t: t + 1), "t begins at 2"),
        (adamw(correct=lambda t: 1), "t stays 1"),
        (adamw(correct=lambda t: t - 1), "does t begin at 0"),
        (adamw(decoupled=False), "that is the W in AdamW"),
        (adamw(pull=0.0), "the weight decay is missing"),
        (adamw(root=lambda v: v + 1e-8), "divided by v itself"),
        (adamw(root=lambda v: (v + 1e-8) ** 0.5), "inside the root"),
        (adamw(new=lambda beta: 1), "m and v are sums"),
        (adamw(swap=True), "exchanged"),
        (adamw(sign=1), "uphill"),
        (adamw(only_m=True), "its own division"),
        (adamw(square=lambda g: g), "no mean of SQUARES"),
        (adamw(carry=True), "carried on"),
        (adamw(once=True), "only once"),
        (adamw(in_place=True), "changes its argument"),
        (lambda p, gradients, *rest: adamw()(p, gradients[:1], *rest), "only the first gradient"),
    ],
    "check_my_clip": [
        (lambda gradients, limit: [clip()([g], limit)[0] for g in gradients], "shortened by itself"),
        (lambda gradients, limit: [g.clamp(-limit, limit) for g in gradients], "every number is cut by itself"),
        (clip(length=lambda gradients: sum((g**2).sum().item() for g in gradients)), "the ROOT"),
        (clip(length=lambda gradients: sum(g.norm().item() for g in gradients)), "lengths of the tensors are added"),
        (clip(length=lambda gradients: max(g.abs().max().item() for g in gradients)), "the largest number"),
        (clip(at_most=False), "shorter than the limit is changed"),
        (lambda gradients, limit: list(gradients), "nothing was shortened"),
        (lambda gradients, limit: torch.cat([g.flatten() for g in gradients]), "a list of gradients"),
        (in_place, "changes its argument"),
        (lambda gradients, limit: [g * min(1, limit / torch.stack([(g**2).sum() for g in gradients]).sum().sqrt().item()) for g in gradients], "ZeroDivisionError"),
    ],
    "check_resumes_exactly": [
        (lambda go: True, "fresh weights"),
        (lambda go: False, "is refused"),
        (resume(compare=torch.allclose), "no tolerance"),
        (resume(against="half"), "is refused"),
        (resume(kept=False), "is refused"),
        (resume(second=0), "is refused"),
        (resume(compare=lambda a, b: a == b), "truth values"),
        (resume(first=0, second=0), "in the middle"),
        (lambda go: torch.equal(go(0, 20, None)["weights"], go(0, 20, None)["weights"]), "resume it from there"),
        (lambda go: torch.equal(go(0, 20, None)["weights"], go(9, 20, {"weights": go(0, 9, None)["weights"]})["weights"]), "the whole dictionary"),
        (lambda go: torch.equal(go(0, 20, None)["weights"], go(9, 20, go(0, 9, None)["weights"])["weights"]), "the whole dictionary"),
        (resume(first=20, second=20), "compared after the resumed half"),
    ],
}
