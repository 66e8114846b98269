"""Checks what is to be handed in, and packs it for the upload.

    python submission.py check       # Assignment 1, 2, sheet 3 and the further notebooks; `check 3`: only that
    python submission.py pack 3      # a zip in handin/ that opens on its own, in parts where it is too large

`check` says for each fault what to do, and ends with status 1 if there is one. `pack` checks first, and writes nothing
that has a fault, unless told `--anyway`: then the zip says so. Group and names come from group.json.
"""

import argparse
import ast
import contextlib
import getpass
import itertools
import logging
import re
import sys
import tempfile
import unicodedata
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from modulefinder import ModuleFinder
from pathlib import Path
from urllib.parse import unquote
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nbformat
from IPython.core.displayhook import DisplayHook
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert import HTMLExporter
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
    who = None if faults else session.read_group(root)
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
        group, names = session.read_group(root)
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
    if "!!! A SAMPLE" in whole or "not judged (sample" in whole:
        yield f"it ran on a sample of the data: see data/README.md for all of them, {RUN_AGAIN}."
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


# ---- packing

LIMIT = 20  # MB a file: Moodle takes the smallest of several limits, of which 20 MB is a common one
LEVEL = 9  # of compression
UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
COMMON = "requirements.txt", "group.json", "headless.py", "submission.py", "data/README.md"
NOT_IN_ORDER = "_NOT-IN-ORDER"


class TooLarge(ValueError):
    """A file does not fit into an upload."""


def packed(assignment: Assignment, root: Path, limit: float, faults: list[str]) -> dict[str, dict[str, bytes]]:
    """Return the zips of an assignment, each below `limit` MB: its name -> name in it -> bytes.

    Raises TooLarge for a file that fits into no zip.
    """
    name = stem(assignment, root) + (NOT_IN_ORDER if faults else "")
    files = {f"{name}/{inner}": content for inner, content in contents(assignment, root, faults).items()}
    parts = split(files, limit * 1e6)
    if len(parts) == 1:
        return {f"{name}.zip": parts[0]}
    return {f"{name}_{number}-of-{len(parts)}.zip": part for number, part in enumerate(parts, 1)}


def stem(assignment: Assignment, root: Path) -> str:
    """Return the name of a zip: of letters, digits, - and _, which every system and E-Learning accept."""
    group = ""
    with contextlib.suppress(ValueError):  # which is one of the faults
        group = session.read_group(root)[0].strip(".")
    if not group.lower().startswith(("group", "gruppe")):
        group = f"group {group}" if group else "without a group"
    return plain(f"{assignment.title}_{group}")


def plain(text: str) -> str:
    for letter, letters in UMLAUTS.items():
        text = text.replace(letter, letters)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:80]


# ---- what is in it


def contents(assignment: Assignment, root: Path, faults: list[str]) -> dict[str, bytes]:
    """Return the files of an assignment, name -> bytes, the notebooks and their pages first."""
    files = {}
    if faults:
        text = "Packed though the check found this:\n\n" + "".join(f"- {fault}\n" for fault in faults)
        files["NOT_IN_ORDER.txt"] = text.encode()
    paths = [root / "notebooks" / f"{name}.ipynb" for name in assignment.notebooks]
    notebooks = {}
    for path in (path for path in paths if path.is_file()):
        files[f"notebooks/{path.name}"] = path.read_bytes()
        with contextlib.suppress(BadNotebook):  # which is one of the faults
            notebooks[path] = read_notebook(path)
            files[f"notebooks/{path.stem}.html"] = as_html(notebooks[path], path)
    paths = [*needed(assignment, notebooks, root), *(visible((root / "gifs").glob("*")) if assignment.movies else [])]
    return files | {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def visible(paths) -> list[Path]:
    """Return the files among paths, but for those that editors, systems and killed runs leave behind."""
    return sorted(path for path in paths if path.is_file() and path.name[0] not in ".#" and path.name[-1] != "~")


def needed(assignment: Assignment, notebooks: dict[Path, nbformat.NotebookNode], root: Path) -> list[Path]:
    """Return what notebooks need to run: modules, kept results, what they link to, and the common files."""
    common = [
        root / name for name in ("requirements.txt", "group.json", "headless.py", "submission.py", "data/README.md")
    ]
    studies = [*(f"{path.stem[:2]}-*" for path in notebooks), *assignment.studies]
    kept = itertools.chain.from_iterable((root / "runs" / "kept").glob(f"{study}/**/*") for study in studies)
    own = itertools.chain.from_iterable(
        [*modules_of(notebook, path, root), *linked(notebook, path, root)] for path, notebook in notebooks.items()
    )
    code = "\n".join(cell.source for notebook in notebooks.values() for cell in notebook.cells)
    sheets = (
        path for path in (root / "data" / "sample").glob("*.webp") if re.search(rf"\b{path.stem.split('-')[0]}\b", code)
    )
    return visible(dict.fromkeys([*own, *common, *kept, *sheets]))


def modules_of(notebook: nbformat.NotebookNode, path: Path, root: Path) -> Iterator[Path]:
    """Yield the modules of the project that a notebook imports, those that they import, and data files beside them."""
    nodes = itertools.chain.from_iterable(
        ast.walk(parsed(cell.source)) for cell in notebook.cells if cell.cell_type == "code"
    )
    imports = [
        n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) and vars(n).get("module") != "__future__"
    ]
    finder = ModuleFinder(path=[str(root), str(path.parent)])  # so that it looks for nothing else
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "imports.py"
        script.write_text("\n".join(map(ast.unparse, imports)), encoding="utf-8")
        finder.run_script(str(script))
    found = (Path(module.__file__) for module in finder.modules.values() if module.__file__)
    modules = {module for module in found if module.is_relative_to(root)}
    yield from modules
    for package in {module.parent for module in modules if module.name == "__init__.py"}:
        yield from (beside for beside in package.iterdir() if beside.suffix not in (".py", ".md"))


def linked(notebook: nbformat.NotebookNode, path: Path, root: Path) -> Iterator[Path]:
    """Yield the project's files that the texts of a notebook link to."""
    for cell in (cell for cell in notebook.cells if cell.cell_type == "markdown"):
        for target in re.findall(r"\]\((\.\./[^)#\s]+)", cell.source):
            linked_path = (path.parent / unquote(target)).resolve()
            if linked_path.is_relative_to(root):
                yield linked_path


def as_html(notebook: nbformat.NotebookNode, path: Path) -> bytes:
    """Return a notebook as a page that holds its pictures and movies; the same notebook gives the same page."""
    for number, cell in enumerate(notebook.cells):
        if "id" in cell:  # where it had none, nbformat has drawn one at random
            cell.id = f"cell-{number}"
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        if "image/gif" in data:  # which the exporter drops
            data["text/html"] = f'<img src="data:image/gif;base64,{data["image/gif"]}">'
    notebook.metadata.pop("widgets", None)  # dead in a page, and Colab leaves half of them
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it warns of pictures without a description
    exporter = HTMLExporter(embed_images=True)
    where = {"metadata": {"path": str(path.parent), "name": path.stem}}
    return exporter.from_notebook_node(notebook, where)[0].encode()


# ---- the zips


def split(files: dict[str, bytes], limit: float) -> list[dict[str, bytes]]:
    """Return the files in parts that are at most `limit` bytes each when they are packed, in their order."""
    end = 100  # bytes of the table of contents, beside the two headers of each file
    parts, room = [{}], limit - end
    for name, content in files.items():
        size = len(zlib.compress(content, LEVEL)) + 2 * len(name.encode()) + 100
        if size > limit - end:
            inner = name.partition("/")[2]
            sizes = f"{size / 1e6:.3g} MB when packed, and an upload may have {limit / 1e6:g} MB (--limit)"
            raise TooLarge(f"{inner} has {sizes}: show fewer or smaller figures.")
        if size > room:
            parts.append({})
            room = limit - end
        parts[-1][name] = content
        room -= size
    return parts


def write(zips: dict[str, dict[str, bytes]], to: Path) -> list[Path]:
    """Write zips into the folder `to` in place of those of an earlier packing; return their paths.

    Raises session.CannotSave where the disk is full or the folder read-only, and then leaves it as it was.
    """
    with session.saving(to):
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to, prefix=".packing-") as folder:
            (Path(folder) / "old").mkdir()
            for name, files in zips.items():
                write_zip(Path(folder) / name, files)
            return exchange(earlier(next(iter(zips)), to), Path(folder) / "old", [Path(folder) / n for n in zips], to)


def earlier(name: str, to: Path) -> list[Path]:
    """Return the zips in a folder that a newly packed one makes out of date; one in order outlasts one that is not."""
    name = re.sub(r"(_\d+-of-\d+)?\.zip$", "", name)
    fits = re.compile(rf"{name}({NOT_IN_ORDER})?(_\d+-of-\d+)?\.zip")
    return [path for path in to.glob("*.zip") if fits.fullmatch(path.name)]


def exchange(old: list[Path], aside: Path, new: list[Path], to: Path) -> list[Path]:
    """Move the old files into the folder `aside` and the new ones into `to`: all, or where one cannot be moved none."""
    with contextlib.ExitStack() as undo:
        for path in old:
            with contextlib.suppress(FileNotFoundError):  # another process has packed the same
                undo.callback(path.rename(aside / path.name).rename, path)
        placed = []
        for path in new:
            placed.append(path.replace(to / path.name))
            undo.callback(placed[-1].unlink)
        undo.pop_all()
    return placed


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """Write a zip whose bytes depend on nothing but the files."""
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            entry = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system, entry.external_attr = ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, content, compresslevel=LEVEL)


# ---- the command


def main(arguments: list[str] | None = None) -> int:
    """Check or pack; return the status to exit with: 0, or 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="python submission.py", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("check", "pack"))
    parser.add_argument("which", nargs="*", help=f"of {', '.join(ASSIGNMENTS)}; all of them if none is given")
    common = "MB a file of an upload may have (%(default)s, a common limit of Moodle)"
    parser.add_argument("--limit", type=float, default=LIMIT, help=common)
    parser.add_argument("--to", type=Path, help="folder of the zips (handin)")
    parser.add_argument("--anyway", action="store_true", help="pack in spite of faults; the zip then says so")
    given = parser.parse_intermixed_args(arguments)  # options may also stand before the assignments
    if unknown := [key for key in given.which if key not in ASSIGNMENTS]:
        parser.error(f"no assignment {unknown[0]!r}: give some of {', '.join(ASSIGNMENTS)}, or none for all")
    if not given.limit > 0:
        parser.error("--limit has to be above 0")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a console that lacks a letter shows another
    statuses = [hand_in(ASSIGNMENTS[key], given) for key in given.which or ASSIGNMENTS]
    return max(statuses)


def hand_in(assignment: Assignment, given: argparse.Namespace) -> int:
    """Check one assignment, and pack it if that is asked; return its status."""
    print(f"{assignment.title}: ", end="", flush=True)  # reading and packing take some seconds
    faults, zips = faults_of(assignment, session.ROOT), {}
    try:
        zips = packed(assignment, session.ROOT, given.limit, faults)
    except TooLarge as error:
        faults.append(str(error))
    print(f"{len(faults)} to mend" if faults else "in order")
    print("".join(f"- {fault}\n" for fault in faults), end="")
    if given.command == "check":
        return int(bool(faults))
    if not zips or (faults and not given.anyway):
        print("  Nothing was written." + (" With --anyway it is packed as it is, and says so." if zips else ""))
        return 1
    try:
        paths = write(zips, given.to or session.ROOT / "handin")
    except session.CannotSave as error:
        print(f"  Nothing was written: {error}")
        return 1
    for path in paths:
        print(f"  {session.shown(path)}: {path.stat().st_size / 1e6:.1f} MB")
    for path in sorted(set(paths[0].parent.glob(f"{plain(assignment.title)}_*.zip")) - set(paths)):
        print(f"  Beside it lies {path.name}, packed before: do not upload both.")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
