"""What an assignment consists of, and the faults that keep it from being handed in, each with what to do."""

import ast
import getpass
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from IPython.core.displayhook import DisplayHook
from IPython.core.inputtransformer2 import TransformerManager
from PIL import Image

from helpers import session

GROUP_SIZE = 3  # at most
FRAMES = 100  # of a movie: one for each batch


@dataclass(frozen=True)
class Assignment:
    """What belongs together in an upload: notebooks, and the 84 movies with their findings where it asks for them.

    Kept studies go with the notebook whose number they begin with; `studies` are patterns for the names of others.
    """

    title: str
    notebooks: tuple[str, ...]
    movies: bool = False
    studies: tuple[str, ...] = ()


ASSIGNMENTS = {
    "1": Assignment("Assignment 1", ("01_low_level_mlp",)),
    "2": Assignment("Assignment 2", ("02_failure_diagnoses",)),
    "3": Assignment("Sheet 3", ("03_torch_monitor", "04_cifar10_gif_sweep"), movies=True),
    "more": Assignment(
        "Further notebooks",
        ("05_activations_and_initialization", "06_debugging_checklist", "07_training_doctor"),
        studies=("doctor*",),
    ),
}


class BadNotebook(ValueError):
    """A notebook cannot be read."""


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook; raises BadNotebook with a sentence that says what to do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what nbformat mends
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook, relax_add_props=True)  # Colab adds properties of its own
    except FileNotFoundError as error:
        raise BadNotebook("it is missing: put it into notebooks/, under this name.") from error
    except OSError as error:
        raise BadNotebook(f"it cannot be read ({error.strerror}): close other programs that hold it.") from error
    except Exception as error:  # of many kinds, from what is no JSON to what is no notebook
        raise BadNotebook(
            "it is no notebook, or half of one: put back the one that came with the bundle, run it and save it."
        ) from error
    return notebook


def parsed(source: str) -> ast.Module:
    """Return the syntax tree of a cell, whose magics become calls; an empty one for what is no Python."""
    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:
        return ast.Module([], [])


# ---- faults, each a sentence


def faults_of(assignment: Assignment, root: Path) -> list[str]:
    """Return what keeps an assignment from being handed in, a sentence each."""
    faults = list(group_faults(root))
    who = None if faults else session.whose(root)
    for name in assignment.notebooks:
        path = root / "notebooks" / f"{name}.ipynb"
        faults += [f"{path.name}: {fault}" for fault in notebook_faults(path, who)]
    if assignment.movies:
        faults += movie_faults(root / "gifs")
        faults += findings_faults(root / "gifs" / "findings.txt", who)
    return faults


def group_faults(root: Path) -> Iterator[str]:
    """Yield what is wrong with what stands in group.json."""
    try:
        group, names = session.whose(root)
    except ValueError as error:
        yield str(error)
        return
    if not group.strip("."):
        yield "group.json names no group: write its number or name into it."
    if not names or not all(name.strip(".") for name in names):
        yield "group.json has no names, or an empty one: write all of them into it."
    if joined := [name for name in names if re.search(r"[,;&/]|\b(and|und)\b", name)]:
        yield f'group.json has "{joined[0]}" as one name: write ["First Last", "First Last"].'
    if len(names) > GROUP_SIZE:
        yield f"group.json has {len(names)} names: a group has {GROUP_SIZE} at most."


def shows(text: str, who: tuple[str, list[str]]) -> bool:
    """Tell whether a line of the text is the signature of a group."""
    return bool(re.search(rf"(?m)^{re.escape(session.signature(*who))}(   \(from group.json\))?$", text))


RUN_AGAIN = "restart the kernel, run all cells and save it with its outputs"


def notebook_faults(path: Path, who: tuple[str, list[str]] | None) -> Iterator[str]:
    """Yield what a saved notebook should not be handed in with; `who` is its group, where that is known."""
    if copies := sorted(copy.name for copy in path.parent.glob(f"{path.stem}*.ipynb") if copy != path):
        yield f"beside it lies {copies[0]}: keep the one that is to be handed in, under the name {path.name}."
    try:
        notebook = read_notebook(path)
    except BadNotebook as error:
        yield str(error)
        return
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if (notebook.metadata.get("colab") or {}).get("private_outputs"):
        yield 'Colab leaves its outputs out: untick "omit code cell output" in Edit > Notebook settings, and run it.'
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield f"it was not saved after a whole run in order: {RUN_AGAIN}."
    if silent := [i for i, cell in enumerate(cells, 1) if not cell.outputs and should_show(cell.source)]:
        way_out = 'or end with ";" what is meant to show nothing'
        yield f"nothing is shown by code cell {numbers(silent)}: {RUN_AGAIN}, {way_out}."
    for i, cell in enumerate(cells, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"code cell {i} ends with {' '.join(output.ename.split())}: mend it, {RUN_AGAIN}."
            if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
                yield f"code cell {i} shows a widget, which is dead in a saved notebook: print instead."
    yield from text_faults([[text_of(output) for output in cell.outputs] for cell in cells], who)


def text_faults(texts: list[list[str]], who: tuple[str, list[str]] | None) -> Iterator[str]:
    """Yield what is wrong in the texts that code cells put out, a list for each cell."""
    whole = "\n".join(itertools.chain.from_iterable(texts))
    if "QUICK=1" in whole or "not judged (quick run" in whole:
        yield f"these are the outputs of a quick run: unset QUICK, {RUN_AGAIN}."
    if "STAND-IN" in whole or "not judged (stand-in" in whole:
        yield f"it ran on stand-in data: see data/README.md for the real ones, {RUN_AGAIN}."
    if failed := re.findall(r"(?m)^FAILS: (.+?)(?:: \S+ \(.*)?$", whole):
        claims = "a claim" if len(failed) == 1 else f"{len(failed)} claims"
        yield f'{claims} failed ("{failed[0]}"): the text or the code is wrong, mend it and {RUN_AGAIN}.'
    if who and not shows(whole, who):
        yield f"it does not show group and names of group.json: {RUN_AGAIN} (what lies in executed/ does not count)."
    for i, outputs in enumerate(texts, 1):
        if found := private("\n".join(outputs)):
            how = "print less, or mend what a warning says"
            yield f"code cell {i} shows {found}, which is of your own machine: {how}, and {RUN_AGAIN}."


def text_of(output) -> str:
    """Return all text of an output, also of a vector graphic, and not the bytes of a picture."""
    data = output.get("data", {})
    texts = [str(data[kind]) for kind in data if not kind.startswith("image/") or kind == "image/svg+xml"]
    return "\n".join([output.get("text", ""), *texts, *output.get("traceback", [])])


SHOWING = {"print", "display", "describe", "claim", "summary"}
SILENT = {"append", "extend", "insert", "remove", "sort", "update", "add", "clear", "close", "seed", "backward", "step"}
SILENT |= {"run_line_magic", "run_cell_magic", "system"}  # what magics become
NOT_AT_ONCE = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.ExceptHandler


def should_show(source: str) -> bool:
    """Tell whether a cell prints, outside its functions and whatever the case, or ends with a value."""
    body = parsed(source).body
    if called_at_once(body) & SHOWING:
        return True
    last = body[-1] if body else None
    if not isinstance(last, ast.Expr) or isinstance(last.value, ast.Constant):
        return False
    if DisplayHook.semicolon_at_end_of_expression(source):
        return False
    return not (isinstance(last.value, ast.Call) and name_of(last.value) in SILENT)


def called_at_once(statements: Iterable[ast.AST]) -> set[str]:
    """Return the names of functions that are called as statements, in loops too, and not only in some cases."""
    names = set()
    for statement in statements:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            to_a_file = any(keyword.arg == "file" for keyword in statement.value.keywords)
            names |= set() if to_a_file else {name_of(statement.value)}
        elif not isinstance(statement, NOT_AT_ONCE):
            names |= called_at_once(ast.iter_child_nodes(statement))
    return names


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


HOMES = re.compile(
    r"(?:file://|(?<![\w./-]))(?:/(?:home|Users|root|tmp|mnt|media|private|Volumes|var/folders|workspaces)/[\w.-]"
    r"|[a-z]:[\\/]+Users[\\/]+|(?-i:[A-Z]):[\\/]+\w)[^\s'\"<>)&]*",
    re.IGNORECASE,
)
CELLS = re.compile(
    r"/tmp/(ipykernel_\d+|ipython-input-[\w-]+)(/|\.py)"
)  # by which warnings name a cell, on any machine
NO_TEXT = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|;base64,[\w+/=]*")  # colours of a terminal, pictures in HTML
NOBODY = {"root", "user", "admin", "colab", "jovyan", "runner"}  # names of accounts that tell nothing


def private(text: str) -> str:
    """Return what in a text tells of the own machine, a path or the name of the user's account; "" if nothing does."""
    text = CELLS.sub("", NO_TEXT.sub("", text))
    if path := HOMES.search(text):
        return path[0]
    if (root := str(session.ROOT)) in text and not root.startswith("/content"):  # which is the same for all in Colab
        return root
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # it has none
        return ""
    # in a path or an address only: "max" is also a word, and "adam" an optimizer
    named = re.search(rf"(?<=[/\\@]){re.escape(user)}(?![\w-])|\b{re.escape(user)}@", text)
    return user if named and user.lower() not in NOBODY else ""


def numbers(values: list[int]) -> str:
    """Write numbers, the first few of them."""
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")


# ---- the parts of sheet 3


def movie_names() -> list[str]:
    """Return the names of the 84 movies of sheet 3, without their ending."""
    regularizations = ["none", "l2-0.001", "l2-0.01", "l2-0.1", "dropout-0.1", "dropout-0.3", "dropout-0.5"]
    parts = ("he", "uniform"), ("raw", "standardized"), regularizations, ("bn-none", "bn-before", "bn-after")
    return ["_".join(choice) for choice in itertools.product(*parts)]


def movie_faults(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the movies of sheet 3."""
    names = movie_names()
    if missing := [name for name in names if not (folder / f"{name}.gif").is_file()]:
        yield f"{len(missing)} of {len(names)} movies are missing, such as {missing[0]}.gif: run 04_cifar10_gif_sweep."
    for name in (name for name in names if name not in missing):
        frames = frames_of(folder / f"{name}.gif")
        if frames != FRAMES:
            state = f"should have {FRAMES} frames and has {frames}" if frames else "cannot be read"
            yield f"{name}.gif {state}: delete it and run 04_cifar10_gif_sweep."


def frames_of(path: Path) -> int:
    """Return the number of frames of a movie, 0 if it cannot be read."""
    try:
        with Image.open(path, formats=["GIF"]) as movie:
            count = getattr(movie, "n_frames", 1)
            movie.seek(count - 1)
            movie.load()
            return count
    except Exception:  # whatever a decoder raises for what is no GIF, or half of one
        return 0


NUMBERED = re.compile(r"(?mi)^[\s#*-]*(?:finding\s*)?\d+\s*[.):](?!\d)")
REASON = re.compile(r"\b(why|because|since|due to|reasons?|warum|weil|denn|Grund|Begründung)\b", re.IGNORECASE)


def findings_faults(path: Path, who: tuple[str, list[str]] | None) -> Iterator[str]:
    """Yield what is wrong with the text of the two findings."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        yield f"{path.name} is missing: run 04_cifar10_gif_sweep, which writes it."
        return
    except (OSError, UnicodeDecodeError):
        yield f"{path.name} cannot be read: save it as UTF-8."
        return
    reasoned = [finding for finding in NUMBERED.split(text)[1:] if REASON.search(finding)]
    if len(reasoned) < 2:
        how = 'begin them "1." and "2.", and give each a "Why."'
        yield f"{path.name} has a reason for {len(reasoned)} of the two findings that the sheet asks for: {how}."
    if who and not shows(text, who):
        yield f"{path.name} does not show group and names of group.json: run 04_cifar10_gif_sweep."
