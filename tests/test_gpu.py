"""CPU and GPU agree: the same first weights, the same batches, and results within the tolerances named here.

Without a CUDA GPU all of this is skipped, and says so.
"""
import copy
import functools

import pytest
import torch
import workbench
from tinygpt import GPT, Cached, GPTConfig, estimate_loss, full_loss, generate, get_batch, next_token_loss, train

DEVICE = "cuda"
CONFIG = GPTConfig(vocab_size=31, block_size=24, n_embd=48, n_head=4, n_layer=3, bias=True, activation="gelu")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture
def models():
    """The same model on the CPU and on the GPU."""
    torch.manual_seed(3)
    model = GPT(CONFIG)
    return model, copy.deepcopy(model).to(DEVICE)


@pytest.fixture
def data():
    return torch.randint(31, (3000,), generator=torch.Generator().manual_seed(4))


def batch(data, device, seed=5):
    return get_batch(data, 16, 24, torch.Generator().manual_seed(seed), device)


def test_auto_takes_the_gpu(monkeypatch):
    monkeypatch.delenv("TINYGPT_DEVICE", raising=False)
    assert workbench.pick_device("auto") == DEVICE


def test_every_device_sees_the_same_batches(data):
    for here, there in zip(batch(data, "cpu"), batch(data, DEVICE)):
        assert there.device.type == DEVICE and torch.equal(here, there.cpu())


def test_logits_agree_to_a_ten_thousandth_and_gradients_to_a_thousandth(models, data):
    here, there = models
    for model, device in (here, "cpu"), (there, DEVICE):
        x, y = batch(data, device)
        next_token_loss(model(x), y).backward()
    assert torch.allclose(here(x.cpu()), there(x).cpu(), atol=1e-4)
    for one, other in zip(here.parameters(), there.parameters()):
        assert (one.grad - other.grad.cpu()).abs().max() < 1e-3 * max(1, one.grad.abs().max())


def test_twenty_steps_give_losses_within_a_hundredth(models, data):
    losses = []
    for model, device in zip(models, ("cpu", DEVICE)):
        generator = torch.Generator().manual_seed(6)
        draw = functools.partial(get_batch, data, 16, 24, generator, device)
        losses.append(train(model, draw, torch.optim.AdamW(model.parameters(), lr=1e-3), range(20)))
    assert torch.allclose(*map(torch.tensor, losses), atol=1e-2)
    assert losses[1][-1] < losses[1][0]


def test_estimates_and_full_losses_agree_to_a_ten_thousandth(models, data):
    found = []
    for model, device in zip(models, ("cpu", DEVICE)):
        generator = torch.Generator().manual_seed(7)
        draw = {"val": functools.partial(get_batch, data, 8, 24, generator, device)}
        found.append([estimate_loss(model, draw, 3)["val"], full_loss(model, data, 24)])
    assert torch.allclose(*map(torch.tensor, found), atol=1e-4)


def test_cached_writing_equals_plain_writing_on_the_gpu(models):
    model = models[1].double()  # so that rounding decides no draw
    prompt = torch.zeros(2, 1, dtype=torch.long, device=DEVICE)
    written = [generate(each, prompt, 40, generator=torch.Generator().manual_seed(8)) for each in (model, Cached(model.eval()))]
    assert written[0].device.type == DEVICE and torch.equal(*written)


def test_a_checkpoint_goes_from_the_gpu_to_the_cpu(models, tmp_path):
    workbench.save_checkpoint(tmp_path / "model.pt", models[1])
    other = GPT(CONFIG)
    workbench.load_checkpoint(tmp_path / "model.pt", other)
    assert all(torch.equal(one, another) for one, another in zip(models[0].parameters(), other.parameters()))


def test_bfloat16_gives_a_loss_within_a_fiftieth(models, data):
    x, y = batch(data, DEVICE)
    with torch.no_grad():
        plain = next_token_loss(models[1](x), y)
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            assert (next_token_loss(models[1](x), y) - plain).abs() < 0.02
