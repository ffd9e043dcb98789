"""make slides and make html: every slide fits its screen, every link leads somewhere, and nothing comes from the network."""
import re
from urllib.parse import unquote

import browser
import lessons
import nbformat
import pages
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SMALLEST = 0.6  # of the deck's letters, which are 28 pixels high for prose and 21 for code, on 1280 by 720

each_lesson = pytest.mark.parametrize("path", lessons.LESSONS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def chromium():
    with browser.opened() as opened:
        yield opened


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    return {path.name: path for path in pages.decks(tmp_path_factory.mktemp("slides"))}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "html"
    pages.site(folder)
    return folder


# ---- Decks ------------------------------------------------------------------------------------

LOOK = """() => [...document.querySelectorAll('.slides > section')].flatMap((column, h) =>
  [...column.querySelectorAll('section')].map((section, v) => {
    Reveal.slide(h, v);
    const slide = section.getBoundingClientRect(), unit = Reveal.getScale();
    const outside = [...section.querySelectorAll('.fit *')].filter(item => {
      const box = item.getBoundingClientRect();
      return box.width && box.height && (box.bottom > slide.top + 721 * unit || box.right > slide.left + 1281 * unit);
    });
    const broken = [...section.querySelectorAll('img')].filter(picture => !picture.naturalWidth);
    return {place: `${h + 1}.${v + 1}`, scale: +section.firstElementChild.dataset.scale, outside: outside.length,
            broken: broken.length, empty: !section.innerText.trim() && !section.querySelector('img')};
  }))"""


def complaints(chromium, path):
    """What does not fit, is missing, empty or asked of the network in this deck, slide by slide."""
    with browser.page(chromium, path) as (shown, wrong):
        shown.wait_for_selector("body[data-ready=yes]", timeout=60_000)
        looked = shown.evaluate(LOOK)
    for slide in looked:
        wrong += [f"slide {slide['place']}: {slide['outside']} things outside"] * bool(slide["outside"])
        wrong += [f"slide {slide['place']}: letters {slide['scale']} times as large as meant"] * (slide["scale"] < SMALLEST)
        wrong += [f"slide {slide['place']}: a picture is missing"] * bool(slide["broken"])
        wrong += [f"slide {slide['place']} is empty"] * slide["empty"]
    return wrong + ["there are no slides"] * (not looked)


@each_lesson
def test_every_slide_fits_a_screen_of_16_to_9(path, decks, chromium):
    assert not complaints(chromium, decks[f"{path.stem}.html"])


@each_lesson
def test_a_deck_holds_every_heading_in_order(path, decks):
    headings = [line for cell in lessons.read(path).cells if cell.cell_type == "markdown" for line in re.findall(r"^#{1,3} .*", cell.source, flags=re.M)]
    shown = re.findall(r"<h[1-3][^>]*>(.*?)</h[1-3]>", decks[f"{path.stem}.html"].read_text(encoding="utf-8"), flags=re.S)
    assert len(shown) == len(headings)


@each_lesson
def test_a_deck_leaves_out_the_setup_and_the_stubs(path, decks):
    text = decks[f"{path.stem}.html"].read_text(encoding="utf-8")
    assert "not done yet" not in text and "nothing but a stub" not in text
    for cell in lessons.code_cells(lessons.read(path)):
        if "exercise" in lessons.tags(cell) or "parameters" in lessons.tags(cell):
            assert cell.metadata.get("slideshow", {}).get("slide_type") == "skip"


def small_deck(tmp_path, *cells):
    """A deck of a lesson with these cells."""
    path = tmp_path / "01_probe.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A lesson"), *cells]), path)
    return pages.decks(tmp_path / "slides", [path])[0]


def test_an_answer_does_not_stand_on_the_slide_of_its_question(tmp_path):
    nb = new_notebook(cells=[new_markdown_cell("# A\n\n**Predict** it."), new_code_cell("1 + 1"), new_markdown_cell("It is two.")])
    assert [[len(slide) for slide in column] for column in pages.slides(nb)] == [[1, 2]]


def test_long_prose_is_cut_at_a_paragraph():
    nb = new_notebook(cells=[new_markdown_cell("# A\n\n" + "\n\n".join("words " * 90 for _ in range(4)))])
    (column,) = pages.slides(nb)
    assert len(column) > 1
    assert "".join(cell.source for slide in column for cell in slide).count("words") == 360


def test_a_deck_of_reasonable_cells_has_no_complaint(tmp_path, chromium):
    assert not complaints(chromium, small_deck(tmp_path, new_code_cell("print(1)", outputs=[new_output("stream", text="1\n")])))


@pytest.mark.parametrize(
    "cell, complaint",
    [
        (new_code_cell("\n".join(f"line_{n} = {n}" for n in range(80))), "as large as meant"),
        (new_markdown_cell("![A picture that is nowhere](https://example.invalid/p.png)"), "asked for https://example.invalid"),
    ],
    ids=["too long", "from the network"],
)
def test_a_slide_is_rejected_that_is(tmp_path, chromium, cell, complaint):
    assert complaint in "; ".join(complaints(chromium, small_deck(tmp_path, cell)))


# ---- The site ---------------------------------------------------------------------------------


def test_every_lesson_and_solution_has_a_page_and_the_contents_lead_to_it(site):
    index = (site / "index.html").read_text(encoding="utf-8")
    for path in lessons.LESSONS + lessons.SOLUTIONS:
        page = path.relative_to(lessons.NOTEBOOKS).with_suffix(".html").as_posix()
        assert (site / page).exists()
        assert f'href="{page}"' in index
    assert 'href="teachers.html"' in index


def test_every_link_of_the_site_leads_to_a_page_of_it_or_to_the_network(site):
    for page in site.rglob("*.html"):
        text = re.sub(r"<(script|style).*?</\1>|<pre.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r'(?:href|src)="([^"#]+)', text):
            if not re.match(r"[a-z]+:", target):
                assert not target.endswith(".ipynb")
                assert (page.parent / unquote(target)).exists(), f"{page.name}: {target}"


def test_the_pages_work_in_a_browser_without_a_network(site, chromium):
    for path in sorted(site.rglob("*.html")):
        with browser.page(chromium, path, 1200, 900) as (shown, wrong):
            broken = shown.evaluate("[...document.images].filter(picture => !picture.naturalWidth).map(picture => picture.alt)")
            raw = shown.evaluate("document.body.innerText.includes('$$')")
            wide = shown.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert not wrong + broken, path.name
        assert not raw, f"{path.name} shows a formula as its source"
        assert wide <= 1, f"{path.name} is {wide} pixels wider than the window"
