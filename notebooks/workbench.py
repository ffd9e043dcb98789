"""The workbench: what the lessons take for granted - text, device, threads, progress, pictures, checkpoints.

Nothing here explains a language model; what the lessons teach is in tinygpt.py.
"""
import hashlib
import http.client
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
from IPython.display import display
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import nn
from tqdm import tqdm

# ---- Text -------------------------------------------------------------------------------------

DATA = Path(__file__).resolve().parent.parent / "data"
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = {
    "tinyshakespeare": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    "six_plays": "46d97240dbb565e01350b07a25cc3505cd6ff4314ba319796dd48bf848195b0f",
    "letters": "100e546636f00f7e0bbcd5c5f864fc58abfefe8880bb0e28cb5f777e66ef18c6",
}
LARGEST_DOWNLOAD = 2_000_000  # bytes; Tiny Shakespeare has 1,115,394
DEADLINE = 30  # seconds for a whole download
SHORTEST = 1_000  # characters; a shorter text cannot be split and learned from


class Corpus(NamedTuple):
    """A text and its name: 'tinyshakespeare', 'six_plays', 'letters', or the name of the reader's file."""

    name: str
    text: str


def load_corpus(corpus="auto"):
    """The text of that name, or of the UTF-8 file at that path, as a Corpus.

    "auto" is what the environment variable TINYGPT_CORPUS says, else Tiny Shakespeare. Tiny Shakespeare is
    read from data/, or downloaded once, verified and kept there; where that fails, one line says so and the
    bundled plays serve. Raises FileNotFoundError or ValueError, in one sentence, for anything else.
    """
    if corpus == "auto":
        corpus = os.environ.get("TINYGPT_CORPUS") or "tinyshakespeare"
    if corpus == "tinyshakespeare" and not (DATA / "tinyshakespeare.txt").exists():
        try:
            content = _download()
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"Tiny Shakespeare cannot be downloaded ({reason}): the bundled plays (six_plays) are used instead.")
            corpus = "six_plays"
        else:
            _keep(DATA / "tinyshakespeare.txt", content)
            return Corpus(corpus, content.decode("utf-8"))
    if corpus in SHA256:
        return Corpus(corpus, _bundled(DATA / f"{corpus}.txt", SHA256[corpus]))
    return _own_file(Path(corpus).expanduser())


def _download():
    """The verified bytes of Tiny Shakespeare; OSError or ValueError where they cannot be had."""
    stop = time.monotonic() + DEADLINE
    content = b""
    with urllib.request.urlopen(URL, timeout=10) as response:
        while chunk := response.read1(65536):
            content += chunk
            if time.monotonic() > stop:
                raise TimeoutError(f"it took longer than {DEADLINE} seconds")
            if len(content) > LARGEST_DOWNLOAD:
                raise ValueError("more bytes came than the text has")
    if hashlib.sha256(content).hexdigest() != SHA256["tinyshakespeare"]:
        raise ValueError("what came is not the known text: its checksum differs")
    return content


def write_atomically(path, write):
    """Let `write(file)` fill a temporary file in path's folder, then rename it to path: all of it or nothing."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _keep(path, content):
    try:
        write_atomically(path, lambda file: file.write(content))
    except OSError as error:
        print(f"The text is here but could not be kept in {path.parent.name}/ ({error.strerror}): the next run loads it again.")


def _bundled(path, checksum):
    if not path.exists():
        raise FileNotFoundError(f"data/{path.name} is missing: restore it with `git checkout data` or download the project again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != checksum:
        raise ValueError(f"data/{path.name} is not the known text (its checksum differs): delete it, then restore or download it again")
    return content.decode("utf-8")


def _own_file(path):
    names = ", ".join(SHA256)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name one text file in it")
    if not path.exists():
        raise FileNotFoundError(f"there is no corpus and no file {str(path)!r}: choose {names} or the path of a text file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8 in your editor first") from None
    if len(text) < SHORTEST:
        raise ValueError(f"{path} holds {len(text)} characters: at least {SHORTEST:,} are needed")
    return Corpus(path.name, text)


# ---- Device, threads, seed --------------------------------------------------------------------


def pick_device(device="auto"):
    """'cpu', 'cuda' or 'mps'. "auto" is what TINYGPT_DEVICE says, else a GPU that CUDA reaches, else the CPU."""
    if device == "auto":
        device = os.environ.get("TINYGPT_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device={device!r} is unknown: choose 'auto', 'cpu', 'cuda' or 'mps'")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda' was asked for, but PyTorch finds no CUDA GPU here: choose 'cpu' or 'auto'")
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("device='mps' was asked for, but PyTorch finds no Apple GPU here: choose 'cpu' or 'auto'")
        print("On Apple's GPU (mps) the numbers may differ from the ones in the text.")
    return device


def choose_threads():
    """Set and return PyTorch's number of threads: OMP_NUM_THREADS, else 2 where two are clearly faster than one.

    The lessons' models are so small that threads spend much of their time waiting for each other, and nearly
    all of it on a busy machine; so two are timed against one on layers of a lesson's size, forward and
    backward, and must win by a tenth. `Progress` goes back to one where the machine becomes busy later.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    if not threads:
        layers = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))
        x, seconds = torch.ones(512, 64), {1: [], 2: []}
        for _ in range(9):
            for threads in seconds:
                torch.set_num_threads(threads)
                layers(x).sum().backward()  # wakes the threads
                start = time.perf_counter()
                for _ in range(8):
                    layers(x).sum().backward()
                seconds[threads].append(time.perf_counter() - start)
        middle = {threads: sorted(times)[len(times) // 2] for threads, times in seconds.items()}
        threads = 2 if (os.cpu_count() or 1) > 1 and middle[2] < 0.9 * middle[1] else 1
    torch.set_num_threads(threads)
    return threads


def prepare(corpus="auto", device="auto", seed=1337):
    """Text, device and a seeded generator for a lesson: (Corpus, 'cpu', 'cuda' or 'mps', CPU generator); says which."""
    corpus, device = load_corpus(corpus), pick_device(device)
    threads = choose_threads()
    torch.manual_seed(seed)
    where = f"cpu, {threads} thread{'s' * (threads > 1)}" if device == "cpu" else device
    print(f"{corpus.name}: {len(corpus.text):,} characters, {len(set(corpus.text))} symbols · {where} · seed {seed}")
    return corpus, device, torch.Generator().manual_seed(seed)


# ---- Progress ---------------------------------------------------------------------------------


class _Watch:
    """Times the steps; where 50 of them are half as fast as earlier ones, goes on with one thread.

    Threads wait for each other by spinning, so two of them on a busy machine can be many times slower than one.
    """

    def __init__(self):
        self.seconds, self.quickest, self.last = [], float("inf"), time.perf_counter()

    def step(self):
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now
        if len(self.seconds) == 50:
            middle = sorted(self.seconds)[25]  # the median: steps with an evaluation do not count
            if middle > 2 * self.quickest and torch.get_num_threads() > 1:
                torch.set_num_threads(1)
            self.quickest, self.seconds = min(self.quickest, middle), []


def sparkline(values):
    """A list of numbers as a line of bars, from the smallest (lowest bar) to the largest (full height).

    >>> sparkline([4, 2, 1])
    '█▃▁'
    """
    low, high = min(values, default=0), max(values, default=0)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (value - low) / ((high - low) or 1))] for value in values)


class Progress:
    """The numbers first, ..., total - 1, with a line that renews itself: steps, loss, time left.

    The stop button (interrupt) ends the loop between two steps, says so, and leaves everything as it is.
    `stopped` tells afterwards whether that happened.
    """

    def __init__(self, total, first=0):
        self.total, self.first, self.stopped = total, first, False
        self.bar = None

    def __iter__(self):
        watch = _Watch()
        form = "{n_fmt}/{total_fmt} steps |{bar:24}| {elapsed} gone, {remaining} left{postfix}"
        with self._stop_button(), tqdm(
            total=self.total, initial=self.first, file=sys.stdout, bar_format=form, mininterval=0.5, ascii=" ░▒▓█"
        ) as self.bar:
            for step in range(self.first, self.total):
                if self.stopped:
                    self.bar.write(f"Stopped before step {step}: the model is kept as it is.", file=sys.stdout)
                    return
                yield step
                self.bar.update()
                watch.step()

    def show(self, curve=(), **values):
        """Put these numbers at the end of the line, and `curve`, a list of numbers, as a small drawing."""
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        self.bar.set_postfix_str(f"{numbers} {sparkline(curve)}".rstrip(), refresh=False)

    def on_step(self, step, loss):
        """For `train`: show the loss of the step."""
        self.show(loss=loss)

    @contextmanager
    def _stop_button(self):
        def stop(signum, frame):
            self.stopped = True

        try:
            before = signal.signal(signal.SIGINT, stop)
        except ValueError:  # not in the main thread: no button to listen to
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


# ---- Pictures ---------------------------------------------------------------------------------

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (  # Okabe and Ito
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
DARK_ORANGE = "#9E6A00"  # ORANGE for words: on white they need the contrast
STYLE = {
    "figure.figsize": (6, 3.5),
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "figure.titlesize": 11,
    "figure.labelsize": 10,
    "lines.linewidth": 1.8,
    "image.cmap": "viridis",
    "hatch.color": "#C8C8C8",
    "font.size": 9.5,
}
plt.rcParams.update(STYLE)
set_matplotlib_formats("png", metadata={"Software": None})  # the same picture gives the same bytes


def visible(char):
    """A character as it can be shown on an axis: newline and space get a sign."""
    return {"\n": "↵", " ": "␣"}.get(char, char)


def show_matrix(matrix, rows=None, columns=None, title="", xlabel="", ylabel="", ax=None, numbers=False, signed=False, label=""):
    """A matrix (rows, columns) as coloured squares; `signed` centres the colours at zero; `label` names a colour bar."""
    ax = ax or plt.subplots()[1]
    matrix = torch.as_tensor(matrix).detach().cpu().float()
    limit = matrix.abs().max().item() if signed else None
    image = ax.imshow(matrix, cmap="PuOr" if signed else "viridis", vmin=-limit if signed else None, vmax=limit)
    ax.spines[:].set_visible(False)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if rows is not None:
        ax.set_yticks(range(len(rows)), rows)
        for name in ax.get_yticklabels():
            if name.get_text() == "␣":
                name.set_verticalalignment("center")  # the sign hangs below the line, into the next row
    if columns is not None:
        ax.set_xticks(range(len(columns)), columns)
    ax.tick_params(length=0)
    if numbers:
        for i, row in enumerate(matrix.tolist()):
            for j, value in enumerate(row):
                red, green, blue, _ = image.cmap(image.norm(value))
                dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8.5, color="white" if dark else "black")
    if label:
        plt.colorbar(image, ax=ax, label=label)
    return ax


# ---- The score ladder -------------------------------------------------------------------------

RESULTS = "application/vnd.tinygpt.results+json"
LADDER = {  # validation loss of the lessons' default runs, about, in nats per character
    "tinyshakespeare": {
        "every symbol equally likely": 4.17,
        "letter frequencies": 3.35,
        "pairs of letters": 2.48,
        "one attention head": 2.45,
        "four heads": 2.29,
        "blocks": 2.04,
        "GPT": 1.81,
        "GPT trained well": 1.645,
    },
    "six_plays": {
        "every symbol equally likely": 4.17,
        "letter frequencies": 3.34,
        "pairs of letters": 2.41,
        "one attention head": 2.31,
        "four heads": 2.14,
        "blocks": 1.84,
        "GPT": 1.52,
        "GPT trained well": 1.37,
    },
}


def report(**values):
    """Show numbers in one line, and keep them with full precision in the notebook for `make run` and the tests."""
    text = ", ".join(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())
    display({RESULTS: values, "text/plain": text}, raw=True)


def show_ladder(corpus_name, **measured):
    """The ladder up to this lesson: earlier rungs from the table, this run's rungs as measured.

    Names are rungs with underscores for spaces, values are validation losses in nats per character.
    """
    measured = {name.replace("_", " "): value for name, value in measured.items()}
    table = LADDER.get(corpus_name, {})
    last = max((list(table).index(name) for name in measured if name in table), default=-1)
    rungs = {name: f"about {value:4.2f}" for name, value in list(table.items())[: last + 1]}
    rungs |= {name: f"{value:10.3f}" for name, value in measured.items()}
    lines = [f"The ladder on {corpus_name}: validation loss, nats per character"]
    for name, value in rungs.items():
        bar = "█" * round(8 * float(value.split()[-1]))
        lines.append(f"{name:>27} {value} {bar}{' ← this run' if name in measured else ''}")
    display({RESULTS: {"rungs": measured}, "text/plain": "\n".join(lines)}, raw=True)


# ---- Presets and checkpoints ------------------------------------------------------------------

PRESETS = {  # lesson 07's plain recipe: the model's shape, and how it is trained
    "small": {
        "shape": {"block_size": 32, "n_embd": 64, "n_head": 4, "n_layer": 4, "dropout": 0.0},
        "batch_size": 16, "learning_rate": 1e-3, "max_iters": 5000, "eval_interval": 500, "eval_iters": 20,
    },
    "deep": {
        "shape": {"block_size": 32, "n_embd": 64, "n_head": 4, "n_layer": 8, "dropout": 0.0},
        "batch_size": 16, "learning_rate": 1e-3, "max_iters": 5000, "eval_interval": 500, "eval_iters": 20,
    },
    "medium": {
        "shape": {"block_size": 32, "n_embd": 192, "n_head": 6, "n_layer": 6, "dropout": 0.0},
        "batch_size": 16, "learning_rate": 1e-3, "max_iters": 5000, "eval_interval": 500, "eval_iters": 20,
    },
    "large": {
        "shape": {"block_size": 256, "n_embd": 384, "n_head": 6, "n_layer": 6, "dropout": 0.2},
        "batch_size": 64, "learning_rate": 3e-4, "max_iters": 5000, "eval_interval": 250, "eval_iters": 50,
    },
}  # fmt: skip


def choose_preset(name, **changes):
    """The preset of that name, with every change that is not None put in its place."""
    if name not in PRESETS:
        raise ValueError(f"preset={name!r} is unknown: choose {', '.join(PRESETS)}")
    return PRESETS[name] | {key: value for key, value in changes.items() if value is not None}


def save_checkpoint(path, model, optimizer=None, generator=None, **notes):
    """Write model, optimizer, generators and plain notes to path, all of it or nothing; an older file survives a failure."""
    state = {
        "config": asdict(model.config),
        "model": model.state_dict(),
        "optimizer": optimizer and optimizer.state_dict(),
        "generator": generator and generator.get_state(),
        "torch": torch.get_rng_state(),
        "notes": json.dumps(notes),
    }
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: torch.save(state, file))
    except (OSError, RuntimeError) as error:
        raise OSError(f"the checkpoint {path} could not be written ({error}): what stood there before is untouched") from None


def load_checkpoint(path, model, optimizer=None, generator=None):
    """Put what save_checkpoint wrote into model, optimizer and generators; returns the notes.

    Raises FileNotFoundError or ValueError, in one sentence, where the file is missing, broken, not plain
    data, or of a model of another shape.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}: train and save one first")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("it would unpack to more than it is: save_checkpoint packs nothing")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("a checkpoint is a dictionary")
        config, weights, notes = dict(state["config"]), state["model"], json.loads(state["notes"])
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile):
        raise ValueError(f"{path.name} is no checkpoint of this project, or it was cut short: it is not loaded") from None
    if config != asdict(model.config):
        ours = asdict(model.config)
        differs = ", ".join(f"{k}={config.get(k)} there, {ours[k]} here" for k in ours if config.get(k) != ours[k])
        raise ValueError(f"{path.name} holds a model of another shape ({differs}): build the model with the shape of the file")
    for name, wanted in {"optimizer": optimizer, "generator": generator}.items():
        if wanted and state.get(name) is None:
            raise ValueError(f"{path.name} holds no {name}: it was saved without one, so training cannot go on from it")
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise ValueError(f"{path.name} holds other weights than its own shape asks for: it is not loaded") from None
    if optimizer:
        optimizer.load_state_dict(state["optimizer"])
    if generator:
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
    return notes


# ---- Several processes ------------------------------------------------------------------------


def launch(script, processes, *arguments):
    """Run a script of this folder in that many processes by torchrun, and wait for them.

    Raises RuntimeError, in one sentence, where one of them fails; torchrun then stops the others, as it does
    where the stop button ends the waiting.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*torchrun, str(Path(__file__).with_name(script)), *map(str, arguments)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = running.communicate()[1]
    except BaseException:
        running.terminate()
        running.wait()
        raise
    if running.returncode:
        ends = re.findall(r"exitcode\s*: (-?\d+)", said)  # in torchrun's report; the first failure stands last
        complaints = [line.strip() for line in said.splitlines() if "rror: " in line or "xception: " in line]
        reason = complaints[0] if complaints else f"exit code {running.returncode}"
        if ends and ends[-1].startswith("-"):
            reason = f"ended by signal {ends[-1][1:]}"
        raise RuntimeError(f"one of the {processes} processes failed, all were stopped: {reason}")
