"""The benchmark: its contenders do the same work, its record is whole, and a contender that fails is told in a sentence."""
import json
import os

import bench
import contenders
import pytest
import tinygpt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tinygpt import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=13, block_size=9, n_embd=12, n_head=3, n_layer=2)


def head_by_head(model):
    """The per-head reference with the weights of this GPT."""
    reference, weights = contenders.PlainGPT(model.config), model.state_dict()
    for i in range(model.config.n_layer):
        block, D = f"blocks.{i}", model.config.n_embd // model.config.n_head
        parts = weights.pop(f"{block}.attn.qkv.weight").chunk(3)
        for name, part in zip(("query", "key", "value"), parts):
            for h, head in enumerate(part.split(D)):
                weights[f"{block}.heads.{h}.{name}.weight"] = head
        for h in range(model.config.n_head):
            weights[f"{block}.heads.{h}.mask"] = torch.tril(torch.ones(model.block_size, model.block_size))
        for old, new in {"attn.proj": "proj", "ffwd.expand": "ffwd.0", "ffwd.contract": "ffwd.2"}.items():
            for kind in ("weight", "bias"):
                weights[f"{block}.{new}.{kind}"] = weights.pop(f"{block}.{old}.{kind}")
    reference.load_state_dict(weights)
    return reference


def test_the_reference_is_the_same_function_with_the_same_gradients():
    torch.manual_seed(0)
    model = GPT(CONFIG, lambda model: None)
    reference = head_by_head(model)
    idx, targets = torch.randint(13, (2, 4, 7))
    with torch.no_grad():
        for one, other in ((n, dict(reference.named_parameters())[name]) for name, n in model.named_parameters() if "norm" in name):
            other.copy_(one.normal_())  # fresh norms are all alike, and so hide one taken for another
    for either in (model, reference):
        tinygpt.next_token_loss(either(idx), targets).backward()
    assert torch.allclose(model(idx), reference(idx), atol=1e-6)
    assert torch.allclose(model.token_embedding.weight.grad, reference.token_embedding.weight.grad, atol=1e-6)
    queries = torch.cat([head.query.weight.grad for head in reference.blocks[1].heads])
    assert torch.allclose(model.blocks[1].attn.qkv.weight.grad[:12], queries, atol=1e-6)
    assert torch.allclose(model.blocks[0].ffwd.expand.weight.grad, reference.blocks[0].ffwd[0].weight.grad, atol=1e-6)


def test_gpt2_has_the_size_but_for_biases():
    ours, theirs = (sum(p.numel() for p in kind(CONFIG).parameters()) for kind in (GPT, contenders.GPT2))
    L, C, V = CONFIG.n_layer, CONFIG.n_embd, CONFIG.vocab_size
    assert theirs - ours == L * 3 * C - V  # theirs has biases in q, k, v and none in the last layer


def test_transformers_runs_as_fast_as_it_can_and_by_the_same_recipe():
    gpt2 = contenders.GPT2(CONFIG).model.config
    assert (gpt2._attn_implementation, gpt2.activation_function) == ("sdpa", "relu")
    assert (gpt2.resid_pdrop, gpt2.embd_pdrop, gpt2.attn_pdrop) == (0, 0, 0)
    trainers = {kind: contenders.Trainer(kind, "six_plays") for kind in contenders.Trainer.models}
    first = {}
    for kind, trainer in trainers.items():
        trainer.build(dict(n_layer=1, n_head=1, n_embd=8, block_size=8), 2)
        first[kind] = trainer.draw()[0].tolist()
    recipe = {kind: trainer.optimizer.defaults for kind, trainer in trainers.items()}
    assert recipe["transformers"] == recipe["project"] == recipe["reference"] | {"fused": True}
    assert recipe["reference"]["fused"] is None
    assert first["reference"] == first["project"] == first["transformers"]


def test_lesson_09_follows_its_schedule_from_slice_to_slice():
    well, seen = contenders.WellTrained("six_plays", 100), []
    well.build(dict(n_layer=1, n_head=1, n_embd=8, block_size=8), 2)
    follow, well.on_step = well.on_step, lambda step, loss: (seen.append(step), follow(step, loss))
    well.run(2)
    well.run(3)
    assert seen == [0, 1, 2, 3, 4]


def test_only_the_cached_writers_remember(monkeypatch):
    shape, used = dict(n_layer=1, n_head=1, n_embd=8, block_size=8), []
    remember = contenders.tinygpt.Cached.__call__
    monkeypatch.setattr(contenders.tinygpt.Cached, "__call__", lambda self, idx: (used.append(1), remember(self, idx))[1])
    for kind, times in {"plain": 0, "cached": 5, "cached and bare": 5, "transformers": 0}.items():
        used.clear()
        contenders.Writer(kind, shape).run(1, 1, 5)
        assert len(used) == times


@given(st.text(alphabet="abc ", min_size=1, max_size=200), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_plain_byte_pair_encoding_learns_and_encodes_the_same(text, n):
    merges = tinygpt.learn_merges(tinygpt.Counter(tinygpt.split_words(text)), n)
    plain = contenders.PlainBPE.__new__(contenders.PlainBPE)
    plain.text, plain.merges = text, {}
    plain.words = [list(word.encode()) for word in tinygpt.split_words(text)]
    plain.run(len(merges))
    assert plain.learned() == [list(pair) for pair in merges]
    assert plain.encode(len(text))[1] == tinygpt.BPETokenizer(merges).encode(text)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder that a quick run of everything left, on the bundled plays."""
    folder = tmp_path_factory.mktemp("runs")
    assert bench.main(["--quick", "--corpus", "six_plays"], folder) == 0
    return folder


def test_a_run_measures_every_contender_of_every_part(measured):
    record = json.loads((measured / "bench.json").read_text())
    assert list(record) == ["step", "quality", "writing", "bpe"]
    assert [row["contender"] for row in record["step"]["rows"]] == ["reference", "project", "transformers"] * 3
    assert [row["parameters"] for row in record["step"]["rows"][:2]] == [209_729] * 2
    assert [row["contender"] for row in record["quality"]["rows"]] == ["reference, plain recipe", "project, plain recipe", "project, lesson 09"]
    written = [(row["place"], row["batch_size"], row["contender"]) for row in record["writing"]["rows"]]
    within = [("within", B, kind) for B in (1, 2) for kind in ("plain", "cached", "cached and bare", "transformers")]
    assert sorted(written) == sorted(within + [("beyond", B, kind) for B in (1, 2) for kind in ("plain", "cached", "cached and bare")])
    assert len(record["bpe"]["rows"]) == 2
    for part in record.values():
        assert {"processor", "cores", "torch", "threads", "date", "commit"} <= part["machine"].keys()


def test_the_record_is_a_table_and_a_picture_too(measured):
    record, text = json.loads((measured / "bench.json").read_text()), (measured / "bench.md").read_text()
    assert text.count("\n| ") == sum(1 + len(part["rows"]) for part in record.values())
    assert (measured / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert os.path.expanduser("~") not in text and str(bench.lessons.ROOT) not in text


def test_a_ratio_is_taken_round_by_round():
    assert bench.ratios([1.0, 2.0, 4.0], [3.0, 4.0, 4.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}


def test_the_share_of_the_machine_s_speed_the_turns_and_the_first_crossing():
    assert bench.shares(100, [2.0], [200.0])["median"] == 0.25
    assert [bench.in_turn("abc", turn)[0] for turn in range(4)] == ["a", "b", "c", "a"]
    curve = [(10, 1.0, 3.0), (20, 2.0, 1.9), (30, 3.0, 2.1)]
    assert bench.first_at(curve, 2.0) == (20, 2.0) and bench.first_at(curve, 1.0) == (None, None)


def test_the_machine_s_speed_is_counted_from_a_known_number_of_operations(monkeypatch):
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(contenders.time, "perf_counter", lambda: next(clock))
    assert contenders.Product(8).run(5) == 5 * 2 * 8**3 / 2


def fake(monkeypatch, folder, answer):
    """A contender that answers its first request by this code."""
    (folder / "contenders.py").write_text(f"import os, sys\nsys.stdin.readline()\n{answer}\n")
    monkeypatch.setattr(bench, "__file__", str(folder / "bench.py"))
    return bench.Contender("Fake", 3)


def test_a_contender_gets_its_threads_and_may_write_much_on_standard_error(tmp_path, monkeypatch):
    with fake(monkeypatch, tmp_path, "sys.stderr.write('x' * 1_000_000)\nprint(os.environ['OMP_NUM_THREADS'])") as contender:
        assert contender.run() == 3


def test_an_answer_cut_off_is_told_in_a_sentence(tmp_path, monkeypatch):
    with fake(monkeypatch, tmp_path, "print('[1, 2', end='')") as contender:
        with pytest.raises(bench.ContenderFailed, match="the contender Fake ended at run: exit status 0"):
            contender.run()


def test_other_merges_are_not_compared(monkeypatch):
    answers = {"run": lambda self, merges: 1.0, "learned": lambda self: object(), "encode": lambda self, n: (1.0, [])}
    nothing = {"__init__": lambda self, *_, **__: None, "__exit__": lambda *_: None}
    monkeypatch.setattr(bench, "Contender", type("Contender", (), answers | nothing))
    with pytest.raises(bench.ContenderFailed, match="learned other merges"):
        bench.bench_bpe(bench.QUICK["bpe"], 1, "six_plays")


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ('raise RuntimeError("no more")', "the contender PlainBPE ended at run: RuntimeError: no more"),
        ("import os; os._exit(3)", "the contender PlainBPE ended at run: exit status 3"),
    ],
)
def test_a_contender_that_fails_is_told_in_a_sentence_and_the_other_parts_are_kept(measured, tmp_path, monkeypatch, capsys, broken, sentence):
    (tmp_path / "bench.json").write_bytes((measured / "bench.json").read_bytes())
    program = tmp_path / "contenders.py"
    program.write_text(f"import sys\nsys.stdin.readline()\n{broken}\n")
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "bench.py"))
    assert bench.main(["--quick", "--parts", "bpe"], tmp_path) == 1
    assert f"bpe was not measured: {sentence}" in capsys.readouterr().err
    assert json.loads((tmp_path / "bench.json").read_text()) == json.loads((measured / "bench.json").read_text())


def test_texts_that_differ_are_not_compared(monkeypatch):
    answers = {"run": lambda B, prompt, new: (1.0, object())}
    contender = type("Contender", (), {"__init__": lambda self, *_, **__: None, "__exit__": lambda *_: None, "run": lambda self, *a: answers["run"](*a)})
    monkeypatch.setattr(bench, "Contender", contender)
    with pytest.raises(bench.ContenderFailed, match="cached writing and plain writing differ"):
        bench.bench_writing(bench.QUICK["writing"], 1, "six_plays")


def test_an_unknown_part_is_refused_with_the_known_ones(tmp_path, capsys):
    assert bench.main(["--parts", "step speed"], tmp_path) == 2
    assert "there is no part 'speed': choose from step, quality, writing, bpe" in capsys.readouterr().err
