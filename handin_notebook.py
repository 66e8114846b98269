"""One saved notebook of a hand-in: what it should not be handed in with, and its page, which needs no network.

A fault is a sentence that says what to do. In a page pictures and movies are part of the file and formulas are MathML.
"""

import functools
import html
import logging
import re
import warnings
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import nbformat
from latex2mathml import converter
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

RUN_AGAIN = "restart the kernel, run all cells and save it with its outputs"
# A cell that should have outputs: it prints, or ends with a variable.
SHOWING = re.compile(r"(?m)^(print|display|claim|summary|session\.describe)\(|^[\w.]+(\[[^=\n]*\])?\s*\Z")
WIDGET = "application/vnd.jupyter.widget-view+json"
VERDICT = re.compile(r"(?m)^(holds|FAILS|not judged \(.*?\)): (.+): \S+ \(at (?:least|most) .*\)$")  # of helpers.claims
SUMMARY = re.compile(r"(?m)^(\d+) of (\d+) hold\b")
# A path on the author's machine or drive; but not the temporary file by which IPython names a cell on any machine.
PRIVATE = re.compile(
    r"(?<![\w./+?\-}\])])(?!/\w+/ipy(kernel_|thon-input-)\d)(file://)?("
    r"/(\w*home\w*|\w*scratch\w*|[Uu]sers?|root|tmp|mnt|media|private|Volumes|var/folders|workspaces?|work|cluster"
    r"|dss|lustre|gpfs|beegfs|nfs|afs|u|p|projects?|storage|export"
    r"|content/g?drive/(My ?Drive|Shared ?drives|Othercomputers))/[\w.-]"
    r"|[A-Za-z]:[\\/]+\w{2}|\\\\[\w.-]{2,}\\+\w[\w$]"
    r")[^\s'\"<>)&]*(?<![.,:;])"
)
SECRET = re.compile(
    r"(?<![A-Za-z0-9])(gh[oprsu]_\w{30,}|github_pat_\w{22,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}|sk-[\w-]{20,}"
    r"|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|xox[abeprs]-[\w-]{10,}|pypi-[\w-]{50,}"
    r"|KGAT_\w{20,}|wandb_v\d_\w{20,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:wandb|kaggle)[^\n]{0,60}\b([0-9a-f]{40}|[0-9a-f]{32})\b"
    r"|(?i:\w*(api_?key|token|secret|password|passwd))['\"]?\s*[=:]\s*['\"](?=[\w-]*\d)[\w-]{20,}['\"])"
    r"|://[^\s/:@'\"]+:[^\s/@'\"]+@"
)
# What is looked for in all that a cell shows, says or holds in its metadata.
SEARCHED = (
    (SECRET, "{:.6}..., which looks like a password or an access token: make it invalid, take it out and {}."),
    (PRIVATE, "{}, which is of your own machine: write paths from the bundle's root on, or mend what warns; then {}."),
    (re.compile("[\ud800-\udfff]"), "{:.0}half a character, which no file can hold: write it anew and {}."),
)


class NotANotebook(ValueError):
    """A notebook cannot be read; the message says what to do."""


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook; raises NotANotebook with a sentence that says what to do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat mends small faults, and says so
            notebook = nbformat.read(path, as_version=4)
            for cell in (cell for cell in notebook.cells if cell["cell_type"] == "code"):
                cell.setdefault("execution_count", None)  # some programs leave out what a cell that was not run lacks
                cell.setdefault("outputs", [])
            nbformat.validate(notebook, relax_add_props=True)  # Colab adds properties of its own
    except OSError as error:
        how = "put it into notebooks/, under this name, and close other programs that hold it"
        raise NotANotebook(f"it is missing or cannot be read ({error.strerror}): {how}.") from error
    except Exception as error:  # of many kinds, from what is no JSON to what is no notebook
        how = "put back the one that came with the bundle, run it and save it"
        raise NotANotebook(f"it is no notebook, or half of one: {how}.") from error
    return notebook


def name_cells(notebook: nbformat.NotebookNode) -> list[str]:
    """Return how a fault names each cell: a code cell by its number in a whole run, others by their beginning."""
    names, count = [], 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            count += bool(cell.source.strip())
            names.append(f"code cell {count}")
        else:
            beginning = " ".join(cell.source.split())
            names.append(f'the text cell "{beginning[:37] + "..." if len(beginning) > 40 else beginning}"')
    return names


# ---- what is wrong with it


def notebook_faults(path: Path, owner: str | None) -> Iterator[str]:
    """Yield what a saved notebook should not be handed in with; `owner`: the line that must be in it."""
    pattern = f"*{path.stem}*.ipynb*"  # (1).ipynb, -Copy1.ipynb, Copy of, Kopie von
    if copies := sorted(copy.name for copy in path.parent.glob(pattern) if copy != path and copy.name[-1] != "~"):
        yield f"beside it lies {copies[0]}: keep the one that is to be handed in, under the name {path.name}."
    try:
        notebook = read_notebook(path)
    except NotANotebook as error:
        yield str(error)
        return
    colab = notebook.metadata.get("colab")
    if isinstance(colab, dict) and colab.get("private_outputs"):
        yield 'Colab leaves its outputs out: untick "omit code cell output" in Edit > Notebook settings, and run it.'
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield f"it was not saved after a whole run in order: {RUN_AGAIN}."
    if silent := [str(i) for i, cell in enumerate(cells, 1) if not cell.outputs and SHOWING.search(cell.source)]:
        how = f'{RUN_AGAIN}, or end with ";" what is meant to show nothing'
        yield f"nothing is shown by code cell {', '.join(silent)}: {how}."
    for name, cell in zip(name_cells(notebook), notebook.cells, strict=True):
        yield from (f"{name} {fault}" for fault in cell_faults(cell))
    yield from (f"it {fault}" for fault in search({"has in its metadata": "\n".join(strings(notebook.metadata))}))
    yield from text_faults("".join(output_text(output) for cell in cells for output in cell.outputs), owner)


def cell_faults(cell: nbformat.NotebookNode) -> Iterator[str]:
    """Yield what is wrong with a cell, as what its name is followed by."""
    outputs = cell.get("outputs", [])
    for output in outputs:
        if output.output_type == "error":
            yield f"ends with {output.ename}: mend it, {RUN_AGAIN}."
        if WIDGET in output.get("data", {}):
            yield "shows a widget, which is dead in a saved notebook: print instead."
    metadata = [cell.metadata, *(output.get("metadata", {}) for output in outputs)]
    yield from search({
        "shows": "".join(map(output_text, outputs)),
        "has in its source": source_text(cell.source, cell.cell_type == "code"),
        "has in its metadata": "\n".join(strings(metadata)),
    })  # fmt: skip


def search(places: dict[str, str]) -> Iterator[str]:
    """Yield what of SEARCHED is in a text, once for each place."""
    for where, text in places.items():
        for pattern, sentence in SEARCHED:
            if found := pattern.search(text):
                yield f"{where} {sentence.format(found[0], RUN_AGAIN)}"


def source_text(source: str, is_code: bool) -> str:
    r"""Return a source without formulas, and code as Python reads its strings: in "t:\n" there is no path."""
    text = re.sub(r"\$\$[^$]+\$\$|\$[^$\n]+\$|(?s:\\begin\{(\w+).*?\\end\{\1)", " ", source)
    if not is_code:
        return text
    raw = re.findall(r"""\b[rR][fFbB]?("[^"\n]*"|'[^'\n]*')""", text)
    return "\n".join([re.sub(r"\\([\\nrt])", lambda escape: "\\" if escape[1] == "\\" else " ", text), *raw])


def output_text(output: nbformat.NotebookNode) -> str:
    """Return all text of an output, and not the bytes of a picture."""
    shown = [data for kind, data in output.get("data", {}).items() if not kind.startswith("image/")]
    others = [*strings(shown), *output.get("traceback", [])]
    return output.get("text", "") + "".join(f"\n{text}\n" for text in others)  # a line may go on in the next output


def strings(value) -> Iterator[str]:
    """Yield every text in what came from JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def text_faults(text: str, owner: str | None) -> Iterator[str]:
    """Yield what is wrong in the text that a notebook has put out."""
    if "QUICK=1" in text:
        yield f"these are the outputs of a quick run: unset QUICK, {RUN_AGAIN}."
    if "!!! A SAMPLE" in text:
        yield f"it ran on a sample of the data: see data/README.md for all of them, {RUN_AGAIN}."
    verdicts = {claim: verdict for verdict, claim in VERDICT.findall(text)}  # what is claimed again replaces the old
    for claim in (claim for claim, verdict in verdicts.items() if verdict == "FAILS"):
        yield f'a claim failed ("{claim}"): the text or the code is wrong, mend it and {RUN_AGAIN}.'
    printed = str(list(verdicts.values()).count("holds")), str(len(verdicts))
    if not (summaries := SUMMARY.findall(text)) or summaries[-1][1] == "0":
        how = f"put back what is missing, up to summary() at its end, {RUN_AGAIN}"
        yield f"it does not say how many of its claims hold: {how}."
    elif summaries[-1] != printed:
        said = f'its summary says "{" of ".join(summaries[-1])} hold", and it shows {" of ".join(printed)}'
        yield f"{said}: outputs are not to be edited by hand; {RUN_AGAIN}."
    if owner and f"{owner}   (from group.json)" not in text:
        yield f"it does not show group and names of group.json: {RUN_AGAIN} (what lies in executed/ does not count)."


# ---- its page

# The page of nbconvert without the programs that it loads from the network.
TEMPLATE = "{% extends 'index.html.j2' %}" + "".join(
    f"{{% block {name} %}}{{% endblock %}}"
    for name in ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs", "jupyter_widgets")
)
# What makes a cell need more than the page, in the HTML that nbconvert writes.
NEEDS = re.compile(
    r"id=\"cell-id=cell-(?P<cell>\d+)\"|(?P<script>(?s:<script\b.*?</script>)|<link\b[^>]*>)"
    r"|(?P<tag><[a-z]+\b[^<>]*\ssrc=)\"(?!data:)(?P<address>[^\"]*)\""
    r"|(?s:<code class=\"formula\">(?P<formula>.*?)</code>)"
)
LOADED = re.compile(r"(https?:)?//[^\s\"'<>]+?\.(m?js|css)\b|\s(src|href)=\"(https?:)?//[^\"]*")


@dataclass
class Page:
    """A page in HTML, the files of the bundle that it shows, and what is wrong, a sentence each."""

    content: bytes = b""
    files: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def make_page(path: Path, root: Path) -> Page:
    """Return the page of a notebook in the bundle `root`; the same notebook gives the same page."""
    page = Page()
    try:
        notebook = read_notebook(path)
        text, names = to_html(notebook, path.stem), name_cells(notebook)
    except NotANotebook:
        return page  # notebook_faults says it
    except Exception as error:  # whatever nbconvert meets in outputs that it did not expect
        page.faults.append(f"no page can be made of it ({type(error).__name__}): {RUN_AGAIN}.")
        return page
    number = 0

    def complete(found: re.Match) -> str:
        nonlocal number
        fault, whole = None, found[0]
        if found["cell"]:
            number = int(found["cell"])
        elif found["script"] and (address := LOADED.search(whole)):
            fault = f"loads {address[0].strip()} from the network, where a page is read without one: draw it otherwise"
        elif found["formula"]:
            fault = f"has a formula that cannot be read, ${html.unescape(found['formula'])}$: mend it"
        elif found["address"]:
            address = html.unescape(found["address"])
            data = embed(address, notebook.cells[number], path.parent, root, page.files)
            if data:
                whole = f'{found["tag"]}"{data}"'
            else:
                fault = f'shows "{address}", which is not there: put it beside the notebook, under this name'
        page.faults += [f"{names[number]} {fault}."] if fault else []
        return whole

    page.content = NEEDS.sub(complete, text).encode(errors="replace")
    return page


def to_html(notebook: nbformat.NotebookNode, title: str) -> str:
    """Return a notebook as nbconvert writes it, with formulas as MathML and movies."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # nbformat draws one at random where a cell has none
        if cell.metadata.get("jupyter", {}).get("source_hidden"):  # which the exporter shows
            cell.metadata["transient"] = {"remove_source": True}
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            data.pop(WIDGET, None)  # dead in a page
            if "image/gif" in data:  # which the exporter drops
                data["text/html"] = f'<img src="data:image/gif;base64,{data["image/gif"]}">'
            if "text/latex" in data:  # which it leaves to MathJax
                data.setdefault("text/markdown", data["text/latex"])
    notebook.metadata.pop("widgets", None)  # Colab leaves half of them
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it warns of pictures without a description
    return exporter().from_notebook_node(notebook, {"metadata": {"name": title}})[0]


@functools.cache  # the first page takes most of its time for the template
def exporter() -> HTMLExporter:
    return Exporter(raw_template=TEMPLATE)


class Exporter(HTMLExporter):
    """nbconvert's, with another way from Markdown to HTML."""

    def markdown2html(self, source):
        return MarkdownWithMath(Renderer(escape=False)).render(source)

    def default_filters(self):
        yield from super().default_filters()
        yield "clean_html", lambda code: code  # it is escaped where this is used, which takes half of the time


class Renderer(IPythonRenderer):
    """Writes formulas as MathML, and leaves the addresses of pictures and attachments as they are."""

    def inline_math(self, body):
        return to_mathml(body, "inline")

    def block_math(self, body):
        return to_mathml(body, "block")

    def latex_environment(self, name, body):
        return to_mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def image(self, text, url, title=None):
        if url.endswith("colab-badge.svg"):  # without a network its link is enough
            return text
        return super(IPythonRenderer, self).image(text, url, title)


def to_mathml(formula: str, display: str) -> str:
    """Return a formula in MathML; its source, marked as such, where it cannot be read."""
    try:
        found = converter.convert(formula.replace("{aligned}", "{split}"), display=display)
        found = found.replace("<mi>&#x02032;</mi>", "<mo>&#x02032;</mo>")  # as a letter a prime is drawn like a dot
        ElementTree.fromstring(found)  # it leaves signs that it does not know, some of them as they are
    except Exception:  # of kinds of its own, and such as IndexError
        found = r"<mi>\unknown"
    if re.search(r"<m\w+>\\\w", found):
        return f'<code class="formula">{html.escape(formula)}</code>'
    # The spaces of TeX that it leaves out: "ln 10", and none behind the minus in "(-1, 1)".
    found = re.sub(r"(?<=[a-z]{2}</m[io]>)(?=<m(i|n|sub|sup|sqrt|frac)\b)", '<mspace width="0.167em" />', found)
    return re.sub(r"(?<=&#x0002[8C];</mo>)<mo>(?=&#x02212;)", '<mo form="prefix">', found)


def embed(address: str, cell: nbformat.NotebookNode, folder: Path, root: Path, files: list[Path]) -> str | None:
    """Return the address of a picture or movie with its content in it, and add the file to `files`.

    Addresses that are complete stay as they are; None for what is neither an attachment of the cell nor in the bundle.
    """
    name = unquote(address)
    if name.startswith("attachment:"):
        found = cell.get("attachments", {}).get(name.removeprefix("attachment:"))
        return next((f"data:{kind};base64,{data}" for kind, data in sorted((found or {}).items(), reverse=True)), None)
    try:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            return address
        path = (folder / unquote(parts.path)).resolve()
        content = path.read_bytes() if path.is_relative_to(root.resolve()) else None
    except (OSError, ValueError):  # also of a name that no system allows
        content = None
    if content is None:
        return None
    files.append(root / path.relative_to(root.resolve()))
    return f"data:{guess_type(path.name)[0] or 'application/octet-stream'};base64,{b64encode(content).decode()}"
