"""What an assignment consists of, and the faults that keep it from being handed in, each with what to do."""

import ast
import getpass
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from PIL import Image

from helpers import session

LIMIT = 20  # MB a file: Moodle takes the smallest of several limits, of which 20 MB is a common one
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


class BadGroup(ValueError):
    """group.json does not say who hands this in."""


def group_of(root: Path) -> tuple[str, list[str]]:
    """Return group and names; raises BadGroup with a sentence that says what to do."""
    try:
        group, names = session.whose(root)
    except ValueError as error:
        raise BadGroup(str(error)) from error
    if not group:
        raise BadGroup("group.json names no group: write its number or name into it.")
    if not names or not all(names):
        raise BadGroup("group.json has no names, or an empty one: write all of them into it.")
    if len(names) > GROUP_SIZE:
        raise BadGroup(f"group.json has {len(names)} names: a group has {GROUP_SIZE} at most.")
    return group, names


# ---- faults, each a sentence


def faults_of(assignment: Assignment, root: Path, limit: float = LIMIT) -> list[str]:
    """Return what keeps an assignment from being handed in, a sentence each."""
    faults = []
    try:
        who = group_of(root)
    except BadGroup as error:
        who = None
        faults.append(str(error))
    for name in assignment.notebooks:
        path = root / "notebooks" / f"{name}.ipynb"
        faults += [f"{path.name}: {fault}" for fault in notebook_faults(path, who)]
    if assignment.movies:
        faults += movie_faults(root / "gifs")
        faults += findings_faults(root / "gifs" / "findings.txt", who)
    for path in files_of(assignment, root):
        if path.stat().st_size > limit * 1e6:
            size = path.stat().st_size / 1e6
            faults.append(f"{path.name} has {size:.1f} MB, more than the {limit:g} of an upload: make it smaller.")
    return faults


def files_of(assignment: Assignment, root: Path) -> list[Path]:
    """Return the files that an assignment is made of, those that are there."""
    paths = [root / "notebooks" / f"{name}.ipynb" for name in assignment.notebooks]
    paths += sorted((root / "gifs").glob("*")) if assignment.movies else []
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]  # of a run that was killed


RUN_AGAIN = "restart the kernel, run all cells and save it with its outputs"


def notebook_faults(path: Path, who: tuple[str, list[str]] | None) -> Iterator[str]:
    """Yield what a saved notebook should not be handed in with; `who` is its group, where that is known."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        yield "it is missing: put it back into notebooks/."
        return
    except Exception:  # of many kinds, from what is no JSON to what is no notebook
        yield "it is no notebook, or half of one: take the file anew and run it."
        return
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if notebook.metadata.get("colab", {}).get("private_outputs"):
        yield 'Colab leaves its outputs out: untick "omit code cell output" in Edit > Notebook settings, and run it.'
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield f"it was not saved after a whole run in order: {RUN_AGAIN}."
    if silent := [i for i, cell in enumerate(cells, 1) if not cell.outputs and should_show(cell.source)]:
        yield f"code cell {numbers(silent)} should show something and does not: {RUN_AGAIN}."
    for i, cell in enumerate(cells, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"code cell {i} ends with {output.ename}: mend it, {RUN_AGAIN}."
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
    if failed := re.findall(r"(?m)^FAILS: ([^:\n]+)", whole):
        yield f'a claim failed ("{failed[0]}"): the text or the code is wrong, mend it and {RUN_AGAIN}.'
    if who and session.signature(*who) not in whole:
        yield f"it does not show group and names of group.json: {RUN_AGAIN}."
    names = who[1] if who else []
    for i, outputs in enumerate(texts, 1):
        if found := private("\n".join(outputs), names):
            yield f"code cell {i} shows {found}, which is of your own machine: print less, and {RUN_AGAIN}."


def text_of(output) -> str:
    """Return all text of an output."""
    data = output.get("data", {})
    texts = [str(data[kind]) for kind in data if kind.startswith("text/")]
    return "\n".join([output.get("text", ""), *texts, *output.get("traceback", [])])


SHOWING = {"print", "display", "claim", "summary"}


def should_show(source: str) -> bool:
    """Tell whether a cell prints, or ends with the name of something to show."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic of IPython
        return False
    calls = [node.value for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    called = {getattr(call.func, "id", getattr(call.func, "attr", "")) for call in calls}
    last = body[-1] if body else None
    shows_name = isinstance(last, ast.Expr) and isinstance(last.value, ast.Name) and not source.rstrip().endswith(";")
    return bool(called & SHOWING) or shows_name


HOMES = re.compile(r"(?<![\w.:/-])(?:/(?:home|Users|root|tmp|mnt|private)/[\w.-]|[A-Za-z]:\\+Users\\+)[^\s'\"<>)]*")
NOBODY = {"root", "user", "admin", "colab", "jovyan", "runner"}  # names of accounts that tell nothing


def private(text: str, names: list[str]) -> str:
    """Return a path or the user name of the own machine in a text, "" if there is none; `names` may be shown."""
    if path := HOMES.search(text):
        return path[0]
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # it has none
        return ""
    for name in names:
        text = text.replace(name, "")
    known = user.lower() not in NOBODY and len(user) > 2
    return user if known and re.search(rf"\b{re.escape(user)}\b", text) else ""


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
            state = f"has {frames} frames instead of {FRAMES}" if frames else "cannot be read"
            yield f"{name}.gif {state}: delete it and run 04_cifar10_gif_sweep."


def frames_of(path: Path) -> int:
    """Return the number of frames of a movie, 0 if it cannot be read."""
    try:
        with Image.open(path) as movie:
            count = getattr(movie, "n_frames", 1)
            movie.seek(count - 1)
            movie.load()
            return count
    except Exception:  # whatever a decoder raises for what is no GIF, or half of one
        return 0


def findings_faults(path: Path, who: tuple[str, list[str]] | None) -> Iterator[str]:
    """Yield what is wrong with the text of the two findings."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        yield f"{path.name} cannot be read: run 04_cifar10_gif_sweep, which writes it."
        return
    findings = re.split(r"(?m)^\s*\d+\.\s", text)[1:]
    reasoned = [finding for finding in findings if re.search(r"\b(why|because|reason)\b", finding, re.IGNORECASE)]
    if len(reasoned) < 2:
        yield f"{path.name} has {len(reasoned)} findings with a why, the sheet asks for two: number them, say why."
    if who and session.signature(*who) not in text:
        yield f"{path.name} does not show group and names of group.json: run 04_cifar10_gif_sweep."
