"""make html and make slides: the lessons as pages and as decks that need neither a kernel nor a network.

Both are made from the stored notebooks. A deck follows the slide metadata of the cells (slide, subslide, "-" for
what stays on the slide before, skip); what would be too long for a screen is cut at paragraphs and headings, and
the rest is made smaller by the deck itself until it fits.
"""
import argparse
import base64
import copy
import html
import logging
import math
import re
import shutil
import struct
import sys
from pathlib import Path

import lessons
import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

TALLEST = 650  # pixels of a slide that is 720 high
LARGER, TALLEST_PICTURE = 1.35, 560  # how much larger a deck shows a picture than a page does, and its limit in pixels


def title(path):
    """'01 · Bigram: counting pairs already writes', the first line of the lesson."""
    return lessons.read(path).cells[0].source.split("\n")[0].removeprefix("# ")


def near(text):
    """Markdown whose pictures lie below the project's folder: nbconvert embeds no others."""
    return re.sub(r"\]\((\.\./)+img/", "](img/", text)


def unlinked(text):
    """Markdown whose relative links are plain text: a deck stands alone."""
    return re.sub(r"(?<!!)\[([^\]]*)\]\((?![a-z]+:|#)[^)]*\)", r"\1", text)


def resources(path, **more):
    """What the exporters want to know beside the notebook."""
    return {"metadata": {"name": title(path), "path": str(lessons.ROOT)}, **more}


def to_pages(text):
    """Markdown whose links to notebooks lead to their pages."""
    text = re.sub(r"(\]\([^)\s:]*)\.ipynb", r"\1.html", text)
    return text.replace("notebooks/README.md", "teachers.html").replace("](README.md", "](teachers.html")


# ---- The site ---------------------------------------------------------------------------------

PAGE = """
{%- extends 'lab/index.html.j2' -%}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block body_header %}{{ super() }}<style>
nav.series { font-family: system-ui, sans-serif; font-size: 14px; padding: 12px 24px; border-bottom: 1px solid #cccccc; }
nav.series a { margin-right: 18px; color: #0072B2; }
body { max-width: 1000px; margin: 0 auto !important; }
summary { cursor: pointer; }
</style><nav class="series">{{ resources.links }}</nav>{% endblock %}
"""
PLAIN = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 900px; margin: 40px auto; padding: 0 20px; color: #111111; }}
a {{ color: #0072B2; }} img {{ max-width: 100%; }} li {{ margin: 4px 0; }}
table {{ border-collapse: collapse; }} td, th {{ border-bottom: 1px solid #dddddd; padding: 4px 12px 4px 0; text-align: left; vertical-align: top; }}
table {{ display: block; overflow-x: auto; }} .anchor-link {{ display: none; }}
code, pre {{ background: #f4f4f4; }} pre {{ padding: 8px; overflow-x: auto; }}
</style></head><body>
{body}
</body></html>
"""


def site(folder):
    """Write a page for every lesson, every solution and the teacher's guide, and a contents page; returns the paths."""
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "solutions").mkdir(parents=True)
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # that pictures made by code have no text is known
    exporter = HTMLExporter(template_file="page.html.j2", extra_loaders=[DictLoader({"page.html.j2": PAGE})], embed_images=True)
    made = []
    for paths in lessons.LESSONS, lessons.SOLUTIONS:
        for before, path, after in zip([None, *paths], paths, [*paths[1:], None]):
            nb = lessons.read(path)
            for cell in nb.cells:
                cell.source = near(to_pages(cell.source)) if cell.cell_type == "markdown" else cell.source
            up = "../" * (paths is lessons.SOLUTIONS)
            links = [(f"{up}index.html", "Contents")]
            links += [(f"{other.stem}.html", f"{sign} {title(other)}") for other, sign in ((before, "←"), (after, "→")) if other]
            bar = "".join(f'<a href="{target}">{html.escape(text)}</a>' for target, text in links)
            page = exporter.from_notebook_node(nb, resources=resources(path, links=bar))[0]
            made.append(folder / path.relative_to(lessons.NOTEBOOKS).with_suffix(".html"))
            made[-1].write_text(page, encoding="utf-8")
    for path in lessons.NOTEBOOKS.glob("*.py"):
        shutil.copy(path, folder)
    guide = "[Contents](index.html)\n\n" + to_pages((lessons.NOTEBOOKS / "README.md").read_text(encoding="utf-8")).replace("](../data/README.md)", "](data.html)").replace("](solutions)", "](index.html)")
    about = (lessons.ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name, text, body in ("teachers", "For teachers", guide), ("data", "The texts", about), ("index", "GPT from scratch", contents()):
        made.append(folder / f"{name}.html")
        made[-1].write_text(PLAIN.format(title=text, body=markdown2html(body)), encoding="utf-8")
    shutil.copytree(lessons.ROOT / "img", folder / "img", ignore=shutil.ignore_patterns("*.md"))
    return made


def contents():
    """The contents page, in Markdown: each lesson, what it promises, its solutions."""
    lines = ["# GPT from scratch", "", *picture(), "", "Thirteen lessons, from counting pairs of letters to a working GPT and beyond.", ""]
    for path in lessons.LESSONS:
        promise = " ".join(lessons.read(path).cells[0].source.split("\n\n")[1].split())
        solved = [f"([solutions](solutions/{path.stem}.html))"] * any(path.name == other.name for other in lessons.SOLUTIONS)
        lines += [f"- **[{title(path)}]({path.stem}.html)** {' '.join(solved)}  ", f"  {promise}"]
    return "\n".join([*lines, "", "[For teachers](teachers.html): objectives, minutes, misconceptions, plans, marking."])


def picture():
    """The line of the README that shows the map of the series."""
    readme = (lessons.ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^!\[.*series\.svg\)$", readme, flags=re.MULTILINE)


# ---- The decks --------------------------------------------------------------------------------

DECK = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>{reset}</style><style>{reveal}</style><style>{pygments}</style>
<style>
.reveal {{ font: 28px/1.4 system-ui, "DejaVu Sans", sans-serif; color: #111111; background: #ffffff; }}
.reveal .slides {{ text-align: left; }}
.reveal .slides section {{ height: 720px; padding: 0; }}
.reveal .fit {{ box-sizing: border-box; padding: 28px 48px; }}
.reveal strong {{ font-weight: 700; }} .reveal em {{ font-style: italic; }}
.reveal h1 {{ font-size: 54px; line-height: 1.2; }} .reveal h2 {{ font-size: 40px; line-height: 1.2; }} .reveal h3 {{ font-size: 33px; }}
.reveal h1, .reveal h2, .reveal h3, .reveal p, .reveal ul, .reveal ol, .reveal table, .reveal details {{ margin: 0 0 14px; }}
.reveal ul, .reveal ol {{ padding-left: 32px; }} .reveal .anchor-link {{ display: none; }}
.reveal code, .reveal pre {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
.reveal :not(pre) > code {{ background: #f1f1f1; padding: 0 4px; font-size: 0.9em; }}
.reveal pre {{ font-size: 21px; line-height: 1.3; margin: 0 0 12px; white-space: pre-wrap; overflow-wrap: anywhere; }}
.reveal .highlight pre {{ background: #f7f7f7; border-left: 4px solid #0072B2; padding: 10px 14px; }}
.reveal table {{ border-collapse: collapse; font-size: 23px; }} .reveal td, .reveal th {{ border-bottom: 1px solid #cccccc; padding: 3px 14px; }}
.reveal img {{ max-width: 100%; max-height: 600px; margin: 0; }} .reveal a {{ color: #0072B2; }}
.reveal summary {{ cursor: pointer; }} .reveal blockquote {{ margin: 0 0 14px; padding-left: 16px; border-left: 4px solid #E69F00; }}
.reveal sup {{ vertical-align: super; font-size: 0.7em; }} .reveal sub {{ vertical-align: sub; font-size: 0.7em; }} .reveal .two pre {{ column-count: 2; }}
.reveal .jp-InputPrompt, .reveal .jp-OutputPrompt, .reveal .prompt {{ display: none; }}
</style></head>
<body><div class="reveal"><div class="slides">
{slides}
</div></div>
<script>{script}</script>
<script>
Reveal.initialize({{width: 1280, height: 720, margin: 0.02, center: false, hash: true, slideNumber: "c/t", controls: false, transition: "none"}});
function fit() {{  // smaller until it fits: each slide's scale is kept where a test can read it
  const visible = [];
  for (const box of document.querySelectorAll(".fit")) {{
    const hidden = [];
    for (let node = box; node && !node.classList.contains("slides"); node = node.parentElement)
      if (getComputedStyle(node).display === "none") {{ hidden.push([node, node.style.display]); node.style.setProperty("display", "block", "important"); }}
    let scale = 1;
    box.style.zoom = 1;
    while (scale > 0.4 && (box.getBoundingClientRect().height / Reveal.getScale() > 720 || box.scrollWidth > box.clientWidth + 1)) {{
      scale -= 0.02;
      box.style.zoom = scale;
    }}
    box.dataset.scale = scale.toFixed(2);
    hidden.forEach(([node, display]) => node.style.display = display);
  }}
}}
document.addEventListener("toggle", fit, true);
Reveal.on("ready", () => document.fonts.ready.then(() => {{ fit(); document.body.dataset.ready = "yes"; }}));
</script></body></html>
"""


def parts(text):
    """Markdown cut into paragraphs; a heading stays with what follows it; choices, quotations and code with what leads to them."""
    found, heading = [], ""
    for paragraph in re.split(r"\n\n(?!<details>|>|```| {4})|\n(?=#{1,3} )", text.strip("\n")):
        paragraph = f"{heading}\n\n{paragraph}".strip("\n")
        heading = paragraph if re.fullmatch(r"#{1,3} .*", paragraph) else ""
        if not heading:
            found.append(paragraph)
    return found + [heading] * bool(heading)


def lines(text, width):
    """How many lines the text fills, broken at this width."""
    return sum(max(1, -(-len(line) // width)) for line in text.strip("\n").split("\n"))


def pixels(cell):
    """About how high the cell is on a slide, 720 pixels high, as code or prose and as output."""
    if cell.cell_type == "markdown":
        files = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", cell.source)
        text = re.sub(r"!\[[^\]]*\]\([^)]*\)|<details><summary>|</summary>.*?</details>", "", cell.source)
        return 39 * lines(text, 78) + 20 + sum(picture_size((lessons.ROOT / file).read_bytes())[1] for file in files if (lessons.ROOT / file).exists())
    shown = 0
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            shown += picture_size(base64.b64decode(data["image/png"]))[1]
        else:
            shown += 400 if "text/html" in data else 27 * lines(output.get("text", "") or data.get("text/plain", ""), 92) + 12
    return (27 * lines(cell.source, 92) + 34) * bool(cell.source) + shown


def picture_size(content):
    """(width, height) in which a deck shows a picture, PNG or SVG: larger than on a page, and within a slide."""
    if content[:4] == b"\x89PNG":
        width, height = struct.unpack(">II", content[16:24])
        scale = LARGER
    else:
        width, height = map(float, re.search(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"', content).groups())
        scale = math.inf  # a drawing stays sharp
    scale = min(scale, 1184 / width, TALLEST_PICTURE / height)
    return round(scale * width), round(scale * height)


def without_progress(outputs):
    """The outputs, the lines that show how a training goes on left out."""
    kept = copy.deepcopy(outputs)
    for output in kept:
        if "text" in output:
            output.text = "".join(line for line in output.text.splitlines(keepends=True) if not re.match(r"\d+/\d+ steps ", line))
    return [output for output in kept if output.get("text", "shown").strip()]


def blocks(nb):
    """(slide_type, cell) for every piece of the lesson that a slide may hold."""
    bare = False  # in the last section only the outputs are shown: what was found, not how it is printed
    for cell in nb.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind in ("skip", "notes"):
            continue
        if cell.cell_type == "markdown":
            for n, part in enumerate(parts(cell.source)):
                level = len(re.match(r"#*", part).group())
                bare = "## What we know now" in part or bare and level == 0
                yield {0: kind if n == 0 else "-", 1: "slide", 2: "slide", 3: "subslide"}[level], nbformat.v4.new_markdown_cell(near(unlinked(part)))
        else:
            whole = nbformat.v4.new_code_cell("" if bare else cell.source, outputs=without_progress(cell.outputs))
            if pixels(whole) <= TALLEST:
                yield kind, whole
            else:
                drawn = whole.outputs and all("image/png" in output.get("data", {}) for output in whole.outputs)
                if not drawn:  # code that only draws a picture is left out
                    yield kind, nbformat.v4.new_code_cell(whole.source)
                if whole.outputs:
                    yield kind if drawn else "subslide", nbformat.v4.new_code_cell("", outputs=whole.outputs)


def slides(nb):
    """The lesson as [[[cell, ...] for each slide going down] for each going right].

    A slide takes what fits, and ends after a question: the answer stands on the next one.
    """
    columns, filled, asked = [], 0, False
    for kind, cell in blocks(nb):
        if kind == "slide" or not columns:
            columns.append([[]])
            filled = 0
        elif kind == "subslide" or asked or filled + pixels(cell) > TALLEST:
            last = columns[-1][-1]
            leads = len(last) > 1 and not asked and last[-1].cell_type == "markdown" and last[-1].source.rstrip().endswith(":")
            columns[-1].append([last.pop()] if leads else [])  # what leads to something goes with it
            filled = sum(map(pixels, columns[-1][-1]))
        columns[-1][-1].append(cell)
        filled += pixels(cell)
        asked = cell.cell_type == "markdown" and bool(re.search(r"\*\*(predict|your turn)", cell.source, flags=re.IGNORECASE))
    return columns


def narrow(cell):
    """Whether the cell shows nothing but printed text that leaves half of a slide free."""
    text = [output.get("text") for output in cell.get("outputs", [])]
    return not cell.source and all(text) and all(len(line) <= 64 for line in "".join(text).split("\n"))


def fragment(cells, exporter, path):
    """What one slide shows, as HTML."""
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python", "pygments_lexer": "python3"}})
    text = exporter.from_notebook_node(nb, resources=resources(path))[0]
    text = re.sub(r'src="data:image/[a-z+]*;base64,([^"]*)"', lambda found: f'{found.group()} width="{picture_size(base64.b64decode(found.group(1)))[0]}"', text)
    if len(cells) == 1 and pixels(cells[0]) > TALLEST and narrow(cells[0]):
        text = f'<div class="two">{text}</div>'
    return re.sub(r'<div class="highlight hl-[^"]*"><pre>\s*(<span></span>)?\s*</pre></div>', "", text)  # the code of an output alone


def deck(path, reveal):
    """One lesson as a single HTML file that needs nothing else; `reveal` is the folder of reveal.js."""
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    exporter = HTMLExporter(template_name="basic", embed_images=True, exclude_input_prompt=True, exclude_output_prompt=True, exclude_anchor_links=True)
    columns = []
    for column in slides(lessons.read(path)):
        inner = [f'<section><div class="fit">{fragment(cells, exporter, path)}</div></section>' for cells in column]
        columns.append(f"<section>{''.join(inner)}</section>")
    read = {name: (reveal / name).read_text(encoding="utf-8") for name in ("reset.css", "reveal.css", "reveal.js")}
    return DECK.format(
        title=html.escape(title(path)), reset=read["reset.css"], reveal=read["reveal.css"], slides="\n".join(columns),
        pygments=HtmlFormatter(style="default").get_style_defs(".highlight"), script=read["reveal.js"].replace("</script", r"<\/script"),
    )  # fmt: skip


def find_reveal():
    """The folder of reveal.js in the package that `make slides` installs for it."""
    try:
        import sphinx_revealjs
    except ModuleNotFoundError:
        folder = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages", "sphinx_revealjs")
    else:
        folder = Path(sphinx_revealjs.__file__).parent
    return folder / "_static" / "revealjs" / "dist"


def decks(folder, paths=lessons.LESSONS):
    """Write one deck for each lesson; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made, reveal = [], find_reveal()
    for path in paths:
        made.append(folder / f"{path.stem}.html")
        made[-1].write_text(deck(path, reveal), encoding="utf-8")
    return made


def main(arguments=None):
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["site", "decks"])
    what = parser.parse_args(arguments).what
    folder = lessons.ROOT / "runs" / {"site": "html", "decks": "slides"}[what]
    made = {"site": site, "decks": decks}[what](folder)
    print(f"{len(made)} pages in {folder.relative_to(lessons.ROOT)}/, beginning with {min(made).name if what == 'decks' else 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
