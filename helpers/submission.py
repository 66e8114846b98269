"""Checks what is to be handed in, and packs it for the upload.

    python -m helpers.submission check       # Assignment 1, 2, sheet 3 and the further notebooks; `check 3`: only that
    python -m helpers.submission pack 3      # a zip in handin/ that opens on its own, in parts where it is too large

`check` says for each fault what to do, and ends with status 1 if there is one. `pack` checks first, and writes nothing
that has a fault, unless told `--anyway`: then the zip says so. Group and names come from group.json.
"""

import argparse
import itertools
import logging
import re
import sys
import tempfile
import unicodedata
import zlib
from modulefinder import ModuleFinder
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nbformat
from nbconvert import HTMLExporter

from helpers import session
from helpers.handin import ASSIGNMENTS, LIMIT, Assignment, BadGroup, faults_of, files_of, group_of

LEVEL = 9  # of compression
OVERHEAD = 500  # bytes that a file's entry and its name take at most
WRITTEN_BY_GROUP = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}


class TooLarge(ValueError):
    """A file does not fit into an upload."""


def pack(assignment: Assignment, faults: list[str], to: Path, limit: float, root: Path) -> list[Path]:
    """Write the zips of an assignment, each below `limit` MB, into the folder `to`; return their paths.

    Zips of an earlier packing are replaced when all new ones are whole. The same files give the same bytes.
    Raises TooLarge for a file that fits into no zip, session.CannotSave where the disk is full or `to` read-only.
    """
    name = stem(assignment, root) + ("_NOT-IN-ORDER" if faults else "")
    files = contents(assignment, faults, root)
    parts = split(files, limit * 1e6)
    names = (
        [f"{name}.zip"] if len(parts) == 1 else [f"{name}_{i}-of-{len(parts)}.zip" for i in range(1, len(parts) + 1)]
    )
    with session.saving(to):
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to, prefix=".packing-") as folder:
            for zip_name, part in zip(names, parts, strict=True):
                write_zip(Path(folder) / zip_name, {f"{name}/{inner}": content for inner, content in part.items()})
            old = {path.name for path in to.glob("*.zip") if re.fullmatch(rf"{name}(_\d+-of-\d+)?\.zip", path.name)}
            if len(names) > 1:  # never parts of two packings side by side
                remove(to, old)
            paths = [(Path(folder) / zip_name).replace(to / zip_name) for zip_name in names]
            remove(to, old - set(names))
            return paths


def remove(folder: Path, names: set[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def stem(assignment: Assignment, root: Path) -> str:
    """Return the name of a zip: of letters, digits, - and _, which every system and E-Learning accept."""
    try:
        group = group_of(root)[0]
    except BadGroup:
        group = "without-a-group"
    return plain(f"{assignment.title}_{group if group.lower().startswith('group') else f'group {group}'}")


def plain(text: str) -> str:
    for letter, letters in WRITTEN_BY_GROUP.items():
        text = text.replace(letter, letters)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:80]


# ---- what is in it


def contents(assignment: Assignment, faults: list[str], root: Path) -> dict[str, bytes]:
    """Return the files of an assignment, name in the zip -> bytes, the notebooks first."""
    files = {}
    if faults:
        text = "Packed though the check found this:\n\n" + "".join(f"- {fault}\n" for fault in faults)
        files["NOT_IN_ORDER.txt"] = text.encode()
    notebooks = [path for path in files_of(assignment, root) if path.suffix == ".ipynb"]
    files |= {f"{path.stem}.html": as_html(path) for path in notebooks}
    own = [*notebooks, *needed(assignment, notebooks, root), *files_of(assignment, root)]
    return files | {path.relative_to(root).as_posix(): path.read_bytes() for path in own}


def needed(assignment: Assignment, notebooks: list[Path], root: Path) -> list[Path]:
    """Return what notebooks need to run: modules, kept results, what they link to, and the common files."""
    common = [root / name for name in ("requirements.txt", "group.json", "headless.py", "data/README.md")]
    studies = [*(f"{notebook.stem[:2]}-*" for notebook in notebooks), *assignment.studies]
    kept = [path for study in studies for path in sorted((root / "runs" / "kept").glob(f"{study}/**/*"))]
    modules = itertools.chain.from_iterable(modules_of(notebook, root) for notebook in notebooks)
    return [path for path in dict.fromkeys([*modules, *common, *linked(notebooks, root), *kept]) if path.is_file()]


def modules_of(notebook: Path, root: Path) -> list[Path]:
    """Return the modules that a notebook imports of the project, those that they import, and data files beside them."""
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    finder = ModuleFinder(path=[str(root)])  # so that it looks for nothing else
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "notebook.py"
        script.write_text(re.sub(r"(?m)^\s*[%!?].*$", "", code), encoding="utf-8")
        finder.run_script(str(script))
    found = (Path(module.__file__) for module in finder.modules.values() if module.__file__)
    modules = {path for path in found if path.is_relative_to(root)}
    beside = (path for folder in {module.parent for module in modules} for path in folder.iterdir() if path.is_file())
    return sorted(modules | {path for path in beside if path.suffix not in (".py", ".md")})


def linked(notebooks: list[Path], root: Path) -> list[Path]:
    """Return the project's files that the texts of notebooks link to."""
    texts = [c.source for n in notebooks for c in nbformat.read(n, as_version=4).cells if c.cell_type == "markdown"]
    targets = re.findall(r"\]\((\.\./[^)#\s]+)", "\n".join(texts))
    paths = {(root / "notebooks" / target).resolve() for target in targets}
    return sorted(path for path in paths if path.is_file() and path.is_relative_to(root.resolve()))


def as_html(path: Path) -> bytes:
    """Return a notebook as a page that holds its pictures and movies."""
    notebook = nbformat.read(path, as_version=4)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        if "image/gif" in data:  # which the exporter drops
            data["text/html"] = f'<img src="data:image/gif;base64,{data["image/gif"]}">'
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it warns of pictures without a description
    exporter = HTMLExporter(embed_images=True)
    where = {"metadata": {"path": str(path.parent), "name": path.stem}}
    return exporter.from_notebook_node(notebook, where)[0].encode()


# ---- the zips


def split(files: dict[str, bytes], limit: float) -> list[dict[str, bytes]]:
    """Return the files in parts that are at most `limit` bytes each when they are packed, in their order."""
    parts, room = [{}], limit - OVERHEAD
    for name, content in files.items():
        size = len(zlib.compress(content, LEVEL)) + OVERHEAD
        if size > limit - OVERHEAD:
            raise TooLarge(f"{name} has {size / 1e6:.1f} MB when packed, and an upload {limit / 1e6:g}: raise --limit.")
        if size > room:
            parts.append({})
            room = limit - OVERHEAD
        parts[-1][name] = content
        room -= size
    return parts


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
    parser.add_argument("--limit", type=float, default=LIMIT, help="MB a file of an upload may have (%(default)s)")
    parser.add_argument("--to", type=Path, help="folder of the zips (handin)")
    parser.add_argument("--anyway", action="store_true", help="pack in spite of faults; the zip then says so")
    given = parser.parse_args(arguments)
    if unknown := [key for key in given.which if key not in ASSIGNMENTS]:
        parser.error(f"no assignment {unknown[0]!r}: give some of {', '.join(ASSIGNMENTS)}, or none for all")
    if not given.limit > 0:
        parser.error("--limit has to be above 0")
    status = 0
    for key in given.which or ASSIGNMENTS:
        faults = faults_of(ASSIGNMENTS[key], session.ROOT, given.limit)
        print(f"{ASSIGNMENTS[key].title}: {f'{len(faults)} to mend' if faults else 'in order'}")
        print("".join(f"- {fault}\n" for fault in faults), end="")
        status = status or int(bool(faults))
        if given.command == "pack" and (given.anyway or not faults):
            try:
                paths = pack(ASSIGNMENTS[key], faults, given.to or session.ROOT / "handin", given.limit, session.ROOT)
            except (TooLarge, session.CannotSave) as error:
                print(f"  Nothing was written: {error}")
                status = 1
                continue
            for path in paths:
                print(f"  {session.shown(path)}: {path.stat().st_size / 1e6:.1f} MB")
        elif given.command == "pack":
            print("  Nothing was written. With --anyway it is packed as it is, and says so.")
    return status


if __name__ == "__main__":
    sys.exit(main())
