"""Checks what is to be handed in, and packs it for the upload.

    python submission.py check       # Assignment 1, 2, sheet 3 and the further notebooks; `check 3`: only that
    python submission.py pack 3      # a zip in handin/ that opens on its own, in parts where it is too large

`check` says for each fault what to do, and ends with status 1 if there is one. `pack` checks first, and writes nothing
that has a fault, unless told `--anyway`: then the zip says so. Group and names come from group.json.
"""

import argparse
import contextlib
import itertools
import logging
import re
import sys
import tempfile
import unicodedata
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nbformat
from nbconvert import HTMLExporter
from PIL import Image

from helpers import session

GROUP_SIZE = 3  # at most
MOVIES = "gifs/*"  # with their findings
MOVIE_FRAMES = 100  # one for each batch
LIMIT = 20  # MB a file: Moodle takes the smallest of several limits, of which 20 MB is a common one
COMPRESSION = 9
COMMON = "*.py", "requirements.txt", "group.json", "data/README.md", "notebooks/*.py", "helpers/**/*", "doctor/**/*"
NOT_IN_ORDER = "_NOT-IN-ORDER"


@dataclass(frozen=True)
class Assignment:
    """What belongs together in an upload; `files`: patterns of what its notebooks need beside COMMON."""

    title: str
    notebooks: tuple[str, ...]
    files: tuple[str, ...]


ASSIGNMENTS = {
    "1": Assignment("Assignment 1", ("01_low_level_mlp",), ("runs/kept/01-*/**/*", "data/sample/MNIST-*")),
    "2": Assignment("Assignment 2", ("02_failure_diagnoses",), ("runs/kept/02-*/**/*", "data/sample/MNIST-*")),
    "3": Assignment(
        "Sheet 3",
        ("03_torch_monitor", "04_cifar10_gif_sweep"),
        ("runs/kept/0[34]-*/**/*", "data/sample/MNIST-*", "data/sample/CIFAR10-*", "benchmarks/mo*.md", MOVIES),
    ),
    "more": Assignment("Further notebooks", (
        "05_activations_and_initialization", "06_debugging_checklist", "07_training_doctor", "08_more_failures",
        "09_gan_failures", "10_memory",
    ), ("runs/kept/0[25679]-*/**/*", "runs/kept/doctor*/**/*", "data/sample/*-*", "benchmarks/*", "docs/*/*-05-*")),
}  # fmt: skip

RUN_AGAIN = "restart the kernel, run all cells and save it with its outputs"
# A cell that should have outputs: it prints, or ends with a variable.
SHOWING = re.compile(r"(?m)^(print|display|claim|summary|session\.describe)\(|^[\w.]+(\[[^=\n]*\])?\s*\Z")
# A path on the author's machine; but not a file of IPython's, by which warnings name a cell on any machine.
PRIVATE = re.compile(
    r"(?<![\w./+-])(?!/tmp/ipy)(file://)?(/(home|Users|root|tmp|mnt|media|private|Volumes|var/folders|workspaces)/[\w.-]"
    r"|[A-Z]:[\\/]+\w)[^\s'\"<>)&]*"
)


class SubmissionError(ValueError):
    """A notebook cannot be read, or a file does not fit into an upload; the message says what to do."""


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook; raises SubmissionError with a sentence that says what to do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat mends small faults, and says so
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook, relax_add_props=True)  # Colab adds properties of its own
    except OSError as error:
        how = "put it into notebooks/, under this name, and close other programs that hold it"
        raise SubmissionError(f"it is missing or cannot be read ({error.strerror}): {how}.") from error
    except Exception as error:  # of many kinds, from what is no JSON to what is no notebook
        how = "put back the one that came with the bundle, run it and save it"
        raise SubmissionError(f"it is no notebook, or half of one: {how}.") from error
    return notebook


def find_faults(assignment: Assignment, root: Path) -> list[str]:
    """Return what keeps an assignment from being handed in, a sentence each."""
    faults = list(group_faults(root))
    owner = None if faults else session.signature(*session.read_group(root))
    for path in (root / "notebooks" / f"{name}.ipynb" for name in assignment.notebooks):
        faults += [f"{path.name}: {fault}" for fault in notebook_faults(path, owner)]
    if MOVIES in assignment.files:
        faults += [*movie_faults(root / "gifs"), *findings_faults(root / "gifs" / "findings.txt", owner)]
        faults += ["gifs/index.html is missing: run 04_cifar10_gif_sweep."] * (not (root / "gifs/index.html").is_file())
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
    if not names or not all(name.strip(".") for name in names):  # "...", as in the example
        yield "group.json has no names, or an empty one: write all of them into it."
    if joined := [name for name in names if re.search(r"[,;&/]|\b(and|und)\b", name)]:
        yield f'group.json has "{joined[0]}" as one name: write ["First Last", "First Last"].'
    if len(names) > GROUP_SIZE:
        yield f"group.json has {len(names)} names: a group has {GROUP_SIZE} at most."


def notebook_faults(path: Path, owner: str | None) -> Iterator[str]:
    """Yield what a saved notebook should not be handed in with; `owner`: the line that must be in it."""
    if copies := sorted(copy.name for copy in path.parent.glob(f"{path.stem}*.ipynb") if copy != path):
        yield f"beside it lies {copies[0]}: keep the one that is to be handed in, under the name {path.name}."
    try:
        notebook = read_notebook(path)
    except SubmissionError as error:
        yield str(error)
        return
    if notebook.metadata.get("colab", {}).get("private_outputs"):
        yield 'Colab leaves its outputs out: untick "omit code cell output" in Edit > Notebook settings, and run it.'
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield f"it was not saved after a whole run in order: {RUN_AGAIN}."
    if silent := [str(i) for i, cell in enumerate(cells, 1) if not cell.outputs and SHOWING.search(cell.source)]:
        how = f'{RUN_AGAIN}, or end with ";" what is meant to show nothing'
        yield f"nothing is shown by code cell {', '.join(silent)}: {how}."
    for i, cell in enumerate(cells, 1):
        yield from (f"code cell {i} {fault}" for fault in output_faults(cell.outputs))
    yield from text_faults("\n".join(output_text(output) for cell in cells for output in cell.outputs), owner)


def output_faults(outputs: list[nbformat.NotebookNode]) -> Iterator[str]:
    """Yield what is wrong with the outputs of a code cell."""
    for output in outputs:
        if output.output_type == "error":
            yield f"ends with {output.ename}: mend it, {RUN_AGAIN}."
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            yield "shows a widget, which is dead in a saved notebook: print instead."
        if path := PRIVATE.search(output_text(output)):
            how = "print less, or mend what a warning says"
            yield f"shows {path[0]}, which is of your own machine: {how}, and {RUN_AGAIN}."


def output_text(output: nbformat.NotebookNode) -> str:
    """Return all text of an output, and not the bytes of a picture."""
    texts = [str(data) for kind, data in output.get("data", {}).items() if not kind.startswith("image/")]
    return "\n".join([output.get("text", ""), *texts, *output.get("traceback", [])])


def text_faults(text: str, owner: str | None) -> Iterator[str]:
    """Yield what is wrong in the text that a notebook has put out."""
    if "QUICK=1" in text:
        yield f"these are the outputs of a quick run: unset QUICK, {RUN_AGAIN}."
    if "!!! A SAMPLE" in text:
        yield f"it ran on a sample of the data: see data/README.md for all of them, {RUN_AGAIN}."
    for claim in dict.fromkeys(re.findall(r"(?m)^FAILS: (.+): \S+ \(.*$", text)):  # the summary repeats them
        yield f'a claim failed ("{claim}"): the text or the code is wrong, mend it and {RUN_AGAIN}.'
    if owner and f"{owner}   (from group.json)" not in text:
        yield f"it does not show group and names of group.json: {RUN_AGAIN} (what lies in executed/ does not count)."


def movie_names() -> list[str]:
    """Return the file names of the 84 movies of sheet 3."""
    regularizations = ["none", "l2-0.001", "l2-0.01", "l2-0.1", "dropout-0.1", "dropout-0.3", "dropout-0.5"]
    parts = ("he", "uniform"), ("raw", "standardized"), regularizations, ("bn-none", "bn-before", "bn-after")
    return ["_".join(choice) + ".gif" for choice in itertools.product(*parts)]


def movie_faults(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the movies of sheet 3."""
    names = movie_names()
    if wrong := [name for name in names if count_frames(folder / name) != MOVIE_FRAMES]:
        state = f"are missing or do not have {MOVIE_FRAMES} frames, such as {wrong[0]}"
        yield f"{len(wrong)} of {len(names)} movies {state}: delete those and run 04_cifar10_gif_sweep."


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
    except (OSError, UnicodeDecodeError):
        yield f"{path.name} is missing, or not in UTF-8: run 04_cifar10_gif_sweep, which writes it."
        return
    findings = re.split(r"(?mi)^\W*(?:finding )?\d[.):](?!\d)", text)[1:]
    why = r"(?i)\b(why|because|since|reason|warum|weil|denn|grund)\b"
    reasoned = sum(bool(re.search(why, finding)) for finding in findings)
    if reasoned < 2:
        how = 'begin them "1." and "2.", and give each a "Why."'
        yield f"{path.name} has a reason for {reasoned} of the two findings that the sheet asks for: {how}."
    if owner and owner not in text.splitlines():
        yield f"{path.name} does not show group and names of group.json: run 04_cifar10_gif_sweep."


def zip_name(assignment: Assignment, root: Path) -> str:
    """Return the name of a zip: of letters, digits, - and _, which every system and E-Learning accept."""
    group = ""
    with contextlib.suppress(ValueError):  # find_faults reports it
        group = session.read_group(root)[0]
    text = f"group {group}" if group else "without a group"
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return f"{assignment.title.replace(' ', '-')}_{re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-')}"


def collect_files(assignment: Assignment, root: Path, faults: list[str]) -> dict[str, bytes]:
    """Return the files of an assignment, name -> bytes, the pages and notebooks first."""
    files = {}
    if faults:
        text = "Packed though the check found this:\n\n" + "".join(f"- {fault}\n" for fault in faults)
        files["NOT_IN_ORDER.txt"] = text.encode()
    for name in assignment.notebooks:
        with contextlib.suppress(SubmissionError):  # find_faults reports it
            files[f"notebooks/{name}.html"] = render_html(root / "notebooks" / f"{name}.ipynb")
    patterns = [*(f"notebooks/{name}.ipynb" for name in assignment.notebooks), *COMMON, *assignment.files]
    for path in (path for pattern in patterns for path in sorted(root.glob(pattern)) if is_wanted(path)):
        files[path.relative_to(root).as_posix()] = path.read_bytes()
    return files


def is_wanted(path: Path) -> bool:
    """Tell whether a file goes into a zip: not what editors, systems, Python and killed runs leave behind."""
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


def write_zips(name: str, parts: list[dict[str, bytes]], to: Path) -> list[Path]:
    """Write zips into the folder `to` in place of those of an earlier packing; return their paths.

    Raises session.CannotSave where the disk is full or the folder read-only, and then leaves it as it was.
    """
    numbers = [f"_{number}-of-{len(parts)}" for number in range(1, len(parts) + 1)] if len(parts) > 1 else [""]
    earlier = re.compile(rf"{name}({NOT_IN_ORDER})?(_\d+-of-\d+)?\.zip")  # what is in order also replaces what was not
    with session.saving(to):
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to, prefix=".packing-") as folder:
            paths = [Path(folder) / f"{name}{number}.zip" for number in numbers]
            for path, files in zip(paths, parts, strict=True):
                write_zip(path, files)
            placed = [path.replace(to / path.name) for path in paths]
        for path in set(to.iterdir()) - set(placed):
            if earlier.fullmatch(path.name):
                path.unlink(missing_ok=True)  # another process may have packed the same
    return placed


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """Write a zip whose bytes depend on nothing but the files."""
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            entry = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system, entry.external_attr = ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, content, compresslevel=COMPRESSION)


def main(arguments: list[str] | None = None) -> int:
    """Check or pack; return the status to exit with: 0, or 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="python submission.py", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("check", "pack"))
    parser.add_argument("which", nargs="*", choices=[*ASSIGNMENTS, "all"], default="all")
    parser.add_argument("--limit", type=float, default=LIMIT, help="MB a file of an upload may have (%(default)s)")
    parser.add_argument("--to", type=Path, default=session.ROOT / "handin", help="folder of the zips (handin)")
    parser.add_argument("--anyway", action="store_true", help="pack in spite of faults; the zip then says so")
    given = parser.parse_intermixed_args(arguments)  # options may also stand before the assignments
    keys = ASSIGNMENTS if "all" in given.which else given.which
    return max([hand_in(ASSIGNMENTS[key], given) for key in keys])


def hand_in(assignment: Assignment, given: argparse.Namespace) -> int:
    """Check one assignment, and pack it if that is asked; return its status."""
    print(f"{assignment.title}: ", end="", flush=True)  # reading and packing take some seconds
    faults, parts = find_faults(assignment, session.ROOT), []
    name = zip_name(assignment, session.ROOT) + (NOT_IN_ORDER if faults else "")
    files = {f"{name}/{inner}": content for inner, content in collect_files(assignment, session.ROOT, faults).items()}
    try:
        parts = split_files(files, given.limit * 1e6)
    except SubmissionError as error:
        faults.append(str(error))
    print("\n- ".join([f"{len(faults)} to mend" if faults else "in order", *faults]))
    if given.command == "check":
        return int(bool(faults))
    if not parts or (faults and not given.anyway):
        print("  Nothing was written." + (" With --anyway it is packed as it is, and says so." if parts else ""))
        return 1
    try:
        paths = write_zips(name, parts, given.to)
    except session.CannotSave as error:
        print(f"  Nothing was written: {error}")
        return 1
    for path in paths:
        print(f"  {session.shown(path)}: {path.stat().st_size / 1e6:.1f} MB")
    for path in sorted(set(given.to.glob(f"{name.partition('_')[0]}_*.zip")) - set(paths)):
        print(f"  Beside it lies {path.name}, packed before: do not upload both.")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
