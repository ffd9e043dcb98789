"""Plausible wrong answers to the exercises of lesson 03: {check: [(answer, what its message must say), ...]}."""
import torch


def batches(last=0, shift=1, own=True, rows=torch.stack):
    """A `get_batch` whose last start, shift or generator may be wrong."""

    def get(data, batch_size, block_size, generator):
        size = (batch_size,)
        starts = torch.randint(len(data) - block_size + last, size, generator=generator if own else None)
        x = rows([data[s : s + block_size] for s in starts])
        return x, rows([data[s + shift : s + shift + block_size] for s in starts])

    return get


def rolled(data, batch_size, block_size, generator):
    x, _ = batches()(data, batch_size, block_size, generator)
    return x, x.roll(-1, dims=1)


def one_start(data, batch_size, block_size, generator):
    start = torch.randint(len(data) - block_size, (1,), generator=generator).item()
    rows = data[start : start + block_size + 1].repeat(batch_size, 1)
    return rows[:, :-1], rows[:, 1:]


def side_by_side(data, batch_size, block_size, generator):
    start = torch.randint(len(data) - block_size, (1,), generator=generator).item()
    starts = [(start + row) % (len(data) - block_size) for row in range(batch_size)]
    rows = torch.stack([data[s : s + block_size + 1] for s in starts])
    return rows[:, :-1], rows[:, 1:]


def folded(data, batch_size, block_size, generator):
    starts = torch.randint(len(data), (batch_size,), generator=generator) % (len(data) - block_size)
    rows = data[starts[:, None] + torch.arange(block_size + 1)]
    return rows[:, :-1], rows[:, 1:]


def rounded(data, batch_size, block_size, generator):
    starts = (torch.rand(batch_size, generator=generator) * (len(data) - block_size - 1)).round().long()
    rows = data[starts[:, None] + torch.arange(block_size + 1)]
    return rows[:, :-1], rows[:, 1:]


def by_places(data, batch_size, block_size, generator):
    starts = torch.randint(len(data) - block_size, (batch_size,), generator=generator)
    places = starts[:, None] + torch.arange(block_size + 1)
    return places[:, :-1], places[:, 1:]


def beyond_the_end(data, batch_size, block_size, generator):
    starts = torch.randint(len(data), (batch_size,), generator=generator)
    rows = data[starts[:, None] + torch.arange(block_size + 1)]
    return rows[:, :-1], rows[:, 1:]


def same_seed(data, batch_size, block_size, generator):
    return batches()(data, batch_size, block_size, torch.Generator().manual_seed(0))


def whole_windows(data, batch_size, block_size, generator):
    starts = torch.randint(len(data) - block_size, (batch_size,), generator=generator)
    rows = torch.stack([data[s : s + block_size + 1] for s in starts])
    return rows, rows


def first_place(data, x, y):
    for row, targets in zip(x, y):
        start = (data == row[0]).nonzero()[0].item()
        if not torch.equal(data[start + 1 : start + 1 + len(row)], targets):
            return False
    return True


def skips_the_middle(data, x, y):
    text, T = data.tolist(), x.shape[1]
    windows = [text[s : s + T + 1] for s in range(len(text) - T)]
    return all(row + targets[-1:] in windows for row, targets in zip(x.tolist(), y.tolist()))


def skips_the_first(data, x, y):
    text, T = data.tolist(), x.shape[1]
    windows = [text[s : s + T] for s in range(1, len(text) - T + 1)]
    return all(targets in windows for targets in y.tolist()) and torch.equal(x[:, 1:], y[:, :-1])


def last_row_only(data, x, y):
    for row, targets in zip(x.tolist(), y.tolist()):
        good = any(
            data[s : s + len(row)].tolist() == row and data[s + 1 : s + 1 + len(row)].tolist() == targets
            for s in range(len(data))
        )
        if good:
            return True
    return False


def each_by_itself(data, x, y):
    def stands(row):
        return any(data[s : s + len(row)].tolist() == row for s in range(len(data)))

    return all(map(stands, x.tolist())) and all(map(stands, y.tolist())) and not torch.equal(x, y)


def wrapping(data, x, y):
    text, T = data.tolist() * 2, x.shape[1]
    pairs = [(text[s : s + T], text[s + 1 : s + T + 1]) for s in range(len(data))]
    return all(pair in pairs for pair in zip(x.tolist(), y.tolist()))


WRONG = {
    "check_number_of_starts": [
        (993, "one too many"),
        (991, "one too few"),
        (1000, "hangs over the end"),
        (125, "SIDE BY SIDE"),
        (111, "SIDE BY SIDE"),
        (999, "pairs of neighbours"),
        (500, "not yet"),
    ],
    "check_mean_and_error": [
        (lambda losses: (losses.mean(), losses.std()), "SINGLE losses"),
        (lambda losses: (losses.mean(), losses.std() / len(losses)), "divided by n"),
        (lambda losses: (losses.mean(), losses.var() / len(losses)), "a root missing"),
        (lambda losses: (losses.std() / len(losses) ** 0.5, losses.mean()), "wrong order"),
        (lambda losses: losses.mean(), "two numbers"),
        (lambda losses: (losses.mean(), losses.var() / len(losses) ** 0.5), "the variance is taken"),
        (lambda losses: (losses.mean(), (losses.std() / len(losses)) ** 0.5), "for 16 losses the second number"),
        (lambda losses: (losses.mean(), losses.std() / 4), "built in"),
        (lambda losses: (losses.median(), losses.std() / len(losses) ** 0.5), "not their mean"),
    ],
    "check_random_batch": [
        (batches(shift=0), "y is x itself"),
        (batches(shift=2, last=-1), "two steps later"),
        (rolled, "only the last target"),
        (batches(last=-1), "never a target"),
        (beyond_the_end, "hangs over the end"),
        (batches(last=4), "hangs over the end"),
        (batches(own=False), "same seed gives two different"),
        (same_seed, "another seed gives the same"),
        (one_start, "the same window"),
        (side_by_side, "side by side"),
        (folded, "more often than others"),
        (rounded, "more often than others"),
        (by_places, "are the places returned"),
        (whole_windows, "has the shape"),
        (lambda *arguments: batches()(*arguments)[::-1], "EARLIER"),
    ],
    "check_epoch_starts": [
        (lambda N, T: torch.randperm(N // T) * T, "no room for T + 1"),
        (lambda N, T: torch.arange(0, N - T, T), "in the order of the text"),
        (lambda N, T: torch.arange(0, N - T, T).flip(0), "from back to front"),
        (lambda N, T: torch.arange(0, N - T, T).roll(3), "begins at another place"),
        (lambda N, T: torch.randperm((N - 1) // T), "numbers of the windows"),
        (lambda N, T: torch.randperm(N - T), "ALL possible starts"),
        (lambda N, T: torch.randint((N - 1) // T, ((N - 1) // T,)) * T, "comes twice"),
        (lambda N, T: torch.randperm((N - 1) // T - 1) * T, "windows fit"),
        (lambda N, T: torch.randperm((N - 1) // T, generator=torch.Generator().manual_seed(1)) * T, "same at every call"),
    ],
    "check_targets_are_right": [
        (lambda data, x, y: torch.equal(x[:, 1:], y[:, :-1]), "its last column"),
        (first_place, "any of these places"),
        (last_row_only, "EVERY row"),
        (skips_the_middle, "the MIDDLE of a row"),
        (skips_the_first, "first INPUT"),
        (each_by_itself, "EARLIER"),
        (wrapping, "after its end"),
        (lambda data, x, y: True, "the inputs themselves"),
        (lambda data, x, y: x[:, 1:] == y[:, :-1], "truth values"),
        (lambda data, x, y: torch.equal(y, x + 1), "a right batch is refused"),
    ],
}
