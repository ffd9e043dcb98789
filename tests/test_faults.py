"""Faults that no reader should notice: killed at any moment, a full disk, hostile files, odd folders, a clock that jumps."""
import contextlib
import io
import multiprocessing
import os
import random
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import browser
import lessons
import psutil
import pytest
import torch
import workbench
from tinygpt import GPT, GPTConfig

FORK = multiprocessing.get_context("fork")
CONFIG = GPTConfig(vocab_size=11, block_size=8, n_embd=32, n_head=2, n_layer=2)
TEXT = b"To be, or not to be.\n" * 100


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder of its own with the bundled plays, TEXT in the place of Tiny Shakespeare, from a slow server."""
    (tmp_path / "six_plays.txt").write_bytes((workbench.DATA / "six_plays.txt").read_bytes())
    monkeypatch.setattr(workbench, "DATA", tmp_path)
    monkeypatch.setitem(workbench.SHA256, "tinyshakespeare", workbench.hashlib.sha256(TEXT).hexdigest())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(workbench, "URL", f"http://127.0.0.1:{server.server_port}/")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "TINYGPT_CORPUS"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    server.shutdown()
    server.server_close()


class Slow(BaseHTTPRequestHandler):
    """Sends TEXT in ten pieces, a fiftieth of a second apart."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        for n in range(0, len(TEXT), len(TEXT) // 10):
            self.wfile.write(TEXT[n : n + len(TEXT) // 10])
            time.sleep(0.02)

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:  # the other side was killed
            pass


# ---- Killed -----------------------------------------------------------------------------------


def killed_after(seconds, work, *arguments):
    """Start work(*arguments) as a process and kill it, as nothing can refuse, after this time."""
    process = FORK.Process(target=work, args=arguments)
    process.start()
    time.sleep(seconds)
    process.kill()
    process.join()


def test_a_download_killed_at_any_moment_leaves_nothing_half_written(data):
    path, chance = data / "tinyshakespeare.txt", random.Random()
    for _ in range(30):
        path.unlink(missing_ok=True)
        killed_after(chance.uniform(0.05, 0.35), workbench.load_corpus, "tinyshakespeare")
        assert not path.exists() or path.read_bytes() == TEXT
    assert workbench.load_corpus("tinyshakespeare") == ("tinyshakespeare", TEXT.decode())


def test_eight_processes_that_download_at_once_all_get_the_text(data):
    with FORK.Pool(8) as pool:
        assert pool.map(workbench.load_corpus, ["tinyshakespeare"] * 8) == [("tinyshakespeare", TEXT.decode())] * 8
    assert sorted(path.name for path in data.iterdir()) == ["six_plays.txt", "tinyshakespeare.txt"]


@pytest.fixture
def certificate(tmp_path_factory):
    """(certificate, key) for 127.0.0.1, signed by nobody."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is needed to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    paths = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1", "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


@pytest.mark.parametrize("trusted", [False, True])
def test_only_a_server_with_a_trusted_certificate_is_believed(data, certificate, trusted, monkeypatch, capsys):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(workbench, "URL", f"https://127.0.0.1:{server.server_port}/")
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the certificates of its first request
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    corpus = workbench.load_corpus("tinyshakespeare")
    server.shutdown()
    server.server_close()
    assert corpus.name == ("tinyshakespeare" if trusted else "six_plays")
    assert ("CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().out) != trusted


def save_again_and_again(path, done):
    """Checkpoints number 1, 2, ...; `done` holds the number of the last one that was finished."""
    torch.set_num_threads(1)
    model = GPT(CONFIG)
    for step in range(1, 10**6):
        with torch.no_grad():
            model.lm_head.bias.fill_(step)
        workbench.save_checkpoint(path, model, step=step)
        done.value = step


def test_a_checkpoint_killed_while_it_is_written_at_any_moment_is_the_last_or_the_next(tmp_path):
    path, chance, model = tmp_path / "model.pt", random.Random(), GPT(CONFIG)
    for _ in range(40):
        done = FORK.Value("i", 0)
        killed_after(chance.uniform(0.1, 0.4), save_again_and_again, path, done)
        if done.value:
            step = workbench.load_checkpoint(path, model)["step"]
            assert step in (done.value, done.value + 1)
            assert (model.lm_head.bias == step).all()
    assert done.value, "nothing was written before the last kill: the test tests nothing"


# ---- No room ----------------------------------------------------------------------------------


def save_with_little_room(path, said):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # bytes; the checkpoint has more
    try:
        workbench.save_checkpoint(path, GPT(CONFIG), step=2)
    except OSError as error:
        said.put(str(error))


def test_a_disk_that_is_full_keeps_the_old_checkpoint(tmp_path):
    path, said, model = tmp_path / "model.pt", FORK.Queue(), GPT(CONFIG)
    workbench.save_checkpoint(path, model, step=1)
    process = FORK.Process(target=save_with_little_room, args=(path, said))
    process.start()
    assert "could not be written" in said.get(timeout=20)
    process.join()
    assert workbench.load_checkpoint(path, model) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]


# ---- Read-only ---------------------------------------------------------------------------------


def as_nobody(work, said):
    """Do the work as a user who owns nothing, and put what it returned, printed or complained into `said`."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        try:
            result = work()
        except OSError as error:
            result = str(error)
    said.put((result, shown.getvalue()))


def in_a_process_of_nobody(work):
    """(what work() returns, or the OSError's message; what it printed), by a user for whom read-only is read-only."""
    said = FORK.Queue()
    process = FORK.Process(target=as_nobody, args=(work, said))
    process.start()
    answer = said.get(timeout=60)
    process.join()
    return answer


@pytest.fixture
def read_only():
    """A folder that everybody may read and nobody may write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        path.mkdir()
        os.chmod(folder, 0o755)
        yield path
        path.chmod(0o755)


def test_a_project_in_a_read_only_folder_still_has_its_text_and_one_line_says_that_it_is_not_kept(data, read_only, monkeypatch):
    monkeypatch.setattr(workbench, "DATA", read_only)
    read_only.chmod(0o555)
    corpus, shown = in_a_process_of_nobody(lambda: workbench.load_corpus("tinyshakespeare"))
    assert corpus == ("tinyshakespeare", TEXT.decode())
    assert shown == "The text is here but could not be kept in data/ (Permission denied): the next run loads it again.\n"
    assert not list(read_only.iterdir())


@pytest.mark.parametrize("place", ["model.pt", "new/folder/model.pt"])
def test_a_checkpoint_in_a_read_only_folder_is_refused_in_one_sentence_and_the_old_one_stays(read_only, place):
    model = GPT(CONFIG)
    workbench.save_checkpoint(read_only / "model.pt", model, step=1)
    read_only.chmod(0o555)
    (read_only / "model.pt").chmod(0o444)
    said, _ = in_a_process_of_nobody(lambda: workbench.save_checkpoint(read_only / place, model, step=2))
    assert "could not be written" in said and "Permission denied" in said and "\n" not in said
    assert workbench.load_checkpoint(read_only / "model.pt", model) == {"step": 1}


# ---- Hostile files ----------------------------------------------------------------------------


def repacked(path, change, compression=zipfile.ZIP_STORED):
    """The checkpoint with every entry passed through change(name, content)."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))


def test_a_file_that_would_unpack_to_far_more_is_refused_before_it_does(tmp_path):
    path, model = tmp_path / "bomb.pt", GPT(CONFIG)
    workbench.save_checkpoint(path, model)
    repacked(path, lambda name, content: bytes(100_000_000) if name.endswith("data/0") else content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 500_000
    before = peak()
    with pytest.raises(ValueError, match="is no checkpoint of this project"):
        workbench.load_checkpoint(path, model)
    assert peak() - before < 50_000_000


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_weights_that_do_not_fit_the_shape_beside_them_are_refused_in_one_sentence(tmp_path):
    path, model = tmp_path / "other.pt", GPT(CONFIG)
    workbench.save_checkpoint(path, model)
    state = torch.load(path, weights_only=True)
    state["model"]["lm_head.bias"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(ValueError, match="^other.pt holds other weights than its own shape asks for: it is not loaded$"):
        workbench.load_checkpoint(path, model)


# ---- JupyterLab is for this machine, and asks for its token -----------------------------------


def test_make_lab_listens_on_this_machine_only_and_asks_for_its_token(tmp_path):
    assert not [word for word in browser.command_of_lab() if "ip=" in word or "token" in word or "password" in word or "allow" in word]
    with browser.running_lab(lessons.ROOT, tmp_path) as (lab, server):
        sockets = [place.laddr.ip for place in psutil.Process(lab.pid).net_connections() if place.status == psutil.CONN_LISTEN]
        assert sockets and set(sockets) <= {"127.0.0.1", "::1"}
        assert server["token"]
        assert browser.status(server, "/api/contents") == 403
        assert browser.status(server, "/api/contents?token=wrong") == 403
        assert browser.status(server, f"/api/contents?token={server['token']}") == 200


# ---- Odd surroundings -------------------------------------------------------------------------


def test_a_clock_that_jumps_disturbs_neither_progress_nor_download(data, monkeypatch, capsys):
    jumps = iter(range(10**9, 0, -100_000))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    assert list(workbench.Progress(30)) == list(range(30))
    assert workbench.load_corpus("tinyshakespeare").name == "tinyshakespeare"


def test_no_home_folder_is_needed(tmp_path):
    program = "from workbench import prepare; prepare('six_plays', 'cpu', 1)"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "nowhere" / "at all"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], cwd=lessons.NOTEBOOKS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "six_plays: 274,893 characters" in done.stdout


def test_these_tests_find_a_checkpoint_that_is_not_written_atomically(tmp_path, monkeypatch):
    def carelessly(path, write):
        content = io.BytesIO()
        write(content)
        with open(path, "wb") as file:
            for place in range(0, len(content.getvalue()), 1000):
                file.write(content.getvalue()[place : place + 1000])
                file.flush()
                time.sleep(0.001)

    monkeypatch.setattr(workbench, "write_atomically", carelessly)
    path, done = tmp_path / "model.pt", FORK.Value("i", 0)
    with pytest.raises(ValueError, match="cut short"):
        for _ in range(20):
            killed_after(random.uniform(0.1, 0.3), save_again_and_again, path, done)
            workbench.load_checkpoint(path, GPT(CONFIG))
