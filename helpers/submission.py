"""Checks what is to be handed in, and packs it for the upload.

    python -m helpers.submission check       # Assignment 1, 2, sheet 3 and the further notebooks; `check 3`: only that
    python -m helpers.submission pack 3      # a zip in handin/ that opens on its own, in parts where it is too large

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
import zlib
from collections.abc import Iterator
from modulefinder import ModuleFinder
from pathlib import Path
from urllib.parse import unquote
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from nbconvert import HTMLExporter
from nbformat import NotebookNode

from helpers import session
from helpers.handin import ASSIGNMENTS, Assignment, BadNotebook, faults_of, parsed, read_notebook

LIMIT = 20  # MB a file: Moodle takes the smallest of several limits, of which 20 MB is a common one
LEVEL = 9  # of compression
UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
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
        group = session.whose(root)[0].strip(".")
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


def needed(assignment: Assignment, notebooks: dict[Path, NotebookNode], root: Path) -> list[Path]:
    """Return what notebooks need to run: modules, kept results, what they link to, and the common files."""
    common = [root / name for name in ("requirements.txt", "group.json", "headless.py", "data/README.md")]
    studies = [*(f"{path.stem[:2]}-*" for path in notebooks), *assignment.studies]
    kept = itertools.chain.from_iterable((root / "runs" / "kept").glob(f"{study}/**/*") for study in studies)
    own = itertools.chain.from_iterable(
        [*modules_of(notebook, path, root), *linked(notebook, path, root)] for path, notebook in notebooks.items()
    )
    return visible(dict.fromkeys([*own, *common, *kept]))


def modules_of(notebook: NotebookNode, path: Path, root: Path) -> Iterator[Path]:
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


def linked(notebook: NotebookNode, path: Path, root: Path) -> Iterator[Path]:
    """Yield the project's files that the texts of a notebook link to."""
    for cell in (cell for cell in notebook.cells if cell.cell_type == "markdown"):
        for target in re.findall(r"\]\((\.\./[^)#\s]+)", cell.source):
            linked_path = (path.parent / unquote(target)).resolve()
            if linked_path.is_relative_to(root):
                yield linked_path


def as_html(notebook: NotebookNode, path: Path) -> bytes:
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
    parser = argparse.ArgumentParser(prog="python -m helpers.submission", description=__doc__.splitlines()[0])
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
