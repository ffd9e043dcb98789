"""The contenders of `make bench`, one process each: `python contenders.py NAME '{"setting": 1}'`.

Each reads requests from standard input, one JSON object a line, and answers each with one line. What it is asked for
is a method of the contender and its arguments; the answer is what the method returns.
"""
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
import lessons  # noqa: E402
import tinygpt  # noqa: E402
import workbench  # noqa: E402
from tinygpt import GPT, GPTConfig  # noqa: E402

SEED = 1337


# ---- A GPT as it is often written: head by head -----------------------------------------------


class PlainHead(nn.Module):
    """One head with three projections and a mask of its own: (B, T, C) -> (B, T, D)."""

    def __init__(self, config, head_size):
        super().__init__()
        self.key = nn.Linear(config.n_embd, head_size, bias=False)
        self.query = nn.Linear(config.n_embd, head_size, bias=False)
        self.value = nn.Linear(config.n_embd, head_size, bias=False)
        self.register_buffer("mask", torch.tril(torch.ones(config.block_size, config.block_size)))

    def forward(self, x):
        B, T, C = x.shape
        k, q = self.key(x), self.query(x)
        scores = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
        scores = scores.masked_fill(self.mask[:T, :T] == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ self.value(x)


class PlainBlock(nn.Module):
    """A list of heads, concatenated and projected, then a feed-forward layer: (B, T, C) -> (B, T, C)."""

    def __init__(self, config):
        super().__init__()
        C, H = config.n_embd, config.n_head
        self.heads = nn.ModuleList(PlainHead(config, C // H) for _ in range(H))
        self.proj = nn.Linear(C, C)
        self.ffwd = nn.Sequential(nn.Linear(C, 4 * C), nn.ReLU(), nn.Linear(4 * C, C))
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)

    def forward(self, x):
        normed = self.norm1(x)
        x = x + self.proj(torch.cat([head(normed) for head in self.heads], dim=-1))
        return x + self.ffwd(self.norm2(x))


class PlainGPT(nn.Module):
    """The per-head reference: the same function of its weights as tinygpt.GPT, written plainly."""

    def __init__(self, config):
        super().__init__()
        self.config, self.block_size = config, config.block_size
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.Sequential(*(PlainBlock(config) for _ in range(config.n_layer)))
        self.norm = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size)
        tinygpt.init_normal(self)

    def forward(self, idx):
        B, T = idx.shape
        x = self.token_embedding(idx) + self.position_embedding(torch.arange(T))
        return self.lm_head(self.norm(self.blocks(x)))


class GPT2(nn.Module):
    """transformers' GPT-2 of the same size: ReLU, no dropout, a last layer of its own; biases as GPT-2 has them."""

    def __init__(self, config):
        super().__init__()
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from transformers import GPT2Config, GPT2LMHeadModel

        self.block_size = config.block_size
        self.model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=config.vocab_size, n_positions=config.block_size, n_embd=config.n_embd, n_layer=config.n_layer,
                n_head=config.n_head, activation_function="relu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, attn_implementation="sdpa",
            )
        )  # fmt: skip

    def forward(self, idx):
        return self.model(idx, use_cache=False).logits


# ---- Training ---------------------------------------------------------------------------------


class Trainer:
    """Trains a model of one kind by the plain recipe of lesson 07, some steps at a time."""

    models = {"reference": PlainGPT, "project": GPT, "transformers": GPT2}

    def __init__(self, kind, corpus):
        text = workbench.load_corpus(corpus).text
        ids = torch.tensor(tinygpt.CharTokenizer(text).encode(text))
        self.train_data, self.val_data = tinygpt.split(ids)
        self.kind, self.vocab_size = kind, int(ids.max()) + 1

    def build(self, shape, batch_size):
        """A fresh model of this shape; returns how many parameters it has."""
        self.done, self.config = 0, GPTConfig(vocab_size=self.vocab_size, **shape)
        torch.manual_seed(SEED)
        self.model = self.models[self.kind](self.config)
        fused = {} if self.kind == "reference" else {"fused": True}  # the reference does what most first programs do
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, **fused)
        self.on_step, generator = None, torch.Generator().manual_seed(SEED)
        self.draw = lambda: tinygpt.get_batch(self.train_data, batch_size, self.config.block_size, generator)
        return sum(p.numel() for p in self.model.parameters())

    def run(self, steps):
        """Train for so many steps; returns the seconds."""
        start = time.perf_counter()
        tinygpt.train(self.model, self.draw, self.optimizer, range(self.done, self.done + steps), self.on_step)
        self.done += steps
        return time.perf_counter() - start

    def loss(self):
        """On the whole validation text, in nats per character."""
        return tinygpt.full_loss(self.model, self.val_data, self.config.block_size)


class WellTrained(Trainer):
    """This project's GPT by the recipe of lesson 09, over max_iters steps."""

    def __init__(self, corpus, max_iters):
        super().__init__("project", corpus)
        self.max_iters = max_iters

    def build(self, shape, batch_size):
        """As above, with the recipe's first weights, optimizer, rates and order of the windows."""
        parameters = super().build(shape, batch_size)
        lesson = lessons.definitions_of(lessons.find("09"), seed=SEED, device="cpu")
        recipe = lesson["WELL"]
        torch.manual_seed(SEED)
        self.model = GPT(self.config, recipe.init)
        self.optimizer = lesson["make_optimizer"](self.model, recipe)
        self.on_step = lesson["follow"](self.model, self.optimizer, recipe, self.max_iters)
        self.draw = lesson["passes"](self.train_data, batch_size, self.config.block_size, SEED).__next__
        return parameters


class Product:
    """The machine's own speed: products of two square float32 matrices."""

    def __init__(self, size):
        self.square = torch.randn(size, size)

    def run(self, times):
        """Floating-point operations per second."""
        self.square @ self.square
        start = time.perf_counter()
        for _ in range(times):
            self.square @ self.square
        return times * 2 * len(self.square) ** 3 / (time.perf_counter() - start)


# ---- Writing ----------------------------------------------------------------------------------


class Writer:
    """Continues B prompts: plain, cached, cached and without the bookkeeping of nn.Module, or with transformers' own cache."""

    def __init__(self, kind, shape):
        torch.manual_seed(SEED)
        self.kind, config = kind, GPTConfig(**shape)
        self.model = (GPT2 if kind == "transformers" else GPT)(config).eval()
        if kind == "cached and bare":
            text = tinygpt.CharTokenizer("ab")
            self.bare = lessons.definitions_of(lessons.find("08"), seed=SEED, device="cpu", tokenizer=text, model=self.model)["Bare"]

    def ids(self, batch_size, prompt, new):
        generator = torch.Generator().manual_seed(SEED)
        idx = torch.randint(65, (batch_size, prompt), generator=generator)
        if self.kind == "transformers":
            with torch.no_grad():
                return self.model.model.generate(
                    idx, attention_mask=torch.ones_like(idx), max_new_tokens=new, min_new_tokens=new,
                    do_sample=True, top_k=0, use_cache=True, pad_token_id=0,
                )  # fmt: skip
        return tinygpt.generate(self.writer(), idx, new, generator=generator)

    def writer(self):
        """What `generate` is to write with."""
        if self.kind == "plain":
            return self.model
        return tinygpt.Cached(self.bare(self.model) if self.kind == "cached and bare" else self.model)

    def run(self, batch_size, prompt, new):
        """Write; returns the seconds, and the ids as a proof of what was written."""
        start = time.perf_counter()
        ids = self.ids(batch_size, prompt, new)
        seconds = time.perf_counter() - start
        assert ids.shape == (batch_size, prompt + new)
        return seconds, ids.tolist()


# ---- Byte-pair encoding -----------------------------------------------------------------------


def plain_merge(ids, pair, new_id):
    """Replace pair by new_id in a list, from left to right."""
    out, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and ids[i] == pair[0] and ids[i + 1] == pair[1]:
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


class PlainBPE:
    """Byte-pair encoding that counts all pairs of the whole text anew for every merge."""

    def __init__(self, corpus, characters=None):
        self.text = workbench.load_corpus(corpus).text[:characters]
        self.words = [list(word.encode("utf-8")) for word in tinygpt.split_words(self.text)]
        self.merges = {}

    def run(self, merges):
        """Learn so many merges more; returns the seconds."""
        start = time.perf_counter()
        for _ in range(merges):
            counts = Counter()
            for word in self.words:
                for pair in zip(word, word[1:]):
                    counts[pair] += 1
            pair = min(counts, key=lambda pair: (-counts[pair], pair))
            new_id = 256 + len(self.merges)
            self.merges[pair] = new_id
            self.words = [plain_merge(word, pair, new_id) for word in self.words]
        return time.perf_counter() - start

    def learned(self):
        """The merges in their order, as [left, right]."""
        return [list(pair) for pair in self.merges]

    def encode(self, characters):
        """Encode the beginning of the text, word by word; returns the seconds and the ids."""
        start, out = time.perf_counter(), []
        for word in tinygpt.split_words(self.text[:characters]):
            ids = list(word.encode("utf-8"))
            while len(ids) > 1:
                pair = min(zip(ids, ids[1:]), key=lambda pair: self.merges.get(pair, float("inf")))
                if pair not in self.merges:
                    break
                ids = plain_merge(ids, pair, self.merges[pair])
            out += ids
        return time.perf_counter() - start, out


class ProjectBPE:
    """This project's byte-pair encoding."""

    def __init__(self, corpus, characters=None):
        self.text = workbench.load_corpus(corpus).text[:characters]

    def run(self, merges):
        """Learn so many merges from the beginning, the split into words included; returns the seconds."""
        start = time.perf_counter()
        self.tokenizer = tinygpt.BPETokenizer.train(self.text, 256 + merges)
        return time.perf_counter() - start

    def learned(self):
        """The merges in their order, as [left, right]."""
        return [list(pair) for pair in self.tokenizer.merges]

    def encode(self, characters):
        """Encode the beginning of the text; returns the seconds and the ids."""
        start = time.perf_counter()
        ids = self.tokenizer.encode(self.text[:characters])
        return time.perf_counter() - start, ids


# ---- The process ------------------------------------------------------------------------------

KINDS = {kind.__name__: kind for kind in (Trainer, WellTrained, Product, Writer, PlainBPE, ProjectBPE)}


def main():
    """Answer requests until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever is printed is no answer
    workbench.choose_threads()
    contender = KINDS[sys.argv[1]](**json.loads(sys.argv[2]))
    for line in sys.stdin:
        method, arguments = json.loads(line)
        print(json.dumps(getattr(contender, method)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
