"""Lesson 09's recipe: its schedule, its order, Muon against PyTorch and the SVD, and trainings that survive kill -9."""
import itertools
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import lessons
import pytest
import torch
import workbench
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygpt import GPT, GPTConfig, train
from torch import nn

LESSON = lessons.find("09")
TEXT = workbench.load_corpus("six_plays").text[:20_000]
TINY = GPTConfig(vocab_size=65, block_size=16, n_embd=32, n_head=2, n_layer=2, dropout=0.1)
STEPS, INTERVAL, B = 40, 10, 4


@pytest.fixture(scope="module")
def lesson():
    """What lesson 09 defines, with a short text and no other cell of it run."""
    ids = torch.tensor([sorted(set(TEXT)).index(char) for char in TEXT])
    return SimpleNamespace(
        **lessons.definitions_of(
            LESSON, seed=5, device="cpu", chosen={"eval_iters": 1}, source=SimpleNamespace(name="short"),
            train_data=ids[:18_000], val_data=ids[18_000:], generator=torch.Generator().manual_seed(5),
        )  # fmt: skip
    )


# ---- Schedule, start, order -------------------------------------------------------------------


@given(st.integers(2, 500), st.data(), st.sampled_from(["none", "linear", "cosine"]))
def test_the_rate_rises_to_its_peak_and_then_never_again(lesson, max_iters, data, decay):
    warmup = data.draw(st.integers(0, max_iters - 1))
    rates = [lesson.rate(step, max_iters, warmup, decay) for step in range(max_iters)]
    assert all(0 < share <= 1 for share in rates)
    assert rates[:warmup] == sorted(rates[:warmup]) and rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[warmup] == 1 and (not warmup or rates[warmup - 1] == 1)


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_schedules_agree_with_pytorchs_own(lesson, decay):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = {
        "linear": torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=90),
        "cosine": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 90),
    }[decay]
    for step in range(10, 100):
        assert lesson.rate(step, 100, 10, decay) == pytest.approx(optimizer.param_groups[0]["lr"] if step > 10 else 1.0, abs=1e-6)
        optimizer.step()
        if decay == "linear":
            optimizer.param_groups[0]["lr"] = 1 - (step - 9) / 90
        else:
            theirs.step()


def test_at_the_scaled_start_every_block_lets_the_stream_through_and_learns_from_the_first_step(lesson):
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_embd=96, n_head=4, n_layer=3), lesson.init_scaled)
    stream = torch.randn(2, 9, 96)
    for block in model.blocks:
        assert torch.equal(block(stream), stream)
        assert block.attn.qkv.weight.std().item() == pytest.approx(96**-0.5, rel=0.05)
        assert block.ffwd.expand.weight.std().item() == pytest.approx(96**-0.5, rel=0.05)
    assert model.lm_head.weight.std().item() == pytest.approx(96**-0.5, rel=0.05)
    model(torch.randint(65, (2, 9))).square().mean().backward()
    for block in model.blocks:
        assert block.attn.proj.weight.grad.abs().max() > 0 and block.ffwd.contract.weight.grad.abs().max() > 0


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 60), st.integers(0, 9))
def test_a_pass_holds_no_window_twice_and_each_step_has_its_own_batch(lesson, B, T, extra, seed):
    data = torch.arange(T * (B + 1) + extra)
    per_pass = (len(data) - T) // T // B
    steps = list(itertools.islice(lesson.passes(data, B, T, seed), 3 * per_pass + 1))
    for x, y in steps:
        assert x.shape == y.shape == (B, T) and torch.equal(y, x + 1)
    for first in range(0, 3 * per_pass, per_pass):
        seen = torch.cat([x.flatten() for x, _ in steps[first : first + per_pass]])
        assert len(seen.unique()) == len(seen)
    for step in (1, per_pass, 2 * per_pass + 1):
        x, y = next(lesson.passes(data, B, T, seed, first=step))
        if step < len(steps):
            assert torch.equal(x, steps[step][0]) and torch.equal(y, steps[step][1])


def test_a_text_too_short_for_one_batch_is_refused_in_one_sentence(lesson):
    with pytest.raises(ValueError, match="20 symbols do not fill one batch of 4 windows of 8"):
        next(lesson.passes(torch.arange(20), 4, 8, seed=1))


# ---- Muon and the optimizers ------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
@settings(deadline=None)
def test_orthogonalizing_applies_the_polynomial_to_the_singular_values_and_keeps_the_directions(lesson, n, rows, columns, seed):
    G = torch.randn(n, rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    U, S, Vh = torch.linalg.svd(G.double(), full_matrices=False)
    S = S / G.double().norm(dim=(-2, -1))[:, None]
    for _ in range(5):
        S = 3.4445 * S - 4.7750 * S**3 + 2.0315 * S**5
    assert torch.allclose(lesson.orthogonalize(G).double(), U @ S.diag_embed() @ Vh, atol=2e-3)


def test_a_zero_gradient_gives_a_zero_step(lesson):
    assert torch.equal(lesson.orthogonalize(torch.zeros(2, 4, 6)), torch.zeros(2, 4, 6))


def test_muon_takes_the_steps_of_pytorchs_muon(lesson):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in [(48, 32), (16, 32), (48, 32), (32, 32)]]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    starts = [p.detach().clone() for p in ours]
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.3}
    optimizers = lesson.Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for _ in range(5):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for p, q, start in zip(ours, theirs, starts):
        assert (p - q).norm() < 0.02 * (q - start).norm()  # theirs rounds to 16 bits


@pytest.mark.parametrize("matrix_rate", [0.0, 0.01])
def test_every_parameter_is_in_one_group_and_only_matrices_of_blocks_are_muons(lesson, matrix_rate):
    model = GPT(TINY)
    recipe = replace(lesson.WELL, matrix_rate=matrix_rate, learning_rate=0.5)
    optimizer = lesson.make_optimizer(model, recipe)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))
    names = {id(p): name for name, p in model.named_parameters()}
    matrices = {names[id(p)] for group in optimizer.param_groups if group["peak"] == 0.01 for p in group["params"]}
    expected = {name for name, p in model.named_parameters() if name.startswith("blocks.") and p.dim() == 2}
    assert matrices == (expected if matrix_rate else set())
    for group in optimizer.param_groups:
        vectors = all(p.dim() == 1 for p in group["params"])
        assert group["weight_decay"] == (0 if vectors else 0.1)


def test_without_muon_the_recipe_is_pytorchs_adamw(lesson):
    torch.manual_seed(0)
    ours = GPT(TINY)
    theirs = GPT(TINY)
    theirs.load_state_dict(ours.state_dict())
    optimizers = lesson.make_optimizer(ours, lesson.PLAIN), torch.optim.AdamW(theirs.parameters(), lr=1e-3)
    idx = torch.randint(65, (2, 9))
    for _ in range(3):
        for model, optimizer in zip((ours.eval(), theirs.eval()), optimizers):
            optimizer.zero_grad()
            model(idx).square().mean().backward()
            optimizer.step()
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert torch.allclose(p, q, atol=1e-6)


def test_following_a_recipe_sets_every_rate_from_its_peak_and_clips(lesson):
    model = GPT(TINY)
    recipe = replace(lesson.WELL, warmup_iters=10, learning_rate=0.5, matrix_rate=0.25, grad_clip=0.01)
    optimizer = lesson.make_optimizer(model, recipe)
    on_step = lesson.follow(model, optimizer, recipe, max_iters=110)
    for step, share in ((0, 0.1), (4, 0.5), (10, 1.0), (60, 0.5), (109, 0.01)):
        model(torch.randint(65, (2, 9))).square().mean().backward()
        on_step(step, 1.0)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(group["peak"] * share) and group["peak"] in (0.5, 0.25)
        length = sum(p.grad.square().sum() for p in model.parameters()).sqrt().item()
        assert length == pytest.approx(0.01, rel=1e-3)


# ---- Interrupted and resumed ------------------------------------------------------------------


def state(folder):
    """Everything that folder/last.pt holds, flat: {place: value}."""
    flat = {}

    def walk(place, value):
        if isinstance(value, dict):
            value = value.items()
        elif isinstance(value, (list, tuple)):
            value = enumerate(value)
        else:
            flat[place] = value
            return
        for key, inner in value:
            walk(f"{place}/{key}", inner)

    walk("", torch.load(folder / "last.pt", weights_only=True))
    return flat


def assert_the_same(folder, other):
    ours, theirs = state(folder), state(other)
    assert ours.keys() == theirs.keys() and len(ours) > 50
    for place, value in ours.items():
        equal = torch.equal(value, theirs[place]) if isinstance(value, torch.Tensor) else value == theirs[place]
        assert equal, place


def fit(lesson, folder, **changes):
    recipe = replace(lesson.WELL, warmup_iters=5)
    lesson.generator.manual_seed(5)
    return lesson.fit(TINY, recipe, B, STEPS, INTERVAL, folder, **changes)


@pytest.fixture(scope="module")
def uninterrupted(lesson, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    fit(lesson, folder)
    return folder


@pytest.mark.parametrize("step", [0, 1, 9, 10, 11, 27, 39])
def test_a_training_interrupted_at_any_step_and_resumed_equals_an_uninterrupted_one(lesson, uninterrupted, tmp_path, step):
    def accident(model, optimizer, recipe, max_iters):
        usual = lesson.follow(model, optimizer, recipe, max_iters)

        def on_step(number, loss):
            usual(number, loss)
            if number == step:
                raise InterruptedError

        return on_step

    with pytest.raises(InterruptedError):
        fit(lesson, tmp_path, guide=accident)
    assert (tmp_path / "last.pt").exists() == (step >= INTERVAL)
    fit(lesson, tmp_path)
    assert_the_same(tmp_path, uninterrupted)


KILLED = """
import sys
sys.path[:0] = [{tests!r}, {notebooks!r}]
from pathlib import Path
import test_training_well as test
test.fit(test.lesson.__wrapped__(), Path({folder!r}))
"""


def test_a_training_killed_at_random_moments_and_resumed_equals_an_uninterrupted_one(uninterrupted, tmp_path):
    program = KILLED.format(tests=str(lessons.ROOT / "tests"), notebooks=str(lessons.NOTEBOOKS), folder=str(tmp_path))
    environment = dict(os.environ, OMP_NUM_THREADS=str(torch.get_num_threads()))
    kills = 0
    for attempt in range(12):
        process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL)
        wanted = time.monotonic() + 120
        if kills < 4:
            seen = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
            while process.poll() is None and {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == seen:
                assert time.monotonic() < wanted  # until something is being written
            time.sleep(0.003 * attempt)
            process.send_signal(signal.SIGKILL)
        status = process.wait(120)
        kills += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL)
        if status == 0:
            break
    assert status == 0 and kills >= 2
    assert_the_same(tmp_path, uninterrupted)


def test_a_folder_of_another_training_is_refused_and_left_alone(lesson, uninterrupted):
    before = (uninterrupted / "last.pt").read_bytes()
    with pytest.raises(ValueError, match="belongs to a training by other numbers: choose another folder"):
        lesson.fit(TINY, replace(lesson.WELL, warmup_iters=6), B, STEPS, INTERVAL, uninterrupted)
    with pytest.raises(ValueError, match="n_layer=2 there, 3 here"):
        lesson.fit(replace(TINY, n_layer=3), replace(lesson.WELL, warmup_iters=5), B, STEPS, INTERVAL, uninterrupted)
    assert (uninterrupted / "last.pt").read_bytes() == before


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_the_last_good_state(lesson, uninterrupted, tmp_path):
    def poison(model, optimizer, recipe, max_iters):
        usual = lesson.follow(model, optimizer, recipe, max_iters)

        def on_step(step, loss):
            usual(step, loss)
            if step == 24:
                model.lm_head.bias.grad.fill_(math.nan)

        return on_step

    with pytest.raises(FloatingPointError, match="the loss is nan at step 25: try a lower learning_rate"):
        fit(lesson, tmp_path, guide=poison)
    notes = workbench.load_checkpoint(tmp_path / "last.pt", GPT(TINY))
    assert notes["step"] == 20 and all(math.isfinite(val) for _, _, val in notes["history"])
    fit(lesson, tmp_path)
    assert_the_same(tmp_path, uninterrupted)


def test_the_recipe_beats_the_plain_one_on_the_same_characters(lesson):
    losses = {}
    for name, recipe in {"plain": lesson.PLAIN, "well": replace(lesson.WELL, warmup_iters=20)}.items():
        torch.manual_seed(1)
        model = GPT(replace(TINY, dropout=0.0), recipe.init)
        optimizer = lesson.make_optimizer(model, recipe)
        draw = lesson.passes(lesson.train_data, 8, 16, 1).__next__
        train(model, draw, optimizer, range(200), lesson.follow(model, optimizer, recipe, 200))
        losses[name] = lesson.full_loss(model, lesson.val_data, 16)
    assert losses["well"] < losses["plain"] - 0.1
