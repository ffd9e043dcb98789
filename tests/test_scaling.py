"""Lesson 12: the fit is the textbook's, a budget is spent and not overdrawn, and processes end together."""
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

import lessons
import parallel
import psutil
import pytest
import torch
import workbench
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tinygpt import GPTConfig, operations_per_token

SYMBOLS = torch.randint(20, (5000,), generator=torch.Generator().manual_seed(0))
LESSON = lessons.definitions_of(
    lessons.find("12"), seed=5, device="cpu", generator=torch.Generator().manual_seed(5), V=20, B=4, T=16,
    train_data=SYMBOLS, val_data=SYMBOLS[:1000], corpus="six_plays", shared_steps=2,
)  # fmt: skip


# ---- The fit ----------------------------------------------------------------------------------


@given(st.floats(-3, 3), st.floats(0.1, 5), st.floats(-5, 5), st.lists(st.floats(-4, 4), min_size=3, max_size=3, unique=True))
def test_the_lowest_point_of_a_parabola_is_found(x0, a, y0, xs):
    assume(min(abs(p - q) for i, p in enumerate(xs) for q in xs[:i]) > 0.1)
    x, y = LESSON["lowest"](xs, [y0 + a * (x - x0) ** 2 for x in xs])
    inside = min(max(x0, min(xs)), max(xs))
    assert x == pytest.approx(inside, abs=1e-6)
    assert y == pytest.approx(y0 + a * (inside - x0) ** 2, abs=1e-6)


def test_where_the_parabola_has_no_lowest_point_the_best_of_the_three_counts():
    assert LESSON["lowest"]([0, 1, 2], [1.0, 2.0, 0.5]) == pytest.approx((2, 0.5))
    assert LESSON["lowest"]([0, 1, 2], [3.0, 2.0, 1.0])[0] == 2


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=3, max_size=9))
def test_the_line_is_the_one_of_least_squares(points):
    xs, ys = zip(*points)
    assume(statistics.pvariance(xs) > 1e-3)
    slope, at, spread = LESSON["line"](xs, ys)
    wanted = statistics.linear_regression(xs, ys)
    assert slope == pytest.approx(wanted.slope, abs=1e-6)
    assert at(2.5) == pytest.approx(wanted.slope * 2.5 + wanted.intercept, abs=1e-6)
    left_over = [y - wanted.slope * x - wanted.intercept for x, y in points]
    assert spread == pytest.approx(math.sqrt(sum(r * r for r in left_over) / (len(points) - 2)), abs=1e-6)


def test_the_interval_holds_the_fifth_point_95_times_of_100():
    dice, held, n = random.Random(1), 0, 4000
    for _ in range(n):
        xs = [0.0, 1.0, 2.0, 3.0]
        slope, at, spread = LESSON["line"](xs, [2 * x + dice.gauss(0, 1) for x in xs])
        held += abs(8 + dice.gauss(0, 1) - at(4)) <= LESSON["reach"](xs, spread, 4)
    assert abs(held / n - 0.95) < 4 * math.sqrt(0.95 * 0.05 / n)


# ---- Budgets ----------------------------------------------------------------------------------


@given(st.sampled_from([8, 16, 24, 48, 64]), st.floats(1e8, 1e13))
@settings(deadline=None)
def test_the_steps_spend_the_budget_to_within_half_a_step(C, budget):
    one = operations_per_token(LESSON["member"](C)) * 4 * 16
    steps = LESSON["steps_for"](C, budget)
    assert steps == 1 or abs(steps * one - budget) <= one / 2 * (1 + 1e-9)


def test_spending_trains_for_just_these_steps_and_the_same_budget_gives_the_same_model():
    ticks = iter(range(10_000))
    budget = 40 * operations_per_token(LESSON["member"](8)) * 4 * 16
    LESSON["generator"].manual_seed(1)
    model, loss = LESSON["spend"](8, budget, ticks)
    assert next(ticks) in (40, 41)  # zip may have taken one more
    LESSON["generator"].manual_seed(1)
    again, loss_again = LESSON["spend"](8, budget, iter(range(10_000)))
    assert loss == loss_again < math.log(20) + 0.1
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters()))


def test_the_models_on_paper_have_the_sizes_that_their_papers_give():
    parameters = {name: sum(LESSON["count_parameters"](config).values()) for name, (config, _) in LESSON["PAPER"].items()}
    assert parameters["GPT-2, smallest"] == 124_439_808 + 50257  # and lm_head's bias
    assert parameters["GPT-2, largest"] == 1_557_611_200 + 50257
    assert parameters["GPT-3"] == pytest.approx(175e9, rel=0.01)
    assert LESSON["PAPER"]["Llama 3.1 405B"][0] == GPTConfig(128256, 8192, 16384, 128, 126)


# ---- Several processes ------------------------------------------------------------------------


@pytest.fixture
def launch(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return lambda processes, *arguments: workbench.launch("parallel.py", processes, *arguments)


def workers(mark):
    """The processes whose command names the file, torchrun itself excepted."""
    found = [(process.pid, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [pid for pid, command in found if f"parallel.py {mark}" in " ".join(command) and "torch.distributed.run" not in command]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def test_three_processes_train_what_one_trains(launch, tmp_path):
    launch(3, tmp_path / "kept.pt", "--corpus", "six_plays", "--steps", 12, "--batch-size", 12)
    kept = torch.load(tmp_path / "kept.pt", weights_only=True)
    source = lessons.definitions_of(lessons.find("12"))  # its imports: the same helpers
    text = workbench.load_corpus("six_plays").text
    tokenizer = source["CharTokenizer"](text)
    data, _ = source["split"](torch.tensor(tokenizer.encode(text)))
    config = GPTConfig(vocab_size=tokenizer.vocab_size)
    for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 5e-4)):
        alone, losses = source["fit"](data, config, 12, 12, dtype)
        shared = kept[str(dtype)]
        assert torch.tensor(losses, dtype=torch.float64).sub(shared["losses"]).abs().max() < bound
        if dtype == torch.float64:
            assert all((p - shared["model"][name]).abs().max() < bound for name, p in alone.state_dict().items())


@pytest.mark.parametrize("victim", ["a worker", "torchrun"])
def test_when_one_process_is_killed_all_end_and_one_sentence_says_so(launch, tmp_path, victim, monkeypatch):
    mark, raised, popen, torchrun = str(tmp_path / "kept.pt"), [], subprocess.Popen, []

    def start(command, **settings):
        process = popen(command, **settings)
        torchrun.extend([process] if "torch.distributed.run" in command else [])
        return process

    def run():
        try:
            launch(2, mark, "--corpus", "six_plays", "--steps", 10**6)
        except RuntimeError as error:
            raised.append(str(error))

    monkeypatch.setattr(subprocess, "Popen", start)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: len(workers(mark)) == 2)
        time.sleep(3)  # in the midst of the training
        victim = workers(mark)[0] if victim == "a worker" else torchrun[0].pid
        os.kill(victim, signal.SIGKILL if victim != torchrun[0].pid else signal.SIGTERM)
        thread.join(timeout=60)
        assert not thread.is_alive()
        assert len(raised) == 1 and "\n" not in raised[0]
        assert re.match("one of the 2 processes failed, all were stopped: .*signal:? (9|15)", raised[0])
        wait_for(lambda: not workers(mark), seconds=20)
        assert not (tmp_path / "kept.pt").exists()
    finally:
        for pid in [process.pid for process in torchrun if process.poll() is None] + workers(mark):
            os.kill(pid, signal.SIGKILL)


def test_the_stop_button_while_waiting_ends_all_processes(tmp_path):
    mark = str(tmp_path / "kept.pt")
    waiting = f"import workbench; workbench.launch('parallel.py', 2, {mark!r}, '--corpus', 'six_plays', '--steps', 10**6)"
    process = subprocess.Popen([sys.executable, "-c", waiting], cwd=lessons.NOTEBOOKS, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(lambda: len(workers(mark)) == 2)
        os.kill(process.pid, signal.SIGINT)  # to the waiting one alone
        assert process.wait(timeout=60) != 0
        wait_for(lambda: not workers(mark), seconds=20)
    finally:
        for pid in workers(mark):
            os.kill(pid, signal.SIGKILL)


def test_each_process_works_out_its_own_rows_and_no_others(monkeypatch):
    monkeypatch.setattr(parallel, "DistributedDataParallel", lambda model: model)
    config, rows = GPTConfig(vocab_size=20, block_size=16, n_embd=8, n_head=2, n_layer=1), []
    for rank in (0, 1, 2):
        monkeypatch.setattr(parallel, "train", lambda model, draw, *_: draw())
        rows.append(parallel.fit(SYMBOLS, config, 1, 12, torch.float64, rank=rank, processes=3)[1])
    _, (x, y) = parallel.fit(SYMBOLS, config, 1, 12, torch.float64)
    assert x.shape == (12, 16) and all(share.shape == (4, 16) for pair in rows for share in pair)
    for whole, shares in ((x, [a for a, _ in rows]), (y, [b for _, b in rows])):
        assert sorted(whole.tolist()) == sorted(torch.cat(shares).tolist())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--batch-size", 33], "--batch-size 33 cannot be shared evenly by 2 processes"),
        (["--corpus", "nowhere.txt"], "there is no corpus and no file 'nowhere.txt'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(launch, tmp_path, arguments, sentence):
    with pytest.raises(RuntimeError) as caught:
        launch(2, tmp_path / "kept.pt", *arguments)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_the_script_alone_says_how_it_is_started():
    done = subprocess.run([sys.executable, "parallel.py", "kept.pt"], cwd=lessons.NOTEBOOKS, capture_output=True, text=True)
    assert done.returncode == 2 and "start it by torchrun" in done.stderr
