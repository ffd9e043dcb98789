"""GPT from scratch: the code that the lessons build, in the order in which they build it.

Every definition here is taught, word for word, in the lesson named above it, in a cell that begins with
`# saved in tinygpt.py`. Read from top to bottom, this file is the table of contents of the series.

Sizes: B sequences in a batch, T positions in a sequence, C channels per position, H heads,
D = C // H channels per head, V symbols in the vocabulary, L blocks.
"""
import math
import re
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

# ---- 01 · Bigram ------------------------------------------------------------------------------


def count_pairs(ids, V):
    """How often each symbol follows each other one: (N,) ids -> (V, V) counts, row = first, column = next.

    >>> count_pairs(torch.tensor([0, 1, 0, 1]), 2).tolist()
    [[0, 2], [1, 0]]
    """
    return torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V).view(V, V)


class BigramLanguageModel(nn.Module):
    """Scores the next symbol by the present one alone: row i of its table holds the logits after symbol i."""

    block_size = 1  # the positions it can make use of

    def __init__(self, vocab_size):
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)

    def forward(self, idx):
        """(B, T) ids -> (B, T, V) logits."""
        return self.table(idx)


@contextmanager
def evaluating(model):
    """Inside the `with` block: evaluation mode and no gradients. After it: the mode that was there before."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def sample(logits, generator=None):
    """Draw one symbol from softmax(logits), row by row: (B, V) -> (B, 1).

    The draw is made on the CPU, so that one CPU generator serves every device.
    """
    probs = F.softmax(logits, dim=-1).cpu()
    return torch.multinomial(probs, 1, generator=generator).to(logits.device)


def generate(model, idx, max_new_tokens, pick=sample, generator=None):
    """Continue idx, symbol by symbol: (B, T) ids -> (B, T + max_new_tokens) ids.

    `pick(logits, generator)` chooses the next symbol, (B, V) -> (B, 1). The model sees the last
    `model.block_size` positions. Raises ValueError where idx holds nothing to continue.
    """
    if idx.shape[1] == 0:
        raise ValueError("the prompt is empty: give at least one symbol to continue, for instance a newline")
    with evaluating(model):
        for _ in range(max_new_tokens):
            logits = model(idx[:, -model.block_size :])
            idx = torch.cat([idx, pick(logits[:, -1], generator)], dim=1)
    return idx


# ---- 02 · Tokenizer ---------------------------------------------------------------------------


class CharTokenizer:
    """One id for each distinct character of `text`, in sorted order.

    >>> CharTokenizer("hello").encode("hole")
    [1, 3, 2, 0]
    """

    def __init__(self, text):
        self.itos = sorted(set(text))
        self.stoi = {char: i for i, char in enumerate(self.itos)}
        self.vocab_size = len(self.itos)

    def encode(self, text):
        """String -> list of ids. Raises ValueError that names the first unknown character and its place."""
        try:
            return [self.stoi[char] for char in text]
        except KeyError as error:
            char = error.args[0]
            raise ValueError(
                f"character {char!r} at place {text.index(char)} is not among the {self.vocab_size} known ones"
            ) from None

    def decode(self, ids):
        """List of ids -> string."""
        return "".join(self.itos[i] for i in ids)


def split_words(text):
    """Words and runs of punctuation, each with the one space before it, and runs of white space.

    >>> split_words("To be, or")
    ['To', ' be', ',', ' or']
    """
    return re.findall(r" ?\w+| ?[^\w\s]+|\s+", text)


def merge(ids, pair, new_id):
    """Replace every `pair` in the list ids, from left to right, by the one id new_id.

    >>> merge([7, 7, 7, 9], (7, 7), 256)
    [256, 7, 9]
    """
    out, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def learn_merges(words, n_merges):
    """The first n_merges merges of byte-pair encoding: {(id, id): new id}, in the order learned.

    `words` maps each distinct word to its number of occurrences. The most frequent pair is merged; among
    equals the one with the smallest ids. Fewer merges come back where no pair is left.
    Source: Sennrich, Haddow and Birch, 2016, arXiv:1508.07909, who start from characters; bytes as in GPT-2
    (Radford et al., 2019).
    """
    spelled = {word: list(word.encode("utf-8")) for word in words}
    counts, holders, merges = Counter(), defaultdict(set), {}

    def tally(word, times):
        for pair in zip(spelled[word], spelled[word][1:]):
            counts[pair] += times
            holders[pair].add(word)
            if not counts[pair]:
                del counts[pair]

    for word, times in words.items():
        tally(word, times)
    while len(merges) < n_merges and counts:
        most = max(counts.values())
        pair = min(pair for pair, count in counts.items() if count == most)
        merges[pair] = 256 + len(merges)
        for word in holders.pop(pair):
            tally(word, -words[word])
            spelled[word] = merge(spelled[word], pair, merges[pair])
            tally(word, words[word])
    return merges


class BPETokenizer:
    """Byte-pair encoding: ids 0 to 255 are bytes, every further id joins two earlier ones."""

    def __init__(self, merges):
        self.merges = merges
        self.vocab = {i: bytes([i]) for i in range(256)}
        for (left, right), new_id in merges.items():
            self.vocab[new_id] = self.vocab[left] + self.vocab[right]
        self.vocab_size = len(self.vocab)

    @classmethod
    def train(cls, text, vocab_size):
        """Learn vocab_size - 256 merges from `text`. Raises ValueError below 256."""
        if vocab_size < 256:
            raise ValueError(f"vocab_size={vocab_size} is too small: the 256 bytes come first")
        return cls(learn_merges(Counter(split_words(text)), vocab_size - 256))

    def encode_word(self, word):
        """One word -> list of ids: start from its bytes, then merge, earliest learned merge first."""
        ids = list(word.encode("utf-8"))
        while known := [pair for pair in zip(ids, ids[1:]) if pair in self.merges]:
            pair = min(known, key=self.merges.get)
            ids = merge(ids, pair, self.merges[pair])
        return ids

    def encode(self, text):
        """String -> list of ids; each distinct word is worked out once."""
        words = split_words(text)
        known = {word: self.encode_word(word) for word in set(words)}
        return [i for word in words for i in known[word]]

    def decode(self, ids):
        """List of ids -> string; bytes that are not UTF-8 become the replacement character."""
        return b"".join(self.vocab[i] for i in ids).decode("utf-8", errors="replace")


# ---- 03 · Batching ----------------------------------------------------------------------------


def windows(data, starts, block_size):
    """Inputs and targets, one step apart: data (N,), starts (B,) -> x (B, T) and y (B, T)."""
    places = starts[:, None] + torch.arange(block_size + 1)  # (B, T+1)
    rows = data[places]
    return rows[:, :-1], rows[:, 1:]


def split(data, fraction=0.9):
    """The first part for training, the rest for validation: (N,) -> (n,) and (N - n,)."""
    n = int(fraction * len(data))
    return data[:n], data[n:]


def get_batch(data, batch_size, block_size, generator=None, device="cpu"):
    """batch_size random windows of data: x and y, both (B, T). Raises ValueError where data is too short.

    Data and generator stay on the CPU, so that every device sees the same batches.
    """
    if len(data) <= block_size:
        raise ValueError(f"{len(data)} symbols are too few: a window takes {block_size + 1} (block_size + 1)")
    starts = torch.randint(len(data) - block_size, (batch_size,), generator=generator)
    x, y = windows(data, starts, block_size)
    return x.to(device), y.to(device)


def next_token_loss(logits, targets):
    """Mean of -ln p(target), in nats: logits (B, T, V), targets (B, T) -> scalar."""
    B, T, V = logits.shape
    return F.cross_entropy(logits.reshape(B * T, V), targets.reshape(B * T))


def estimate_loss(model, draw, eval_iters):
    """Mean loss over eval_iters random batches of each split: {'train': nats, 'val': nats}.

    `draw` holds one function for each split that returns a batch: {'train': () -> (x, y), ...}.
    """
    means = {}
    with evaluating(model):
        for name, draw_batch in draw.items():
            batches = (draw_batch() for _ in range(eval_iters))
            means[name] = sum(next_token_loss(model(x), y).item() for x, y in batches) / eval_iters
    return means


def full_loss(model, data, block_size, batch_size=256):
    """Mean loss over data (N,), each symbol but the first predicted exactly once; no randomness."""
    device = next(model.parameters()).device
    n = (len(data) - 1) // block_size * block_size  # what fills whole windows
    x, y = data[:n].view(-1, block_size), data[1 : n + 1].view(-1, block_size)
    batches = list(zip(x.split(batch_size), y.split(batch_size))) if n else []
    if n < len(data) - 1:
        batches.append((data[None, n:-1], data[None, n + 1 :]))  # the short rest
    with evaluating(model):
        losses = [next_token_loss(model(x.to(device)), y.to(device)).item() * y.numel() for x, y in batches]
    return sum(losses) / (len(data) - 1)


def train(model, draw_batch, optimizer, steps, on_step=None):
    """Fit the model, one batch a step; returns the loss of every step, in nats.

    `steps` gives the step numbers, for instance range(1000). `on_step(step, loss)` is called between
    backward and the optimizer's step. Raises FloatingPointError where the loss is no finite number.
    """
    losses = []
    model.train()
    for step in steps:
        x, y = draw_batch()
        loss = next_token_loss(model(x), y)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]} at step {step}: try a lower learning_rate")
        optimizer.zero_grad()
        loss.backward()
        if on_step:
            on_step(step, losses[-1])
        optimizer.step()
    return losses


# ---- 04 · One attention head ------------------------------------------------------------------


def causal_weights(q, k):
    """Who looks at whom: softmax(q kᵀ / √D), the future masked: two (..., T, D) -> (..., T, T), rows sum to 1.

    Source: Vaswani et al., 2017, arXiv:1706.03762, equation 1.
    """
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)  # (..., T, T)
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(diagonal=1)
    return F.softmax(scores.masked_fill(future, -math.inf), dim=-1)


class Head(nn.Module):
    """One head of causal self-attention: (B, T, C) -> (B, T, D)."""

    def __init__(self, n_embd, head_size):
        super().__init__()
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)

    def forward(self, x):
        """(B, T, C) -> (B, T, D)."""
        weights = causal_weights(self.query(x), self.key(x))  # (B, T, T)
        return weights @ self.value(x)


def first_changed(layer, x, changed):
    """The first position at which the outputs layer(x) and layer(changed), both (B, T, D), differ; T where none does."""
    same = (layer(x) - layer(changed)).abs().amax(dim=(0, 2)) < 1e-6  # (T)
    return same.int().cumprod(dim=0).sum().item()


class LanguageModel(nn.Module):
    """A frame for any `body` from (B, T, C) to (B, T, C): embeddings before it, scores for V symbols after it."""

    def __init__(self, vocab_size, block_size, n_embd, body):
        super().__init__()
        self.block_size = block_size
        self.token_embedding = nn.Embedding(vocab_size, n_embd)
        self.position_embedding = nn.Embedding(block_size, n_embd)
        self.body = body
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx):
        """(B, T) ids -> (B, T, V) logits, for T up to block_size."""
        B, T = idx.shape
        pos = torch.arange(T, device=idx.device)
        x = self.token_embedding(idx) + self.position_embedding(pos)  # (B, T, C)
        return self.lm_head(self.body(x))


# ---- 05 · Several heads -----------------------------------------------------------------------


class MultiHeadAttention(nn.Module):
    """H heads of causal self-attention in one product each: (B, T, C) -> (B, T, C).

    Raises ValueError where C does not divide into H heads.
    """

    def __init__(self, n_embd, n_head, dropout=0.0, bias=False):
        super().__init__()
        if n_embd % n_head:
            choices = ", ".join(str(h) for h in range(1, n_embd + 1) if n_embd % h == 0)
            raise ValueError(f"C={n_embd} does not divide into H={n_head} heads: choose H from {choices}")
        self.n_head, self.dropout = n_head, dropout
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=bias)
        self.proj = nn.Linear(n_embd, n_embd)

    def project(self, x):
        """(B, T, C) -> queries, keys and values, each (B, H, T, D)."""
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)
        return q, k, v

    def attend(self, q, k, v):
        """softmax(q kᵀ / √D) v: (B, H, T, D). As many queries as keys: causal. One query: it is the newest."""
        if q.shape[-2] not in (1, k.shape[-2]):
            raise ValueError(f"{q.shape[-2]} queries for {k.shape[-2]} keys: give one query or as many as keys")
        causal = q.shape[-2] == k.shape[-2]
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)

    def merge(self, out):
        """(B, H, T, D) -> (B, T, C): heads side by side, then mixed."""
        return self.proj(out.transpose(1, 2).flatten(2))

    def forward(self, x):
        """(B, T, C) -> (B, T, C)."""
        return self.merge(self.attend(*self.project(x)))


# ---- 06 · Blocks ------------------------------------------------------------------------------


class FeedForward(nn.Module):
    """Two linear layers with a bend between them, at every position alike: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd, activation="relu"):
        super().__init__()
        self.expand = nn.Linear(n_embd, 4 * n_embd)
        self.contract = nn.Linear(4 * n_embd, n_embd)
        self.activation = getattr(F, activation)

    def forward(self, x):
        """(B, T, C) -> (B, T, C)."""
        return self.contract(self.activation(self.expand(x)))


class Block(nn.Module):
    """Gather, then think, each added to what was there: (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd, n_head, dropout=0.0, bias=False, activation="relu"):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = MultiHeadAttention(n_embd, n_head, dropout, bias)
        self.ffwd = FeedForward(n_embd, activation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        """(B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attn(self.norm1(x)))
        return x + self.dropout(self.ffwd(self.norm2(x)))


# ---- 07 · GPT ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT; the defaults are the `small` one of 209,729 parameters.

    Raises ValueError where a size makes no sense.
    """

    vocab_size: int = 65
    block_size: int = 32
    n_embd: int = 64
    n_head: int = 4
    n_layer: int = 4
    dropout: float = 0.0
    bias: bool = False  # for queries, keys and values
    activation: str = "relu"  # or "gelu"
    tie_weights: bool = False  # lm_head and token_embedding share one table

    def __post_init__(self):
        for name in ("vocab_size", "block_size", "n_embd", "n_head", "n_layer"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: it must be at least 0 and below 1")
        if self.activation not in ("relu", "gelu"):
            raise ValueError(f"activation={self.activation!r}: choose 'relu' or 'gelu'")


def init_normal(model):
    """Draw all matrices and tables of the model from N(0, 0.02²), set all biases to 0."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


class GPT(nn.Module):
    """The decoder-only Transformer: (B, T) ids -> (B, T, V) logits. `init(model)` sets the first weights."""

    def __init__(self, config, init=init_normal):
        super().__init__()
        C = config.n_embd
        self.config, self.block_size = config, config.block_size
        self.token_embedding = nn.Embedding(config.vocab_size, C)
        self.position_embedding = nn.Embedding(config.block_size, C)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(C, config.n_head, config.dropout, config.bias, config.activation) for _ in range(config.n_layer)
        )
        self.norm = nn.LayerNorm(C)
        self.lm_head = nn.Linear(C, config.vocab_size)
        init(self)
        if config.tie_weights:
            self.lm_head.weight = self.token_embedding.weight

    def embed(self, idx, start=0):
        """What stands where: (B, T) ids, the first at position `start` -> (B, T, C)."""
        B, T = idx.shape
        if start + T > self.block_size:
            raise ValueError(f"{start + T} positions do not fit into the context of {self.block_size} (block_size)")
        pos = torch.arange(start, start + T, device=idx.device)
        return self.dropout(self.token_embedding(idx) + self.position_embedding(pos))

    def forward(self, idx):
        """(B, T) ids -> (B, T, V) logits, for T up to block_size."""
        x = self.embed(idx)
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.norm(x))


def count_parameters(config):
    """Parameters by component, from the formula alone: {component: number}."""
    V, T, C, L = config.vocab_size, config.block_size, config.n_embd, config.n_layer
    return {
        "token embedding": V * C,
        "position embedding": T * C,
        "attention": L * (4 * C * C + C + 3 * C * config.bias),
        "feed-forward": L * (8 * C * C + 5 * C),
        "layer norms": (2 * L + 1) * 2 * C,
        "lm_head": V * C * (not config.tie_weights) + V,
    }


def operations_per_token(config):
    """Floating-point operations to train on one token: 6 for each parameter, 12·L·C·T for attention.

    Source: Chowdhery et al., 2022, arXiv:2204.02311, appendix B.
    """
    N = sum(count_parameters(config).values())
    return 6 * N + 12 * config.n_layer * config.n_embd * config.block_size


# ---- 08 · Writing -----------------------------------------------------------------------------


class Cached:
    """A GPT that remembers what it has read: `generate(Cached(model), ...)` writes what `generate(model, ...)` writes.

    For evaluation mode, and for weights that stay as they are: make a new one after more training.
    """

    def __init__(self, model):
        self.model, self.seen, self.memory = model, None, {}

    def __getattr__(self, name):  # in everything else it is the model
        return getattr(self.model, name)

    @torch.inference_mode()
    def __call__(self, idx):
        """(B, T) ids -> logits, (B, 1, V) where idx is last time's ids and one more, else (B, T, V)."""
        start = idx.shape[1] - 1 if self.seen is not None and torch.equal(idx[:, :-1], self.seen) else 0
        x = self.embed(idx[:, start:], start)  # (B, T - start, C)
        for block in self.blocks:
            q, k, v = block.attn.project(block.norm1(x))
            if start:
                old_k, old_v = self.memory[block]
                k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
            self.memory[block] = k, v
            x = x + block.attn.merge(block.attn.attend(q, k, v))
            x = x + block.ffwd(block.norm2(x))
        self.seen = idx
        return self.lm_head(self.norm(x))


# ---- 09 · Training well -----------------------------------------------------------------------


def init_scaled(model):
    """Linear layers from N(0, 1/in), those that write into the residual stream at zero; all else as `init_normal`."""
    init_normal(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    for block in model.blocks:
        nn.init.zeros_(block.attn.proj.weight)
        nn.init.zeros_(block.ffwd.contract.weight)
