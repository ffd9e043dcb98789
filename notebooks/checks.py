"""The checks behind the exercises: each takes an answer, compares it with a reference of its own, and names the likely mistake.

`check_...(answer)` prints one line - not done yet, passed, or what seems to be wrong - and never raises, so that a
notebook with open or wrong exercises still runs to its end. The references are written differently from the
lessons, mostly as plain loops. Inputs are random and differ at every call: no seed is set, and the state of
PyTorch's generator is put back. Numbers are compared with an absolute tolerance of 1e-4 where a check does not
say otherwise.
"""
import copy
import functools
import math

import torch
import torch.nn.functional as F
from IPython import get_ipython
from IPython.display import display
from torch import nn

RESULT = "application/vnd.tinygpt.check+json"
PASSED, WRONG, OPEN = "passed", "wrong", "not done yet"
CHECKS = {}  # {"01.3": check_count_pairs}, in the order of the exercises


class Wrong(Exception):
    """An answer is not right; the message names the likely mistake."""


class NotDone(Exception):
    """The stub is still there."""


# ---- How a check works ------------------------------------------------------------------------


def exercise(label):
    """Make a function that raises Wrong or NotDone into the check of exercise `label`, for instance "01.3"."""

    def wrap(function):
        @functools.wraps(function)
        def check(answer=...):
            status, message = judge(function, answer)
            sign = {PASSED: "✓", WRONG: "✗", OPEN: "○"}[status]
            line = f"{sign} Exercise {label}: {status}" + (f". {message}" if message else ".")
            if get_ipython() is None:  # a plain Python program
                print(line)
            else:
                result = {"exercise": label, "status": status, "message": message}
                display({RESULT: result, "text/plain": line}, raw=True)

        check.judge = functools.partial(judge, function)
        CHECKS[label] = check
        return check

    return wrap


def judge(function, answer):
    """(status, message) of an answer, whatever it is or does; the generator of PyTorch is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.seed()
        try:
            given(answer)
            function(answer)
        except NotDone:
            return OPEN, "Replace ... by your answer."
        except Wrong as error:
            return WRONG, str(error)
        except Exception as error:  # a check must stand anything
            return WRONG, f"Your answer could not be checked, {type(error).__name__}: {error}".rstrip(": ")
    return PASSED, ""


def given(answer):
    """Raise NotDone where the answer is `...`, or a collection that still holds one."""
    parts = list(answer.values()) if isinstance(answer, dict) else list(answer) if isinstance(answer, (tuple, list)) else [answer]
    if any(part is ... for part in parts):
        raise NotDone


def expect(truth, message):
    """Raise Wrong with this message unless `truth` holds."""
    if not truth:
        raise Wrong(message)


def ask(function, *arguments, **named):
    """What the answer's function returns for these arguments.

    Raises NotDone where its body is still `...`, Wrong where it is no function, fails, returns nothing or
    changes its arguments.
    """
    name = getattr(function, "__name__", "your answer")
    expect(callable(function), f"a function is asked for, not {_short(function)}")
    before = copy.deepcopy((arguments, named)) if _plain((arguments, named)) else None
    try:
        result = function(*arguments, **named)
    except (Wrong, NotDone):
        raise
    except NotImplementedError:
        raise NotDone from None
    except Exception as error:
        shown = ", ".join([_short(value) for value in arguments] + [f"{key}={_short(value)}" for key, value in named.items()])
        raise Wrong(f"{name}({shown}) raised {type(error).__name__}: {error}{_where(error)}") from None
    if result is None or result is ...:
        if _is_stub(function):
            raise NotDone
        raise Wrong(f"{name} returned nothing: does every way through it end with `return`?")
    if before is not None:
        expect(_same(before, (arguments, named)), f"{name} changes its argument: work on a copy, the caller still needs the old one")
    return result


def _nothing():
    ...


def _is_stub(function):
    """Whether the body is only `...` or a docstring; of a module, the body of its forward."""
    if isinstance(function, nn.Module):
        function = type(function).forward
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and code.co_code == _nothing.__code__.co_code and code.co_consts[-1:] == (None,)


def _where(error):
    """The line of the notebook's cell in which the answer failed."""
    lines, trace = [], error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename != __file__ and "site-packages" not in trace.tb_frame.f_code.co_filename:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]} of its cell)" if lines else ""


def _plain(value):
    if isinstance(value, (tuple, list)):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    return value is None or isinstance(value, (int, float, str, torch.Tensor)) and not getattr(value, "requires_grad", False)


def _same(one, other):
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return one == other


def _short(value):
    """How a message names a value."""
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)}" if value.numel() > 12 else str(value.tolist())
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    text = " ".join(repr(value).split())
    if " at 0x" in text:
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:40]}..."


# ---- What many checks ask ---------------------------------------------------------------------


def number(answer):
    """The answer as a float; Wrong where it is none."""
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    expect(isinstance(answer, (int, float)) and not isinstance(answer, bool), f"a number is asked for, not {_short(answer)}")
    expect(math.isfinite(answer), f"a finite number is asked for, not {answer}")
    return float(answer)


def verdict(answer, *arguments, on="everything"):
    """Whether the answer's function says True of these arguments; Wrong where it says anything but True or False."""
    said = ask(answer, *arguments)
    if isinstance(said, torch.Tensor):
        expect(said.numel() == 1, f"your function returns {said.numel()} truth values: one for {on} is wanted, `.all()` makes it")
        said = said.item()
    expect(isinstance(said, int) and said in (0, 1), f"your function returns {_short(said)}: True or False is wanted")
    return bool(said)


def tensor(value, shape, name="the result"):
    """The value, if it is a tensor of this shape without nan; else Wrong, which gives both shapes."""
    expect(isinstance(value, torch.Tensor), f"{name} is {_short(value)}, not a tensor")
    expect(tuple(value.shape) == tuple(shape), f"{name} has the shape {tuple(value.shape)}, not {tuple(shape)}")
    expect(not value.isnan().any(), f"{name} holds nan: is something divided by zero, or a whole row masked?")
    return value.detach()


def close(one, other, tolerance=1e-4):
    """Whether two tensors or numbers agree everywhere within this absolute tolerance (shapes must agree, too)."""
    one, other = torch.as_tensor(one).detach().double(), torch.as_tensor(other).detach().double()
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=tolerance)


def diagnose(value, mistakes, tolerance=1e-4):
    """Raise Wrong with the message of the first mistake [(its result, message), ...] that gives this value."""
    for result, message in mistakes:
        expect(not close(value, result, tolerance), message)


def fresh():
    """A generator in a state of chance, for answers that take one."""
    generator = torch.Generator()
    generator.seed()
    return generator


def module(made, name="your class"):
    """The answer made into a module: Wrong where the class fails or is no nn.Module; NotDone where forward is a stub."""
    expect(isinstance(made, nn.Module), f"{name} makes {_short(made)}, no nn.Module: does the class inherit from it?")
    if _is_stub(made):
        raise NotDone
    return made


# ---- 00 · Check your setup --------------------------------------------------------------------


@exercise("00.1")
def check_shape_of_sum(answer):
    """A tuple: the shape of ones(5, 1, 3) + ones(4, 1); exact."""
    answer = answer.tolist() if isinstance(answer, torch.Tensor) and answer.dim() == 1 else answer
    expect(isinstance(answer, (tuple, list)), f"a shape is asked for, such as (2, 3), not {_short(answer)}")
    shape = tuple(answer)
    expect(len(shape) != 2, "one of the two has three dimensions, and a sum never has fewer than its parts")
    expect(len(shape) == 3, f"this shape has {len(shape)} dimensions: the result has as many as the longer of the two")
    expect(shape not in ((5, 1, 3), (5, 1, 1)), "the 4 is lost: a dimension of size 1 is repeated until it fits the other one")
    expect(shape != (5, 4, 1), "the 3 is lost: where 3 meets 1, it is the 1 that is repeated")
    expect(shape not in ((5, 3, 4), (4, 5, 3), (4, 1, 3)), "the right numbers in the wrong order or place: write the two shapes below each other so that their LAST numbers meet")
    expect(1 not in shape, "a 1 is left over: where 1 meets another size it is repeated")
    expect(shape == (5, 4, 3), "not yet: from right to left, at each place one of the two sizes is 1 or missing, and the other one wins")


@exercise("00.2")
def check_softmax_rows(answer):
    """A function (scores) -> softmax along each row, (B, V) -> (B, V), for scores near 1000, too; not PyTorch's own."""
    for B, V in (4, 4), (3, 6), (1, 5), (2, 1):
        scores = 2 * torch.randn(B, V)
        wanted = torch.tensor([[math.exp(s) / sum(map(math.exp, row)) for s in row] for row in scores.tolist()])
        probs = tensor(ask(answer, scores), (B, V), "the table of probabilities")
        if B == V:
            powers = scores.exp()
            shifted = (scores - scores.max(dim=1).values).exp()
            mistakes = [
                (powers / powers.sum(), "the whole table sums to one: each ROW is to sum to one, so the sum runs over one dimension"),
                (powers / powers.sum(dim=0), "the columns sum to one, not the rows: over which dimension must the sum run?"),
                (powers / powers.sum(dim=1), "number j of each row is divided by the sum of row j: the sums must stay a column (`keepdim=True`)"),
                (shifted / shifted.sum(dim=1, keepdim=True), "what you subtract is laid along the rows instead of down the columns: it must stay a column (`keepdim=True`)"),
                (scores / scores.sum(dim=1, keepdim=True), "the scores themselves are divided by their sum: they must be exponentiated first"),
                (powers, "these are the exponentials: they are still to be divided by their sum"),
                (wanted.log(), "these are the LOGARITHMS of the probabilities"),
            ]
            diagnose(probs, mistakes)
        expect(close(probs.sum(dim=1), torch.ones(B)), f"for scores of shape ({B}, {V}) the rows do not sum to one")
        expect(close(probs, wanted), f"for scores of shape ({B}, {V}) the rows sum to one, but a probability is wrong: is it e^score divided by the sum of its row?")
    small = torch.randn(3, 5)
    wanted = torch.tensor([[math.exp(s) / sum(map(math.exp, row)) for s in row] for row in small.tolist()])
    cases = [
        (1000.0, "for scores near 1000 there is no right result: e^1000 is too large. Which number, added to all scores of a row, makes them small?"),
        (-1000.0, "for scores near -1000 there is no right result: e^-1000 is too small, all become 0. Which number, added to all scores of a row, would help?"),
        (torch.tensor([[1000.0], [0.0], [-1000.0]]), "one row near 1000 spoils a row of small scores: each row needs a shift of its own"),
    ]
    for shift, message in cases:
        probs = ask(answer, small + shift)
        expect(isinstance(probs, torch.Tensor) and probs.shape == small.shape and close(probs, wanted, 1e-3), message)
    if "softmax" in getattr(getattr(answer, "__code__", None), "co_names", ()):  # a helper of that name is allowed
        expect(answer.__globals__.get("softmax") not in (None, torch.softmax, F.softmax), "the rows are right, but PyTorch's own softmax has made them: build yours without it")


@exercise("00.3")
def check_step_downhill(answer):
    """A function (loss_at, w, learning_rate) -> w after one step against the slope; tolerance 0.01."""
    while True:  # numbers for which every mistake gives another result
        w, rate = -1 + torch.rand(1).item(), 0.15 + 0.1 * torch.rand(1).item()
        a, goal = 1.3 + 0.4 * torch.rand(1).item(), 1.5 + torch.rand(1).item()
        slope, loss = 2 * a * (w - goal), a * (w - goal) ** 2 - 2
        right = w - rate * slope
        mistakes = [
            (w + rate * slope, "this step goes UPHILL: the slope says where the loss grows"),
            (w - slope, "the step is as long as the slope: it is to be multiplied by the learning rate"),
            (w - 0.1 * slope, "the learning rate 0.1 is built in: use the one that is given"),
            (w - rate * 2 * (w - 3), "the slope is 2(w - 3), whatever the loss: that formula belongs to the loss of 2.6 only"),
            (w - rate * loss, "the loss itself is subtracted: it must be its slope"),
            (w - 2 * rate * slope, "the step is twice too long: w - h and w + h are 2h apart"),
            (w - rate * slope / 2, "the step is half as long as it should be: are two evaluations h apart divided by 2h?"),
            (slope, "this is the slope: the w after the step is asked for"),
            (-rate * slope, "this is the step alone: the w after it is asked for"),
            (a * (right - goal) ** 2 - 2, "this is the loss after the step: the w is asked for"),
            (w, "w has hardly moved: is the old w returned, or is the difference not divided by (2 * h)?"),
            (goal, "this is where many steps arrive: one is asked for"),
        ]
        results = sorted([right] + [result for result, _ in mistakes])
        if min(after - before for before, after in zip(results, results[1:])) > 0.03:
            break
    found = number(ask(answer, lambda w: a * (w - goal) ** 2 - 2, w, rate))
    diagnose(found, mistakes, 0.01)
    expect(close(found, right, 0.01), "not the w after one step: w minus learning rate times slope, once")
    for w in 2.0 + torch.rand(1).item(), -1.0 - torch.rand(1).item():
        for loss_at, slope in [(lambda w: (w - 1) ** 2 / 2, w - 1), (lambda w: w**4 / 8 + w, w**3 / 2 + 1), (lambda w: 3 * w - 2, 3.0)]:
            found = number(ask(answer, loss_at, w, rate))
            expect(close(found, w - rate * slope, 0.01), "right for one loss, wrong for another: nothing about the loss may be built in, and the sign of the slope decides the direction")


@exercise("00.4")
def check_border_rate(answer):
    """A number: the learning rate above which steps on (w - 3)² + 1 run away, to 0.01."""
    answer = number(answer)
    expect(answer > 0, "a learning rate is positive: a negative one goes uphill")
    expect(not close(answer, 0.5, 0.01), "with 0.5 a single step arrives at 3. Beyond that, w overshoots, but does it run away?")
    expect(answer > 0.985, "with this rate w still settles at 3, and with a slightly larger one, too")
    expect(answer < 1.015, "with this rate w runs away, and with a slightly smaller one, too")


@exercise("00.5")
def check_safe_loss(answer):
    """A function (outputs, targets) -> mean squared difference where the shapes are the same; else it must raise."""
    for shape in (4,), (3, 2), (4, 1), (1,), (2, 3, 4):
        outputs, targets = torch.randn(shape).requires_grad_(), torch.randn(shape)
        right = F.mse_loss(outputs, targets)
        try:
            loss = ask(answer, outputs, targets)
        except Wrong as error:
            refused = any(f"raised {kind}:" in str(error) for kind in ("AssertionError", "ValueError", "Exception"))
            raise Wrong(f"two tensors of the same shape {shape} are refused: is the comparison turned round?" if refused else str(error)) from None
        expect(isinstance(loss, torch.Tensor), f"the loss is {_short(loss)}: it must stay a tensor, a plain number has no backward()")
        expect(loss.numel() == 1, f"the loss has the shape {tuple(loss.shape)}: one number is asked for, the mean")
        difference = (outputs - targets).detach()
        if shape == (4,) and not close(loss.reshape(()), right):
            mistakes = [
                ((difference**2).sum(), "this is the sum of the squares: the mean is asked for"),
                (difference.mean(), "the differences are not squared: those above and below zero cancel"),
                (difference.abs().mean(), "this is the mean of the absolute differences: they are to be squared"),
                ((difference**2).mean().sqrt(), "this is the root of the mean of the squares: leave the root out"),
            ]
            diagnose(loss.reshape(()), mistakes)
        expect(close(loss.reshape(()), right), f"for two tensors of shape {shape} this is not the mean of the squared differences")
        expect(loss.requires_grad, "the loss has lost its record: without it there is no gradient (is there a `detach` or `no_grad`?)")
    cases = [
        ((4, 1), (4,), "outputs (4, 1) and targets (4) are accepted. As many entries, or as many rows, is not yet the same shape, and guessing is no refusal"),
        ((4,), (4, 1), "outputs (4) and targets (4, 1) are accepted, although the other way round they are not"),
        ((4, 1), (1, 4), "outputs (4, 1) and targets (1, 4) are accepted: as many dimensions is not yet the same shape"),
        ((3,), (1,), "outputs (3) and targets (1) are accepted: the single target is repeated"),
        ((2, 3), (3,), "outputs (2, 3) and targets (3) are accepted: every row is compared with the same three"),
        ((5,), (), "outputs (5) and a single number without any dimension are accepted"),
    ]
    for first, second, message in cases:
        try:
            result = answer(torch.randn(first).requires_grad_(), torch.randn(second))
        except Exception:  # refused, in whatever way
            continue
        no_loss = " (returning or printing something is no error: `raise` or `assert`)"
        raise Wrong(message + no_loss * (not isinstance(result, torch.Tensor)))


# ---- 01 · Bigram ------------------------------------------------------------------------------


@exercise("01.1")
def check_loss_of_cab(answer):
    """A number: the mean surprise of `cab` under abracadabra's table with 1 added to every count, to 0.01."""
    answer = number(answer)
    ca, ab = (1 + 1) / (1 + 5), (2 + 1) / (4 + 5)
    right = -(math.log(ca) + math.log(ab)) / 2
    mistakes = [
        (2 * right, "this is the sum of the two surprises: the loss is their mean"),
        (-right, "a surprise is never negative: it is MINUS the logarithm of the probability"),
        (right / math.log(2), "this is in bits: nats come from the natural logarithm"),
        (math.log(2) / 2, "this is the loss without smoothing: add k = 1 to every count first"),
        (-(math.log(2 / 1) + math.log(3 / 4)) / 2, "the denominators must grow, too: each row gets k for every one of its symbols"),
        (-(math.log(2 / 2) + math.log(3 / 5)) / 2, "k = 1 is added to each of the 5 counts of a row, so a row's sum grows by 5, not by 1"),
        (-(math.log(2 / 6) + math.log(3 / 9) + math.log(1 / 5)) / 3, "cab has two pairs, ca and ab: its first letter is not predicted"),
    ]
    diagnose(answer, mistakes, 0.01)
    expect(close(answer, right, 0.01), "not yet: which pairs has the word, and what are the count of each and the sum of its row once k is added?")


@exercise("01.2")
def check_best_k(answer):
    """A function (counts, first, second, choices) -> the k of choices with the lowest loss; exact."""
    while True:  # numbers for which no two mistakes choose the same k in all three cases
        cases, chosen, clear = [], [], True
        for V in 5, 12, 4:
            share = torch.rand(V, V) ** 6
            counts = (10 ** (0.5 + 2.5 * torch.rand(V, 1)) * share / share.sum(dim=1, keepdim=True)).round()
            counts[:, 0] += 1  # no row is empty
            drawn = torch.multinomial((counts + 10 ** (3 * torch.rand(1)) * torch.rand(V) ** 3).flatten(), 200, replacement=True)
            first, second = drawn // V, drawn % V
            choices = [float(f"{k * (1 + 0.15 * torch.rand(1).item()):.2g}") for k in (0.013, 0.04, 0.13, 0.4, 1.2, 5.1, 13, 32, 80, 200, 600)]
            choices = [choices[i] for i in torch.randperm(len(choices))]
            raised = counts.double() + torch.tensor(choices).view(-1, 1, 1)  # one table for each k
            right = raised / raised.sum(dim=2, keepdim=True)
            losses = [
                -right[:, first, second].log().mean(dim=1),
                right[:, first, second].log().mean(dim=1),
                -(raised / counts.sum(dim=1, keepdim=True))[:, first, second].log().mean(dim=1),
                -(raised / raised.sum(dim=2)[:, None])[:, first, second].log().mean(dim=1),
                -(raised / raised.sum(dim=1, keepdim=True))[:, first, second].log().mean(dim=1),
                -(raised / raised.sum(dim=(1, 2), keepdim=True))[:, first, second].log().mean(dim=1),
                -right[:, second, first].log().mean(dim=1),
                -right[:, first, second].mean(dim=1),
            ]
            ks = [choices[loss.argmin()] for loss in losses] + [choices[0], choices[-1], min(choices)]
            clear &= all(loss.sort().values[:2].diff() > 1e-5 for loss in losses)
            cases.append((counts, first, second, choices))
            chosen.append(ks)
        chosen = list(zip(*chosen))  # of the right way and of each mistake, the k in each case
        if clear and len(set(chosen)) == len(chosen):
            break
    messages = [
        "this is the k with the HIGHEST loss: is a minus sign missing?",
        "this is the largest k: is it added to the counts only, and not to the sums by which they are divided? Or does the mean run over the whole table instead of the given pairs?",
        "number j of each row is divided by the sum of row j: the sums must stay a column (`keepdim=True`)",
        "the columns sum to one, not the rows: over which dimension must the sum run?",
        "the whole table sums to one: each ROW is to sum to one, so the sum runs over one dimension",
        "`first` and `second` are exchanged: the row belongs to the first symbol of a pair",
        "the probabilities themselves are averaged: a surprise is minus their LOGARITHM",
        "this is the FIRST of the choices: does the function return before all of them are tried?",
        "this is the LAST of the choices: which k is remembered when the loop ends?",
        "this is the smallest k. On the text that was counted it would win; are the losses taken over `first` and `second`?",
    ]
    found = []
    for counts, first, second, choices in cases:
        k = number(ask(answer, counts, first, second, list(choices)))
        same = [choice for choice in choices if math.isclose(k, choice, rel_tol=1e-5)]
        expect(same, f"{k:g} is none of the choices {choices}: return the k itself, not its loss or its place")
        found += same
    for ks, message in zip(chosen[1:], messages):
        expect(found != list(ks), message)
    expect(found == list(chosen[0]), "not the k with the lowest loss: does each row sum to one after k is added, is the mean taken of -ln p over the given pairs, and are all choices tried?")


@exercise("01.3")
def check_count_pairs(answer):
    """A function (ids, V) -> (V, V) whole numbers, row = first, column = next; exact."""
    for N, V in (80, 5), (6, 3), (2, 7), (1, 4):
        ids = torch.randint(V, (N,))
        wanted = torch.zeros(V, V)
        for place in range(N - 1):
            wanted[ids[place], ids[place + 1]] += 1
        case = f" (ids {ids.tolist()}, V={V})" if N <= 6 else ""
        counts = tensor(ask(answer, ids, V), (V, V), "the table")
        around, last = wanted.clone(), wanted.clone()
        around[ids[-1], ids[0]] += 1
        if N > 1:
            last[ids[-2], ids[-1]] -= 1
            expect(not close(counts, last), f"the last pair is missing: {N} symbols have {N - 1} pairs{case}")
        expect(not close(counts, around), f"the last symbol is paired with the first: after the last one nothing follows{case}")
        mistakes = [
            (wanted.T, f"rows and columns are exchanged: row = first symbol, column = the one after it{case}"),
            ((wanted > 0).float(), f"each pair is counted once at most: add 1 for every time it occurs, `table[i, j] = ...` on lists of places does not add up{case}"),
        ]
        if N > 10:
            diagnose(counts, mistakes)
        expect(close(counts.sum(), N - 1), f"the counts add up to {counts.sum().item():g}: {N} symbols have {N - 1} pairs{case}")
        expect(close(counts, wanted), f"a count is wrong, although their sum is right{case}")


@exercise("01.4")
def check_count_triples(answer):
    """A function (ids, V) -> (V, V, V): how often symbol k comes after i and j, in this order; exact."""
    for N, V in (80, 3), (7, 5), (3, 2), (2, 3):
        ids = torch.randint(V, (N,))
        wanted = torch.zeros(V, V, V)
        for i, j, k in zip(ids.tolist(), ids.tolist()[1:], ids.tolist()[2:]):
            wanted[i, j, k] += 1
        counts = tensor(ask(answer, ids, V), (V, V, V), "the table")
        if N > 50:
            diagnose(counts, [((wanted > 0).float(), "each triple is counted once at most: add 1 for every time it occurs, `table[i, j, k] += 1` on lists of places does not add up")])
        expect(close(counts.sum(), N - 2), f"the counts add up to {counts.sum().item():g}: {N} symbols have {N - 2} triples")
        if N > 50:
            diagnose(counts, [(wanted.permute(2, 1, 0), "the order is turned round: the FIRST index is the earliest symbol")])
            pairs = torch.zeros(V, V)
            for i, j in zip(ids.tolist()[:-1], ids.tolist()[1:-1]):
                pairs[i, j] += 1
            expect(close(counts.sum(dim=2), pairs), "summed over the last index, the triples should be the counts of pairs (all but the last pair): is i·V·V + j·V + k the number of a triple?")
        expect(close(counts, wanted), "a count is wrong, although their sum is right")


@exercise("01.5")
def check_rows_sum_to_one(answer):
    """A function (probs) -> whether every row of the table (V, V) sums to one, rounding allowed for."""
    for V in 30, 5, 2:
        counts = torch.randint(1, 9, (V, V)) + 10 * torch.rand(V, V).round()
        counts[0] += 40  # so that the sums of rows and columns differ
        right = counts / counts.sum(dim=1, keepdim=True)  # 32-bit numbers: few sums are 1 exactly
        uneven, first, last = right.clone(), right.clone(), right.clone()
        uneven[0], uneven[-1] = right[0] * 0.4, right[-1] * 1.6
        first[0], last[-1] = uneven[0], uneven[-1]
        cases = [
            (right, True, "a right table is refused: sums of rounded numbers are rarely 1 exactly, compare them with a tolerance (`torch.allclose`)"),
            (uneven, False, "a table whose first row sums to 0.4 and whose last to 1.6 is accepted: look at every row by itself, not at the total"),
            (right * 0.4, False, "a table whose rows sum to 0.4 is accepted: too small is as wrong as too large"),
            (right * 1.6, False, "a table whose rows sum to 1.6 is accepted: too large is as wrong as too small"),
            (last, False, "a table with a single wrong row, the last, is accepted: does the loop end after the first row?"),
            (first, False, "a table with a single wrong row, the first, is accepted: is the verdict on a row forgotten when the next one comes?"),
            (right * 0.8, False, "a table whose rows sum to 0.8 is accepted: are the sums rounded, or is the tolerance too large?"),
            (right * 1.2, False, "a table whose rows sum to 1.2 is accepted: are the sums rounded, or is the tolerance too large?"),
            ((counts / counts.sum(dim=0)), False, "a table whose COLUMNS sum to one is accepted: over which dimension must the sum run?"),
            ((counts / counts.sum(dim=1)), False, "the result of `counts / counts.sum(dim=1)` is accepted, which this test is there to catch"),
            (counts, False, "a table of counts is accepted: is it ever compared with 1?"),
        ]
        for probs, wanted, message in cases:
            expect(verdict(answer, probs, on="the whole table") == wanted, message)


# ---- 02 · Tokenizer ---------------------------------------------------------------------------


@exercise("02.1")
def check_three_merges(answer):
    """A list of three strings: the first three merges of byte-pair encoding on `banana bandana`; exact."""
    strings = isinstance(answer, (tuple, list)) and len(answer) == 3 and all(isinstance(piece, str) for piece in answer)
    expect(strings, f'a list of three strings is asked for, such as ["x", "xy", "z"], not {_short(answer)}')
    pieces = list(answer)
    expect(all(len(piece) > 1 for piece in pieces), "each merge joins two neighbours, so a new token has at least two letters")
    expect(not any(" " in piece.lstrip(" ") for piece in pieces), "a token with a space at its end or inside would cross the border of two words")
    expect(pieces[0] == "an", "the first pair is not the most frequent: count all the neighbours in both words, overlapping ones, too")
    expect(pieces[1] != "na", "after the first merge count anew: is there still an `n` outside the new token, with an `a` behind it?")
    expect(pieces[1] != "anan", "the second pair occurs only once: after the first merge, count the neighbours in both words anew")
    expect(pieces[1] != "ana", "the second merge is a tie: compare the FIRST ids of the two pairs, and mind that a new token has a larger id than any letter")
    expect(pieces[1] == "ban", "the second merge is not right: write both words down with the new token in them, and count the neighbours anew")
    expect(pieces[2] == "ana", "the first two are right. For the third write both words down with both new tokens in them, and count the neighbours anew")


@exercise("02.2")
def check_encode_decode(answer):
    """Two functions: (text, vocabulary) -> list of places, and back; an unknown character is a ValueError that names it."""
    expect(isinstance(answer, (tuple, list)) and len(answer) == 2, f"a pair of functions is asked for, (my_encode, my_decode), not {_short(answer)}")
    encode, decode = answer

    def mixed(characters, n=0):
        return "".join(characters[i] for i in (torch.randint(len(characters), (n,)) if n else torch.randperm(len(characters))))

    for characters, n in ("zqe lohä", 30), ("b\na", 9), ("x", 1), ("zyxwv", 2), ("cab", 0):
        vocabulary = "z" + mixed(characters.replace("z", ""))  # never sorted where it has several characters
        text = vocabulary[-1] * (n > 0) + (mixed(characters, n - 1) if n > 1 else "")
        if n == 30:  # holds z, the first of the vocabulary and late in the alphabet, but not all its characters
            text = "zä" + mixed(characters.replace("q", ""), 28)
        wanted = [[k for k in range(len(vocabulary)) if vocabulary[k] == char][0] for char in text]
        ids = ask(encode, text, vocabulary)
        case = f"my_encode({text!r}, {vocabulary!r})" if n < 5 else "my_encode"
        expect(isinstance(ids, (tuple, list, torch.Tensor)), f"{case} returns {_short(ids)}: a list of ids is asked for")
        ids = ids.tolist() if isinstance(ids, torch.Tensor) else list(ids)
        expect(all(isinstance(i, int) for i in ids), f"{case}: an id is a whole number, not {_short(next((i for i in ids if not isinstance(i, int)), None))}")
        if n == 30:
            ordered = sorted(vocabulary)
            own = sorted(set(text))
            expect(ids != [ordered.index(char) for char in text], "the ids are places in the SORTED vocabulary: take it in the order in which it is given")
            expect(ids != [own.index(char) for char in text], "the vocabulary is made anew from the text: use the one that is given, or decode cannot know it")
            expect(ids != [ord(char) for char in text], "these are the numbers of the characters in Unicode: an id is a place in the vocabulary")
            expect(ids != [i + 1 for i in wanted], "every id is one too large: the first character of the vocabulary has the id 0")
        expect(len(ids) == len(text), f"{case} returns {len(ids)} ids for {len(text)} characters: one for each character, the repeated ones, too")
        expect(ids == wanted, f"{case}: an id is not the place of its character in the vocabulary")
        back = ask(decode, list(wanted), vocabulary)
        expect(isinstance(back, str), f"my_decode returns {_short(back)}: a string is asked for, are the characters joined?")
        expect(back != text[::-1] or back == text, "my_decode gives the text from back to front")
        expect(back == text, f"my_decode gives {_short(back)} for the ids of {_short(text)}: id i stands for vocabulary[i], and nothing is added or left out")

    for unknown in "€", "7":
        text = "lo" + unknown + "he"
        try:
            ids = encode(text, "hello".replace("l", "", 1))
        except ValueError as error:
            said = str(error)
            expect(unknown not in said or unknown in said.replace(text, ""), "the message repeats the whole text: name the one character")
            expect(unknown in said, f"the ValueError for an unknown character says {_short(said)}: its message must name the character")
        except Exception as error:
            if not isinstance(error, (LookupError, AssertionError, StopIteration)):
                raise Wrong(f"on an unknown character your function fails, {type(error).__name__}: {error}{_where(error)}") from None
            raise Wrong(f"an unknown character raises {type(error).__name__}: catch it and raise a ValueError with a message of your own") from None
        else:
            expect(not isinstance(ids, Exception) and ids is not ValueError, "the ValueError is returned: `raise` it")
            ids = list(ids) if isinstance(ids, (tuple, list)) else []
            expect(-1 not in ids, "an unknown character gets the id -1, which as an index means the LAST character: raise a ValueError instead")
            expect(len(ids) == 5, "an unknown character is left out without a word: raise a ValueError instead")
            raise Wrong("an unknown character gets an id like any other: raise a ValueError instead")


@exercise("02.3")
def check_bits_per_character(answer):
    """A function (surprises in nats, text) -> bits per character."""
    for text, n in ("naïve, déjà vu: the text has spaces", 11), ("字を書く", 9), ("a", 1), ("to be", 5):
        surprises = [0.5 + 6 * torch.rand(1).item() for _ in range(n)]
        nats = math.fsum(surprises)
        right = nats / (math.log(2) * len(text))
        found = number(ask(answer, surprises, text))
        if n == 11:
            mistakes = [
                (nats / len(text), "these are nats per character: a bit is ln 2 nats"),
                (nats / math.log(2) / n, "these are bits per TOKEN: what compares is the bill divided by the characters"),
                (nats / n, "this is the loss per token, in nats: what compares is bits per character"),
                (nats * math.log(2) / len(text), "multiplied by ln 2: a nat is more than a bit, so the same bill has MORE bits than nats"),
                (nats / math.log(2), "this is the whole bill in bits: it is still to be divided by the characters"),
                (nats / math.log(2) / len(text.split()), "divided by the words: divide by the characters"),
                (nats / math.log(2) / len(text.encode()), "divided by the bytes: `é` is one character and two bytes"),
                (nats / math.log(2) / len(text.replace(" ", "")), "the spaces are characters, too"),
                (-right, "surprises are positive already: no minus sign here"),
            ]
            diagnose(found, mistakes)
        expect(close(found, right), f"for {n} tokens that spell {len(text)} characters the result is not right: the sum of the surprises, in bits, divided by the characters")


@exercise("02.4")
def check_telltale_word(answer):
    """A word for which "earliest learned" and "most frequent in the word" end in different tokens; merges a+b, b+c."""
    expect(isinstance(answer, str), f"a word is asked for, in quotes, not {_short(answer)}")
    expect(answer.strip(), "an empty word has no pairs")
    expect(not any(char.isspace() for char in answer), "there is a space in it: a word is one piece, and no pair crosses its border")
    both = {"ab": "a b".split(), "bc": "b c".split()}

    def cut(word, prefer):
        tokens = list(word)
        while True:
            found = ["".join(two) for two in zip(tokens, tokens[1:]) if list(two) in both.values()]
            if not found:
                return tokens
            chosen, result = prefer(found), []
            for token in tokens:
                if result and [result[-1], token] == both[chosen]:
                    result[-1] = chosen
                else:
                    result.append(token)
            tokens = result

    right = cut(answer, lambda found: "ab" if "ab" in found else "bc")
    wrong = cut(answer, lambda found: max(found, key=found.count))  # among equals the first
    if right != wrong:
        return
    same = f"both ways cut it into {'·'.join(right)}. " if len(answer) < 20 else "both ways cut it alike. "
    expect("ab" in answer or "bc" in answer, same + "Neither of the two known pairs occurs in it")
    expect("ab" in answer and "bc" in answer, same + "Only one of the two known pairs occurs in it, so there is nothing to choose")
    expect("abc" in answer, same + "The two pairs never meet: they must both want the same letter")
    raise Wrong(same + "Here the two pairs do want the same letter, but the wrong way begins with `a` + `b`, too: which of the two pairs must be the more frequent one?")


@exercise("02.5")
def check_end_mark(answer):
    """Two functions: (texts, tokenizer) -> ids with the id vocab_size after each text; (ids, tokenizer) -> texts."""
    expect(isinstance(answer, (tuple, list)) and len(answer) == 2, f"a pair of functions is asked for, (join_texts, part_texts), not {_short(answer)}")
    join, part = answer

    class Halves:
        """A tokenizer that makes two tokens of every character, one of the ids 0 to 2 and one of the ids 3 to 6."""

        vocab_size = 7

        def __init__(self):
            characters = "abcd<|en>\n "
            self.characters = [characters[i] for i in torch.randperm(len(characters))]

        def encode(self, text):
            places = [self.characters.index(char) for char in text]
            return [i for place in places for i in (place // 4, 3 + place % 4)]

        def decode(self, ids):
            ids = list(ids)
            expect(7 not in ids, "part_texts gives the special id to `decode`, which does not know it: part the ids first, then decode each part")
            expect(len(ids) % 2 == 0 and all(i < 3 for i in ids[::2]) and all(i > 2 for i in ids[1::2]), "part_texts decodes a piece of a text: a character may be several tokens, so decode all the ids of a text at once")
            return "".join(self.characters[4 * i + j - 3] for i, j in zip(ids[::2], ids[1::2]))

    for texts in (["abba", "a cab", "dad"], ["bad"], ["ab", "<|end|>", "c<|end|>d", "d"], ["a", "", "b", ""], [""], []):
        tokenizer = Halves()
        end, wanted = tokenizer.vocab_size, []
        for text in texts:
            wanted.extend(tokenizer.encode(text))
            wanted.append(end)
        ids = ask(join, list(texts), tokenizer)
        expect(tokenizer.vocab_size == end, "join_texts changes the tokenizer: take its vocab_size as it is")
        expect(isinstance(ids, (tuple, list)), f"join_texts returns {_short(ids)}: one list of ids is asked for")
        ids = list(ids)
        expect(all(isinstance(i, int) for i in ids), "join_texts: the list must hold ids only: are there lists or strings inside it?")
        if texts[:1] == ["abba"]:
            before = [i for text in texts for i in [end] + tokenizer.encode(text)]
            written = [i for text in texts for i in tokenizer.encode(text + "<|end|>")]
            expect(ids != wanted[:-1], "the special id stands between the texts: it must come after EACH text, the last one, too")
            expect(ids != before, "the special id stands before each text: it must come after it")
            expect(ids != written and ids != written[: -len("<|end|>")], "the mark is encoded as ordinary text: the special token is one single id, tokenizer.vocab_size")
            expect(ids != [i - (i == end) for i in wanted], "the special id is vocab_size - 1, which ordinary text uses: the first free id is vocab_size")
            expect(end in ids, "the special id, tokenizer.vocab_size, never occurs in the result")
            expect(ids.count(end) == len(texts), f"the special id occurs {ids.count(end)} times for {len(texts)} texts: once after each")
        expect(ids.count(end) == len(texts), f"for the texts {texts} the special id occurs {ids.count(end)} times: once for each text, and never from ordinary characters")
        expect(ids == wanted, f"join_texts: the ids of {texts} are not those of the tokenizer with the special id after each text")
        back = ask(part, list(wanted), tokenizer)
        expect(isinstance(back, (tuple, list)), f"part_texts returns {_short(back)}: a list of texts is asked for")
        back = list(back)
        expect(all(isinstance(text, str) for text in back), "part_texts: the list must hold strings: is each part decoded?")
        expect(back != texts + [""], f"part_texts gives one empty text too many at the end for {texts}: the last special id closes the last text, nothing follows it")
        expect(back == texts or back != texts[:-1], f"part_texts loses the last of {len(texts)} texts" if texts else "")
        expect(back == texts or back != [text for text in texts if text], f"part_texts leaves out the empty texts of {texts}: two special ids in a row mean an empty text")
        expect(back == texts, f"part_texts gives {_short(back)} for the ids of {texts}")


# ---- 03 · Batching ----------------------------------------------------------------------------


@exercise("03.1")
def check_number_of_starts(answer):
    """A number: how many windows of T + 1 = 9 symbols start in a text of 1,000; exact."""
    answer = number(answer)
    expect(answer == round(answer), "the number of starts is a whole number")
    mistakes = [
        (1000 - 8 + 1, "one too many: from the last of these starts there is room for T inputs, but the last input has no target"),
        (1000 - 8 - 1, "one too few: the first start is place 0, so there is one start more than the number of the last place"),
        (1000, "a window that begins at the last symbol hangs over the end of the text"),
        (1000 - 1, "this is the number of pairs of neighbours: a window takes T + 1 symbols"),
        (1000 // 8, "this is how many windows lie SIDE BY SIDE: the drawn ones may overlap, every place is a possible start"),
        (1000 // 9, "this is how many windows lie SIDE BY SIDE: the drawn ones may overlap, every place is a possible start"),
        (999 // 8, "this is how many windows lie SIDE BY SIDE: the drawn ones may overlap, every place is a possible start"),
    ]
    diagnose(answer, mistakes)
    expect(answer == sum(start + 8 + 1 <= 1000 for start in range(1000)), "not yet: for eleven symbols and T = 5 the starts are 0 to 5. What is their number, in terms of 11 and 5?")


@exercise("03.2")
def check_mean_and_error(answer):
    """A function (losses) -> (mean, standard deviation / √n); the deviation by n or by n - 1."""
    for n in 16, 5, 100, 2:
        losses = 2.5 + torch.rand(n)
        losses[0], losses[1] = 2.0, 4.0
        values = losses.tolist()
        mean = math.fsum(values) / n
        squares = math.fsum((value - mean) ** 2 for value in values)
        pair = ask(answer, losses)
        pair = list(pair) if isinstance(pair, torch.Tensor) and pair.dim() == 1 else pair
        expect(isinstance(pair, (tuple, list)) and len(pair) == 2, f"two numbers are asked for, the mean and its uncertainty, not {_short(pair)}")
        first, second = number(pair[0]), number(pair[1])
        if n == 16:
            for N in n - 1, n:
                spread = (squares / N) ** 0.5
                mistakes = [
                    (spread, "the uncertainty is the spread of SINGLE losses: the spread of their mean is smaller, and the more so the larger n"),
                    (spread / n, "the spread is divided by n: sixteen batches make it four times smaller, not sixteen times"),
                    (spread**2, "this is the square of the spread, the variance"),
                    (spread**2 / n, "this is the square of the uncertainty: is a root missing?"),
                    (spread**2 / n**0.5, "the variance is taken: the spread is its root"),
                    (spread * n**0.5, "the spread is multiplied, so that more batches would make the mean LESS certain"),
                ]
                diagnose(second, mistakes)
                expect(not close([second, first], [mean, spread / n**0.5]), "the two numbers are in the wrong order: the mean comes first")
        expect(close(first, mean), f"for {n} losses the first number is not their mean")
        expect(any(close(second, (squares / N / n) ** 0.5) for N in (n - 1, n)), f"for {n} losses the second number is not their standard deviation, made smaller as section 4 measured" + ": is a number of batches built in?" * (n != 16))


@exercise("03.3")
def check_random_batch(answer):
    """A function (data, batch_size, block_size, generator) -> x and y, both (B, T), y one step later, all starts alike."""
    wrong_end = "is the last start such that T + 1 symbols still fit?"
    for B, T, N in (3000, 4, 15), (7, 3, 50), (1, 8, 30), (5, 1, 9), (4, 6, 7):
        data = torch.randperm(N) + 100  # all symbols different, so that each tells its place
        place = {symbol: k for k, symbol in enumerate(data.tolist())}
        try:
            pair = ask(answer, data, B, T, fresh())
        except Wrong as error:
            hint = "IndexError" in str(error) or "stack expects" in str(error) or "same size" in str(error)
            raise Wrong(f"{error}. A window hangs over the end: {wrong_end}" if hint else str(error)) from None
        expect(isinstance(pair, (tuple, list)) and len(pair) == 2, f"two tensors are asked for, x and y, not {_short(pair)}")
        case = f"for B = {B}, T = {T} and {N} symbols "
        x, y = tensor(pair[0], (B, T), case + "x"), tensor(pair[1], (B, T), case + "y")
        expect(all(symbol in place for symbol in x.flatten().tolist() + y.flatten().tolist()), case + "there are numbers in x or y that are no symbols of data: are the places returned instead of what stands there?")
        x_places, y_places = ([[place[symbol] for symbol in row] for row in table.tolist()] for table in (x, y))
        expect(all(row == list(range(row[0], row[0] + T)) for row in x_places), case + "a row of x is not T neighbouring symbols of data")
        expect(x_places != y_places, case + "y is x itself: the targets must come one step later")
        shift = [[after - before for before, after in zip(*rows)] for rows in zip(x_places, y_places)]
        expect(any(d != -1 for row in shift for d in row), case + "y is one step EARLIER than x: the target of a position is the symbol after it")
        expect(any(d != 2 for row in shift for d in row), case + "y is two steps later than x: one is asked for")
        expect(all(d == 1 for row in shift for d in row[:-1]), case + "a row of y is not the row of x, one step later")
        expect(all(row[-1] == 1 for row in shift), case + "only the last target of a row is wrong: it is the symbol after the window's last input, not one of the window itself")
        starts = [row[0] for row in x_places]
        if B == 3000:
            expect(len(set(starts)) > 1, "all rows of a batch are the same window: draw a start for each row")
            expect(starts != [starts[0] + k for k in range(B)] and not all(0 <= after - before <= 1 for before, after in zip(starts, starts[1:])), "the windows come in the order of the text: draw the starts at random")
            expect(len({(after - before) % (N - T) for before, after in zip(starts, starts[1:])}) > 1, "the rows lie side by side: draw a start of its own for EACH row")
            expect(0 in starts, "the first symbol of the text never has its turn: places begin at 0")
            expect(len(set(starts)) == 1 or any(start % T for start in starts), "all starts are multiples of T: every place is a possible start")
            expect(N - T - 1 in starts, f"the last symbol of the text is never a target: {wrong_end}")
            expect(set(starts) == set(range(N - T)), "some starts never occur, though there were 3,000 draws from 11")
            expect(all(abs(starts.count(start) - B / (N - T)) < 90 for start in set(starts)), "some starts are drawn more often than others: each is to have the same chance")
    data = torch.randperm(1000)
    first, same = fresh(), torch.Generator()
    same.set_state(first.get_state())
    one, again, other = (ask(answer, data, 20, 4, generator) for generator in (first, same, fresh()))
    expect(_same(list(one), list(again)), "the same seed gives two different batches: are the starts drawn from `generator`?")
    expect(not _same(list(one), list(other)), "another seed gives the same batch: are the starts drawn from the generator that is given?")
    generator = fresh()
    one, other = (ask(answer, data, 20, 4, generator) for _ in range(2))
    expect(not _same(list(one), list(other)), "two draws in a row from one generator give the same batch: is its seed set inside the function?")


@exercise("03.4")
def check_epoch_starts(answer):
    """A function (N, block_size) -> the multiples of T with room for T + 1 symbols, once each, in a new random order."""
    for N, T in (400, 8), (401, 8), (399, 8), (9, 8), (60, 1), (11, 5):
        wanted = [start for start in range(N) if start % T == 0 and start + T < N]
        found, again = (ask(answer, N, T) for _ in range(2))
        case = f"for N = {N} and T = {T}: "
        both = []
        for starts in found, again:
            expect(isinstance(starts, (tuple, list, torch.Tensor)), f"a tensor or a list of starts is asked for, not {_short(starts)}")
            both.append([int(start) for start in (starts.flatten() if isinstance(starts, torch.Tensor) else starts)])
        starts = both[0]
        expect(not starts or max(starts) < N, case + "a start lies beyond the end of the text: which numbers, times T, are still starts?")
        expect(len(set(starts)) == len(starts), case + "a start comes twice in one epoch: draw without putting back")
        expect(set(starts) != set(range(len(wanted))) or T == 1 or len(wanted) == 1, case + "these are the numbers of the windows: their starts are T times as large")
        expect(set(starts) != set(range(N - T)) or T == 1 or len(wanted) == 1, case + "these are ALL possible starts: the windows of an epoch lie side by side")
        expect(all(start % T == 0 for start in starts), case + "a start is no multiple of T")
        expect(all(start + T < N for start in starts), case + "the last window has no room for T + 1 symbols: its last input would have no target")
        expect(set(starts) == set(wanted), case + f"there are {len(starts)} starts, but {len(wanted)} windows fit: how far must the last one reach?")
        if len(wanted) > 40:
            expect(starts != wanted, case + "the starts come in the order of the text: shuffle them")
            expect(starts != wanted[::-1], case + "the starts come from back to front: shuffle them")
            first = starts.index(0)
            expect(starts[first:] + starts[:first] != wanted, case + "the order of the text only begins at another place: shuffle the starts")
            expect(both[0] != both[1], case + "the order is the same at every call: is a seed set inside the function?")


@exercise("03.5")
def check_targets_are_right(answer):
    """A function (data, x, y) -> whether every row of x stands in data (N) with its row of y one place later."""

    def batch(text, starts, T):
        return (torch.stack([text[s + k : s + k + T] for s in starts]) for k in (0, 1))

    T, N = 5, 60
    data = torch.randperm(N)
    x, y = batch(data, [0, 17, 33, N - T - 1], T)
    last, middle, early = y.clone(), y.clone(), x.clone()
    last[-1, -1] = middle[1, 2] = early[1, 0] = y[0, 0]
    around = torch.cat([data, data])
    over_x, over_y = batch(around, [N - 2, 3], T)
    back_x, back_y = batch(data.flip(0), [4, 20], T)
    twice = torch.tensor([8, 1, 2, 5, 1, 2, 6, 1, 3, 1, 2, 7])  # 1 2 is followed by 5, by 6 and by 7
    twice_x, twice_y = batch(twice, [1, 4, 9], 2)
    one_x, one_y = batch(data, [N - 2], 1)
    cases = [
        (data, x, y, True, "a right batch is refused: is y compared with the symbols ONE place after those of x, and does the last window still fit?"),
        (twice, twice_x, twice_y, True, "a right batch is refused: the same symbols may stand at several places of a text, with other symbols after them, and any of these places will do"),
        (data, one_x, one_y, True, "a right batch of one row and T = 1, from the very end of the text, is refused"),
        (data, x, x, False, "y = x is accepted: there the targets are the inputs themselves"),
        (data, y, x, False, "targets one step EARLIER than the inputs are accepted"),
        (data, x, x.roll(-1, dims=1), False, "`y = x.roll(-1, dims=1)` is accepted: its last column is the only wrong one, and x alone cannot show it. Is data asked?"),
        (data, x, torch.stack([data[s + 2 : s + 2 + T] for s in (0, 17, 33, 50)]), False, "targets two steps later are accepted"),
        (data, x, last, False, "a batch with a single wrong target, in the last row, is accepted: EVERY row must be right, to its end"),
        (data, x, middle, False, "a batch with a wrong target in the MIDDLE of a row is accepted: compare the whole row of y"),
        (data, early, y, False, "a batch whose first INPUT is wrong is accepted: the whole row of x must stand in data"),
        (data, x, y.flip(0), False, "targets that belong to other rows of x are accepted: each row of y must follow its own row of x"),
        (data, over_x, over_y, False, "a window that goes on at the beginning of the text after its end is accepted: it stands nowhere in data"),
        (data, back_x, back_y, False, "windows that read the text backwards are accepted: they stand nowhere in data"),
    ]
    for text, inputs, targets, wanted, message in cases:
        expect(verdict(answer, text, inputs.contiguous(), targets.contiguous(), on="the whole batch") == wanted, message)


# ---- 04 · One attention head ------------------------------------------------------------------


@exercise("04.1")
def check_row_of_weights(answer):
    """Three numbers: row 1 of the weights for D = 4 and the dot products 0, 2 ln 3, 2 ln 6; to 0.01."""
    answer = answer.tolist() if isinstance(answer, torch.Tensor) else answer
    expect(isinstance(answer, (list, tuple)) and len(answer) == 3, f"a list of three numbers is asked for, not {_short(answer)}")
    row = torch.tensor([number(weight) for weight in answer], dtype=torch.double)
    mistakes = [
        ((0.1, 0.9, 0), "these are the weights without the division: where is √D?"),
        ((0.366, 0.634, 0), "the dot products are divided by D here: the formula has its root"),
        ((0.1, 0.3, 0.6), "nothing is masked here: position 1 cannot see position 2"),
        ((1 / 46, 9 / 46, 36 / 46), "nothing is masked here, and nothing divided by √D"),
        ((0.1, 0.3, 0), "this row sums to 0.4: the mask must stand before the softmax, so that the visible positions divide one"),
        ((0.2, 0.6, 0.2), "a masked score of 0 still takes a share, since e⁰ = 1: what must stand there so that e to its power is 0?"),
        ((0, 1, 0), "a score of 0 is not a weight of 0: the softmax takes e to the power of each score"),
        ((1, 0, 0), "this is row 0. Row 1 belongs to position 1, which sees itself and what comes before it"),
        ((0, math.log(3), 0), "these are scores: the softmax is missing"),
        ((0, math.log(3), math.log(6)), "these are scores, and nothing is masked: mask and softmax are missing"),
        ((1, 3, 0), "these are the powers of e: divide them by their sum"),
    ]
    diagnose(row, [(torch.tensor(weights, dtype=torch.double), message) for weights, message in mistakes], 0.01)
    expect((row >= 0).all(), "a weight is never negative: it is e to the power of something, divided by a sum of such powers")
    expect(close(row.sum(), 1, 0.02), f"the three weights sum to {row.sum():.2f}: a softmax divides one among them")
    expect(close(row, torch.tensor([0.25, 0.75, 0]), 0.01), "not yet: which scores may position 1 see, and how does a softmax turn them into shares of one?")


def _weights_04(q, k, allowed, scale, mask_value=-math.inf, dim=-1):
    """Attention weights with a choice of mistakes; `allowed` (T, T) says who may see whom."""
    scores = torch.einsum("btd,bsd->bts", q, k) / scale
    return scores.masked_fill(~allowed, mask_value).softmax(dim=dim)


@exercise("04.2")
def check_my_head(answer):
    """A function (x, W_query, W_key, W_value) -> (B, T, D), one masked head; x (B, T, C), matrices (C, D); to 1e-4.

    Not with causal_weights or PyTorch's own attention: their names must not stand in the function.
    """
    names = set(getattr(getattr(answer, "__code__", None), "co_names", ()))
    ready_made = names & {"causal_weights", "scaled_dot_product_attention", "MultiheadAttention", "multi_head_attention_forward"}
    expect(not ready_made, f"{', '.join(sorted(ready_made))} stands in your function: here the weights are to be made by yourself")
    for B, T, C, D in (2, 6, 5, 4), (1, 5, 3, 2), (3, 1, 4, 3), (4, 2, 3, 6):
        x, matrices = torch.randn(B, T, C), [torch.randn(C, D) for _ in range(3)]
        q, k, v = (x @ matrix for matrix in matrices)
        wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        result = ask(answer, x, *matrices)
        sizes = f" (B={B}, T={T}, C={C}, D={D})"
        if isinstance(result, torch.Tensor) and T > 2:
            expect(result.shape != (B, T, T), "these are weights or scores, (B, T, T): the product with the values is missing")
            expect(result.shape != (B, T, C), "the result has C channels: x itself is averaged, not the values x @ W_value")
            if result.shape == (B, T, D):
                lost = result.isnan().any(dim=-1)  # (B, T)
                expect(not result.isinf().any(), "the result holds infinity: −∞ is for scores, before the softmax, and not for weights")
                expect(not lost.all(), "every position gets nan: is 0 multiplied by infinity when the mask is made? That is no number")
                expect(not lost[:, -2].any(), "every position but the last gets nan: does the softmax run over the batch, where a masked place is masked in every sequence?")
                expect(not lost[:, 0].any(), "position 0 gets nan: it may see nobody at all; does the mask close the diagonal, too?")
        result = tensor(result, (B, T, D), f"the result{sizes}")
        past = torch.ones(T, T).tril().bool()
        all_of_it, root = torch.ones(T, T).bool(), math.sqrt(D)
        weights = _weights_04(q, k, past, root)
        mistakes = [
            (_weights_04(q, k, all_of_it, root) @ v, "position 0 can see position 1: nothing is masked"),
            ((_weights_04(q, k, all_of_it, root) * past) @ v, "the mask comes after the softmax: the future has taken its share by then, and the rows no longer sum to one"),
            (_weights_04(q, k, past, root, 0.0) @ v, "the future still gets weight: a masked score of 0 counts, since e⁰ = 1"),
            (_weights_04(q, k, past, root, dim=-2) @ v, "the softmax runs along the wrong dimension: each ROW, one looking position, divides one among the keys"),
            (_weights_04(q, k, past.T, root) @ v, "the mask hides the past and shows the future: which triangle is closed?"),
            (_weights_04(q, k, past, math.sqrt(C)) @ v, "the scores are divided by √C: each is a sum of how many products?"),
            (_weights_04(q, k, past, 1) @ v, "the scores are not divided by √D"),
            (_weights_04(q, k, past, D) @ v, "the scores are divided by D, not by its root"),
            (_weights_04(q, k, past, math.sqrt(T)) @ v, "the scores are divided by √T: each is a sum of how many products?"),
            (_weights_04(k, q, past, root) @ v, "queries and keys are exchanged: in the scores a row is who looks, a column at whom"),
            (_weights_04(q, q, past, root) @ v, "the queries look at queries: where are the keys?"),
            (weights @ k, "keys are handed over instead of values"),
            (weights @ q, "queries are handed over instead of values"),
            (v, "these are the values themselves: nobody looks back yet"),
        ]
        if T > 2:
            diagnose(result, mistakes)
        expect(close(result, wanted), f"the result is wrong{sizes}: check the order scores, division, mask, softmax, product with the values")


@exercise("04.3")
def check_window_weights(answer):
    """A function (q, k, n) -> (B, T, T) weights over the last n positions, itself included; to 1e-4."""
    for B, T, D, n in (2, 7, 4, 3), (1, 4, 2, 1), (3, 3, 5, 9), (2, 1, 4, 2), (2, 5, 3, 5):
        q, k = torch.randn(B, T, D), torch.randn(B, T, D)
        wanted = torch.zeros(B, T, T)
        for b in range(B):
            for t in range(T):
                seen = range(max(0, t - n + 1), t + 1)
                powers = [math.exp((q[b, t] * k[b, j]).sum() / D**0.5) for j in seen]
                for j, power in zip(seen, powers):
                    wanted[b, t, j] = power / sum(powers)
        case = f" (T={T}, n={n})"
        weights = tensor(ask(answer, q, k, n), (B, T, T), f"the result{case}")
        row, column = torch.arange(T)[:, None], torch.arange(T)
        back = row - column
        past, root = back >= 0, math.sqrt(D)
        full = _weights_04(q, k, past, root)
        far_zero = (torch.einsum("btd,bsd->bts", q, k) / root).masked_fill(back >= n, 0).masked_fill(~past, -math.inf)
        if T > n > 1:
            mistakes = [
                (_weights_04(q, k, back == back, root), f"nothing is hidden: a place is closed where it lies in the future OR too far back{case}"),
                (full, f"position {T - 1} still sees position 0, more than n - 1 places back: only the future is hidden{case}"),
                (_weights_04(q, k, past & (back <= n), root), f"n + 1 positions are seen: the position itself counts as one of the n{case}"),
                (_weights_04(q, k, past & (back < n - 1), root), f"only n - 1 positions are seen: the position itself and n - 1 before it make n{case}"),
                (_weights_04(q, k, back < n, root), f"what lies far back is hidden, but the future is seen: both must be closed{case}"),
                (_weights_04(q, k, back.abs() < n, root), f"the window reaches forward as well: the future must stay closed{case}"),
                (_weights_04(q, k, past & (back < n), root, dim=-2), "the columns sum to one: the softmax runs along the wrong dimension"),
                (_weights_04(q, k, past & (back < n), root, 0.0), "what is hidden has a score of 0 and still takes a share, since e⁰ = 1"),
                (far_zero.softmax(dim=-1), "what lies far back has a score of 0 and still takes a share, since e⁰ = 1"),
                (_weights_04(k, q, past & (back < n), root), "queries and keys are exchanged: in the scores a row is who looks, a column at whom"),
                (full * (back < n), "the window is cut out after the softmax: the rows no longer sum to one"),
                (_weights_04(q, k, past & (back < n), 1), "the scores are not divided by √D any more"),
                (_weights_04(q, k, past & (column > T - 1 - n), root), f"the window stands at the end of the text: each position has one of its own{case}"),
            ]
            diagnose(weights, mistakes)
        expect(close(weights.sum(dim=-1), torch.ones(B, T)), f"the rows do not sum to one{case}: everything hidden must be hidden before the softmax")
        expect(close(weights, wanted), f"a weight is wrong{case}: position t sees the n positions that end with t itself, fewer at the beginning of the text")


@exercise("04.4")
def check_hides_the_future(answer):
    """A function (layer, x) -> whether no output changes when later inputs do, at any position of x (B, T, C)."""
    for B, T, C in (3, 6, 4), (2, 4, 3), (1, 9, 4):
        hint = "" if T == 6 else f" (here T = {T}: is the number of positions built in?)"
        x = torch.randn(B, T, C)
        matrices = [torch.randn(C, 5).double() / 2 for _ in range(3)]

        def head(sees, mask_value=-math.inf, dim=-1):
            def layer(x):
                place = torch.arange(x.shape[1])
                allowed = sees(place[:, None], place, x.shape[1])
                q, k, v = (x.double() @ matrix for matrix in matrices)
                return _weights_04(q, k, allowed, math.sqrt(5), mask_value, dim) @ v

            return layer

        def past(t, j, T):
            return j <= t

        def one_of_many(leaking, which):
            def layer(x):
                out, other = head(past)(x), leaking(x)
                out[which] = other[which]
                return out

            return layer

        unmasked = head(lambda t, j, T: j < T + 0 * t)
        cases = [
            (head(past), True, "a right head is refused: outputs from the change on may change, only those BEFORE it may not"),
            (lambda x: 2 * x.double(), True, "a layer in which each position works alone is refused: it sees no future"),
            (unmasked, False, "a head without any mask is accepted"),
            (head(lambda t, j, T: (j <= t) | ((t == 0) & (j == 1))), False, "a head in which only position 0 sees position 1 is accepted: change the inputs from position 1 on as well, and from every other one"),
            (head(lambda t, j, T: (j <= t) | ((t == T - 2) & (j == T - 1))), False, "a head in which only the last but one position sees the last is accepted: is the last border tried?"),
            (head(lambda t, j, T: j <= t + 1), False, "a head in which each position sees one place ahead is accepted: compare everything before the change, also the output just before it"),
            (head(lambda t, j, T: (j <= t) | ((t == 0) & (j == T - 1))), False, "a head in which position 0 sees the last position is accepted"),
            (head(past, 0.0), False, "a head with zeros for −∞ is accepted: its rows sum to one, and yet it leaks"),
            (head(past, dim=-2), False, "a head with its softmax along the wrong dimension is accepted"),
            (one_of_many(unmasked, (slice(-1, None), slice(None), slice(None))), False, "a layer that leaks in the last sequence of the batch only is accepted: compare all sequences"),
            (one_of_many(unmasked, (slice(None), slice(None), slice(-1, None))), False, "a layer that leaks in the last channel only is accepted: compare all channels"),
        ]
        for layer, wanted, message in cases:
            given_x = x.clone()
            said = verdict(answer, layer, given_x, on="the whole layer")
            expect(torch.equal(given_x, x), "your function writes into x: work on a clone, the caller still needs the old one")
            expect(said == wanted, message + hint)


# ---- 05 · Several heads -----------------------------------------------------------------------


@exercise("05.1")
def check_shapes(answer):
    """A dictionary of four shapes, for B = 5, T = 3, C = 8, H = 4: q, weights, attend, merge; exact."""
    right = {"q": (5, 4, 3, 2), "weights": (5, 4, 3, 3), "attend": (5, 4, 3, 2), "merge": (5, 3, 8)}
    expect(isinstance(answer, dict) and set(right) <= set(answer), f"a dictionary with {', '.join(right)} is asked for, not {_short(answer)}")
    mistakes = {
        "q": {
            (5, 3, 8): "q: this is the shape before the channels are dealt out to the heads",
            (5, 3, 4, 2): "q: this is the shape after `view`; then head and position are exchanged",
            (5, 4, 3, 8): "q: a head does not have all C channels, they are shared out",
            (5, 4, 3, 4): "q: H = 4 is the number of heads; how many channels has each?",
            (5, 2, 3, 4): "q: H and D are exchanged",
            (3, 5, 4, 3, 2): "q: this is q, k and v together, before they are unpacked",
        },
        "weights": {
            (5, 3, 3): "weights: this is one map per sequence; every head has a map of its own",
            (5, 4, 3, 2): "weights: this is the shape of q. A weight says how much one position takes from another: how many pairs are there?",
            (5, 4, 2, 2): "weights: the sum runs over the D channels of query and key, so D goes away and the positions stay",
            (5, 4, 3, 8): "weights: a weight belongs to a pair of positions, channels are no longer there",
        },
        "attend": {
            (5, 4, 3, 3): "attend: these are the weights; their product with v is still to come",
            (5, 3, 8): "attend: this is the shape after `merge`",
            (5, 3, 4, 2): "attend: the exchange back is the business of `merge`",
            (5, 4, 3, 8): "attend: v has D channels in each head, and so has an average of its rows",
        },
        "merge": {
            (5, 4, 3, 2): "merge: the heads are still apart",
            (5, 3, 4, 2): "merge: this is after the exchange; then the last two dimensions are joined",
            (5, 4, 3, 8): "merge: the heads lie side by side now, so their dimension is gone",
            (5, 3, 2): "merge: the channels of ALL heads lie side by side",
            (5, 3, 24): "merge: 3C channels come out of the one product; what remains after attention are the values alone",
        },
    }
    for name, wanted in right.items():
        shape = answer[name]
        expect(isinstance(shape, (tuple, list)), f"{name}: write the shape as a tuple of numbers, not {_short(shape)}")
        given(shape)
        shape = tuple(shape)
        expect(shape not in mistakes[name], mistakes[name].get(shape, ""))
        expect(len(shape) == len(wanted), f"{name}: {len(wanted)} dimensions are wanted, you have {len(shape)}")
        expect(shape == wanted, f"{name}: {shape} is not right; say in words what each dimension counts, in the order of section 2")


@exercise("05.2")
def check_factor(answer):
    """A number: by which factor scores are too small for C = 400, H = 16 if divided by √C; to 0.01."""
    answer = number(answer)
    mistakes = [
        (20, "this is what the colleague divides by; what would be right, and how do the two compare?"),
        (5, "this is what one should divide by; how many times as much does the colleague divide by?"),
        (16, "the factor compares roots: it is √C against √D, not C against D"),
        (1 / 4, "the comparison is the other way round: too small BY a factor larger than one"),
        (25, "this is D; the factor compares two roots"),
        (15, "this is a difference: a factor is a quotient"),
        (400, "this is C; the factor compares two roots"),
    ]
    diagnose(answer, mistakes, 0.01)
    expect(close(answer, math.sqrt(400) / math.sqrt(400 / 16), 0.01), "not yet: what does the colleague divide by, what should one divide by, and how do the two compare?")


@exercise("05.3")
def check_split_and_merge(answer):
    """Two functions, split (x, H): (B, T, C) -> (B, H, T, D) and merge: (B, H, T, D) -> (B, T, C); exact."""
    expect(isinstance(answer, (tuple, list)) and len(answer) == 2, f"two functions are asked for, (my_split, my_merge), not {_short(answer)}")
    split, merge = answer
    for B, T, H, D in (2, 5, 4, 3), (1, 4, 2, 5), (3, 1, 2, 2), (2, 3, 1, 4), (1, 2, 6, 1):
        C, sizes = H * D, f" (B={B}, T={T}, C={H * D}, H={H})"
        x, out = torch.randn(B, T, C), torch.randn(B, H, T, D)
        heads, merged = torch.zeros(B, H, T, D), torch.zeros(B, T, C)
        for t in range(T):
            for h in range(H):
                heads[:, h, t] = x[:, t, h * D : (h + 1) * D]
                merged[:, t, h * D : (h + 1) * D] = out[:, h, t]
        result = ask(split, x, H)
        if isinstance(result, torch.Tensor) and T != H:
            expect(result.shape != (B, T, H, D), f"split: this is (B, T, H, D): head and position must still be exchanged{sizes}")
        result = tensor(result, (B, H, T, D), f"split: the result{sizes}")
        if T > 1 and H > 1:
            diagnose(result, [
                (x.reshape(B, H, T, D), f"split: positions are mixed with heads. `view` only cuts the row of numbers anew; which dimension may be cut in two, and which must be exchanged?{sizes}"),
            ])
        if D > 1 and H > 1:
            diagnose(result, [
                (torch.stack([x[:, :, h::H] for h in range(H)], dim=1), f"split: head h got the channels h, h + H, ...: a head has D channels that are neighbours{sizes}"),
                (heads.flip(1), f"split: the heads are in reverse order{sizes}"),
            ])
        expect(close(result, heads, 0), f"split: the shape is right, the content is not: head h of position t holds the channels hD to (h + 1)D - 1{sizes}")
        result = ask(merge, out)
        if isinstance(result, torch.Tensor):
            expect(result.shape != (B, T, H, D) or H == 1, f"merge: the exchange is done, but H and D must still be joined{sizes}")
        result = tensor(result, (B, T, C), f"merge: the result{sizes}")
        if T > 1 and H > 1:
            diagnose(result, [
                (out.reshape(B, T, C), f"merge: positions are mixed with heads: exchange them back before the last two dimensions are joined{sizes}"),
            ])
        if D > 1 and H > 1:
            diagnose(result, [
                (torch.stack([out[:, :, :, d] for d in range(D)], dim=-1).permute(0, 2, 3, 1).reshape(B, T, C), f"merge: the channels of the heads alternate: each head's D channels must stay together{sizes}"),
            ])
        expect(close(result, merged, 0), f"merge: the shape is right, the content is not: channels hD to (h + 1)D - 1 come from head h{sizes}")


@exercise("05.4")
def check_weights_of_head(answer):
    """A function (qkv, h, H) -> the query, key and value matrices of head h, each (D, C), out of qkv (3C, C); exact."""
    for H, D in (4, 2), (2, 4), (1, 3), (3, 1):
        C = H * D
        heads = [[torch.randn(D, C) for _ in range(H)] for _ in range(3)]  # queries, keys, values
        qkv = torch.cat([matrix for part in heads for matrix in part])
        for h in list(range(1, H)) + [0]:
            case = f" (C={C}, H={H}, h={h})"
            result = ask(answer, qkv, h, H)
            if isinstance(result, torch.Tensor) and result.shape == (3 * D, C):
                raise Wrong(f"one matrix of 3D rows came back: return three, for query, key and value{case}")
            expect(isinstance(result, (tuple, list, torch.Tensor)) and len(result) == 3, f"three matrices are asked for, not {_short(result)}{case}")
            for i, name in enumerate(("query", "key", "value")):
                if isinstance(result[i], torch.Tensor):
                    shape = tuple(result[i].shape)
                    expect(shape != (C, D) or C == D, f"{name}: the shape is (C, D): a Linear layer keeps its matrix as (out, in), so a head's channels are ROWS{case}")
                    expect(shape != (3 * D, C), f"{name}: 3D rows are too many: a head has D channels, and D = C / H{case}")
                    expect(shape != (C, C) or H == 1, f"{name}: these are the rows of all heads: head h has D of them{case}")
                found = tensor(result[i], (D, C), f"{name}{case}")
                rows = 3 * h * D + i * D
                if H > 1:
                    mistakes = [(heads[j][h], f"{name}: this is the head's {other} matrix: the order is query, key, value{case}") for j, other in enumerate(("query", "key", "value")) if j != i]
                    if H > 2:
                        mistakes.append((qkv[rows : rows + D], f"{name}: the matrix is not sorted by heads first: all queries come first, then all keys, then all values{case}"))
                    if h:
                        mistakes.append((heads[i][h - 1], f"{name}: this belongs to head {h - 1}: heads are counted from 0{case}"))
                    mistakes.append((qkv[i * C : (i + 1) * C][h::H], f"{name}: every H-th row was taken: the D rows of a head are neighbours{case}"))
                    diagnose(found, [mistake for mistake in mistakes if not close(mistake[0], heads[i][h], 0)], 0)
                expect(close(found, heads[i][h], 0), f"{name}: not the rows of this head: which part of the 3C rows are the {name} ones, and which D of these belong to head h?{case}")


@exercise("05.5")
def check_hears_the_past(answer):
    """A function (layer, x) -> whether the last output depends on every position of x (B, T, C), its own included."""
    for B, T, C in (2, 6, 4), (1, 4, 4):
        x = torch.randn(B, T, C)
        matrices = [torch.randn(C, C).double() / 5 for _ in range(3)]

        def attention(sees):
            def layer(x):
                q, k, v = (x.double() @ matrix for matrix in matrices)
                place = torch.arange(x.shape[1])
                scores = torch.einsum("btd,bsd->bts", q, k).masked_fill(~sees(place[:, None], place), -math.inf)
                return scores.softmax(dim=-1) @ v

            return layer

        def only(place):  # every position hears this one alone
            return lambda x: x.double()[:, [place] * x.shape[1]]

        def before(x):  # the sum of all earlier positions, without the own one
            return torch.cat([x[:, :1], x[:, :-1].cumsum(dim=1)], dim=1).double()

        def pieces(x):  # each half of the text attends to itself alone
            half = x.shape[1] // 2
            return torch.cat([attention(lambda t, j: j <= t)(part) for part in (x[:, :half], x[:, half:])], dim=1)

        cases = [
            (attention(lambda t, j: j <= t), True, "a right layer is refused: compare the last output before and after each change, it must DIFFER"),
            (lambda x: x.double().cumsum(dim=1), True, "a layer that adds up the whole past is refused, though its last position hears everything"),
            (only(1), False, "a layer that hears nothing but position 1 is accepted: is ONE position changed at a time, and must EVERY change be heard, not only one of them?"),
            (only(-1), False, "a layer that hears nothing but the last position is accepted: change ONE position at a time, and leave those after it as they were"),
            (lambda x: 2 * x.double(), False, "a layer in which each position works alone is accepted: is it the output of the LAST position that is compared, and no other?"),
            (attention(lambda t, j: j >= t), False, "a layer that hears only the future is accepted: its last position hears nobody but itself"),
            (pieces, False, "a layer that is cut into two halves is accepted, like the one with both faults: its last position hears nothing of the first half"),
            (attention(lambda t, j: (j <= t) & (j > t - 3)), False, "a layer that hears only the last three positions is accepted: change one position at a time"),
            (attention(lambda t, j: (j == t) | (j == 0)), False, "a layer whose last position hears only itself and position 0 is accepted: try the positions between as well"),
            (attention(lambda t, j: (j <= t) & (j != 0)), False, "a layer that is deaf to position 0 alone is accepted: is the first position tried?"),
            (attention(lambda t, j: (j <= t) & (j != 1)), False, "a layer that is deaf to position 1 alone is accepted: every position must be heard, not only one of them"),
            (attention(lambda t, j: (j <= t) & (j != T - 2)), False, "a layer that is deaf to the last but one position alone is accepted: every position must be heard"),
            (before, False, "a layer whose last position is deaf to itself is accepted: its own position counts, too"),
        ]
        for layer, wanted, message in cases:
            given_x = x.clone()
            said = verdict(answer, layer, given_x, on="the whole layer")
            expect(torch.equal(given_x, x), "your function writes into x: work on a clone, the caller still needs the old one")
            expect(said == wanted, message)


# ---- 06 · Blocks ------------------------------------------------------------------------------


@exercise("06.1")
def check_parameters_of_feed_forward(answer):
    """A number: the parameters of FeedForward(10), which has 40 channels between its two layers; exact."""
    answer = number(answer)
    mistakes = [
        (800, "these are the two matrices alone: each layer has a bias as well"),
        (880, "both biases are counted as 40: the second layer has 10 outputs, and a bias belongs to an output"),
        (820, "both biases are counted as 10: the first layer has 40 outputs, and a bias belongs to an output"),
        (840, "one of the two biases is missing"),
        (810, "one of the two biases is missing"),
        (450, "one of the two matrices is missing"),
        (440, "this is the first layer alone: there is a way back"),
        (410, "this is the second layer alone: there is a layer before it"),
        (400, "this is one matrix: there are two, and two biases"),
        (220, "these are two layers from 10 to 10: how many channels lie between?"),
        (110, "this is one layer from 10 to 10: there are two, and more channels between them"),
        (200, "these are two matrices from 10 to 10: how many channels lie between?"),
        (900, "too many biases: one for each output of each layer, none for the inputs"),
    ]
    diagnose(answer, mistakes, 0)
    expect(answer == 10 * 40 + 40 + 40 * 10 + 10, "not yet: for each of the two layers, how many numbers has its matrix, and how many outputs need a bias?")


@exercise("06.2")
def check_my_layer_norm(answer):
    """A function (x) -> x of shape (B, T, C) with mean 0 and spread 1 over the channels of each position; to 1e-4.

    Not with PyTorch's own layer norm: its names must not stand in the function.
    """
    names = set(getattr(getattr(answer, "__code__", None), "co_names", ()))
    ready_made = names & {"LayerNorm", "layer_norm", "native_layer_norm"}
    expect(not ready_made, f"{', '.join(sorted(ready_made))} stands in your function: here the norm is to be made of mean and variance")
    for B, T, C, size in (3, 5, 6, 4.0), (3, 5, 6, 0.01), (1, 1, 4, 3.0), (2, 3, 1, 1.0), (1, 7, 33, 1.0):
        x = size * (torch.randn(B, T, C) + torch.randn(B, T, 1) + (10 if size > 1 else 1) * torch.arange(C))  # no spread is small by chance
        wanted = F.layer_norm(x.double(), (C,))
        sizes = f" (B={B}, T={T}, C={C})"
        result = tensor(ask(answer, x), (B, T, C), f"the result{sizes}")

        def over(*dims, unbiased=False, eps=1e-5):
            mean, variance = x.mean(dim=dims, keepdim=True), x.var(dim=dims, keepdim=True, unbiased=unbiased)
            return (x - mean) / (variance + eps).sqrt()

        mean, variance = x.mean(dim=-1, keepdim=True), x.var(dim=-1, keepdim=True, unbiased=False)
        if size == 4.0:
            diagnose(result, [
                (over(-1, unbiased=True), "the variance is divided by C - 1: layer norm divides by C"),
                (over(1), "the mean is taken over the positions of a sequence: which dimension holds the channels?"),
                (over(0), "the mean is taken over the sequences of the batch: which dimension holds the channels?"),
                (over(1, 2), "one mean is taken for a whole sequence: each position has a mean and a variance of its own"),
                (over(0, 1), "the mean runs over batch and positions: that is batch norm, layer norm runs over the channels of each position"),
                (over(0, 1, 2), "one mean is taken over everything: each position has a mean and a variance of its own"),
                ((x - mean) / (variance + 1e-5), "the difference is divided by the variance: it must be its root"),
                (x - mean, "the mean is 0, but the spread is not yet 1"),
                (x / (variance + 1e-5).sqrt(), "the mean is not taken away"),
                (x / (x.pow(2).mean(dim=-1, keepdim=True) + 1e-5).sqrt(), "the mean is not taken away, neither from x nor inside the variance"),
                ((x - mean) * (variance + 1e-5).sqrt(), "the difference is multiplied by the root: it must be divided"),
                (x, "x comes back as it was"),
            ])
        if size < 1:
            diagnose(result, [
                ((x - mean) / variance.sqrt(), "for very small numbers the result is not that of nn.LayerNorm: where is the 1e-5?"),
                ((x - mean) / (variance.sqrt() + 1e-5), "for very small numbers the result is not that of nn.LayerNorm: 1e-5 is added to the variance, not to its root"),
                ((x - mean) / (variance.sqrt() + 1e-5**0.5), "for very small numbers the result is not that of nn.LayerNorm: 1e-5 is added to the variance, not to its root"),
            ])
            expect(close(result, wanted), "right for ordinary numbers, but not for very small ones: look at what is added under the root")
        expect(close(result, wanted), f"not what nn.LayerNorm gives{sizes}: mean and variance run over the C channels of each position by itself")
    x = torch.full((2, 3, 4), 2.0)
    result = ask(answer, x)
    expect(not torch.as_tensor(result).isnan().any(), "channels that are all equal give nan: what keeps the root from being 0?")
    expect(close(result, torch.zeros(2, 3, 4), 1e-3), "channels that are all equal must give 0")


@exercise("06.3")
def check_my_block(answer):
    """A function (x, norm1, attn, norm2, expand, contract) -> (B, T, C), a Pre-LN block with ReLU; to 1e-4."""
    for B, T, C, H in (2, 5, 6, 2), (1, 4, 8, 4), (3, 1, 4, 1):
        theirs = nn.TransformerEncoderLayer(C, H, dim_feedforward=4 * C, dropout=0.0, norm_first=True, batch_first=True)
        with torch.no_grad():
            for norm in (theirs.norm1, theirs.norm2):
                norm.weight.copy_(1 + torch.rand(C))
                norm.bias.copy_(torch.randn(C))
        norm1, norm2, expand, contract = theirs.norm1, theirs.norm2, theirs.linear1, theirs.linear2

        def mask(T):
            return torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)

        def attn(x):
            return theirs.self_attn(x, x, x, attn_mask=mask(x.shape[1]), need_weights=False)[0]

        def think(x):
            return contract(expand(x).clamp(min=0))

        x = 3 * torch.randn(B, T, C)
        given_x = x.clone()
        result = ask(answer, given_x, norm1, attn, norm2, expand, contract)
        expect(torch.equal(given_x, x), "your function writes into the caller's x: `x += ...` changes the tensor itself, `x = x + ...` makes a new one")
        result = tensor(result, (B, T, C), "the result")
        gathered = x + attn(norm1(x))
        post = norm1(x + attn(x))
        copy1 = norm1(x) + attn(norm1(x))
        copy2 = norm2(copy1)
        mistakes = [
            (think(norm2(attn(norm1(x)))), "nothing is added: each part's result must be added to the stream"),
            (think(norm2(gathered)), "the second half does not add its result to the stream"),
            (attn(norm1(x)) + think(norm2(attn(norm1(x)))), "the first half does not add its result to the stream"),
            (norm2(post + think(post)), "the norms stand on the stream, after the additions: this is Post-LN, the picture of 2017"),
            (gathered + think(gathered), "the second norm is missing: the feed-forward layer reads a normalised copy"),
            (x + attn(x) + think(norm2(x + attn(x))), "the first norm is missing: attention reads a normalised copy"),
            (x + attn(x) + think(x + attn(x)), "both norms are missing"),
            (gathered + contract(expand(norm2(gathered))), "there is no bend between the two linear layers"),
            (gathered + contract(expand(norm2(gathered))).clamp(min=0), "the bend comes too late: it stands between the two linear layers"),
            (gathered + contract(F.gelu(expand(norm2(gathered)))), "the bend is GELU: this block has ReLU"),
            (gathered + think(norm2(x)), "the second half reads the old x: it must see what attention has added"),
            (x + think(norm2(gathered)), "what attention found is not in the stream: the second half adds to the old x"),
            (copy2 + think(copy2), "the normalised copies are added, instead of x itself: the stream must stay untouched"),
            (copy1 + think(norm2(copy1)), "the first half adds to the normalised copy, instead of to x itself"),
            (gathered + norm2(think(gathered)), "the second norm comes after its part: the copy is normalised before"),
            (gathered + think(norm1(gathered)), "norm1 is used twice: the second half has a norm of its own"),
            (x + think(norm2(x)) + attn(norm1(x + think(norm2(x)))), "the order is turned round: gather first, then think"),
            (norm2(gathered) + think(norm2(gathered)), "the second half adds to the normalised copy, instead of to x itself"),
            (gathered, "the second half is missing"),
        ]
        if T > 1:
            diagnose(result, mistakes)
        expect(close(result, theirs(x, src_mask=mask(T))), f"not equal to PyTorch's block (B={B}, T={T}, C={C}): follow the picture, twice leave the stream, normalise, work, add")


@exercise("06.4")
def check_loss_of(answer):
    """A function (model, x, y) -> the loss in evaluation mode; the model's mode stays, nothing is recorded; to 1e-4."""
    for B, T, V, training in (4, 6, 9, True), (2, 3, 5, False), (1, 4, 7, True):
        model = nn.Sequential(nn.Embedding(V, 16), nn.Dropout(0.5), nn.Linear(16, V)).train(training)
        x, y = torch.randint(V, (B, T)), torch.randint(V, (B, T))
        with torch.no_grad():
            logs = model[2](model[0](x)).log_softmax(dim=-1)
        surprises = [-logs[b, t, y[b, t]].item() for b in range(B) for t in range(T)]
        right, recording = sum(surprises) / len(surprises), []
        model[2].register_forward_hook(lambda *_: recording.append(torch.is_grad_enabled()))
        before = torch.is_grad_enabled()
        try:
            first, *more = [number(ask(answer, model, x, y)) for _ in range(4)]
            after = torch.is_grad_enabled()
        finally:
            torch.set_grad_enabled(before)
        expect(not training or all(close(first, other) for other in more), "two measurements of the same model on the same batch differ: dropout is still on, `no_grad` does not switch it off")
        expect(not close(first, sum(surprises)) or B * T == 1, "this is the sum over all positions: the loss is their mean")
        expect(close(first, right), "this is not the mean of -ln p(target) over all positions, with dropout off")
        expect(model[1].p == 0.5, "the model's dropout is gone for good: switch it off while you measure, and leave its p alone")
        if training:
            expect(model.training and model[1].training, "the model was training before, and afterwards it is not: its dropout stays off for the rest of the training")
        else:
            expect(not model.training and not model[1].training, "the model was in evaluation mode before, and afterwards it is training: put back what was there, whatever it was")
        expect(after == before, "gradients stay switched off after your function: use `with`, so that they come back")
        expect(not any(recording), "gradients are recorded while you measure: that costs time and memory for nothing")


# ---- 07 · GPT ---------------------------------------------------------------------------------


def _parameter_shapes(V, T, C, L, bias=False, tied=False):
    """The shape of every weight of a GPT: [(what it is, shape), ...]."""
    block = [("norms", (C,))] * 4 + [("queries, keys, values", (C, 3 * C)), ("projection", (C, C)), ("projection bias", (C,))]
    block += [("feed-forward", (C, 4 * C)), ("feed-forward", (4 * C, C)), ("feed-forward biases", (4 * C,)), ("feed-forward biases", (C,))]
    block += [("biases of q, k, v", (3 * C,))] * bias
    rest = [("tokens", (V, C)), ("positions", (T, C)), ("last norm", (C,)), ("last norm", (C,)), ("lm_head bias", (V,))]
    return block * L + rest + [("lm_head", (C, V))] * (not tied)


def _parameters(shapes, *left_out):
    return sum(math.prod(shape) for what, shape in shapes if what not in left_out)


@exercise("07.1")
def check_parameters_of_wide(answer):
    """A number: the parameters of `small` with C = 128; exact."""
    answer = number(answer)
    shapes = _parameter_shapes(65, 32, 128, 4)
    right, small = _parameters(shapes), _parameters(_parameter_shapes(65, 32, 64, 4))
    diagnose(answer, [
        (4 * small, "exactly four times is too much: some components grow with C, not with C²"),
        (2 * small, "exactly twice is too little: most components grow with C²"),
        (small, "this is `small` itself, with C = 64"),
        (4 * right, "these are bytes: four for each parameter"),
        (_parameters(_parameter_shapes(65, 32, 128, 4, bias=True)), "queries, keys and values have no biases here"),
        (_parameters(_parameter_shapes(65, 32, 128, 1)), "this is a model of one block: `small` has four"),
        (_parameters(shapes, "projection bias"), "the projection of each attention layer has a bias, too"),
        (_parameters(shapes, "feed-forward biases"), "the feed-forward layers have biases: 4·C in the middle and C at the end"),
        (_parameters(shapes, "projection bias", "feed-forward biases", "lm_head bias"), "the biases are missing: of the projections, of the feed-forward layers, of lm_head"),
        (_parameters(shapes, "lm_head bias"), "lm_head has a bias for each symbol"),
        (_parameters(shapes, "last norm"), "there is one more layer norm, after the last block"),
        (_parameters(shapes, "norms", "last norm"), "the layer norms are missing: a scale and a shift per channel each"),
        (_parameters(shapes, "norms"), "each block has two layer norms"),
        (right - 9 * 128, "a layer norm has a scale AND a shift for each channel"),
        (right + 3 * 4 * 4 * 128**2, "attention is counted once per head: the heads share the C channels"),
        (_parameters(shapes, "lm_head"), "token table and lm_head are two tables here: the weights are not tied"),
        (_parameters(shapes, "positions"), "the table of positions is missing"),
        (_parameters(shapes, "projection"), "attention has a fourth matrix, which mixes the heads"),
    ], 0.5)
    expect(not 3 * small < answer < right, "a little too small: go through the table of section 3 line by line, biases and norms included")
    expect(close(answer, right, 0.5), "not yet: put C = 128 into each line of the table of section 3, all else as before, and add up")


def _some_gpt(V, T, C, H, L, **more):
    """A GPT with random weights in all places, none so small that its absence could hide."""
    from tinygpt import GPT, GPTConfig

    model = GPT(GPTConfig(vocab_size=V, block_size=T, n_embd=C, n_head=H, n_layer=L, **more))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(std=1.0 if "embedding" in name else p.shape[1] ** -0.5 if p.dim() == 2 else 0.5)
            if "norm" in name and name.endswith("weight"):
                p.add_(1)
    return model


def _gpt_logits(model, idx, fault=""):
    """The logits of a GPT from its plain weights, with PyTorch's own attention; `fault` names what to do wrongly."""
    w, T, H, L = model.state_dict(), idx.shape[1], model.config.n_head, model.config.n_layer
    C = model.config.n_embd

    def norm(x, name):
        return F.layer_norm(x, (C,), w[name + ".weight"], w[name + ".bias"])

    def gather(x, name):
        x, future = x.transpose(0, 1), torch.ones(T, T, dtype=torch.bool).triu(1)
        out, _ = F.multi_head_attention_forward(
            x, x, x, C, H, w[name + ".qkv.weight"], w.get(name + ".qkv.bias"), None, None, False, 0.0,
            w[name + ".proj.weight"], w[name + ".proj.bias"], need_weights=False, attn_mask=future)
        return out.transpose(0, 1)

    def think(x, name):
        middle = F.linear(x, w[name + ".expand.weight"], w[name + ".expand.bias"])
        return F.linear(getattr(F, model.config.activation)(middle), w[name + ".contract.weight"], w[name + ".contract.bias"])

    pos = {"place 0": torch.zeros(T, dtype=torch.long), "ids": idx}.get(fault, torch.arange(T))
    x = F.embedding(idx, w["token_embedding.weight"])
    if fault != "no positions":
        x = x + F.embedding(pos, w["position_embedding.weight"])
    for l in range(L)[:: -1 if fault == "backwards" else 1]:
        name, before = f"blocks.{l}", x
        if fault == "one block" and l:
            break
        if fault == "last block" and l < L - 1:
            continue
        if fault == "norm after":
            x = norm(x + gather(x, name + ".attn"), name + ".norm1")
            x = norm(x + think(x, name + ".ffwd"), name + ".norm2")
        elif fault == "no norms":
            x = x + gather(x, name + ".attn")
            x = x + think(x, name + ".ffwd")
        elif fault == "replaced":
            x = think(norm(gather(norm(x, name + ".norm1"), name + ".attn"), name + ".norm2"), name + ".ffwd")
        elif fault == "normed stream":
            x = norm(x, name + ".norm1")
            x = x + gather(x, name + ".attn")
            x = norm(x, name + ".norm2")
            x = x + think(x, name + ".ffwd")
        else:
            added = gather(x if fault == "no norm1" else norm(x, name + ".norm1"), name + ".attn")
            x = {"attn replaces": added, "no attn": x}.get(fault, x + added)
            read = before if fault == "side by side" else x
            read = read if fault == "no norm2" else norm(read, name + (".norm1" if fault == "norm1 twice" else ".norm2"))
            added = think(read, name + ".ffwd")
            x = {"ffwd replaces": added, "no ffwd": x}.get(fault, x + added)
    x = x if fault == "no last norm" else norm(x, "norm")
    return F.linear(x, w["lm_head.weight"], w["lm_head.bias"])


@exercise("07.2")
def check_my_forward(answer):
    """A function (model, idx (B, T)) -> logits (B, T, V), without calling the model, its embed or a whole block."""

    def not_allowed(message):
        def forward(*arguments, **named):
            raise Wrong(message)

        return forward

    sizes = [(3, 5, 7, 8, 12, 3, 2), (1, 1, 5, 4, 8, 2, 3), (2, 6, 9, 6, 10, 5, 1), (4, 3, 6, 32, 8, 1, 4)]
    more = [{}, {}, {"bias": True, "activation": "gelu"}, {"tie_weights": True}]
    for (B, T, V, context, C, H, L), options in zip(sizes, more):
        model = _some_gpt(V, context, C, H, L, **options)
        idx = torch.randint(V, (B, T))
        wanted, kept = _gpt_logits(model, idx), copy.deepcopy(model.state_dict())
        model.forward = not_allowed("the model itself is called: take its parts one after the other instead")
        model.embed = not_allowed("`embed` is called: look the tokens and the positions up in their two tables yourself")
        for block in model.blocks:
            block.forward = not_allowed("a whole block is called: write its two lines with norm1, attn, norm2 and ffwd")
        out = ask(answer, model, idx)
        case = f" (B={B}, T={T}, V={V}, context {context}, C={C}, H={H}, L={L})"
        if isinstance(out, torch.Tensor):
            expect(tuple(out.shape) != (B, T, C), f"this is the stream (B, T, C): lm_head must still turn it into V scores{case}")
            expect(tuple(out.shape) != (B, V), f"these are the scores of one position only: all T positions give a guess{case}")
        out = tensor(out, (B, T, V), "what your function returns")
        expect(not close(out, wanted.softmax(dim=-1)), "these are probabilities: the model ends with the logits, the softmax stands outside")
        if T > 1 and L > 1:
            diagnose(out, [(_gpt_logits(model, idx, fault), message) for fault, message in [
                ("no positions", "the table of positions is not added"),
                ("place 0", "every symbol stands at position 0: give the positions 0 to T - 1 to their table"),
                ("ids", "the table of positions is asked for the ids: it wants the places 0 to T - 1"),
                ("no last norm", "the last norm is left out: after the blocks, before lm_head"),
                ("replaced", "each layer's result takes the place of the stream: it must be ADDED to what was there"),
                ("attn replaces", "attn's result takes the place of the stream: it must be ADDED to what was there"),
                ("ffwd replaces", "ffwd's result takes the place of the stream: it must be ADDED to what was there"),
                ("no norm1", "attn reads the stream without a norm: norm1 stands before it"),
                ("no norm2", "ffwd reads the stream without a norm: norm2 stands before it"),
                ("no attn", "attn is left out, or its result is not kept: each block adds twice"),
                ("no ffwd", "ffwd is left out, or its result is not kept: each block adds twice"),
                ("last block", "only the last block counts: each must go on from what the block before it has left"),
                ("no norms", "the norms of the blocks are left out: attn and ffwd read the stream through norm1 and norm2"),
                ("norm after", "the norms come after the addition: here each stands before its layer, and the stream itself is not normed"),
                ("normed stream", "the norm's result becomes the stream: the norm belongs to the layer's input only, the addition takes the stream as it was"),
                ("side by side", "ffwd reads what attn has read: it must read the stream after attn's result has been added"),
                ("norm1 twice", "norm1 is used twice: ffwd has a norm of its own"),
                ("backwards", "the blocks come in the wrong order: block 0 first"),
                ("one block", "only the first block works: does `return` stand inside the loop?"),
            ]])
        expect(close(out, wanted), f"not the model's logits{case}: follow the picture from the top left, two tables, in each block two additions, one last norm, lm_head")
        expect(_same(kept, model.state_dict()), "the model is no longer what it was: a forward pass must change no weight")


@exercise("07.3")
def check_my_total(answer):
    """A function (config) -> the number of parameters, with the options `bias` and `tie_weights`; exact."""
    from tinygpt import GPTConfig

    for V, T, C, H, L, bias, tied in (11, 5, 12, 3, 3, False, False), (7, 5, 8, 4, 3, True, False), (9, 4, 6, 2, 1, False, True), (5, 16, 10, 1, 4, True, True):
        shapes = _parameter_shapes(V, T, C, L, bias, tied)
        config = GPTConfig(vocab_size=V, block_size=T, n_embd=C, n_head=H, n_layer=L, bias=bias, tie_weights=tied)
        found, right = number(ask(answer, config)), _parameters(shapes)
        heads = _parameters(shapes) + (H - 1) * L * 4 * C * C
        mistakes = [
            (heads, "the matrices of attention are counted once per head: the H heads share the C channels, so H does not enter"),
            (heads + (H - 1) * L * C, "attention is counted once per head: the H heads share the C channels, so H does not enter"),
            (right + L * H * T * T, "the mask is no parameter: nothing in it is learned"),
            (_parameters(shapes, "lm_head bias"), "lm_head has a bias of V numbers"),
            (_parameters(shapes, "positions"), "the table of positions is missing"),
            (_parameters(shapes, "last norm"), "there is one more layer norm, after the last block"),
            (_parameters(shapes, "norms", "last norm"), "the layer norms are missing: a scale and a shift per channel each"),
            (right - (2 * L + 1) * C, "a layer norm has a scale AND a shift for each channel"),
            (_parameters(shapes, "norms") + 2 * L * C, "each layer norm of a block has a scale AND a shift, and there are two in a block"),
            (_parameters(shapes, "projection bias"), "the projection of each attention layer has a bias, too"),
            (_parameters(shapes, "projection"), "attention has four matrices of C × C: queries, keys, values, and the projection that mixes the heads"),
            (_parameters(shapes, "projection", "projection bias"), "the projection of attention, which mixes the heads, is missing"),
            (_parameters(shapes, "feed-forward biases"), "the feed-forward layers have biases: 4·C in the middle and C at the end"),
            (_parameters(shapes, "projection bias", "feed-forward biases", "lm_head bias"), "the biases of the linear layers are missing"),
        ]
        if bias and not tied:
            mistakes = [
                (_parameters(_parameter_shapes(V, T, C, L)), "with bias=True queries, keys and values get biases, and yours do not"),
                (right - (L - 1) * 3 * C, "with bias=True EVERY block has biases for queries, keys and values"),
            ]
        if tied and not bias:
            mistakes = [
                (_parameters(_parameter_shapes(V, T, C, L)), "with tie_weights=True one table serves as token embedding and lm_head: count it once"),
                (right - V, "tied weights share the table only: lm_head keeps its bias"),
                (right - V * C, "with tie_weights=True both tables are gone from your sum: one stays"),
            ]
        diagnose(found, [mistake for mistake in mistakes if mistake[0] != right], 0.5)
        expect(close(found, right, 0.5), f"for V={V}, T={T}, C={C}, H={H}, L={L}, bias={bias}, tie_weights={tied} it gives {found:g}: list every matrix with its two sides, every bias, every norm")


@exercise("07.4")
def check_starts_well(answer):
    """A function (logits (B, T, V), targets (B, T)) -> whether the mean loss lies within 0.1 of ln V."""

    def narrow(V):
        return 0.03 * torch.randn(8, 250, V)

    targets, nine = torch.randint(65, (8, 250)), torch.randint(9, (8, 250))
    telling, last, one = narrow(65), 2.2 * torch.randn(8, 250, 65), narrow(65)
    telling.scatter_add_(2, targets[:, :, None], torch.full((8, 250, 1), 2.0))
    last[:, -1] = 0
    one[1:] = 2.2 * torch.randn(7, 250, 65)
    for_nine = narrow(9) + torch.tensor([3.0] + [0.0] * 8)  # one opinion, the same everywhere: about 0.9 above ln 9
    cases = [
        (narrow(65), targets, True, "a good start with V = 65 is refused: the loss is the mean of -ln p(target) over all B·T places, about 4.17"),
        (2.2 * torch.randn(8, 250, 65), targets, False, "a first loss of about 6.5 with V = 65 is accepted: does `cross_entropy` get the logits as they are, and is the loss compared with ln V?"),
        (narrow(9), nine, True, "a good start with V = 9 is refused: ln V depends on V, the last size of the logits"),
        (narrow(65) + 50, targets, True, "50 was added to every score, and this good start is refused: a softmax does not notice that, so the loss is the same"),
        (narrow(65) + 3 * torch.randn(8, 250, 1), targets, True, "at each place one number was added to all V scores, and this good start is refused: a softmax does not notice that; it is the LOSS that must lie near ln V, not the scores near 0"),
        (torch.zeros(1, 1, 5), torch.zeros(1, 1, dtype=torch.long), True, "one sequence of one symbol, all scores 0, is refused: its loss is ln V exactly"),
        (telling, targets, False, "a first loss far BELOW ln V is accepted: a fresh model that knows the answers sees them; look at the distance, not at one side"),
        (last, targets, False, "only the last position starts well, and the model is accepted: the loss is the mean over ALL positions"),
        (one, targets, False, "only the first sequence starts well, and the model is accepted: the loss is the mean over ALL sequences"),
        (0.7 * torch.randn(8, 250, 65), targets, False, "a start about 0.24 above ln V is accepted: the limit is 0.1"),
        (for_nine, nine, False, "with V = 9 a first loss far from ln V is accepted"),
    ]
    for logits, wanted_ids, wanted, message in cases:
        expect(verdict(answer, logits, wanted_ids, on="the mean loss") == wanted, message)


@exercise("07.5")
def check_knows_positions(answer):
    """A function (model) -> whether the positions reach the logits; rounding allowed for."""
    from tinygpt import GPT, GPTConfig

    def blind(model, value=0.0):
        with torch.no_grad():
            model.position_embedding.weight.copy_(value * torch.ones(model.config.n_embd))
        return model

    def seeing(*sizes):  # with positions, by which its answers differ clearly
        spread = 0
        while spread < 1:
            model = _some_gpt(*sizes)
            with torch.no_grad():
                out = model(torch.zeros(1, model.block_size, dtype=torch.long))[0]
            spread = (out - out[:1]).abs().max()
        return model

    def rounded(V):  # blind, and rounding makes some of its equal answers differ in the last digit
        for _ in range(100):
            model = blind(_some_gpt(V, 16, 12, 3, 2))
            with torch.no_grad():
                out = model(torch.zeros(1, 16, dtype=torch.long))[0]
            if not torch.equal(out, out[:1].expand_as(out)):
                break
        return model

    fresh = GPT(GPTConfig(vocab_size=9, block_size=12, n_embd=16, n_head=2, n_layer=3))
    cases = [
        (seeing(7, 9, 12, 3, 1), True, "a GPT of one block WITH positions is refused: one and the same symbol at every place should get different answers there"),
        (seeing(9, 6, 8, 2, 3), True, "a GPT of three blocks WITH positions is refused: one and the same symbol at every place should get different answers there"),
        (fresh, True, "a fresh GPT with positions is refused: its answers differ by some hundredths only; is your tolerance too wide?"),
        (blind(_some_gpt(7, 4, 8, 2, 1)), False, "one block without positions is accepted: what does it answer to one symbol, repeated, at each place?"),
        (rounded(7), False, "two blocks without positions are accepted, whose answers differ by rounding or by what the mask shows: compare with a tolerance, on ONE symbol repeated"),
        (blind(_some_gpt(11, 12, 12, 4, 3)), False, "three blocks without positions are accepted: where symbols differ, deep models recover some order through the mask; with one symbol repeated they cannot"),
        (blind(_some_gpt(5, 8, 8, 2, 2), 0.7), False, "a table of positions whose rows are all alike is accepted, although it is not zero: look at the logits, not at the table"),
    ]
    cancelled = _some_gpt(7, 8, 12, 3, 2).double()  # every norm takes away what all channels have in common
    with torch.no_grad():
        cancelled.position_embedding.weight.copy_(torch.linspace(-1, 1, 8)[:, None].expand(8, 12))
    cases.append((cancelled, False, "a model is accepted in which positions enter the stream but never reach the logits (its norms take away what is the same in all channels): look at what comes out at the end"))
    for model, wanted, message in cases:
        kept = copy.deepcopy(model.state_dict())
        expect(verdict(answer, model, on="the whole model") == wanted, message)
        expect(_same(kept, model.state_dict()), "the model is no longer what it was: a test must not change what it tests")


# ---- 08 · Writing -----------------------------------------------------------------------------


@exercise("08.1")
def check_two_shares(answer):
    """Two numbers: the shares of the example at temperature 0.5 with top-k, k = 2, the likeliest first, to 0.01."""
    expect(isinstance(answer, (list, tuple, torch.Tensor)), f"two numbers are asked for, [first, second], not {_short(answer)}")
    found = [number(share) for share in answer]
    expect(len(found) == 2, f"two symbols stay for k = 2, and your list has {len(found)} numbers: leave out the zeros")
    p, q = 0.4, 0.3
    right = [p**2 / (p**2 + q**2), q**2 / (p**2 + q**2)]
    diagnose(torch.tensor(found), [
        (torch.tensor(wrong), message) for wrong, message in [
            ([p / (p + q), q / (p + q)], "this is top-k alone: at temperature 0.5 every probability is squared first"),
            ([p**2 / 0.285, q**2 / 0.285], "this is the temperature alone: after the cut the two share the whole probability"),
            ([p**2, q**2], "the two squares do not add up to 1: divide them by their sum"),
            ([p**0.5 / (p**0.5 + q**0.5), q**0.5 / (p**0.5 + q**0.5)], "this is temperature 2: the exponent is 1/τ"),
            ([p, q], "these are the shares before anything was done"),
            (right[::-1], "the order: the likelier one comes first"),
            ([100 * share for share in right], "in parts of 1, please, not in per cent"),
            ([p / 0.5, q / 0.5], "the temperature divides the logits, which are logarithms, not the probabilities"),
        ]
    ], 0.01)
    expect(close(sum(found), 1, 0.02), f"your two shares add up to {sum(found):.2f}: what is left after the cut is the whole probability")
    expect(close(torch.tensor(found), torch.tensor(right), 0.01), "not yet: square 0.4 and 0.3, then let the two share what they have together")


def _kept(out, logits, case=""):
    """Which symbols the answer keeps, as lists of truth values; Wrong where the rest is not -inf or the kept are changed."""
    out = tensor(out, tuple(logits.shape), "what your function returns")
    kept = out != -math.inf
    if not close(out, logits):
        expect(not ((out >= 0).all() and close(out.sum(dim=-1), torch.ones(len(out)))), f"these are probabilities{case}: logits come back, -inf for what is removed")
    if not kept.all():  # some are removed, or else set to something else
        expect(close(out[kept], logits[kept]), f"the kept logits are changed{case}: only the removed ones change, the softmax comes later")
    else:
        expect(close(out, logits) or not (out == 0).any(), f"removed symbols get the logit 0{case}: 0 is a score like any other, -inf is what the softmax turns into nothing")
        expect(close(out, logits), f"the logits are changed{case}: -inf for what is removed, all others as they were")
    return kept.tolist()


@exercise("08.2")
def check_keep_min_p(answer):
    """A function (logits (B, V), m) -> logits, -inf where the probability is below m times the row's largest; exact."""
    example = torch.tensor([[0.4, 0.3, 0.15, 0.1, 0.05]]).log()
    cases = [(example, 0.35), (example, 0.0), (example, 1.0)]
    for B, V in (4, 30), (1, 5), (3, 2), (6, 1):
        cases += [(torch.randn(B, V) * torch.linspace(0.2, 3, B)[:, None] + 5, m) for m in (0.1, 0.3, 0.0, 1.0)]
    for logits, m in cases:
        rows = logits.double().softmax(dim=-1).tolist()
        wanted = [[p >= m * max(row) * (1 - 1e-9) for p in row] for row in rows]
        if m == 1:  # the largest itself
            wanted = [[p == max(row) for p in row] for row in logits.tolist()]
        near = any(0 < m < 1 and abs(p / max(row) / m - 1) < 1e-4 for row in rows for p in row)
        if near:  # rounding may decide
            continue
        case = f" (m = {m}, {f'probabilities {[round(p, 2) for p in rows[0]]}' if len(rows[0]) <= 5 else f'{len(rows)} rows'})"
        kept = _kept(ask(answer, logits, m), logits, case)
        if m == 1:
            expect(all(map(any, kept)), "for m = 1 nothing stays: the likeliest reaches m times itself, so `>=`, and not `>`" + case)
        if m == 0.35:
            expect(not all(map(all, kept)), "all symbols stay: do the softmax and the maximum run over the last dimension, the V symbols of a row?" + case)
        for mistake, message in [
            ([[p >= m * max(map(max, rows)) for p in row] for row in rows], "the largest of the whole batch is taken: every row has its own largest"),
            ([[p >= m for p in row] for row in rows], "the probabilities are compared with m itself: m is a share of the row's largest probability"),
            ([[p >= max(row) - m for p in row] for row in rows], "m is subtracted from the largest probability: it is multiplied by it"),
            ([[p < m * max(row) for p in row] for row in rows], "the likely symbols are removed and the unlikely ones kept"),
            ([[x >= m * max(row) for x in row] for row in logits.tolist()], "the logits are compared: m times the largest PROBABILITY is the limit"),
        ]:
            expect(kept != mistake or mistake == wanted, message + case)
        expect(kept == wanted, "not the symbols whose probability is at least m times the largest one of their row" + case)


@exercise("08.3")
def check_my_top_p(answer):
    """A function (logits (B, V), p) -> logits, -inf for all but the fewest likeliest of each row that together reach p."""
    example = torch.tensor([[0.15, 0.4, 0.05, 0.3, 0.1]]).log()
    equal = torch.zeros(1, 4)
    tail = torch.tensor([[0.0, 60.0, 1.0, -5.0]])  # a sum of rounded numbers reaches 1 with the first
    cases = [(example, 0.8), (example, 0.0), (equal, 0.45), (equal, 0.5), (tail, 1.0)]
    for B, V in (5, 12), (1, 6), (7, 3), (2, 1):
        cases += [(2 * torch.randn(B, V), p) for p in (0.3, 0.9, 0.0, 1.0)]
    for logits, p in cases:
        rows = logits.double().softmax(dim=-1).tolist()
        wanted, short, longer, by_id, single, near = [], [], [], [], [], False
        for row in rows:
            ranking = sorted(range(len(row)), key=lambda i: (-row[i], i))
            together, count = 0.0, 0
            while count == 0 or (count < len(row) and (p == 1 or together < p)):
                together += row[ranking[count]]
                near = near or abs(together - p) < 1e-4 and p < 1 and logits is not equal  # quarters are exact
                count += 1
            wanted.append([i in ranking[:count] for i in range(len(row))])
            short.append([i in ranking[: count - 1] for i in range(len(row))])
            longer.append([i in ranking[: count + 1] for i in range(len(row))])
            by_id.append([sum(row[:i]) < p or i == 0 for i in range(len(row))])
            single.append([q >= p for q in row])
        if near:  # rounding may decide
            continue
        named = len(rows) == 1 and len(rows[0]) <= 6
        case = f" (p = {p}, {f'probabilities {[round(q, 3) for q in rows[0]]}' if named else f'{len(rows)} rows of {len(rows[0])}'})"
        out, right = ask(answer, logits, p), logits.masked_fill(~torch.tensor(wanted), -math.inf)
        if isinstance(out, torch.Tensor) and not close(out, right):
            expect(not close(out, right.sort(dim=-1, descending=True).values), f"the logits come back sorted: each must stand at the place of its id{case}")
        kept = _kept(out, logits, case)
        if p == 0.8:
            expect(not all(map(all, kept)), f"all symbols stay: only the fewest LIKELIEST that together reach p should, and the others get -inf{case}")
        if p == 0:
            expect(all(map(any, kept)), f"nothing stays: at least the likeliest symbol of each row is always kept{case}")
        if p == 1:
            expect(all(map(all, kept)), f"for p = 1 all must stay, the unlikeliest, too: rounded sums may reach 1 before the last symbol{case}")
        for mistake, message in [
            (short, "the symbol with which the sum reaches p is left out: without it the sum is still short of p"),
            (longer, "one symbol too many stays: stop as soon as the sum reaches p"),
            (by_id, "the symbols are added up in the order of their ids: the likeliest come first"),
            ([wanted[0]] * len(rows), "the first row decides for all: each row counts for itself"),
            (single, "each probability by itself is compared with p: it is their SUM, from the likeliest on, that must reach p"),
            ([[not keep for keep in row] for row in wanted], "what should stay is removed, and the other way round"),
        ]:
            expect(kept != mistake or mistake == wanted, message + case)
        counts, right = [sum(row) for row in kept], [sum(row) for row in wanted]
        if kept != wanted:
            expect(counts != right, f"as many symbols stay as should, but not those: do the places come back from the sorted order to the ids, and is the smaller id the likelier of equals?{case}")
        expect(kept == wanted, f"{counts} symbols stay in the rows, and it should be other numbers: each row counts for itself, from its likeliest symbol on{case}")


@exercise("08.4")
def check_my_step(answer):
    """A function (q, k, v, old_k, old_v) -> out (B, H, 1, D) and all keys and values (B, H, T + 1, D)."""
    for B, H, T, D in (2, 3, 5, 4), (1, 1, 1, 2), (1, 2, 0, 3), (3, 2, 30, 16):
        keys, values = torch.randn(B, H, T + 1, D), torch.randn(B, H, T + 1, D)
        queries = 2 * torch.randn(B, H, T + 1, D)
        q, k, v, old_k, old_v = queries[:, :, T:], keys[:, :, T:], values[:, :, T:], keys[:, :, :T], values[:, :, :T]
        wanted = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)[:, :, T:]
        case = f" (B={B}, H={H}, {T} kept positions, D={D})"
        result = ask(answer, q, k, v, old_k, old_v)
        expect(isinstance(result, (tuple, list)) and len(result) == 3, "three things are asked for: what the newest position gathers, all keys, all values")
        out, all_k, all_v = result
        if T:
            expect(not (isinstance(out, torch.Tensor) and close(out, keys)), f"all keys come first: what the newest position gathers is the first of the three{case}")
            expect(not (isinstance(all_k, torch.Tensor) and close(all_k, values)), f"keys and values are exchanged: all keys come second, all values third{case}")
        for name, found, new, old, right in ("keys", all_k, k, old_k, keys), ("values", all_v, v, old_v, values):
            expect(not (T and isinstance(found, torch.Tensor) and close(found, old)), f"the {name} are as they were: the newest must be kept, too, for the steps to come{case}")
            expect(not (T and isinstance(found, torch.Tensor) and close(found, new)), f"only the newest of the {name} comes back: the earlier ones must be kept{case}")
            found = tensor(found, (B, H, T + 1, D), f"the tensor of all {name}")
            expect(close(found, right) or not close(found, torch.cat([new, old], dim=2)), f"the newest of the {name} stands in front: it is the latest position, so it comes last{case}")
            expect(close(found, right), f"the {name} are not the kept ones with the newest behind them{case}")
        out = tensor(out, (B, H, 1, D), "what the newest position gathers")
        if H > 1 and T:
            scores = (q @ keys.transpose(-2, -1))[:, :, 0]  # (B, H, T + 1)

            def gathered(scores, values):
                return (scores.softmax(dim=-1)[..., None] * values).sum(dim=2, keepdim=True)

            first_only = scores.clone()
            first_only[..., 1:] = -math.inf
            diagnose(out, [
                (gathered(scores, values), f"the scores are not divided by √D{case}"),
                (gathered(scores / D, values), f"the scores are divided by D: it is its root{case}"),
                (gathered(scores / math.sqrt(H * D), values), f"the scores are divided by the root of C = H·D: the size of ONE head counts{case}"),
                (gathered(scores[..., :T] / math.sqrt(D), old_v), f"the newest position does not look at itself: its own key and value belong to those it looks at{case}"),
                (gathered(first_only, values), f"a causal mask is laid as if the one query stood at position 0: it stands last and may see all{case}"),
                (gathered(scores * math.sqrt(D), values), f"the scores are multiplied by √D: they are divided by it{case}"),
                (values.sum(dim=2, keepdim=True), f"every weight is 1: the softmax runs over the single query, it must run over the T + 1 keys{case}"),
                (gathered(scores * 0, values), f"all positions get the same weight: does the softmax run over the T + 1 keys?{case}"),
                (v, f"the newest position hears only itself: its query meets ALL keys{case}"),
                (gathered(scores / math.sqrt(D), keys), f"keys are mixed: the weights mix VALUES{case}"),
            ])
        expect(close(out, wanted), f"not what the newest position gathers in plain writing: softmax over its scores with all keys, divided by √D, then the weighted sum of all values{case}")


class _Writer:
    """A GPT that remembers keys and values, written as plainly as possible; `fault` names what it does wrongly."""

    def __init__(self, model, fault=""):
        self.model, self.fault, self.read, self.memory = model, fault, None, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    @torch.no_grad()
    def __call__(self, idx):
        model, T = self.model, idx.shape[1]
        before = 0 if self.read is None else self.read.shape[1]
        goes_on = before > 0 and before == T - 1 and torch.equal(self.read, idx[:, :-1])
        if self.fault == "slides" and before == T == model.block_size:
            goes_on = torch.equal(self.read[:, 1:], idx[:, :-1])
        if self.fault == "another text":
            goes_on = before > 0 and before != T
        if not goes_on:
            self.memory = [None] * len(model.blocks)
        new, self.read = idx[:, -1:] if goes_on else idx, idx.clone()
        first = T - new.shape[1]
        x = model.token_embedding(new) + model.position_embedding(torch.arange(first, T) * (self.fault != "place 0" or not goes_on))
        for l, block in enumerate(model.blocks):
            q, k, v = block.attn.project(block.norm1(x))
            if goes_on:
                rows = torch.arange(len(idx)) % len(self.memory[l][0])  # a second text may come in a batch of another size
                k, v = torch.cat([self.memory[l][0][rows], k], dim=2), torch.cat([self.memory[l][1][rows], v], dim=2)
            if self.fault != "forgets" or not goes_on:
                self.memory[l] = k, v
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
            x = x + block.attn.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
            x = x + block.ffwd(block.norm2(x))
        logits = model.lm_head(model.norm(x))
        return {"rounding": logits + 1e-6 * torch.randn_like(logits), "cold": 2 * logits}.get(self.fault, logits)


@exercise("08.5")
def check_writes_the_same(answer):
    """A function (model, writer) -> whether the writer's last logits are the model's, for growing texts and two texts in a row."""
    from tinygpt import GPT, Cached, GPTConfig

    cases = [
        ("itself", True, "the model itself, as its own writer, is refused: give both the same window and compare the logits of the last position"),
        ("", True, "a right writer is refused: it returns (B, 1, V) where it goes on and (B, T, V) where it begins anew, and it adds in another order; so compare the last position, with a tolerance for rounding"),
        ("tinygpt", True, "`Cached` is refused, and it is right: compare the last position only, with a tolerance for rounding"),
        ("rounding", True, "a right writer is refused because its logits differ in the sixth digit: compare with a tolerance of about 1e-4"),
        ("cold", False, "a writer is accepted that finds the same symbols the likeliest, but by other logits: compare the logits themselves"),
        ("place 0", False, "the friend's writer, with every new symbol at position 0, is accepted: it is right in the first step, so let the text grow symbol by symbol, and compare logits, not only the likeliest symbols"),
        ("forgets", False, "a writer that keeps only what it read first is accepted: it goes wrong two symbols later, so let the text grow further, and compare logits"),
        ("another text", False, "a writer that does not begin anew with a new text is accepted: give the SAME writer a second text, from its first symbol on"),
        ("slides", False, "a writer that goes on although the window slides is accepted: let the text grow beyond the context"),
    ]
    for fault, wanted, message in cases:
        for L in (2, 1) if fault in ("", "place 0") else (2,):
            model = GPT(GPTConfig(vocab_size=7, block_size=6, n_embd=8, n_head=2, n_layer=L)).eval()
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p.normal_(std=1.0 if "embedding" in name or "lm_head.weight" in name else 0.4)
                    if "norm" in name and name.endswith("weight"):
                        p.add_(1)
            writer = {"itself": model, "tinygpt": Cached(model)}.get(fault) or _Writer(model, fault)
            expect(verdict(answer, model, writer, on="the writer") == wanted, message)


# ---- 09 · Training well -----------------------------------------------------------------------


@exercise("09.1")
def check_half_steps(answer):
    """Two whole numbers: the steps at which the rate is half its peak, with 200 of 1,000 steps of warm-up and linear decay."""
    expect(isinstance(answer, (list, tuple, torch.Tensor)), f"two steps are asked for, [in the warm-up, in the decay], not {_short(answer)}")
    found = [number(step) for step in answer]
    expect(len(found) == 2, f"two steps are asked for, one on the way up and one on the way down, not {len(found)}")
    expect(found[0] <= found[1], "the order: the way up comes first")
    up, down = found
    expect(up != 100, "on the way up, step 0 already has 1/200 of the peak, since steps are counted from 0: which step has 100/200?")
    expect(up != 50, "on the way up, the rate has grown to a quarter of its peak there: the warm-up has 200 steps")
    expect(up == 99, "on the way up, the share is (step + 1) / 200: where is that one half?")
    expect(down != 500, "on the way down, the line begins at step 200, not at step 0: half of what is LEFT after the warm-up")
    expect(down != 400, "on the way down, half of the decay's 800 steps is 400, and it begins at step 200")
    expect(down not in (599, 601), "on the way down you are one step off: the share is (1000 - step) / 800")
    expect(down == 600, "on the way down, the share is (1000 - step) / 800: where is that one half?")


@exercise("09.2")
def check_my_rate(answer):
    """A function (step, max_iters, warmup_iters, floor) -> the share of the peak: warm-up, then half a cosine down to floor."""

    def schedule(max_iters, warmup, floor, fault=""):
        shares = []
        for step in range(max_iters):
            end, begin = max_iters - (fault == "one early"), 0 if fault == "whole" else warmup
            done = (step - begin) / max(1, end - begin)  # from 0 at the end of the warm-up to 1 at the end
            wave = {"linear": 1 - done, "quarter": math.cos(math.pi / 2 * done), "rising": 0.5 - 0.5 * math.cos(math.pi * done),
                    "full": 0.5 + 0.5 * math.cos(2 * math.pi * done), "no half": math.cos(math.pi * done)}.get(fault, 0.5 + 0.5 * math.cos(math.pi * done))
            share = {"no floor": wave, "cut": max(floor, wave), "on top": floor + wave}.get(fault, floor + (1 - floor) * wave)
            if step < warmup and fault != "no warm-up" or step == warmup > 0 and fault == "too long":
                share = (step + (fault != "from zero")) / warmup
                share = floor + (1 - floor) * share if fault == "floor below" else share
            shares.append(share)
        return torch.tensor(shares)

    for max_iters, warmup, floor in (100, 10, 0.1), (60, 20, 0.0), (50, 0, 0.2), (7, 3, 0.5), (9, 1, 1.0), (20, 19, 0.1):
        shares = torch.tensor([number(ask(answer, step, max_iters, warmup, floor)) for step in range(max_iters)])
        wanted = schedule(max_iters, warmup, floor)
        if max_iters == 100:
            diagnose(shares, [(schedule(max_iters, warmup, floor, fault), message) for fault, message in [
                ("from zero", "the warm-up begins with 0, so the first step learns nothing: step 0 gets 1/warmup_iters"),
                ("no warm-up", "there is no warm-up: the first steps should rise to the peak"),
                ("too long", "the warm-up is one step too long, and goes above the peak: is it `<` and not `<=`?"),
                ("floor below", "the warm-up begins at the floor: it rises from 1/warmup_iters; the floor belongs to the decay only"),
                ("linear", "this decay is a straight line: half a cosine wave is asked for"),
                ("no floor", "the decay goes down to 0: it should go down to the floor"),
                ("cut", "the wave goes to 0 and is cut off at the floor, where the rate then stands still: the whole wave must fit between 1 and the floor"),
                ("on top", "the floor is added on top, so the rate is above its peak: the wave must shrink to 1 - floor"),
                ("one early", "the floor is reached at the last step: it would be reached at step max_iters, one later"),
                ("whole", "the wave begins at step 0 and is hidden by the warm-up: it begins where the warm-up ends"),
                ("quarter", "this is a quarter of the wave: half of it, from cos 0 to cos π"),
                ("rising", "the decay goes up: it begins at 1"),
                ("full", "this is a whole wave, down and up again: half of it is asked for"),
                ("no half", "a cosine runs from 1 to -1: bring it between 1 and 0 first"),
            ]])
            expect(close(shares[:warmup], wanted[:warmup]), "the warm-up is not right: equal steps up, 1/warmup_iters at step 0 and 1 at its last step")
            expect(close(shares[warmup], 1), "the first step after the warm-up should still have the whole peak")
        case = f" (max_iters={max_iters}, warmup_iters={warmup}, floor={floor})"
        expect(close(shares, wanted), f"not the schedule{case}: the share of the way done, from 0 to 1, goes into half a cosine wave between 1 and the floor")


@exercise("09.3")
def check_my_adamw(answer):
    """A function (p, gradients, rate, decay, beta1, beta2) -> p after one AdamW step for each gradient, to 1e-5."""

    def by_hand(p, gradients, rate, decay, beta1, beta2, fault=""):
        p, m, v = p.double(), torch.zeros(p.shape).double(), torch.zeros(p.shape).double()
        beta1, beta2 = (beta2, beta1) if fault == "betas" else (beta1, beta2)
        for t, g in enumerate(gradients, 1):
            g = g.double() + (decay * p if fault == "in the gradient" else 0)
            m = beta1 * m + (1 if fault == "sum" else 1 - beta1) * g
            v = beta2 * v + (1 if fault == "sum" else 1 - beta2) * g**2
            last = {"no correction": math.inf, "late": t + 1, "first": 1}.get(fault, t)
            step = m / (1 - beta1**last)
            square = v if fault == "only m" else v / (1 - beta2**last)
            m, v = (step, square) if fault == "carried" else (m, v)
            if fault == "once" and t < len(gradients):
                continue
            step = step / {"no root": square + 1e-8, "inside": (square + 1e-8).sqrt()}.get(fault, square.sqrt() + 1e-8)
            pull = {"in the gradient": 0, "no decay": 0, "whole": decay / rate}.get(fault, decay) * p
            p = p + rate * (step + pull) if fault == "uphill" else p - rate * (step + pull)
        return p.float()

    for shape, steps, settings in ((6, 4), 10, (0.01, 0.1, 0.8, 0.95)), ((5,), 1, (0.003, 0.0, 0.9, 0.999)), ((3, 2, 2), 25, (0.02, 0.5, 0.9, 0.99)):
        p = torch.randn(shape)
        gradients = [torch.randn(shape) * torch.rand(shape) ** 2 for _ in range(steps)]
        for g in gradients:
            g.view(-1)[-1].abs_()  # one weight is never pulled upward: even a v without squares has a root there
            g.view(-1)[0] = 1e-5 * torch.randn(()).sign() * (1 + torch.rand(()))  # so small that 1e-8 counts, if it stands in the root
        weights = nn.Parameter(p.clone())
        optimizer = torch.optim.AdamW([weights], lr=settings[0], weight_decay=settings[1], betas=settings[2:], eps=1e-8)
        for g in gradients:
            weights.grad = g.clone()
            optimizer.step()
        wanted = weights.detach()
        out = ask(answer, p, list(gradients), *settings)
        broken = out.isnan() if isinstance(out, torch.Tensor) else torch.zeros(1)
        expect(not broken.any() or broken.all() or steps != 10, "some of its numbers are nan: v is below 0 there and has no root, as no mean of SQUARES can be")
        expect(not broken.any(), "it holds nan: does t begin at 0? 1 - β⁰ is 0, and nothing can be divided by that")
        out = tensor(out, shape, "what your function returns")
        expect(not close(out, p, 1e-7), "p is as it was: is the result of each step kept?")
        if steps == 10:
            for fault, message in [
                ("no correction", "the means are not divided by 1 - βᵗ: they begin at 0, so the first ones are too small"),
                ("late", "t begins at 2: in the first step it is 1"),
                ("first", "t stays 1: it grows with every step"),
                ("only m", "the mean of the squares, v, needs its own division by 1 - βᵗ, with the second β"),
                ("in the gradient", "the decay is added to the gradient, so that the running means see it: it pulls p directly, that is the W in AdamW"),
                ("no decay", "the weight decay is missing"),
                ("whole", "the decay is not multiplied by the rate"),
                ("betas", "the two β are exchanged: the first belongs to the gradient, the second to its square"),
                ("no root", "the step is divided by v itself: its root is asked for"),
                ("inside", "1e-8 stands inside the root: it is added to the root, there it counts far less"),
                ("sum", "m and v are sums: a running mean takes (1 - β) of what is new"),
                ("carried", "the divided m and v are carried on to the next step: divide for the step only"),
                ("once", "p moves only once, at the end: every gradient makes a step of its own"),
                ("uphill", "the steps go uphill: they are taken AGAINST the gradient"),
            ]:
                mistake = by_hand(p, gradients, *settings, fault)
                diagnose(out, [(mistake, message)], 1e-5 * max(1, mistake.abs().max().item()))
            diagnose(out, [(by_hand(p, gradients[:1], *settings), "only the first gradient counts: is `return` inside the loop?"),
                           (by_hand(p, gradients[-1:], *settings), "only the last gradient counts: each step goes on from the p of the one before")], 1e-5)
        expect(close(out, wanted, 1e-5), f"after {steps} step{'s' * (steps > 1)} not the p of torch.optim.AdamW: m and v go on from step to step, t counts from 1, and p changes last")


@exercise("09.4")
def check_my_clip(answer):
    """A function (gradients, limit) -> the gradients, all shortened by one factor so that their common length is at most limit."""
    cases = [
        (3.0, [torch.randn(6, 5) * 4, torch.randn(7) * 0.3, torch.randn(2, 3, 2)]),
        (30.0, [torch.randn(6, 5), torch.randn(4)]),
        (1.0, [torch.tensor([3.0, 4.0])]),
        (1.0, [torch.zeros(3), torch.zeros(2, 2)]),
        (math.inf, [torch.randn(4, 3)]),
        (0.5, [torch.randn(9, 9)] + [torch.randn(1) for _ in range(20)]),
    ]
    for limit, gradients in cases:
        params = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for p, g in zip(params, gradients):
            p.grad = g.clone()
        nn.utils.clip_grad_norm_(params, limit)
        wanted = [p.grad for p in params]
        result = ask(answer, [g.clone() for g in gradients], limit)
        expect(isinstance(result, (list, tuple)), f"a list of gradients is asked for, not {_short(result)}")
        expect(len(result) == len(gradients), f"{len(gradients)} gradients went in, and {len(result)} come out")
        result = [tensor(g, tuple(w.shape), f"gradient {i}") for i, (g, w) in enumerate(zip(result, wanted))]
        found, length = torch.cat([g.flatten() for g in result]), math.sqrt(sum((g**2).sum().item() for g in gradients))
        if limit == 3:
            flat = torch.cat([g.flatten() for g in gradients])
            diagnose(found, [
                (flat, "nothing was shortened, although the common length is above the limit"),
                (torch.cat([(g * min(1, limit / g.norm().item())).flatten() for g in gradients]), "each tensor is shortened by itself: the length of ALL together counts, or else their proportions change"),
                (flat.clamp(-limit, limit), "every number is cut by itself: that changes the direction, a common factor keeps it"),
                (flat * limit / length**2, "the length is the ROOT of the sum of squares"),
                (flat * limit / sum(g.norm().item() for g in gradients), "the lengths of the tensors are added: add the squares, then take the root of the sum"),
                (flat * limit / flat.abs().sum(), "this length is the sum of the sizes: squares are added, and then the root taken"),
                (flat * limit / flat.abs().max(), "the largest number is taken for the length"),
                (flat / length, "the result has length 1, whatever the limit"),
                (flat * length / limit, "the factor is upside down: it is limit / length"),
            ])
        if limit == 30:
            expect(close(found, torch.cat([g.flatten() for g in gradients])), "a gradient shorter than the limit is changed: it must stay as it is")
        expect(close(found, torch.cat([g.flatten() for g in wanted])), f"not the clipped gradient for a length of {length:.2f} and a limit of {limit:g}: one factor for all, at most 1")


@exercise("09.5")
def check_resumes_exactly(answer):
    """A function (go) -> whether an interrupted and resumed training ends with the same weights as one in one go, bit for bit."""
    start = torch.randn(6).sign() * (3 + torch.rand(6))
    pull = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])  # three weights have a goal, three drift and so forget nothing
    goal = start.sign() * (3 + torch.rand(6))
    thrown, batches = fresh().get_state(), torch.randn(1009, 6)

    def program(fault="", momentum=0.9, noise=0.3):
        def go(first, last, kept=None):
            dice = torch.Generator()
            dice.set_state(thrown)
            if kept is None:
                weights, mean = start.clone(), torch.zeros(6)
            elif not isinstance(kept, dict) or not {"weights", "mean", "step", "dice"} <= kept.keys():
                raise Wrong("`kept` holds only a part of what `go` returned: hand the whole dictionary back")
            else:
                weights, mean = kept["weights"].clone(), kept["mean"].clone()
                if fault != "dice":
                    dice.set_state(kept["dice"])
                if fault == "mean":
                    mean = torch.zeros(6)
                if fault == "weights":
                    weights = start.clone()
                if fault == "digits":
                    weights = weights * 1.000001
            for step in range(first, last):
                batch = batches[(step - first * (fault == "batches")) % len(batches)]
                dropped = (torch.rand(6, generator=dice) > noise).float()
                mean = momentum * mean + (pull * (weights - goal) + 0.3 * batch) * dropped
                weights = weights - 0.2 / (2 + step - first * (fault == "schedule")) * mean
            return {"weights": weights, "mean": mean, "step": last, "dice": dice.get_state()}

        return go

    cases = [
        ("", {}, True, "a training that resumes exactly is refused: the second half begins at the step where the first half ended, with what that returned, and is compared with the training in one go"),
        ("", {"momentum": 0.0, "noise": 0.0}, True, "a training that resumes exactly is refused, a plain one without momentum or dropout: what does the test compare?"),
        ("weights", {}, False, "a training that begins with fresh weights when it is resumed is accepted: interrupt it in the middle, resume it from there, and compare with the training in one go"),
        ("mean", {}, False, "a training that forgets its optimizer's running mean is accepted: are the weights compared after the resumed half?"),
        ("schedule", {}, False, "a training whose schedule begins again is accepted: resume it at a step that is not 0, and let it go on for some steps"),
        ("batches", {}, False, "a training that sees the first batches again after it was resumed is accepted"),
        ("dice", {}, False, "a training that forgets the state of its random generator, so that other channels are dropped, is accepted"),
        ("digits", {}, False, "a training that keeps its weights with six digits only is accepted: bit for bit means no tolerance"),
    ]
    for fault, more, wanted, message in cases:
        expect(verdict(answer, program(fault, **more), on="the whole training") == wanted, message)


# ---- 10 · Looking inside ----------------------------------------------------------------------


def _shaken_gpt(V, T, C, H, L):
    """A small GPT whose every weight has been shaken, so that each part of it matters."""
    from tinygpt import GPT, GPTConfig

    class Shaken(GPT):
        def __repr__(self):
            return "a small GPT"

    model = Shaken(GPTConfig(V, T, C, H, L))
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return model.eval()


def _mean_surprise(model, idx, targets):
    """The mean surprise, one probability at a time."""
    with torch.no_grad():
        probs = model(idx).double().softmax(dim=-1)
    return -sum(math.log(row[k]) for row, k in zip(probs.flatten(0, 1).tolist(), targets.flatten().tolist())) / targets.numel()


@exercise("10.1")
def check_after_the_same(answer):
    """Seven numbers 0 or 1: the row of the last a of "bananas" (place 5) in the table "after the same"; exact."""
    answer = answer.tolist() if isinstance(answer, torch.Tensor) else answer
    expect(isinstance(answer, (list, tuple)), f"a list of numbers is asked for, not {_short(answer)}")
    expect(len(answer) == 7, f"the row has {len(answer)} numbers: one for each character of the word is wanted, also where the answer is no")
    row = [number(int(value) if isinstance(value, bool) else value) for value in answer]
    expect(set(row) <= {0, 1}, "a row of yes and no is asked for: each number is 1 or 0")
    text, i = "bananas", 5
    again = [float(char == text[i]) for char in text]
    earlier = again[:i] + [0.0] * (7 - i)
    right = [0.0] + earlier[:-1]  # one place further on
    mistakes = [
        (earlier, "this is the row for `same character`: the question is what stands AFTER each of these places"),
        (again, "this is where the same character stands, itself included: the question is what stands AFTER the earlier ones"),
        ([0.0] + again[:-1], "place 6 is the future: row 5 can look back at the places 0 to 5 only"),
        *((places, "these are the places BEFORE the same character: the question asks for those after it") for places in (earlier[1:] + [0.0], again[1:] + [0.0])),
        ([0.0, 0.0, 1.0] + [0.0] * 4, "only the first is marked: every earlier place of the same character counts"),
        ([0.0] * 4 + [1.0, 0.0, 0.0], "only the latest is marked: every earlier place of the same character counts"),
    ]
    diagnose(torch.tensor(row), [(torch.tensor(wrong), message) for wrong, message in mistakes])
    expect(row == right, "not yet: write the places 0 to 6 under the word, mark each earlier place of the character at place 5, then go one place to the right from each")


@exercise("10.2")
def check_lens(answer):
    """A function (model, idx, targets) -> L + 1 losses: of the embedding alone, then after each block."""
    for B, T, V, C, H, L in (3, 5, 7, 12, 3, 3), (1, 4, 5, 8, 2, 2), (2, 1, 9, 6, 1, 1), (2, 6, 6, 8, 4, 5):
        model = _shaken_gpt(V, 6, C, H, L)
        idx, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
        wanted, bare, alone, renormed = [], [], [], []
        for l in range(L + 1):
            cut = copy.deepcopy(model)
            cut.blocks = cut.blocks[:l]  # the model that ends after l blocks
            wanted.append(_mean_surprise(cut, idx, targets))
            one = copy.deepcopy(cut)
            one.blocks = one.blocks[l - 1 :] if l else one.blocks
            alone.append(_mean_surprise(one, idx, targets))
            for block in cut.blocks:
                block.register_forward_pre_hook(lambda block, given: (model.norm(given[0]),))
            renormed.append(_mean_surprise(cut, idx, targets))
            cut = copy.deepcopy(model)
            cut.blocks, cut.norm = cut.blocks[:l], nn.Identity()
            bare.append(_mean_surprise(cut, idx, targets))
        before = copy.deepcopy(model.state_dict())
        found = ask(answer, model, idx, targets)
        found = found.tolist() if isinstance(found, torch.Tensor) else found
        expect(isinstance(found, (list, tuple)), f"a list of losses is asked for, not {_short(found)}")
        found = [number(loss) for loss in found]
        if len(found) == L and L > 1:
            expect(not close(found, wanted[1:]), "the first guess is missing: the embedding alone, before any block, is read through the lens, too")
            expect(not close(found, wanted[:-1]), "the last guess is missing: the stream after the last block is read as well")
        expect(len(found) == L + 1, f"{len(found)} losses for {L} blocks: the embedding alone and every block give one each")
        if L > 1 and not close(found, wanted):
            diagnose(torch.tensor(found), [(torch.tensor(wrong), message) for wrong, message in [
                (bare, "the last norm is left out: the stream goes through `norm` before `lm_head`, after every block alike"),
                (alone, "every block is given the embedding: each must go on from what the block before it has left"),
                (renormed, "the norm's result is handed on to the next block: the norm belongs to the lens only, the stream goes on without it"),
                (wanted[::-1], "the order is turned round: the embedding comes first"),
                ([loss * B * T for loss in wanted], "these are sums: the loss is the mean over all positions of all sequences"),
                ([wanted[-1]] * (L + 1), "all are the loss at the end: the guess must be made from the stream as it is after each block"),
            ]])
        if L > 1 and T > 1 and not close(found[-1], wanted[-1]):
            with torch.no_grad():
                logits = model(idx)
            diagnose(found[-1], [
                (F.cross_entropy(logits.softmax(dim=-1).flatten(0, 1), targets.flatten()), "a softmax stands before the loss: `cross_entropy` wants the logits as they are"),
                (F.cross_entropy(logits[:, -1], targets[:, -1]), "this is the loss at the last position only: the mean goes over all B · T positions"),
            ])
        expect(close(found[-1], wanted[-1]), "the last number should be the loss of the whole model: is every block called once, and the loss the mean over B and T?")
        expect(close(found, wanted), "the last loss is right, an earlier one is not: what does the lens read before block 0, and between the blocks?")
        expect(_same(before, model.state_dict()), "the model is no longer what it was: looking must change nothing")


@exercise("10.3")
def check_loss_without_feed_forward(answer):
    """A function (model, l, idx, targets) -> the loss with the feed-forward layer of block l silent; the model stays as it was."""

    def silent(model, l, name, put):
        other = copy.deepcopy(model)
        getattr(other.blocks[l], name).register_forward_hook(lambda layer, given, out: put(layer, out))
        return other

    for B, T, V, L, l in (3, 5, 7, 3, 1), (1, 4, 5, 2, 0), (2, 6, 9, 4, 3), (2, 1, 6, 1, 0):
        apart = 0.0
        while apart < 0.01:  # so that the last bias is heard clearly where it is left
            model = _shaken_gpt(V, 6, 8, 2, L)
            idx, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
            wanted = _mean_surprise(silent(model, l, "ffwd", lambda layer, out: 0 * out), idx, targets)
            heard = _mean_surprise(silent(model, l, "ffwd", lambda layer, out: 0 * out + layer.contract.bias), idx, targets)
            apart = abs(heard - wanted)
        kept = copy.deepcopy(model)
        found = number(ask(answer, model, l, idx, targets))
        if L == 3 and not close(found, wanted):
            skipped = copy.deepcopy(kept)
            del skipped.blocks[l]
            inner = silent(kept, l, "ffwd", lambda layer, out: 0 * out + layer.contract(layer.activation(0 * out @ layer.contract.weight + layer.expand.bias)))
            everywhere = kept
            for k in range(L):
                everywhere = silent(everywhere, k, "ffwd", lambda layer, out: 0 * out)
            passing = copy.deepcopy(kept)
            passing.blocks[l].ffwd = nn.Identity()
            diagnose(found, [
                (wanted - _mean_surprise(kept, idx, targets), "this is by how much the loss grows: the loss itself is asked for"),
                (_mean_surprise(everywhere, idx, targets), "the feed-forward layers of ALL blocks are silent: only that of block l should be"),
                (_mean_surprise(passing, idx, targets), "the layer hands on what it reads, and that is added to the stream: silence adds 0"),
                (heard, "the layer still says one thing at every position: its last bias"),
                (_mean_surprise(inner, idx, targets), "silence at the entrance is not silence at the exit: the biases still go through the layer"),
                (_mean_surprise(kept, idx, targets), "this is the loss of the whole model: is the layer silent WHILE the loss is taken?"),
                (_mean_surprise(skipped, idx, targets), "the whole block is gone: its attention must still be heard"),
                (_mean_surprise(silent(kept, l, "attn", lambda layer, out: 0 * out), idx, targets), "this silences the attention of the block, not its feed-forward layer"),
                *((_mean_surprise(silent(kept, k, "ffwd", lambda layer, out: 0 * out), idx, targets), "the layer of another block is silent: blocks are counted from 0") for k in (0, 2)),
                (wanted * B * T, "this is a sum: the loss is the mean over all positions of all sequences"),
            ], 1e-5)
        expect(close(found, wanted), "not the loss with this one layer silent: what it adds to the stream must be 0 everywhere, and all else as before")
        expect(_same(kept.state_dict(), model.state_dict()), "afterwards the model is not what it was: give back everything that was set to zero, from copies made before (`clone`)")
        try:
            answer(model, l, torch.full((1, 2), V), torch.zeros(1, 2, dtype=torch.long))  # there is no symbol V
        except Exception:
            pass
        expect(_same(kept.state_dict(), model.state_dict()), "where the model fails inside, the layer stays silent for ever: what must happen in any case belongs into `finally`")
        expect(close(_mean_surprise(model, idx, targets), _mean_surprise(kept, idx, targets)), "afterwards the model gives other guesses than before")


@exercise("10.4")
def check_maps_are_causal(answer):
    """A function (weights (B, L, H, T, T)) -> whether no row looks ahead and every row sums to one, rounding allowed for."""
    for B, L, H, T in (3, 2, 4, 9), (1, 3, 2, 5):
        scores = 2 * torch.randn(B, L, H, T, T)
        future = torch.tensor([[j > i for j in range(T)] for i in range(T)])
        right = scores.masked_fill(future, -math.inf).softmax(dim=-1)
        one_head, one_place = right.clone(), right.clone()
        one_head[:, -1, 1] = scores[:, -1, 1].softmax(dim=-1)
        one_place[-1, 0, -1, 0] = torch.tensor([0.9, 0.1] + [0.0] * (T - 2))
        cases = [
            (torch.eye(T).expand(B, L, H, T, T), True, "heads that look only at themselves are refused: the diagonal and what is below it may be looked at, which part may not?"),
            (right, True, "right maps are refused: does the sum run along a row, and may it miss 1 by a rounding error of about 1e-6?"),
            (torch.ones(B, L, H, 1, 1), True, "maps of texts of one symbol are refused: there is no future in them, and each row is a single 1"),
            (scores.softmax(dim=-1), False, "heads without any mask are accepted: what may not be looked at is above the diagonal"),
            (right.transpose(-2, -1), False, "maps with rows and columns exchanged are accepted: there, everybody looks ahead"),
            (scores.softmax(dim=-1).masked_fill(future, 0.0), False, "maps masked AFTER the softmax are accepted: do their rows still sum to one?"),
            (scores.masked_fill(future, -math.inf).softmax(dim=-2), False, "maps whose COLUMNS sum to one are accepted: over which dimension must the sum run?"),
            (one_head, False, "one head of one block looks ahead, and the maps are accepted: look at every block and head"),
            (one_place, False, "one row of one map looks one place ahead, and the maps are accepted: look at every row of every text"),
        ]
        for weights, wanted, message in cases:
            expect(verdict(answer, weights, on="all maps together") == wanted, message)


# ---- 11 · Fine-tuning -------------------------------------------------------------------------


@exercise("11.1")
def check_head_parameters(answer):
    """A number: the parameters of lm_head alone, for V = 65 and C = 64; exact."""
    answer = number(answer)
    V, C = 65, 64
    diagnose(answer, [
        (V * C, "`lm_head` has a bias, too: one number for each symbol"),
        (V * C + C, "the bias has one number for each symbol that comes out, not for each channel that goes in"),
        (V * C + V + 2 * C, "this counts the last norm as well: only `lm_head` moves here"),
        (V * V + V, "`lm_head` goes from C = 64 channels to V = 65 scores"),
        (54145, "this is the number of the lesson's cell, where the last block and the last norm move as well"),
        (209729 - V * C - V, "these are the parameters that stay fixed: how many move?"),
        (V, "the bias has one number for each symbol; the matrix is missing"),
    ])
    expect(answer == sum([C] * V) + V, "not yet: a linear layer has a number for every pair of one channel that goes in and one score that comes out, and a bias")


@exercise("11.2")
def check_freeze_before(answer):
    """A function (model, first) that leaves blocks first, first + 1, ..., norm and lm_head to be trained -> how many parameters move."""
    from tinygpt import GPT, GPTConfig

    class Small(GPT):
        def __repr__(self):
            return "a small GPT"

    for L, first, was in (4, 2, True), (3, 1, True), (2, 0, True), (2, 2, True), (3, 1, False), (4, 3, None):
        model = Small(GPTConfig(7, 5, 8, 2, L))
        for i, p in enumerate(model.parameters()):
            p.requires_grad_(i % 2 == 0 if was is None else was)
        before = copy.deepcopy(model.state_dict())
        found = ask(answer, model, first)
        case = f" (first = {first} of {L} blocks)"
        moves = {name: p.requires_grad for name, p in model.named_parameters()}
        if was and first and all(moves.values()) and isinstance(found, int):
            late = sum(p.numel() for name, p in model.named_parameters() if name.startswith(("norm.", "lm_head.")) or name.startswith("blocks.") and int(name.split(".")[1]) >= first)
            expect(found != late, "the number is right, but in the model that was given nothing is frozen: was it done on a copy?")
        if was and first:
            expect(not all(moves.values()), "nothing is frozen: `requires_grad` belongs to the parameters. On a module, it is a new attribute that nobody reads")
        expect(was is not False or any(moves.values()), "the model came with everything frozen, and it still is: what shall move must be told so, too")
        tables = [name for name in moves if "embedding" in name]
        expect(not all(moves[name] for name in tables), f"both tables still move: they come before the first block{case}")
        expect(not any(moves[name] for name in tables), f"one of the two tables still moves: there is one for the symbols and one for the positions{case}")
        state = [{moves[name] for name in moves if name.startswith(f"blocks.{l}.")} for l in range(L)]
        mixed = [l for l in range(L) if len(state[l]) == 2]
        expect(not mixed, f"in block {mixed and mixed[0]} some parameters move and others do not: a block is frozen as a whole or not at all{case}")
        moving = [l for l in range(L) if state[l] == {True}]
        expect(moving == list(range(first, L)) or moving != list(range(first + 1, L)), f"one block too many is frozen: block `first` itself shall move, and blocks are counted from 0{case}")
        expect(moving == list(range(first, L)) or moving != list(range(max(first - 1, 0), L)), f"one block too few is frozen: of the blocks, those before number `first` stay fixed{case}")
        expect(moving == list(range(first, L)) or moving != list(range(first)), f"the wrong end is frozen: the blocks before number `first` stay fixed, the later ones move{case}")
        expect(moving == list(range(first, L)), f"the blocks that move are {moving}{case}")
        for name in "norm", "lm_head":
            expect(all(moves[part] for part in moves if part.startswith(name + ".")), f"`{name}` does not move as a whole: it comes after the blocks{case}")
        expect(_same(before, model.state_dict()), f"the weights themselves have changed: to freeze is only to say what may move later{case}")
        found = number(found)
        sizes = {name: p.numel() for name, p in model.named_parameters()}
        right = sum(sizes[name] for name in sizes if moves[name])
        diagnose(found, [
            (sum(moves.values()), "the right ones move, but this number counts the tensors: how many numbers do they hold?"),
            (sum(sizes.values()) - right, "the right ones move, but this number is that of the frozen parameters"),
            (sum(sizes.values()), "the right ones move, but this number is that of all parameters"),
        ] if was and first else [])
        expect(found == right, f"the right ones move, but their number is not {found:g}{case}")


@exercise("11.3")
def check_mix(answer):
    """A function (old, new, share), batches (x, y) of (B, T) each -> a batch of B windows, round(share · B) of them old; any order, exact."""
    for B, T, share in (16, 5, 0.25), (10, 3, 0.28), (7, 4, 0.4), (4, 2, 0.0), (5, 1, 1.0), (1, 6, 0.2):
        symbols = torch.randperm(4 * B * T).view(4, B, T)  # no number occurs twice
        old, new = (symbols[0], symbols[1]), (symbols[2], symbols[3])
        case = f" (B = {B}, share = {share})"
        made = ask(answer, old, new, share)
        expect(isinstance(made, (tuple, list)) and len(made) == 2, f"a batch is a pair (x, y) of two tensors, not {_short(made)}")
        x, y = made
        if isinstance(x, torch.Tensor) and x.dim() == 2:
            expect(len(x) != 2 * B, f"all windows of both batches are there, {2 * B} of them: a batch of B is wanted, so take only some of each{case}")
        x, y = tensor(x, (B, T), "x").tolist(), tensor(y, (B, T), "y").tolist()
        rows = {tuple(row): (name, target) for name, pair in {"old": old, "new": new}.items() for row, target in zip(pair[0].tolist(), pair[1].tolist())}
        expect(all(tuple(row) in rows for row in x), f"a row of x is none of the given windows: join whole rows, one below the other{case}")
        expect(len(set(map(tuple, x))) == B, f"a window is there twice{case}")
        n, wanted = sum(rows[tuple(row)][0] == "old" for row in x), round(share * B)
        expect(n == wanted or n != B - wanted, f"the shares are exchanged: `share` is the share of the OLD windows{case}")
        expect(n == wanted or n != int(share * B), f"{n} old windows: round to the nearest whole number, do not cut off{case}")
        expect(n == wanted, f"{n} of {B} windows are old ones{case}")
        expect([rows[tuple(row)][1] for row in x] == y, f"a row of y belongs to another window than the row of x beside it: x and y must be taken and joined in the same way{case}")


@exercise("11.4")
def check_pull_back(answer):
    """A function (model, old, strength): adds the gradient of strength · (squared distance) to each p.grad -> that penalty."""

    class Small(nn.Sequential):
        def __repr__(self):
            return "a small model"

    for strength, frozen, inside in (0.5, False, 4), (0.01, False, 2), (0.3, True, 3):
        model = Small(nn.Linear(3, inside), nn.Tanh(), nn.Linear(inside, 2))
        old = copy.deepcopy(model)
        for name, p in model.named_parameters():
            p.requires_grad_(not (frozen and name.startswith("0.")))
            if p.requires_grad:
                p.data += torch.randn_like(p) + 0.3
        F.mse_loss(model(torch.randn(6, 3)), torch.randn(6, 2)).backward()
        weights, olds = (copy.deepcopy(one.state_dict()) for one in (model, old))
        grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
        leaves = {name: weights[name].double().requires_grad_() for name in grads}
        square = sum(((leaves[name] - olds[name].double()) ** 2).sum() for name in grads)
        (strength * square).backward()
        pull = {name: leaf.grad for name, leaf in leaves.items()}
        square = square.item()
        try:
            found = ask(answer, model, old, strength)
        except Wrong as error:
            expect(not (frozen and "None" in str(error)), "a frozen parameter has no gradient, its `p.grad` is None: leave it out")
            raise
        expect(_same(weights, model.state_dict()), "the weights have changed: only their gradients shall, the step is the optimizer's business")
        expect(_same(olds, old.state_dict()), "the old model has changed: it must stay as the mark to come back to")
        for p in model.parameters():
            expect(p.requires_grad or p.grad is None, "a frozen parameter was given a gradient: leave it out")
        now = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        for name in grads:
            tensor(now[name], grads[name].shape, "a gradient")

        def like(rule):
            return all(close(now[name], rule(grads[name], pull[name])) for name in grads)

        for rule, message in [
            (lambda g, pull: g, "the gradients are as before: add to `p.grad` itself"),
            (lambda g, pull: g - pull, "the sign is wrong: this pushes the weights AWAY from the old ones, since a step goes against the gradient"),
            (lambda g, pull: pull, "the gradient of the loss is gone: ADD to it, do not replace it"),
            (lambda g, pull: g + pull / 2, "half of what it must be: the derivative of a square has a factor 2"),
            (lambda g, pull: g - pull / 2, "half of what it must be, and away from the old weights: look at the factor and at the sign"),
            (lambda g, pull: g + pull / strength, "the strength is missing in the gradient"),
        ]:
            expect(not like(rule), message)
        expect(like(lambda g, pull: g + pull), "the gradients are not those of loss + strength · (squared distance): work it out for one weight, then for all")
        found = number(found)
        diagnose(found, [
            (square, "the gradients are right; the number returned lacks the strength"),
            (strength * math.sqrt(square), "the gradients are right; the number returned holds the distance, not its square"),
            (strength * square / sum(g.numel() for g in grads.values()), "the gradients are right; the number returned is a mean over the weights, not their sum"),
        ])
        expect(close(found, strength * square, 1e-3), "the gradients are right; the number returned is not strength · (sum over all weights of (p − old)²)")


@exercise("11.5")
def check_will_train(answer):
    """A function (model, optimizer) -> whether the optimizer holds every parameter of the model that needs a gradient, of which there is at least one."""

    class Small(nn.Sequential):
        def __repr__(self):
            return "a small model"

    class Steps(torch.optim.SGD):
        def __repr__(self):
            return "an optimizer"

    def make():
        return Small(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))

    model = make()
    groups = Steps([{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.1}], lr=0.01)
    some, other = make(), make()
    some[0].requires_grad_(False)
    other[0].requires_grad_(False)
    original = make()
    duplicate = copy.deepcopy(original)
    frozen = make().requires_grad_(False)
    changed = make()
    stale = Steps(changed.parameters(), lr=0.01)
    changed[2] = nn.Linear(3, 2)
    asleep = make()
    first_only = Steps(asleep[0].parameters(), lr=0.01)
    asleep[0].requires_grad_(False)
    thawed = make()
    second_only = Steps(thawed[2].parameters(), lr=0.01)
    plain = make()
    cases = [
        (plain, Steps(plain.parameters(), lr=0.01), True, "a model and the optimizer of all its parameters are refused"),
        (some, Steps([p for p in some.parameters() if p.requires_grad], lr=0.01), True, "a model with frozen layers is refused, although the optimizer holds all that moves: frozen parameters need not be there"),
        (other, Steps(other.parameters(), lr=0.01), True, "a model with frozen layers is refused because the optimizer holds these, too: without a gradient it leaves them alone"),
        (model, groups, True, "an optimizer with two groups of parameters is refused: look into every one of `optimizer.param_groups`"),
        (duplicate, Steps(original.parameters(), lr=0.01), False, "a `deepcopy` with the optimizer of its original is accepted: equal values in another place are another parameter, so compare by `is` or `id`"),
        (frozen, Steps(frozen.parameters(), lr=0.01), False, "a model in which everything is frozen is accepted: at least one parameter must need a gradient"),
        (changed, stale, False, "a layer was replaced after the optimizer was made, and this is accepted: EVERY parameter that needs a gradient must be there, not just one or as many"),
        (asleep, first_only, False, "an optimizer that holds only the frozen layer is accepted: it must hold those that need a gradient"),
        (thawed, second_only, False, "a layer is left out of the optimizer, though it needs a gradient, and this is accepted: go through the parameters of the MODEL, and look for each of them in the optimizer"),
    ]
    for model, optimizer, wanted, message in cases:
        expect(verdict(answer, model, optimizer) == wanted, message)


# ---- 12 · Scaling -----------------------------------------------------------------------------


@exercise("12.1")
def check_halving_factor(answer):
    """A number: the factor by which the budget must grow to halve the loss, where loss ~ budget^(-0.05); within 1 %."""
    answer = number(answer)
    expect(answer > 0, "a factor is asked for: it is a positive number")
    slope = 0.05
    mistakes = [
        (2**slope, "this is what DOUBLING the budget does to the loss: the question goes the other way round"),
        (2**-slope, "this is what DOUBLING the budget does to the loss: the question goes the other way round"),
        (1 / slope, "how often must the budget be doubled? This is the number of doublings, not the factor that they make together"),
        (0.5 / slope, "this follows a straight line on ordinary axes: on logarithmic ones, factors are multiplied, not added"),
        (2 / slope, "this follows a straight line on ordinary axes: on logarithmic ones, factors are multiplied, not added"),
        (2 ** -(1 / slope), "the budget must grow: a factor below 1 makes it smaller"),
        (math.exp(1 / slope), "the exponent is right, the base is not: the loss shall be HALVED, so what stands in the place of e?"),
        (10 ** (1 / slope), "the exponent is right, the base is not: the loss shall be HALVED, not divided by ten"),
        (2 ** (1 / (10 * slope)), "a slip of a place behind the point: the exponent is 0.05, not 0.5"),
    ]
    diagnose(math.log(answer), [(math.log(value), message) for value, message in mistakes], 0.01)
    expect(abs(math.log(answer) - math.log(2) / slope) < 0.01, "not yet: write (factor)^(-0.05) = 1/2 and take both sides to the power that leaves the factor alone")


@exercise("12.2")
def check_power_law(answer):
    """A function (budgets, losses, target) -> the loss at target by the power law through the points, least squares on logarithms; to 0.001."""
    for slope, step, signs, noise in (-0.3, 10.0, (1, -1, -1, 1), 0.1), (-0.07, 2.5, (0, 0, 0, 0), 0.0), (-0.1, 4.0, (1, -1, 1), 0.03), (-0.2, 3.0, (-1, 1, 1, -1, 0, 1), 0.05):
        n, start = len(signs), 1e9 * 10 ** (2 * torch.rand(()).item())
        order = torch.randperm(n).tolist() if n > 4 else list(range(n))
        budgets = [start * step**k for k in order]
        losses = [3 * step ** (slope * k) * math.exp(signs[k] * noise * (1 + 0.2 * torch.rand(()).item())) for k in order]
        target = start * step**n

        def fitted(xs, ys, x):
            table = torch.tensor([[1.0, value] for value in xs], dtype=torch.float64)
            a, b = torch.linalg.lstsq(table, torch.tensor(ys, dtype=torch.float64)).solution.tolist()
            return a + b * x

        lx, ly, x = [math.log(b / start) for b in budgets], [math.log(y) for y in losses], math.log(target / start)
        right = math.exp(fitted(lx, ly, x))
        found = number(ask(answer, list(budgets), list(losses), target))
        if close(found, right, 0.001):
            continue
        if n == 4 and noise:
            fall = (ly[-1] - ly[0]) / (lx[-1] - lx[0])
            absolute = [math.log(b) for b in budgets]
            origin = sum(a * b for a, b in zip(absolute, ly)) / sum(a * a for a in absolute)
            slope = fitted(lx, ly, 1) - fitted(lx, ly, 0)
            steep = fitted(ly, lx, 1) - fitted(ly, lx, 0)
            mistakes = [
                (math.log(right), "this is the logarithm of the loss: the line lives on logarithmic axes, the answer does not"),
                (fitted([b / start for b in budgets], losses, target / start), "this is a straight line through the numbers themselves: a power law is one on logarithmic axes, both of them"),
                (fitted(lx, losses, x), "only the budgets are on a logarithmic axis: the losses must be, too"),
                (math.exp(fitted([b / start for b in budgets], ly, target / start)), "only the losses are on a logarithmic axis: the budgets must be, too"),
                (math.exp(ly[-1] + fall * (x - lx[-1])), "this line goes through the first and the last point alone: least squares asks all of them"),
                (math.exp(ly[-1] + (ly[-1] - ly[-2]) / (lx[-1] - lx[-2]) * (x - lx[-1])), "this line goes through the last two points alone: least squares asks all of them"),
                (math.exp(origin * math.log(target)), "this line is forced through the origin: it needs a height, too"),
                (math.exp(fitted(lx, ly, sum(lx) / n)), "this is the middle of the line: is `target` used?"),
                (math.exp(2 * fitted(lx, ly, sum(lx) / n) - fitted(lx, ly, x)), "the sign of the slope is wrong: the loss falls as the budget grows"),
                (math.exp(slope * math.log(target)), "the line has a slope, but no height: what is the loss where the logarithm of the budget is 0?"),
                (slope, "this is the slope of the line: what does the line say at `target`?"),
                (math.log10(right), "this is the logarithm of the loss: the line lives on logarithmic axes, the answer does not"),
                (10 ** math.log(right), "`log` is undone by `exp`, not by 10 **"),
                (math.exp(math.log10(right)), "`log10` is undone by 10 **, not by `exp`"),
                (math.exp(sum(ly) / n + (x - sum(lx) / n) / steep), "budgets and losses have changed places: the logarithm of the loss goes over that of the budget"),
                (0.0, "a loss of 0: is `target` on the logarithmic axis, too?"),
            ]
            for value, message in mistakes:
                diagnose(found, [(value, message)], min(0.001, 0.001 * abs(value)))
        else:
            expect(not close(found, math.log(right), 0.001), "this is the logarithm of the loss: the line lives on logarithmic axes, the answer does not")
        raise Wrong(f"not the least-squares line on logarithmic axes, for {n} points{' that lie exactly on one' if not noise else ', not in order' if n > 4 else ''}: does the code depend on their number or order?")


@exercise("12.3")
def check_floor(answer):
    """A function (budgets, losses, floors) -> the E of floors whose line through ln(loss - E) has the least spread; exact."""
    too_high = "some of the choices are not below the lowest loss, where loss − E has no logarithm: leave these out"
    for E, choices in (1.2, [0.6, 0.1, 1.2, 0.9]), (0.0, [0.2, 0.1, 0.0, 0.3]), (0.8, [9.0, 0.4, 2.5, 0.0, 0.8]):
        alpha, A, start = 0.3 + 0.1 * torch.rand(()).item(), 2 + torch.rand(()).item(), 1e9 * (1 + torch.rand(()).item())
        budgets = [start * 4.0**k for k in range(4)]
        losses = [E + A * 4.0 ** (-alpha * k) for k in range(4)]
        highest = math.floor(1000 * losses[-1] - 5) / 1000  # just below the lowest loss: the line fits worst there
        choices.insert(2, highest)
        try:
            found = number(ask(answer, list(budgets), list(losses), list(choices)))
        except Wrong as error:
            expect(max(choices) == highest or "raised" not in str(error), too_high)
            raise
        found = next((floor for floor in choices if abs(floor - found) < 1e-5), found)
        expect(found in choices, f"{found:.4g} is none of the choices {choices}: return the E itself, not its spread or its place")
        expect(found <= highest, too_high)
        if found != E:
            expect(min(choices) < found < highest, "this E stands at the edge of the choices: is the LEAST spread taken, and are both axes logarithmic?")
            expect(found != choices[0], "this is the first of the choices: have all of them the same spread, because E is never subtracted from the losses?")
            expect(E > 0, "the curve without a floor fits best here, and is not chosen: E = 0 is a choice like any other")
            raise Wrong("not the E with the least spread: each E has a line of its own, through ln(loss − E)")


@exercise("12.4")
def check_whole_gradient(answer):
    """A function (gradients, sizes) of the parts of a batch -> the gradient of the mean loss over the whole batch."""
    for sizes, shape in ([9, 3], (4, 2)), ([1, 5, 2], (3,)), ([17, 16], (2, 3, 2)), ([4, 4], (5,)), ([6], (1, 3)):
        each = torch.randn(sum(sizes), *shape) + 1  # the gradient of every window
        parts = [part.mean(dim=0) for part in each.split(sizes)]
        right = each.double().mean(dim=0)
        whole = tensor(ask(answer, [part.clone() for part in parts], list(sizes)), shape, "the gradient")
        if sizes == [9, 3]:
            (a, b), (m, n) = parts, sizes
            diagnose(whole, [
                ((a + b) / 2, "every part counts the same here, though one has more windows: the mean of the means is the mean of all only if the parts are equally large"),
                (a + b, "these are added: a mean is wanted, and larger parts count more"),
                (a * m + b * n, "larger parts count more, but this is the sum over all windows, not their mean"),
                ((a * m + b * n) / 2, "divided by the number of parts: how many windows are there in all?"),
                ((a * n + b * m) / (m + n), "the smaller part counts more here: each must count as often as it has windows"),
                ((a / m + b / n), "each part's gradient is a mean already: it need not be divided by its size, on the contrary"),
                ((torch.stack(parts) * torch.tensor(sizes)).sum(dim=0) / (m + n), "the sizes are multiplied along the last dimension: each belongs to a whole part"),
                ((a + b) / (m + n), "each part's gradient is a mean already: multiply it by its size before the sum is divided by the number of all windows"),
            ])
        expect(close(whole, right), f"not the mean over all windows, for parts of the sizes {sizes}")


@exercise("12.5")
def check_is_shared(answer):
    """A function (batch (B, T), parts) -> whether the parts, equally large, hold every row of the batch exactly as often as it does."""
    B, T = 12, 5
    rows = torch.randperm(10 * B * T)[: 2 * B * T].view(2, B, T)
    batch, foreign = rows[0], rows[1]
    twins = batch.clone()
    twins[1] = twins[0]
    cases = [
        (batch, [batch[:6], batch[6:]], True, "two halves of a batch are refused"),
        (batch, [batch[0::2], batch[1::2]], True, "every second row for each of two processes is refused: the order of the rows does not matter, the loss is a mean"),
        (batch, [batch[2::3], batch[0::3], batch[1::3]], True, "three processes with every third row each are refused: does the test depend on the number of parts?"),
        (twins, [twins[0::2], twins[1::2]], True, "a batch in which one window was drawn twice is refused, though it is shared rightly: rows must be counted"),
        (batch, [batch[0::2], foreign[1::2]], False, "the friend's mistake is accepted: the second process has rows of another batch"),
        (batch, [batch[0::2], batch[0::2]], False, "two processes with the SAME half are accepted: the other half is never seen"),
        (batch, [batch[0:4], batch[4:8]], False, "a third of the batch is kept by nobody, and this is accepted"),
        (twins, [twins[[0, 2, 3, 4, 5, 6]], twins[[6, 7, 8, 9, 10, 11]]], False, "a row is kept twice and another one too seldom, and this is accepted: rows must be counted"),
        (batch, [batch[0::2], batch[1::2].flip(1)], False, "rows with their symbols in another order are accepted: compare whole rows"),
        (batch, [batch[:7], batch[7:]], False, "parts of 7 and 5 rows are accepted: the mean of their means is not the mean of the whole"),
    ]
    for batch, parts, wanted, message in cases:
        expect(verdict(answer, batch, parts) == wanted, message)
