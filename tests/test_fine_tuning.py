"""Lesson 11: what is frozen stays, what is mixed is mixed, and the rate does what the text says."""
import lessons
import pytest
import torch
from tinygpt import GPTConfig, full_loss

SHAPE = dict(vocab_size=7, block_size=32, n_embd=8, n_head=2, n_layer=3)
PLAYS, LETTERS = torch.randint(3, (400,)), torch.randint(3, 7, (400,))  # no symbol in common


@pytest.fixture
def lesson():
    return lessons.definitions_of(
        lessons.find("11"), seed=5, device="cpu", generator=torch.Generator().manual_seed(5), config=GPTConfig(**SHAPE),
        plays_train=PLAYS, plays_val=PLAYS, letters_train=LETTERS, letters_val=LETTERS,
    )  # fmt: skip


def test_frozen_layers_do_not_change_by_one_bit_and_the_others_do(lesson):
    model = lesson["freeze_but_last"](lesson["newborn"]())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lesson["fit"](model, lesson["batches"](LETTERS), 5, 1e-2, iter(range(5)))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if name.startswith(("blocks.2.", "norm.", "lm_head."))}


@pytest.mark.parametrize(("share", "plays"), [(0.0, 0), (0.25, 4), (0.5, 8), (1.0, 16)])
def test_mixed_batches_hold_the_share_of_plays_that_was_asked_for(lesson, share, plays):
    x, y = lesson["mixed"](share)()
    assert x.shape == y.shape == (16, 32)
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert (x < 3).all(dim=1).sum() == plays and (x >= 3).all(dim=1).sum() == 16 - plays


def test_all_newborn_models_are_equal_and_untouched_by_each_other(lesson):
    first, second = lesson["newborn"](), lesson["newborn"]()
    lesson["fit"](first, lesson["batches"](LETTERS), 3, 1e-2, iter(range(3)))
    third = lesson["newborn"]()
    assert all(torch.equal(p, q) for p, q in zip(second.parameters(), third.parameters()))
    assert not any(p is q for p in first.parameters() for q in second.parameters())


def test_the_history_begins_untouched_and_ends_with_the_final_model(lesson):
    model = lesson["newborn"]()
    untouched = full_loss(model, LETTERS, 32)
    history = lesson["fit"](model, lesson["batches"](LETTERS), 16, 1e-2, iter(range(16)))
    assert [step for step, _ in history] == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert history[0][1] == pytest.approx(untouched)
    assert history[-1][1] == pytest.approx(full_loss(model, LETTERS, 32))
    assert history[-1][1] < untouched


def test_the_rate_rises_for_twenty_steps_and_then_falls_to_nothing(lesson, monkeypatch):
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a: (rates.append(self.param_groups[0]["lr"]), step(self, *a))[1])
    lesson["fit"](lesson["newborn"](), lesson["batches"](LETTERS), 50, 1e-3, iter(range(50)))
    assert rates[:20] == pytest.approx([1e-3 * min((i + 1) / 20, 1 - i / 50) for i in range(20)])
    assert rates[0] == pytest.approx(5e-5) and max(rates) < 1e-3 and rates[-1] == pytest.approx(1e-3 / 50)
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_training_ends_early_where_the_ticks_do(lesson):
    model = lesson["newborn"]()
    before = [p.detach().clone() for p in model.parameters()]
    lesson["fit"](model, lesson["batches"](LETTERS), 50, 1e-3, iter(()))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before))
