"""Checks what is to be handed in, and packs it for the upload.

    python submission.py check       # Assignment 1, 2, sheet 3 and the further notebooks; `check 3`: only that
    python submission.py pack 3      # a zip in handin/ that opens on its own, in parts where it is too large

`check` says for each fault what to do, and ends with status 1 if there is one. `pack` checks first, and writes nothing
that has a fault, unless told `--anyway`: then the zip says so. Group and names come from group.json.
"""

import argparse
import ast
import contextlib
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
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nbformat
from IPython.core.displayhook import DisplayHook
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert import HTMLExporter
from PIL import Image

from helpers import session

GROUP_SIZE = 3  # at most
MOVIE_FRAMES = 100  # one for each batch
LIMIT = 20  # MB a file: Moodle takes the smallest of several limits, of which 20 MB is a common one
COMPRESSION = 9
COMMON_FILES = (
    "*.py",
    "requirements.txt",
    "group.json",
    "data/README.md",
    "notebooks/*.py",
    "helpers/**/*",
    "doctor/**/*",
)
NOT_IN_ORDER = "_NOT-IN-ORDER"


@dataclass(frozen=True)
class Assignment:
    """What belongs together in an upload; `files`: patterns of what its notebooks need beside COMMON_FILES."""

    title: str
    notebooks: tuple[str, ...]
    files: tuple[str, ...]
    movies: bool = False  # whether the 84 movies and their findings are asked for


ASSIGNMENTS = {
    "1": Assignment("Assignment 1", ("01_low_level_mlp",), ("runs/kept/01-*/**/*", "data/sample/MNIST-*")),
    "2": Assignment("Assignment 2", ("02_failure_diagnoses",), ("runs/kept/02-*/**/*", "data/sample/MNIST-*")),
    "3": Assignment(
        "Sheet 3",
        ("03_torch_monitor", "04_cifar10_gif_sweep"),
        ("runs/kept/0[34]-*/**/*", "data/sample/MNIST-*", "data/sample/CIFAR10-*", "gifs/*"),
        movies=True,
    ),
    "more": Assignment(
        "Further notebooks",
        ("05_activations_and_initialization", "06_debugging_checklist", "07_training_doctor"),
        ("runs/kept/0[567]-*/**/*", "runs/kept/doctor*/**/*", "data/sample/*-*", "benchmarks/*"),
    ),
}


class SubmissionError(ValueError):
    """A notebook cannot be read, or a file does not fit into an upload; the message says what to do."""


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook; raises SubmissionError with a sentence that says what to do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat mends small faults, and says so
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook, relax_add_props=True)  # Colab adds properties of its own
    except FileNotFoundError as error:
        raise SubmissionError("it is missing: put it into notebooks/, under this name.") from error
    except OSError as error:
        raise SubmissionError(f"it cannot be read ({error.strerror}): close other programs that hold it.") from error
    except Exception as error:  # of many kinds, from what is no JSON to what is no notebook
        raise SubmissionError(
            "it is no notebook, or half of one: put back the one that came with the bundle, run it and save it."
        ) from error
    return notebook


# ---- faults, each a sentence


def find_faults(assignment: Assignment, root: Path) -> list[str]:
    """Return what keeps an assignment from being handed in, a sentence each."""
    faults = list(group_faults(root))
    owner = None if faults else session.signature(*session.read_group(root))
    for name in assignment.notebooks:
        path = root / "notebooks" / f"{name}.ipynb"
        faults += [f"{path.name}: {fault}" for fault in notebook_faults(path, owner)]
    if assignment.movies:
        faults += [*movie_faults(root / "gifs"), *findings_faults(root / "gifs" / "findings.txt", owner)]
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


RUN_AGAIN = "restart the kernel, run all cells and save it with its outputs"


def notebook_faults(path: Path, owner: str | None) -> Iterator[str]:
    """Yield what a saved notebook should not be handed in with; `owner`: the line that must be in it."""
    if copies := sorted(copy.name for copy in path.parent.glob(f"{path.stem}*.ipynb") if copy != path):
        yield f"beside it lies {copies[0]}: keep the one that is to be handed in, under the name {path.name}."
    try:
        notebook = read_notebook(path)
    except SubmissionError as error:
        yield str(error)
        return
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if (notebook.metadata.get("colab") or {}).get("private_outputs"):
        yield 'Colab leaves its outputs out: untick "omit code cell output" in Edit > Notebook settings, and run it.'
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield f"it was not saved after a whole run in order: {RUN_AGAIN}."
    if silent := [i for i, cell in enumerate(cells, 1) if not cell.outputs and should_show(cell.source)]:
        listed = ", ".join(map(str, silent[:5])) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")
        yield f'nothing is shown by code cell {listed}: {RUN_AGAIN}, or end with ";" what is meant to show nothing.'
    for i, output in ((i, output) for i, cell in enumerate(cells, 1) for output in cell.outputs):
        if output.output_type == "error":
            yield f"code cell {i} ends with {' '.join(output.ename.split())}: mend it, {RUN_AGAIN}."
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            yield f"code cell {i} shows a widget, which is dead in a saved notebook: print instead."
    yield from text_faults(["\n".join(map(output_text, cell.outputs)) for cell in cells], owner)


def text_faults(texts: list[str], owner: str | None) -> Iterator[str]:
    """Yield what is wrong in the texts that code cells have put out."""
    whole = "\n".join(texts)
    if "QUICK=1" in whole or "not judged (quick run" in whole:
        yield f"these are the outputs of a quick run: unset QUICK, {RUN_AGAIN}."
    if "!!! A SAMPLE" in whole or "not judged (sample" in whole:
        yield f"it ran on a sample of the data: see data/README.md for all of them, {RUN_AGAIN}."
    if failed := re.findall(r"(?m)^FAILS: (.+?)(?:: \S+ \(.*)?$", whole):
        claims = "a claim" if len(failed) == 1 else f"{len(failed)} claims"
        yield f'{claims} failed ("{failed[0]}"): the text or the code is wrong, mend it and {RUN_AGAIN}.'
    if owner and not is_signed(whole, owner):
        yield f"it does not show group and names of group.json: {RUN_AGAIN} (what lies in executed/ does not count)."
    for i, text in enumerate(texts, 1):
        if found := find_private(text):
            how = "print less, or mend what a warning says"
            yield f"code cell {i} shows {found}, which is of your own machine: {how}, and {RUN_AGAIN}."


def is_signed(text: str, owner: str) -> bool:
    return bool(re.search(rf"(?m)^{re.escape(owner)}(   \(from group.json\))?$", text))


def output_text(output) -> str:
    """Return all text of an output, also of a vector graphic, and not the bytes of a picture."""
    data = output.get("data", {})
    texts = [str(data[kind]) for kind in data if not kind.startswith("image/") or kind == "image/svg+xml"]
    return "\n".join([output.get("text", ""), *texts, *output.get("traceback", [])])


SHOWING = {"print", "display", "describe", "claim", "summary"}
SILENT = {"append", "extend", "insert", "remove", "sort", "update", "add", "clear", "close", "seed", "backward", "step"}
SILENT |= {"run_line_magic", "run_cell_magic", "system"}  # what magics become


def should_show(source: str) -> bool:
    """Tell whether a cell prints, whatever the case and not only in its functions, or ends with a value."""
    try:
        body = ast.parse(TransformerManager().transform_cell(source)).body
    except SyntaxError:
        return False
    if SHOWING & set(names_called(body)):
        return True
    last = body[-1] if body else None
    if not isinstance(last, ast.Expr) or isinstance(last.value, ast.Constant):
        return False
    return not DisplayHook.semicolon_at_end_of_expression(source) and not SILENT & set(names_called([last]))


def names_called(statements: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names of functions that are called as statements, also in loops; prints to a file are left out."""
    for statement in statements:
        if isinstance(statement, ast.Expr) and isinstance(call := statement.value, ast.Call):
            if not any(keyword.arg == "file" for keyword in call.keywords):
                yield getattr(call.func, "id", getattr(call.func, "attr", ""))
        elif isinstance(statement, (ast.For, ast.While, ast.With, ast.Try)):
            yield from names_called(statement.body)


HOMES = re.compile(
    r"(?:file://|(?<![\w./-]))(?:/(?:home|Users|root|tmp|mnt|media|private|Volumes|var/folders|workspaces)/[\w.-]"
    r"|[a-z]:[\\/]+Users[\\/]+|(?-i:[A-Z]):[\\/]+\w)[^\s'\"<>)&]*",
    re.IGNORECASE,
)
CELLS = r"/tmp/(ipykernel_\d+|ipython-input-[\w-]+)(/|\.py)"  # by which warnings name a cell, on any machine
NO_TEXT = r"\x1b\[[0-9;]*[A-Za-z]|;base64,[\w+/=]*"  # colors of a terminal, pictures in HTML


def find_private(text: str) -> str:
    """Return a path in a text that tells of the own machine; "" if there is none."""
    text = re.sub(f"{CELLS}|{NO_TEXT}", "", text)
    if path := HOMES.search(text):
        return path[0]
    root = str(session.ROOT)
    return root if root in text and not root.startswith("/content") else ""  # which is the same for all in Colab


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
        frames = count_frames(folder / f"{name}.gif")
        if frames != MOVIE_FRAMES:
            state = f"should have {MOVIE_FRAMES} frames and has {frames}" if frames else "cannot be read"
            yield f"{name}.gif {state}: delete it and run 04_cifar10_gif_sweep."


def count_frames(path: Path) -> int:
    """Return the number of frames of a movie, 0 if it cannot be read."""
    try:
        with Image.open(path, formats=["GIF"]) as movie:
            movie.seek(movie.n_frames - 1)
            movie.load()
            return movie.n_frames
    except Exception:  # whatever a decoder raises for what is no GIF, or half of one
        return 0


def findings_faults(path: Path, owner: str | None) -> Iterator[str]:
    """Yield what is wrong with the text of the two findings."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        yield f"{path.name} is missing: run 04_cifar10_gif_sweep, which writes it."
        return
    except (OSError, UnicodeDecodeError):
        yield f"{path.name} cannot be read: save it as UTF-8."
        return
    findings = re.split(r"(?mi)^[\s#*-]*(?:finding\s*)?\d+\s*[.):](?!\d)", text)[1:]
    why = r"(?i)\b(why|because|since|due to|reasons?|warum|weil|denn|Grund|Begründung)\b"
    reasoned = sum(bool(re.search(why, finding)) for finding in findings)
    if reasoned < 2:
        how = 'begin them "1." and "2.", and give each a "Why."'
        yield f"{path.name} has a reason for {reasoned} of the two findings that the sheet asks for: {how}."
    if owner and not is_signed(text, owner):
        yield f"{path.name} does not show group and names of group.json: run 04_cifar10_gif_sweep."


# ---- what is in a zip


def pack_assignment(assignment: Assignment, root: Path, limit: float, faults: list[str]) -> dict[str, dict[str, bytes]]:
    """Return the zips of an assignment, each below `limit` MB: its name -> name in it -> bytes.

    Raises SubmissionError for a file that fits into no zip.
    """
    name = zip_name(assignment, root) + (NOT_IN_ORDER if faults else "")
    files = {f"{name}/{inner}": content for inner, content in collect_files(assignment, root, faults).items()}
    parts = split_files(files, limit * 1e6)
    if len(parts) == 1:
        return {f"{name}.zip": parts[0]}
    return {f"{name}_{number}-of-{len(parts)}.zip": part for number, part in enumerate(parts, 1)}


def zip_name(assignment: Assignment, root: Path) -> str:
    """Return the name of a zip: of letters, digits, - and _, which every system and E-Learning accept."""
    group = ""
    with contextlib.suppress(ValueError):  # which is one of the faults
        group = session.read_group(root)[0].strip(".")
    if not group.lower().startswith(("group", "gruppe")):
        group = f"group {group}" if group else "without a group"
    return plain_name(f"{assignment.title}_{group}")


def plain_name(text: str) -> str:
    umlauts = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
    text = unicodedata.normalize("NFKD", text.translate(str.maketrans(umlauts))).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:80]


def collect_files(assignment: Assignment, root: Path, faults: list[str]) -> dict[str, bytes]:
    """Return the files of an assignment, name -> bytes, the pages and notebooks first."""
    files = {}
    if faults:
        text = "Packed though the check found this:\n\n" + "".join(f"- {fault}\n" for fault in faults)
        files["NOT_IN_ORDER.txt"] = text.encode()
    for name in assignment.notebooks:
        with contextlib.suppress(SubmissionError):  # which is one of the faults
            files[f"notebooks/{name}.html"] = render_html(root / "notebooks" / f"{name}.ipynb")
    patterns = [*(f"notebooks/{name}.ipynb" for name in assignment.notebooks), *COMMON_FILES, *assignment.files]
    for path in (path for pattern in patterns for path in sorted(root.glob(pattern)) if is_wanted(path)):
        files[path.relative_to(root).as_posix()] = path.read_bytes()
    return files


def is_wanted(path: Path) -> bool:
    """Leave out what editors, systems, Python and killed runs leave behind."""
    return path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".") and not path.name.endswith("~")


def render_html(path: Path) -> bytes:
    """Return a notebook as a page that holds its pictures and movies; the same notebook gives the same page."""
    notebook = read_notebook(path)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # nbformat draws one at random where a cell has none
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if "image/gif" in data:  # which the exporter drops
                data["text/html"] = f'<img src="data:image/gif;base64,{data["image/gif"]}">'
    notebook.metadata.pop("widgets", None)  # dead in a page, and Colab leaves half of them
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it warns of pictures without a description
    where = {"metadata": {"path": str(path.parent), "name": path.stem}}
    return HTMLExporter(embed_images=True).from_notebook_node(notebook, where)[0].encode()


# ---- the zips


def split_files(files: dict[str, bytes], limit: float) -> list[dict[str, bytes]]:
    """Return the files in parts that are at most `limit` bytes each when they are packed, in their order."""
    limit -= 100  # bytes of the table of contents, beside the two headers of each file
    parts, room = [{}], limit
    for name, content in files.items():
        size = len(zlib.compress(content, COMPRESSION)) + 2 * len(name.encode()) + 100
        if size > limit:
            sizes = f"{size / 1e6:.3g} MB when packed, and an upload may have {limit / 1e6:.3g} MB (--limit)"
            raise SubmissionError(f"{name.partition('/')[2]} has {sizes}: show fewer or smaller figures.")
        if size > room:
            parts.append({})
            room = limit
        parts[-1][name] = content
        room -= size
    return parts


def write_zips(zips: dict[str, dict[str, bytes]], to: Path) -> list[Path]:
    """Write zips into the folder `to` in place of those of an earlier packing; return their paths.

    Raises session.CannotSave where the disk is full or the folder read-only, and then leaves it as it was.
    """
    stem = re.sub(r"(_\d+-of-\d+)?\.zip$", "", next(iter(zips)))  # one in order outlasts one that is not
    old = re.compile(rf"{stem}({NOT_IN_ORDER})?(_\d+-of-\d+)?\.zip")
    with session.saving(to):
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to, prefix=".packing-") as folder:
            for name, files in zips.items():
                write_zip(Path(folder) / name, files)
            placed = [(Path(folder) / name).replace(to / name) for name in zips]
        for path in to.glob("*.zip"):
            if old.fullmatch(path.name) and path not in placed:
                path.unlink(missing_ok=True)  # another process may have packed the same
    return placed


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """Write a zip whose bytes depend on nothing but the files."""
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            entry = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system, entry.external_attr = ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, content, compresslevel=COMPRESSION)


# ---- the command


def main(arguments: list[str] | None = None) -> int:
    """Check or pack; return the status to exit with: 0, or 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="python submission.py", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("check", "pack"))
    parser.add_argument("which", nargs="*", help=f"of {', '.join(ASSIGNMENTS)}; all of them if none is given")
    common = "MB a file of an upload may have (%(default)s, a common limit of Moodle)"
    parser.add_argument("--limit", type=float, default=LIMIT, help=common)
    parser.add_argument("--to", type=Path, default=session.ROOT / "handin", help="folder of the zips (handin)")
    parser.add_argument("--anyway", action="store_true", help="pack in spite of faults; the zip then says so")
    given = parser.parse_intermixed_args(arguments)  # options may also stand before the assignments
    if unknown := [key for key in given.which if key not in ASSIGNMENTS]:
        parser.error(f"no assignment {unknown[0]!r}: give some of {', '.join(ASSIGNMENTS)}, or none for all")
    if not given.limit > 0:
        parser.error("--limit has to be above 0")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a console that lacks a letter shows another
    return max([hand_in(ASSIGNMENTS[key], given) for key in given.which or ASSIGNMENTS])


def hand_in(assignment: Assignment, given: argparse.Namespace) -> int:
    """Check one assignment, and pack it if that is asked; return its status."""
    print(f"{assignment.title}: ", end="", flush=True)  # reading and packing take some seconds
    faults, zips = find_faults(assignment, session.ROOT), {}
    try:
        zips = pack_assignment(assignment, session.ROOT, given.limit, faults)
    except SubmissionError as error:
        faults.append(str(error))
    print(f"{len(faults)} to mend" if faults else "in order")
    print("".join(f"- {fault}\n" for fault in faults), end="")
    if given.command == "check":
        return int(bool(faults))
    if not zips or (faults and not given.anyway):
        print("  Nothing was written." + (" With --anyway it is packed as it is, and says so." if zips else ""))
        return 1
    try:
        paths = write_zips(zips, given.to)
    except session.CannotSave as error:
        print(f"  Nothing was written: {error}")
        return 1
    for path in paths:
        print(f"  {session.shown(path)}: {path.stat().st_size / 1e6:.1f} MB")
    for path in sorted(set(given.to.glob(f"{plain_name(assignment.title)}_*.zip")) - set(paths)):
        print(f"  Beside it lies {path.name}, packed before: do not upload both.")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
