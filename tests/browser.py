"""Pages in a real browser, Debian's or the reader's own Chromium driven by playwright, and JupyterLab as `make lab` starts it."""
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import lessons
import pytest

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WHERE = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium():
    """The path of a Chromium; without one the test is skipped."""
    return next(filter(None, map(shutil.which, WHERE)), None) or pytest.skip(
        "no Chromium here: install it (Debian and Ubuntu: apt-get install chromium)"
    )


@contextmanager
def opened():
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def page(browser, path, width=1280, height=720):
    """(the page of that file, what went wrong on it): errors, and everything that it wanted from elsewhere."""
    shown, wrong = browser.new_page(viewport={"width": width, "height": height}), []
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(f"asked for {request.url}"))
    shown.goto(path.resolve().as_uri())
    yield shown, wrong
    shown.close()


# ---- JupyterLab -------------------------------------------------------------------------------


def command_of_lab():
    """What `make lab` runs, without the interpreter."""
    shown = subprocess.run(["make", "-n", "lab"], cwd=lessons.ROOT, check=True, capture_output=True, text=True).stdout
    line = next(line for line in shown.split("\n") if "-m jupyterlab" in line)
    return line.split()[1:]


def wait_for(look, seconds=60):
    """The first true thing that look() returns."""
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        if found := look():
            return found
        time.sleep(0.1)
    raise TimeoutError("it did not happen")


@contextmanager
def running_lab(root, folder, *more):
    """(the process of a JupyterLab over this project, what it says of itself: port, token); its settings lie in `folder`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment |= {f"JUPYTER{name}_DIR": str(folder) for name in ("_RUNTIME", "_CONFIG", "LAB_SETTINGS", "LAB_WORKSPACES")}
    as_root = ["--allow-root"] * (hasattr(os, "geteuid") and os.geteuid() == 0)
    command = [sys.executable, *command_of_lab(), "--no-browser", "--port=0", *as_root, *more]
    lab = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        record = wait_for(lambda: next(folder.glob("jpserver-*.json"), None))
        yield lab, wait_for(lambda: json.loads(record.read_text() or "null"))
    finally:
        lab.terminate()
        lab.wait(30)


def status(server, address):
    """The status with which a running JupyterLab answers this address."""

    def ask():
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server["port"], timeout=20)
            connection.request("GET", address)
            return connection.getresponse().status
        except ConnectionError:
            return None

    return wait_for(ask)


class Address:
    """The address of a notebook in a running JupyterLab, by its path below `root`."""

    def __init__(self, root, server):
        self.root, self.server = root, server

    def __call__(self, path):
        return f"http://127.0.0.1:{self.server['port']}/lab/tree/{path}?token={self.server['token']}&reset"


@contextmanager
def jupyterlab(root, folder):
    """The Address of a JupyterLab over this project, without its pop-up of news."""
    settings = folder / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    more = ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with running_lab(root, folder, *more) as (_, server):
        status(server, "/api")
        yield Address(root, server)


def here(url):
    """Whether an address lies on this machine."""
    return url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))
