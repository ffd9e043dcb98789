"""Pages in a real browser: Debian's or the reader's own Chromium, driven by playwright."""
import shutil
from contextlib import contextmanager

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
