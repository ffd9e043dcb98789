"""make mutate: break tinygpt.py in small ways, one at a time, and see whether the tests notice.

Each mutation replaces one piece of text, in a copy of the project. It is caught where a test fails, or where the tests do
not end; the survivors are named in runs/mutations.md. Not part of `make test`: it takes about a quarter of an hour.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import lessons

TESTS = ("tests/test_text.py", "tests/test_model.py", "tests/test_writing.py")
SECONDS = 120  # for one mutation
WORKERS = 2
MUTATIONS = [  # (kind, what stands there - exactly once -, what replaces it)
    ("off by one", "ids[:-1] * V + ids[1:]", "ids[:-2] * V + ids[1:-1]"),
    ("order", "ids[:-1] * V + ids[1:]", "ids[1:] * V + ids[:-1]"),
    ("size", "minlength=V * V", "minlength=V"),
    ("size", "self.table = nn.Embedding(vocab_size, vocab_size)", "self.table = nn.Embedding(vocab_size + 1, vocab_size + 1)"),
    ("eval forgotten", "    model.eval()\n", "    pass\n"),
    ("eval forgotten", "model.train(was_training)", "model.train(True)"),
    ("eval forgotten", "model.train(was_training)", "pass"),
    ("gradients kept", "        with torch.no_grad():\n            yield", "        if True:\n            yield"),
    ("finally forgotten", "    finally:\n        model.train(was_training)", "    except ZeroDivisionError:\n        pass\n    model.train(was_training)"),
    ("wrong axis", "probs = F.softmax(logits, dim=-1).cpu()", "probs = F.softmax(logits, dim=0).cpu()"),
    ("seed ignored", "torch.multinomial(probs, 1, generator=generator)", "torch.multinomial(probs, 1)"),
    ("operator", "probs = F.softmax(logits, dim=-1).cpu()", "probs = F.softmax(-logits, dim=-1).cpu()"),
    ("check forgotten", "if idx.shape[1] == 0:", "if False:"),
    ("off by one", "for _ in range(max_new_tokens):", "for _ in range(max_new_tokens - 1):"),
    ("window", "idx[:, -model.block_size :]", "idx[:, -model.block_size + 1 :]"),
    ("window", "idx[:, -model.block_size :]", "idx"),
    ("wrong place", "pick(logits[:, -1], generator)", "pick(logits[:, 0], generator)"),
    ("seed ignored", "pick(logits[:, -1], generator)", "pick(logits[:, -1], None)"),
    ("order", "idx = torch.cat([idx, pick(logits[:, -1], generator)], dim=1)", "idx = torch.cat([pick(logits[:, -1], generator), idx], dim=1)"),
    ("order", "self.itos = sorted(set(text))", "self.itos = sorted(set(text), reverse=True)"),
    ("off by one", "enumerate(self.itos)}", "enumerate(self.itos, 1)}"),
    ("message", "text.index(char)", "text.rindex(char)"),
    ("pattern", r" ?\w+| ?[^\w\s]+|\s+", r"\w+|[^\w\s]+|\s+"),
    ("pattern", r" ?\w+| ?[^\w\s]+|\s+", r" ?\w+| ?[^\w\s]+|\s"),
    ("off by one", "if i + 1 < len(ids) and", "if i + 2 < len(ids) and"),
    ("off by one", "            i += 2\n", "            i += 1\n"),
    ("order", "(ids[i], ids[i + 1]) == pair", "(ids[i + 1], ids[i]) == pair"),
    ("tie", "pair = min(pair for pair, count in counts.items() if count == most)", "pair = max(pair for pair, count in counts.items() if count == most)"),
    ("operator", "most = max(counts.values())", "most = min(counts.values())"),
    ("off by one", "merges[pair] = 256 + len(merges)", "merges[pair] = 257 + len(merges)"),
    ("off by one", "while len(merges) < n_merges and counts:", "while len(merges) <= n_merges and counts:"),
    ("count", "            counts[pair] += times\n", "            counts[pair] += 1 if times > 0 else -1\n"),
    ("bookkeeping", "            tally(word, -words[word])\n", "            pass\n"),
    ("bookkeeping", "            tally(word, words[word])\n    return merges", "            pass\n    return merges"),
    ("bookkeeping", "            if not counts[pair]:\n                del counts[pair]\n", ""),
    ("order", "self.vocab[left] + self.vocab[right]", "self.vocab[right] + self.vocab[left]"),
    ("check forgotten", "if vocab_size < 256:", "if vocab_size < 255:"),
    ("order", "pair = min(known, key=self.merges.get)", "pair = max(known, key=self.merges.get)"),
    ("order", "pair = min(known, key=self.merges.get)", "pair = known[0]"),
    ("errors", 'decode("utf-8", errors="replace")', 'decode("utf-8", errors="ignore")'),
    ("shift forgotten", "return rows[:, :-1], rows[:, 1:]", "return rows[:, :-1], rows[:, :-1]"),
    ("shift", "return rows[:, :-1], rows[:, 1:]", "return rows[:, 1:], rows[:, :-1]"),
    ("off by one", "torch.arange(block_size + 1)  # (B, T+1)", "torch.arange(block_size)  # (B, T+1)"),
    ("order", "return data[:n], data[n:]", "return data[n:], data[:n]"),
    ("off by one", "return data[:n], data[n:]", "return data[:n], data[n + 1 :]"),
    ("off by one", "torch.randint(len(data) - block_size, (batch_size,)", "torch.randint(len(data) - block_size - 1, (batch_size,)"),
    ("off by one", "torch.randint(len(data) - block_size, (batch_size,)", "torch.randint(len(data) - block_size + 1, (batch_size,)"),
    ("seed ignored", "(batch_size,), generator=generator)", "(batch_size,))"),
    ("check", "if len(data) <= block_size:", "if len(data) < block_size:"),
    ("wrong axis", "F.cross_entropy(logits.reshape(B * T, V), targets.reshape(B * T))", "F.cross_entropy(logits.reshape(B, V, T), targets)"),
    ("mean", "for x, y in batches) / eval_iters", "for x, y in batches)"),
    ("eval forgotten", "    with evaluating(model):\n        for name, draw_batch", "    if True:\n        for name, draw_batch"),
    ("rest forgotten", "if n < len(data) - 1:", "if False:"),
    ("mean", "next_token_loss(model(x.to(device)), y.to(device)).item() * y.numel()", "next_token_loss(model(x.to(device)), y.to(device)).item()"),
    ("off by one", "return sum(losses) / (len(data) - 1)", "return sum(losses) / len(data)"),
    ("mode", "    losses = []\n    model.train()\n", "    losses = []\n"),
    ("zero_grad forgotten", "        optimizer.zero_grad()\n", ""),
    ("step forgotten", "        optimizer.step()\n", ""),
    ("order", "        loss.backward()\n        if on_step:\n            on_step(step, losses[-1])\n        optimizer.step()", "        loss.backward()\n        optimizer.step()\n        if on_step:\n            on_step(step, losses[-1])"),
    ("check forgotten", "if not math.isfinite(losses[-1]):", "if math.isnan(losses[-1]):"),
    ("scale forgotten", "scores = q @ k.transpose(-2, -1) / math.sqrt(D)", "scores = q @ k.transpose(-2, -1)"),
    ("scale", "scores = q @ k.transpose(-2, -1) / math.sqrt(D)", "scores = q @ k.transpose(-2, -1) / D"),
    ("order", "scores = q @ k.transpose(-2, -1)", "scores = k @ q.transpose(-2, -1)"),
    ("mask", "triu(diagonal=1)", "triu(diagonal=2)"),
    ("mask", "triu(diagonal=1)", "triu(diagonal=0)"),
    ("mask", "triu(diagonal=1)", "tril(diagonal=-1)"),
    ("mask forgotten", "scores.masked_fill(future, -math.inf)", "scores"),
    ("mask", "masked_fill(future, -math.inf)", "masked_fill(future, 0.0)"),
    ("wrong axis", "masked_fill(future, -math.inf), dim=-1)", "masked_fill(future, -math.inf), dim=-2)"),
    ("mixed up", "causal_weights(self.query(x), self.key(x))", "causal_weights(self.key(x), self.query(x))"),
    ("mixed up", "return weights @ self.value(x)", "return weights @ self.key(x)"),
    ("bias", "self.query = nn.Linear(n_embd, head_size, bias=False)", "self.query = nn.Linear(n_embd, head_size)"),
    ("operator", "self.token_embedding(idx) + self.position_embedding(pos)  # (B, T, C)", "self.token_embedding(idx)  # (B, T, C)"),
    ("operator", "return self.lm_head(self.body(x))", "return self.lm_head(x + self.body(x))"),
    ("check forgotten", "if n_embd % n_head:", "if False:"),
    ("size", "self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=bias)", "self.qkv = nn.Linear(n_embd, 3 * n_embd)"),
    ("mixed up", "permute(2, 0, 3, 1, 4)\n        return q, k, v", "permute(2, 0, 3, 1, 4)\n        return k, q, v"),
    ("mixed up", "permute(2, 0, 3, 1, 4)\n        return q, k, v", "permute(2, 0, 3, 1, 4)\n        return q, v, k"),
    ("split", "view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)", "view(B, T, self.n_head, 3, C // self.n_head).permute(3, 0, 2, 1, 4)"),
    ("mask forgotten", "causal = q.shape[-2] == k.shape[-2]", "causal = False"),
    ("dropout", "dropout = self.dropout if self.training else 0.0", "dropout = self.dropout"),
    ("dropout", "dropout = self.dropout if self.training else 0.0", "dropout = 0.0"),
    ("merge", "out.transpose(1, 2).flatten(2)", "out.flatten(1, 2).reshape(out.shape[0], out.shape[2], -1)"),
    ("projection forgotten", "return self.proj(out.transpose(1, 2).flatten(2))", "return out.transpose(1, 2).flatten(2)"),
    ("size", "self.expand = nn.Linear(n_embd, 4 * n_embd)", "self.expand = nn.Linear(n_embd, 4 * n_embd, bias=False)"),
    ("bend forgotten", "self.contract(self.activation(self.expand(x)))", "self.contract(self.expand(x))"),
    ("residual forgotten", "x = x + self.dropout(self.attn(self.norm1(x)))", "x = self.dropout(self.attn(self.norm1(x)))"),
    ("residual forgotten", "return x + self.dropout(self.ffwd(self.norm2(x)))", "return self.dropout(self.ffwd(self.norm2(x)))"),
    ("norm forgotten", "self.attn(self.norm1(x))", "self.attn(x)"),
    ("norm mixed up", "self.ffwd(self.norm2(x))", "self.ffwd(self.norm1(x))"),
    ("dropout", "x + self.dropout(self.ffwd(self.norm2(x)))", "self.dropout(x + self.ffwd(self.norm2(x)))"),
    ("dropout forgotten", "self.dropout(self.attn(self.norm1(x)))", "self.attn(self.norm1(x))"),
    ("default", "n_head: int = 4", "n_head: int = 8"),
    ("check", "if getattr(self, name) < 1:", "if getattr(self, name) < 0:"),
    ("check", "if not 0 <= self.dropout < 1:", "if not 0 <= self.dropout <= 1:"),
    ("frozen", "@dataclass(frozen=True)", "@dataclass"),
    ("initialisation", "nn.init.normal_(module.weight, std=0.02)", "nn.init.normal_(module.weight, std=0.2)"),
    ("initialisation", "if isinstance(module, (nn.Linear, nn.Embedding)):", "if isinstance(module, nn.Linear):"),
    ("initialisation", "            nn.init.zeros_(module.bias)", "            nn.init.ones_(module.bias)"),
    ("initialisation", "        init(self)\n", ""),
    ("tying", "self.lm_head.weight = self.token_embedding.weight", "self.lm_head.weight.data = self.token_embedding.weight.data.clone()"),
    ("off by one", "if start + T > self.block_size:", "if start + T > self.block_size + 1:"),
    ("position", "torch.arange(start, start + T, device=idx.device)", "torch.arange(T, device=idx.device)"),
    ("dropout forgotten", "return self.dropout(self.token_embedding(idx) + self.position_embedding(pos))", "return self.token_embedding(idx) + self.position_embedding(pos)"),
    ("norm forgotten", "            x = block(x)\n        return self.lm_head(self.norm(x))", "            x = block(x)\n        return self.lm_head(x)"),
    ("options forgotten", "Block(C, config.n_head, config.dropout, config.bias, config.activation)", "Block(C, config.n_head, config.dropout, config.bias)"),
    ("options forgotten", "Block(C, config.n_head, config.dropout, config.bias, config.activation)", "Block(C, config.n_head, 0.0, config.bias, config.activation)"),
    ("formula", "L * (8 * C * C + 5 * C)", "L * (8 * C * C + 4 * C)"),
    ("formula", '"layer norms": (2 * L + 1) * 2 * C', '"layer norms": 2 * L * 2 * C'),
    ("formula", "V * C * (not config.tie_weights) + V", "V * C + V"),
    ("formula", "6 * N + 12 *", "6 * N + 6 *"),
    ("cache", "torch.equal(idx[:, :-1], self.seen)", "True"),
    ("cache", "self.embed(idx[:, start:], start)", "self.embed(idx[:, start:])"),
    ("cache", "torch.cat([old_k, k], dim=2)", "torch.cat([k, old_k], dim=2)"),
    ("cache", "torch.cat([old_v, v], dim=2)", "torch.cat([v, old_v], dim=2)"),
    ("cache", "            self.memory[block] = k, v\n", "            self.memory.setdefault(block, (k, v))\n"),
    ("cache", "            x = x + block.ffwd(block.norm2(x))\n        self.seen", "            x = block.ffwd(block.norm2(x))\n        self.seen"),
    ("initialisation", "std=module.in_features**-0.5", "std=module.in_features**-1"),
    ("initialisation", "nn.init.zeros_(block.attn.proj.weight)", "pass"),
    ("initialisation", "nn.init.zeros_(block.ffwd.contract.weight)", "pass"),
]  # fmt: skip


def mutated(source, before, after):
    """The source with that piece replaced. Raises ValueError where it does not stand there exactly once."""
    if source.count(before) != 1:
        raise ValueError(f"{before!r} stands {source.count(before)} times in tinygpt.py: name it so that it stands there once")
    return source.replace(before, after)


def outcome(root, source):
    """'survived', or how the tests noticed, with this tinygpt.py in that copy of the project."""
    (root / "notebooks" / "tinygpt.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *TESTS]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SECONDS, env=os.environ | {"OMP_NUM_THREADS": "1"})
    except subprocess.TimeoutExpired:
        return "the tests did not end"
    failed = [line.split("::")[-1].split(" - ")[0] for line in done.stdout.split("\n") if line.startswith(("FAILED", "ERROR"))]
    return "survived" if done.returncode == 0 else (failed or ["the tests could not be collected"])[0]


def copies(folder):
    """A queue of copies of the project, one for each worker."""
    queue = Queue()
    for n in range(WORKERS):
        shutil.copytree(lessons.ROOT, folder / str(n), ignore=shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".hypothesis"))
        queue.put(folder / str(n))
    return queue


def main(folder=lessons.ROOT / "runs"):
    """Returns the exit status: 0 where 95 % of the mutations were caught."""
    source = (lessons.NOTEBOOKS / "tinygpt.py").read_text(encoding="utf-8")
    sources = [mutated(source, before, after) for _, before, after in MUTATIONS]
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(WORKERS) as pool:
        roots = copies(Path(temporary))

        def one(number, source):
            root = roots.get()
            try:
                found = outcome(root, source)
            finally:
                roots.put(root)
            kind, before, after = MUTATIONS[number]
            print(f"{number + 1:3}/{len(MUTATIONS)} {kind}: {' '.join(before.split())[:50]} -> {' '.join(after.split())[:50]}: {found}", flush=True)
            return found

        if (unharmed := outcome(roots.queue[0], source)) != "survived":
            print(f"the tests fail without any mutation: {unharmed}", file=sys.stderr)
            return 2
        found = list(pool.map(one, range(len(sources)), sources))
    caught = sum(result != "survived" for result in found)
    lines = [f"{caught} of {len(found)} mutations caught ({caught / len(found):.1%}).", "", "| kind | before | after | noticed by |", "|---|---|---|---|"]
    code = lambda text: "`" + " ".join(text.replace("|", "¦").split()) + "`"
    lines += [f"| {kind} | {code(before)} | {code(after)} | {result} |" for (kind, before, after), result in zip(MUTATIONS, found)]
    folder.mkdir(exist_ok=True)
    (folder / "mutations.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(lines[0], dict(Counter(kind for (kind, *_), result in zip(MUTATIONS, found) if result == "survived")) or "")
    return int(caught < 0.95 * len(found))


if __name__ == "__main__":
    sys.exit(main())
