"""Plausible wrong answers to the exercises of lesson 07: {check: [(answer, what its message must say), ...]}."""
import math

import torch
import torch.nn.functional as F


def forward(embed=lambda m, idx: m.token_embedding(idx) + m.position_embedding(torch.arange(idx.shape[1])), block=None,
            finish=lambda m, x: m.lm_head(m.norm(x)), order=lambda blocks: blocks):
    def usual(b, x):
        x = x + b.attn(b.norm1(x))
        return x + b.ffwd(b.norm2(x))

    def answer(model, idx):
        x = embed(model, idx)
        for b in order(list(model.blocks)):
            x = (block or usual)(b, x)
        return finish(model, x)

    return answer


def normed_stream(b, x):
    x = b.norm1(x)
    x = x + b.attn(x)
    x = b.norm2(x)
    return x + b.ffwd(x)


def unchanged(b, x):
    x + b.attn(b.norm1(x))
    x + b.ffwd(b.norm2(x))
    return x


def total(config, heads=1, mask=False, projection=True, biases=True, last_norm=True, options=True):
    V, T, C, L, H = config.vocab_size, config.block_size, config.n_embd, config.n_layer, config.n_head
    block = (3 + projection) * C * C * (H if heads else 1) + C * biases + 8 * C * C + 5 * C * biases + 4 * C
    out = V * C + T * C + L * block + 2 * C * last_norm + V * C + V * biases + L * H * T * T * mask
    if options:
        out += 3 * C * L * config.bias - V * C * config.tie_weights
    return out


def first_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def logits_of_one_symbol(model):
    return model(torch.zeros(1, model.block_size, dtype=torch.long))[0]


def order_matters(model):
    idx = torch.arange(model.block_size)[None] % model.config.vocab_size
    other = idx.clone()
    other[0, 0], other[0, 1] = idx[0, 1], idx[0, 0]
    return not torch.allclose(model(idx)[0, -1], model(other)[0, -1], atol=1e-4)


WRONG = {
    "check_parameters_of_wide": [
        (4 * 209_729, "some components grow with C, not with C²"),
        (2 * 209_729, "most components grow with C²"),
        (812_609 + 1_536, "queries, keys and values have no biases"),
        (812_609 - 256, "one more layer norm"),
        (812_609 - 8_320, "not tied"),
        (812_609 - 65, "bias for each symbol"),
        (4 * 812_609, "bytes"),
        (812_609 - 9 * 128, "a scale AND a shift"),
        (812_609 + 12 * 128**2 * 4, "once per head"),
        ("3.9 times", "a number is asked for"),
        (800_000, "a little too small"),
    ],
    "check_my_forward": [
        (lambda model, idx: model(idx), "the model itself is called"),
        (lambda model, idx: [x := model.embed(idx), model.lm_head(model.norm(x))][1], "`embed` is called"),
        (forward(block=lambda b, x: b(x)), "a whole block is called"),
        (forward(embed=lambda m, idx: m.token_embedding(idx)), "positions is not added"),
        (forward(embed=lambda m, idx: m.token_embedding(idx) + m.position_embedding(torch.zeros_like(idx))), "at position 0"),
        (forward(embed=lambda m, idx: m.token_embedding(idx) + m.position_embedding.weight), "raised RuntimeError"),
        (forward(finish=lambda m, x: m.lm_head(x)), "the last norm is left out"),
        (forward(finish=lambda m, x: m.norm(x)), "this is the stream"),
        (forward(finish=lambda m, x: m.lm_head(m.norm(x)).softmax(dim=-1)), "probabilities"),
        (forward(finish=lambda m, x: m.lm_head(m.norm(x[:, -1]))), "one position only"),
        (forward(block=lambda b, x: b.ffwd(b.norm2(b.attn(b.norm1(x))))), "must be ADDED"),
        (forward(block=lambda b, x: x + b.attn(b.norm1(x)) + b.ffwd(b.norm2(x))), "after attn's result has been added"),
        (forward(block=lambda b, x: [x := b.norm1(x + b.attn(x)), b.norm2(x + b.ffwd(x))][1]), "the norms come after the addition"),
        (forward(block=lambda b, x: [x := x + b.attn(x), x + b.ffwd(x)][1]), "norms of the blocks are left out"),
        (forward(block=lambda b, x: [x := x + b.attn(b.norm1(x)), x + b.ffwd(b.norm1(x))][1]), "norm1 is used twice"),
        (forward(block=normed_stream), "the norm's result becomes the stream"),
        (forward(embed=lambda m, idx: m.token_embedding(idx) + m.position_embedding(idx)), "asked for the ids"),
        (forward(block=lambda b, x: [x := b.attn(b.norm1(x)), x + b.ffwd(b.norm2(x))][1]), "attn's result takes the place"),
        (forward(block=lambda b, x: b.ffwd(b.norm2(x + b.attn(b.norm1(x))))), "ffwd's result takes the place"),
        (forward(block=lambda b, x: [x := x + b.attn(x), x + b.ffwd(b.norm2(x))][1]), "norm1 stands before it"),
        (forward(block=lambda b, x: [x := x + b.attn(b.norm1(x)), x + b.ffwd(x)][1]), "norm2 stands before it"),
        (forward(block=lambda b, x: x + b.ffwd(b.norm2(x))), "attn is left out"),
        (forward(block=lambda b, x: x + b.attn(b.norm1(x))), "ffwd is left out"),
        (forward(order=lambda blocks: blocks[-1:]), "only the last block counts"),
        (forward(block=unchanged), "follow the picture"),
        (forward(order=lambda blocks: blocks[::-1]), "wrong order"),
        (forward(order=lambda blocks: blocks[:1]), "only the first block"),
    ],
    "check_my_total": [
        (lambda config: total(config, heads=config.n_head), "so H does not enter"),
        (lambda config: total(config, heads=0, mask=True), "the mask is no parameter"),
        (lambda config: total(config, heads=0, projection=False), "four matrices"),
        (lambda config: total(config, heads=0, biases=False), "the biases of the linear layers"),
        (lambda config: total(config, heads=0, last_norm=False), "after the last block"),
        (lambda config: total(config, heads=0) - config.n_layer * config.n_embd, "the projection of each attention layer has a bias"),
        (lambda config: total(config, heads=0) - 5 * config.n_layer * config.n_embd, "the feed-forward layers have biases"),
        (lambda config: total(config, heads=0) - (2 * config.n_layer + 1) * config.n_embd, "a scale AND a shift"),
        (lambda config: total(config, heads=0, options=False), "with bias=True queries"),
        (lambda config: total(config, heads=0, options=False) + 3 * config.n_embd * config.n_layer * config.bias, "count it once"),
        (lambda config: total(config, heads=0) - config.vocab_size * config.tie_weights, "keeps its bias"),
    ],
    "check_starts_well": [
        (lambda logits, targets: abs(first_loss(logits, targets) - math.log(65)) < 0.1, "ln V depends on V"),
        (lambda logits, targets: first_loss(logits, targets) < math.log(logits.shape[-1]) + 0.1, "far BELOW"),
        (lambda logits, targets: abs(first_loss(logits.softmax(dim=-1), targets) - math.log(logits.shape[-1])) < 0.1, "logits as they are"),
        (lambda logits, targets: abs(F.cross_entropy(logits[:, -1], targets[:, -1]) - math.log(logits.shape[-1])) < 0.1, "ALL positions"),
        (lambda logits, targets: abs(first_loss(logits, targets) - math.log2(logits.shape[-1])) < 0.1, "about 4.17"),
        (lambda logits, targets: abs(first_loss(logits, targets) - math.log(logits.shape[-1])) < 0.5, "the limit is 0.1"),
        (lambda logits, targets: abs(F.cross_entropy(logits[0], targets[0]) - math.log(logits.shape[-1])) < 0.1, "ALL sequences"),
        (lambda logits, targets: abs(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none") - 4.17) < 0.1, "truth values"),
        (lambda logits, targets: logits.abs().max() < 1, "50 was added"),
        (lambda logits, targets: logits.std() < 0.1, "at each place one number was added"),
    ],
    "check_knows_positions": [
        (lambda model: True, "one block without positions is accepted"),
        (lambda model: False, "one block WITH positions is refused"),
        (lambda model: bool(model.position_embedding.weight.any()), "look at the logits, not at the table"),
        (lambda model: not torch.equal(*logits_of_one_symbol(model)[[0, -1]]) if model.block_size < 16 else
            not torch.equal(logits_of_one_symbol(model), logits_of_one_symbol(model)[:1].expand(model.block_size, -1)), "compare with a tolerance"),
        (lambda model: (logits_of_one_symbol(model) - logits_of_one_symbol(model)[:1]).abs().max() > 0.4, "too wide"),
        (lambda model: not torch.allclose(*model.embed(torch.zeros(1, 4, dtype=torch.long))[0, [0, 3]], atol=1e-5), "look at what comes out at the end"),
        (order_matters, "ONE symbol repeated"),
        (lambda model: model(torch.randint(5, (1, 2)))[0].std() > 0.01, "without positions is accepted"),
    ],
}
