"""The workbench keeps its promises: texts, devices, threads, progress, checkpoints; a mistake gets one sentence."""
import contextlib
import functools
import hashlib
import json
import math
import os
import pickle
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import lessons
import pytest
import torch
import workbench
from tinygpt import GPT, GPTConfig, get_batch, train

BUNDLED = workbench.DATA
SYMBOLS = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # of Tiny Shakespeare
TEXT = b"To be, or not to be.\n" * 100


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def one_sentence(message):
    """One line, no trace, nothing left to format."""
    return message and "\n" not in message and "Traceback" not in message


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("TINYGPT_CORPUS", "TINYGPT_DEVICE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


# ---- Downloads --------------------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    """Answers every request as the function `answer` says."""

    answer = None

    def do_GET(self):
        self.server.requests += 1
        type(self).answer(self)

    def log_message(self, *_):
        pass

    def send(self, content, status=200, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)


def good(request):
    request.send(TEXT)


def altered(request):
    request.send(TEXT.replace(b"not", b"now", 1))


def cut_off(request):
    request.send(TEXT[:500], length=len(TEXT))


def refused(request):
    request.send(b"no", status=403)


def broken(request):
    request.send(b"no", status=500)


def web_page(request):
    request.send(b"<!doctype html><title>Please log in</title>")


def silent(request):
    time.sleep(2)


def dripping(request):
    request.send(b"", length=len(TEXT))
    for i in range(100):
        request.wfile.write(TEXT[i : i + 1])
        time.sleep(0.05)


def too_large(request):
    request.send(TEXT * 2)


def no_http(request):
    request.wfile.write(b"SSH-2.0-somebody\r\n")


def bad_chunks(request):
    request.protocol_version = "HTTP/1.1"
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"ff\r\nTo be")


def circling(request):
    request.send_response(302)
    request.send_header("Location", request.path)
    request.send_header("Content-Length", "0")
    request.end_headers()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder of its own with the bundled texts, and TEXT in the place of Tiny Shakespeare."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("six_plays.txt", "letters.txt"):
        (folder / name).write_bytes((BUNDLED / name).read_bytes())
    monkeypatch.setattr(workbench, "DATA", folder)
    monkeypatch.setitem(workbench.SHA256, "tinyshakespeare", sha256(TEXT))
    monkeypatch.setattr(workbench, "LARGEST_DOWNLOAD", len(TEXT) + 100)
    return folder


@pytest.fixture
def serve(data, monkeypatch):
    """Starts a server on this machine that answers as told, and makes it the address of Tiny Shakespeare."""
    servers = []

    def start(answer):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answers,), {"answer": answer}))
        server.requests, server.daemon_threads = 0, True
        threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.05), daemon=True).start()
        monkeypatch.setattr(workbench, "URL", f"http://127.0.0.1:{server.server_port}/input.txt")
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_verified_kept_and_not_repeated(serve, data, capsys):
    server = serve(good)
    for _ in range(2):
        assert workbench.load_corpus("tinyshakespeare") == ("tinyshakespeare", TEXT.decode())
    assert server.requests == 1
    assert (data / "tinyshakespeare.txt").read_bytes() == TEXT
    assert names(data) == ["letters.txt", "six_plays.txt", "tinyshakespeare.txt"]
    assert capsys.readouterr().out == ""


def test_two_downloads_at_once_do_not_disturb_each_other(serve, data):
    serve(good)
    found = []
    threads = [threading.Thread(target=lambda: found.append(workbench.load_corpus("tinyshakespeare").text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [TEXT.decode()] * 4
    assert names(data) == ["letters.txt", "six_plays.txt", "tinyshakespeare.txt"]


@pytest.mark.parametrize(
    "answer, reason",
    [
        (altered, "checksum"),
        (cut_off, ""),
        (refused, "403"),
        (broken, "500"),
        (web_page, "checksum"),
        (silent, "timed out"),
        (dripping, "longer than 0.5 seconds"),
        (too_large, "more bytes came than the text has"),
        (no_http, ""),
        (bad_chunks, ""),
        (circling, "redirect"),
    ],
)
def test_a_bad_download_is_told_in_one_line_and_the_plays_serve(serve, data, monkeypatch, capsys, answer, reason):
    serve(answer)
    monkeypatch.setattr(workbench, "DEADLINE", 0.5)
    urlopen = workbench.urllib.request.urlopen
    monkeypatch.setattr(workbench.urllib.request, "urlopen", lambda url, timeout: urlopen(url, timeout=min(timeout, 0.5)))
    assert workbench.load_corpus("auto").name == "six_plays"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Tiny Shakespeare cannot be downloaded (") and line.endswith("(six_plays) are used instead.")
    assert reason in line
    assert names(data) == ["letters.txt", "six_plays.txt"]


def test_no_network_is_told_in_one_line_and_the_plays_serve(data, monkeypatch, capsys):
    monkeypatch.setattr(workbench, "URL", "http://127.0.0.1:9/input.txt")
    assert workbench.load_corpus("tinyshakespeare").name == "six_plays"
    (line,) = capsys.readouterr().out.splitlines()
    assert "refused" in line


def test_a_server_without_tls_is_not_trusted(serve, data, monkeypatch, capsys):
    server = serve(good)
    monkeypatch.setattr(workbench, "URL", workbench.URL.replace("http:", "https:"))
    assert workbench.load_corpus("tinyshakespeare").name == "six_plays"
    (line,) = capsys.readouterr().out.splitlines()
    assert "SSL" in line
    assert server.requests == 0 and names(data) == ["letters.txt", "six_plays.txt"]


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


def no_space(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("module, name, error", [("tempfile", "mkstemp", refuse), ("os", "replace", refuse), ("os", "fsync", no_space)])
def test_a_text_that_cannot_be_kept_is_used_all_the_same(serve, data, monkeypatch, capsys, module, name, error):
    serve(good)
    monkeypatch.setattr(getattr(workbench, module), name, error)
    assert workbench.load_corpus("tinyshakespeare").text == TEXT.decode()
    (line,) = capsys.readouterr().out.splitlines()
    assert "could not be kept in data/" in line
    assert names(data) == ["letters.txt", "six_plays.txt"]


# ---- Other texts ------------------------------------------------------------------------------


@pytest.mark.parametrize("name, characters, symbols", [("six_plays", 274_893, SYMBOLS), ("letters", 108_258, SYMBOLS.replace("X", "").replace("Z", ""))])
def test_a_bundled_text_is_the_documented_one(name, characters, symbols):
    name, text = workbench.load_corpus(name)
    assert len(text) == characters
    assert "".join(sorted(set(text))) == symbols
    content = (BUNDLED / f"{name}.txt").read_bytes()
    assert content == text.encode() and sha256(content) == workbench.SHA256[name]
    documented = (BUNDLED / "README.md").read_text(encoding="utf-8")
    assert f"| {characters:,} | {len(symbols)} | `{workbench.SHA256[name]}` |" in documented


def test_tiny_shakespeare_is_the_documented_text():
    if not (BUNDLED / "tinyshakespeare.txt").exists():
        pytest.skip("data/tinyshakespeare.txt is missing: run a lesson once with network, or put it there")
    text = workbench.load_corpus("tinyshakespeare").text
    assert len(text) == 1_115_394 and "".join(sorted(set(text))) == SYMBOLS


@pytest.mark.parametrize("name", ["six_plays", "letters"])
def test_an_altered_or_missing_bundled_text_is_an_error(data, name):
    (data / f"{name}.txt").write_text("Something else.\n" * 100)
    with pytest.raises(ValueError, match=f"^data/{name}.txt is not the known text .* restore") as error:
        workbench.load_corpus(name)
    assert one_sentence(str(error.value))
    (data / f"{name}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=f"^data/{name}.txt is missing: restore it"):
        workbench.load_corpus(name)


def test_an_altered_tiny_shakespeare_is_an_error(data):
    (data / "tinyshakespeare.txt").write_bytes(TEXT[:-1])
    with pytest.raises(ValueError, match="^data/tinyshakespeare.txt is not the known text"):
        workbench.load_corpus("tinyshakespeare")


def test_a_text_of_ones_own_is_read_from_its_path(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("Grüße, Welt! " * 100, encoding="utf-8")
    assert workbench.load_corpus(str(path)) == workbench.load_corpus(path) == ("own.txt", "Grüße, Welt! " * 100)


@pytest.mark.parametrize(
    "content, error, message",
    [
        (None, FileNotFoundError, r"^there is no corpus and no file '.*own.txt': choose tinyshakespeare, six_plays, letters or"),
        (b"", ValueError, r"own.txt holds 0 characters: at least 1,000 are needed$"),
        (b"short", ValueError, r"own.txt holds 5 characters: at least 1,000 are needed$"),
        (b"caf\xe9 " * 500, ValueError, r"own.txt is not UTF-8 \(byte 3\): save it as UTF-8"),
        ("folder", ValueError, r"own.txt is a folder: name one text file in it$"),
    ],
    ids=["missing", "empty", "too short", "not UTF-8", "a folder"],
)
def test_a_text_that_cannot_serve_is_refused_in_one_sentence(tmp_path, content, error, message):
    path = tmp_path / "own.txt"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        workbench.load_corpus(str(path))
    assert one_sentence(str(caught.value))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match="'shakespear': choose tinyshakespeare, six_plays, letters or the path"):
        workbench.load_corpus("shakespear")


def test_the_environment_chooses_the_text_where_the_lesson_leaves_it_open(monkeypatch):
    monkeypatch.setenv("TINYGPT_CORPUS", "letters")
    assert workbench.load_corpus().name == "letters"
    assert workbench.load_corpus("six_plays").name == "six_plays"


# ---- Device, threads, seed --------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """Makes PyTorch find these GPUs, or none."""

    def has(cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


def test_auto_takes_cuda_where_it_is_and_never_mps(machine):
    machine(cuda=True, mps=True)
    assert workbench.pick_device() == "cuda"
    machine(cuda=False, mps=True)
    assert workbench.pick_device("auto") == "cpu"


def test_the_environment_chooses_the_device_where_the_lesson_leaves_it_open(machine, monkeypatch):
    machine(cuda=True)
    monkeypatch.setenv("TINYGPT_DEVICE", "cpu")
    assert workbench.pick_device() == "cpu"
    assert workbench.pick_device("cuda") == "cuda"


def test_mps_comes_with_a_warning_about_its_numbers(machine, capsys):
    machine(mps=True)
    assert workbench.pick_device("mps") == "mps"
    assert "numbers may differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    "device, message",
    [
        ("cuda", "^device='cuda' was asked for, but PyTorch finds no CUDA GPU here: choose 'cpu' or 'auto'$"),
        ("mps", "^device='mps' was asked for, but PyTorch finds no Apple GPU here: choose 'cpu' or 'auto'$"),
        ("gpu", "^device='gpu' is unknown: choose 'auto', 'cpu', 'cuda' or 'mps'$"),
        ("", "^device='' is unknown"),
    ],
)
@pytest.mark.parametrize("from_environment", [False, True])
def test_a_device_that_is_not_there_is_refused_in_one_sentence(machine, monkeypatch, device, message, from_environment):
    machine()
    if from_environment and device:
        monkeypatch.setenv("TINYGPT_DEVICE", device)
        device = "auto"
    with pytest.raises(ValueError, match=message):
        workbench.pick_device(device)


@pytest.fixture
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_omp_num_threads_is_respected(monkeypatch, threads_as_before, wanted):
    monkeypatch.setenv("OMP_NUM_THREADS", str(wanted))
    assert workbench.choose_threads() == torch.get_num_threads() == wanted


def test_one_or_two_threads_are_chosen_where_nobody_says(monkeypatch, threads_as_before):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert workbench.choose_threads() == torch.get_num_threads()
    assert torch.get_num_threads() in (1, 2)


def test_prepare_says_in_one_line_what_it_chose_and_seeds_everything(monkeypatch, threads_as_before, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    drawn = []
    for _ in range(2):
        corpus, device, generator = workbench.prepare("six_plays", "cpu", seed=5)
        drawn.append((torch.rand(1).item(), torch.rand(1, generator=generator).item()))
    assert (corpus.name, device) == ("six_plays", "cpu") and drawn[0] == drawn[1]
    assert capsys.readouterr().out == "six_plays: 274,893 characters, 65 symbols · cpu, 1 thread · seed 5\n" * 2


# ---- Checkpoints ------------------------------------------------------------------------------

CONFIG = GPTConfig(vocab_size=11, block_size=8, n_embd=12, n_head=3, n_layer=1)


def a_model(config=CONFIG):
    """(model, its optimizer, a generator), all seeded alike."""
    torch.manual_seed(1)
    model = GPT(config)
    return model, torch.optim.AdamW(model.parameters(), lr=0.01), torch.Generator().manual_seed(2)


def some_steps(model, optimizer, generator, steps=3):
    """Train; the draws of dropout and batches come from both generators. Returns the losses."""
    data = torch.arange(200) % CONFIG.vocab_size
    losses = train(model, lambda: get_batch(data, 4, 8, generator), optimizer, range(steps))
    return [*losses, torch.rand(1).item()]


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint after three steps."""
    path = tmp_path / "runs" / "model.pt"
    setup = a_model()
    some_steps(*setup)
    workbench.save_checkpoint(path, *setup, step=3, val_loss=2.5)
    return path


def test_a_resumed_training_goes_on_as_if_never_interrupted(checkpoint):
    setup = a_model()
    some_steps(*setup)
    expected = some_steps(*setup)
    resumed = a_model()
    torch.manual_seed(99)
    assert workbench.load_checkpoint(checkpoint, *resumed) == {"step": 3, "val_loss": 2.5}
    assert some_steps(*resumed) == expected


def test_the_model_alone_can_be_saved_and_loaded(tmp_path):
    model, _, _ = a_model()
    workbench.save_checkpoint(tmp_path / "model.pt", model)
    other, _, _ = a_model()
    with torch.no_grad():
        other.lm_head.weight.zero_()
    assert workbench.load_checkpoint(tmp_path / "model.pt", other) == {}
    assert torch.equal(other.lm_head.weight, model.lm_head.weight)


def test_what_was_not_saved_cannot_be_asked_for(tmp_path):
    model, optimizer, generator = a_model()
    workbench.save_checkpoint(tmp_path / "model.pt", model)
    for wanted in ({"optimizer": optimizer}, {"generator": generator}):
        with pytest.raises(ValueError, match="model.pt"):
            workbench.load_checkpoint(tmp_path / "model.pt", model, **wanted)


def test_a_missing_checkpoint_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="^there is no checkpoint .*none.pt: train and save one first$"):
        workbench.load_checkpoint(tmp_path / "none.pt", a_model()[0])


def test_a_checkpoint_cut_short_anywhere_is_refused(checkpoint):
    whole = checkpoint.read_bytes()
    lengths = {0, 1, 2, 10, 100, len(whole) - 1, *range(0, len(whole), len(whole) // 60)}
    model = a_model()[0]
    before = [parameter.clone() for parameter in model.parameters()]
    for length in sorted(lengths):
        checkpoint.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is no checkpoint of this project, or it was cut short"):
            workbench.load_checkpoint(checkpoint, model)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize(
    "content",
    [{"model": 1}, [1, 2], torch.ones(3), "text", {"config": {}, "notes": "{}"}, {"config": 5, "notes": "{}"}, {"config": {}, "notes": "no JSON"}],
    ids=str,
)
def test_a_file_that_torch_reads_but_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match="other.pt") as error:
        workbench.load_checkpoint(path, a_model()[0])
    assert one_sentence(str(error.value))


@pytest.mark.parametrize("content", [b"no checkpoint at all" * 100, b"PK\x03\x04" + bytes(500), bytes(1000)], ids=["text", "zip", "zeros"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no checkpoint of this project"):
        workbench.load_checkpoint(path, a_model()[0])


def test_a_checkpoint_without_the_weights_is_refused(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    del state["model"]
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match="is no checkpoint of this project"):
        workbench.load_checkpoint(checkpoint, a_model()[0])


def test_a_checkpoint_of_another_shape_names_the_difference(checkpoint):
    other = GPT(GPTConfig(vocab_size=11, block_size=8, n_embd=12, n_head=2, n_layer=2))
    with pytest.raises(ValueError, match=r"another shape \(n_head=3 there, 2 here, n_layer=1 there, 2 here\)"):
        workbench.load_checkpoint(checkpoint, other)


class Intruder:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "was here")


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))], ids=["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, save):
    path, trace = tmp_path / "evil.pt", tmp_path / "trace.txt"
    save({"config": {}, "notes": Intruder(trace)}, path)
    with pytest.raises(ValueError, match="is no checkpoint of this project"):
        workbench.load_checkpoint(path, a_model()[0])
    assert not trace.exists()
    torch.load(path, weights_only=False) if save is torch.save else pickle.loads(path.read_bytes())
    assert trace.exists()  # the file was dangerous indeed


def half_a_write(state, file):
    file.write(b"half")
    raise RuntimeError("the disk is full")


@pytest.mark.parametrize("module, name, error", [(torch, "save", half_a_write), (os, "replace", refuse), (os, "fsync", no_space)])
def test_a_failing_write_keeps_the_old_checkpoint_and_leaves_nothing(checkpoint, monkeypatch, module, name, error):
    before = checkpoint.read_bytes()
    monkeypatch.setattr(module, name, error)
    with pytest.raises(OSError, match="could not be written .*: what stood there before is untouched$"):
        workbench.save_checkpoint(checkpoint, *a_model())
    assert checkpoint.read_bytes() == before
    assert names(checkpoint.parent) == ["model.pt"]


def test_an_interrupted_write_keeps_the_old_checkpoint_and_leaves_nothing(checkpoint, monkeypatch):
    def interrupted(state, file):
        raise KeyboardInterrupt

    before = checkpoint.read_bytes()
    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        workbench.save_checkpoint(checkpoint, *a_model())
    assert checkpoint.read_bytes() == before and names(checkpoint.parent) == ["model.pt"]


def test_a_preset_takes_changes_and_an_unknown_one_is_refused():
    assert workbench.choose_preset("small", max_iters=10, batch_size=None) == workbench.PRESETS["small"] | {"max_iters": 10}
    with pytest.raises(ValueError, match="^preset='tiny' is unknown: choose small, deep, medium, large$"):
        workbench.choose_preset("tiny")


# ---- Progress ---------------------------------------------------------------------------------


def test_progress_counts_from_first_to_the_end(capsys):
    assert list(workbench.Progress(5)) == [0, 1, 2, 3, 4]
    progress = workbench.Progress(5, first=3)
    assert list(progress) == [3, 4] and not progress.stopped
    shown = capsys.readouterr()
    assert "5/5" in shown.out and shown.err == ""


def test_progress_shows_the_loss():
    progress = workbench.Progress(2)
    for _ in progress:
        progress.show(loss=1.23456)
        assert progress.bar.postfix == "loss 1.235"


@pytest.mark.parametrize(("label", "axes"), [("", 1), ("weight", 2)])
def test_a_matrix_has_a_colour_bar_only_where_it_is_named(label, axes):
    ax = workbench.show_matrix([[1.0, 2.0], [3.0, 4.0]], rows=["a", "␣"], columns=["x", "y"], label=label)
    assert len(ax.figure.axes) == axes
    assert [name.get_text() for name in ax.get_yticklabels()] == ["a", "␣"]
    workbench.plt.close(ax.figure)


def test_the_stop_button_ends_between_two_steps_says_so_and_is_given_back(capsys):
    before = signal.getsignal(signal.SIGINT)
    progress, finished = workbench.Progress(10), []
    for step in progress:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        finished.append(step)  # the step itself is completed
    assert finished == [0, 1, 2, 3] and progress.stopped
    assert "Stopped before step 4: the model is kept as it is." in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("leave", ["error", "break"])
def test_the_stop_button_is_given_back_however_the_loop_ends(leave):
    before = signal.getsignal(signal.SIGINT)
    with contextlib.suppress(KeyError):
        for step in workbench.Progress(10):
            if leave == "break":
                break
            raise KeyError
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_loop_after_a_stop_runs_to_its_end():
    for step in workbench.Progress(3):
        os.kill(os.getpid(), signal.SIGINT)
    assert list(workbench.Progress(3)) == [0, 1, 2]


def test_progress_works_outside_the_main_thread():
    steps = []
    thread = threading.Thread(target=lambda: steps.extend(workbench.Progress(3)))
    thread.start()
    thread.join()
    assert steps == [0, 1, 2]


# ---- Results ----------------------------------------------------------------------------------


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr(workbench, "display", lambda data, raw: shown.append(data))
    return shown


def test_the_tests_read_the_results_that_the_workbench_writes():
    assert lessons.RESULTS == workbench.RESULTS


def test_report_shows_three_digits_and_keeps_them_all(displayed):
    workbench.report(val_loss=math.pi, steps=5000)
    assert displayed == [{lessons.RESULTS: {"val_loss": math.pi, "steps": 5000}, "text/plain": "val_loss 3.142, steps 5000"}]


def test_the_ladder_shows_earlier_rungs_and_keeps_this_runs_in_full(displayed):
    workbench.show_ladder("tinyshakespeare", one_attention_head=math.e)
    (shown,) = displayed
    assert shown[lessons.RESULTS] == {"rungs": {"one attention head": math.e}}
    lines = shown["text/plain"].splitlines()
    assert len(lines) == 5 and "tinyshakespeare" in lines[0]
    assert "2.718" in lines[-1] and lines[-1].endswith("← this run")
    assert all("about" in line for line in lines[1:-1])


def test_the_ladder_serves_a_text_of_ones_own(displayed):
    workbench.show_ladder("own.txt", GPT=1.5)
    assert "1.500" in displayed[0]["text/plain"]


def test_both_ladders_have_the_same_rungs_and_descend():
    for ladder in workbench.LADDER.values():
        assert list(ladder) == list(workbench.LADDER["tinyshakespeare"])
        assert list(ladder.values()) == sorted(ladder.values(), reverse=True)


def test_results_survive_the_journey_through_json(displayed):
    workbench.report(loss=1 / 3)
    assert json.loads(json.dumps(displayed[0]))[lessons.RESULTS]["loss"] == 1 / 3
