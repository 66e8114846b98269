"""Checks what is to be handed in, and packs it for the upload.

    python submission.py check       # Assignment 1, 2, sheet 3 and the further notebooks; `check 3`: only that
    python submission.py pack 3      # a zip in handin/ that opens on its own, in parts where it is too large

`check` says for each fault what to do, and ends with status 1 if there is one. `pack` checks first, and writes nothing
that has a fault, unless told `--anyway`: then the zip says so. Group and names come from group.json.
"""

import argparse
import contextlib
import itertools
import os
import re
import shutil
import sys
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import psutil
from PIL import Image

from handin_notebook import make_page, notebook_faults, search, source_text
from helpers import session

GROUP_SIZE = 3  # at most
MOVIE_FRAMES = 100  # one for each batch
LIMIT = 20  # MB a file: Moodle takes the smallest of several limits, of which 20 MB is a common one
LONGEST_PATH = 80  # characters in a zip: Windows opens 260, and Moodle's own folders are long as well
SHORTEST_FOLDER = 15  # of these for the folder that all else lies in
COMPRESSION = 9
COMMON = (
    "*.py", "requirements.txt", "group.json", "data/README.md", "notebooks/*.py",
    "benchmarks/replication.md",
    "helpers/**/*.py", "helpers/*.mplstyle", "helpers/page/*", "doctor/**/*.py",
)  # fmt: skip
NOT_IN_ORDER = "_NOT-IN-ORDER"
WHOLE = "whole"  # a file beside zips that have been written to their end, with their common name and that of each


def movie_names() -> list[str]:
    """Return the file names of the 84 movies of sheet 3."""
    regularizations = ["none", "l2-0.001", "l2-0.01", "l2-0.1", "dropout-0.1", "dropout-0.3", "dropout-0.5"]
    parts = ("he", "uniform"), ("raw", "standardized"), regularizations, ("bn-none", "bn-before", "bn-after")
    return ["_".join(choice) + ".gif" for choice in itertools.product(*parts)]


GIFS = *movie_names(), "index.csv", "index.html", "findings.txt"


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
        (
            "runs/kept/0[34]-*/**/*", "data/sample/MNIST-*", "data/sample/CIFAR10-*", "benchmarks/mo*.md",
            *(f"gifs/{name}" for name in GIFS),
        ),
    ),
    "more": Assignment("More", (
        "05_activations_and_initialization", "06_debugging_checklist", "07_training_doctor", "08_more_failures",
        "09_gan_failures", "10_memory",
    ), ("runs/kept/0[25679]-*/**/*", "runs/kept/doctor*/**/*", "data/sample/*-*", "benchmarks/*.py", "benchmarks/*.md",
        "benchmarks/*.csv", "benchmarks/cases/RULE.md", "docs/*/*-05-*")),
}  # fmt: skip


class SubmissionError(ValueError):
    """A file does not fit into an upload; the message says what to do."""


def find_faults(assignment: Assignment, root: Path) -> list[str]:
    """Return what keeps an assignment from being handed in, a sentence each."""
    faults = list(group_faults(root))
    owner = None if faults else session.signature(*session.read_group(root))
    for path in (root / "notebooks" / f"{name}.ipynb" for name in assignment.notebooks):
        faults += [f"{path.name}: {fault}" for fault in notebook_faults(path, owner)]
    if "gifs/index.html" in assignment.files:
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
    if not names or not all(name.strip(".") for name in names):  # "...", as in the example
        yield "group.json has no names, or an empty one: write all of them into it."
    if session.is_example(names):
        yield "group.json still holds the example: write your group and all names into it."
    if joined := [name for name in names if re.search(r"[,;&/]|\b(and|und)\b", name)]:
        yield f'group.json has "{joined[0]}" as one name: write ["First Last", "First Last"].'
    if len(names) > GROUP_SIZE:
        yield f"group.json has {len(names)} names: a group has {GROUP_SIZE} at most."


def movie_faults(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the movies of sheet 3."""
    names = movie_names()
    if wrong := [name for name in names if count_frames(folder / name) != MOVIE_FRAMES]:
        state = f"are missing or do not have {MOVIE_FRAMES} frames, such as {wrong[0]}"
        yield f"{len(wrong)} of {len(names)} movies {state}: delete those and run 04_cifar10_gif_sweep."
    if not (folder / "index.html").is_file():
        yield "gifs/index.html is missing: run 04_cifar10_gif_sweep."
    if strays := sorted(path.name for path in folder.glob("*") if path.name not in GIFS and not is_litter(path)):
        yield f"gifs/ holds {', '.join(strays)}, which is no part of the sheet and is not packed: move it elsewhere."


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


def collect_files(assignment: Assignment, root: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of an assignment, name -> bytes, the pages and notebooks first, and what is wrong with them."""
    files, faults, shown = {}, [], []
    names = [f"notebooks/{name}" for name in assignment.notebooks]
    for name in names:
        page = make_page(root / f"{name}.ipynb", root)
        files |= {f"{name}.html": page.content} if page.content else {}
        faults += [f"{name.partition('/')[2]}.ipynb: {fault}" for fault in page.faults]
        shown += page.files
    patterns = [*(f"{name}.ipynb" for name in names), *COMMON, *assignment.files]
    paths = [path for pattern in patterns for path in sorted(root.glob(pattern)) if is_wanted(path)]
    for path in dict.fromkeys([*paths, *shown]):
        name = path.relative_to(root).as_posix()
        try:
            if path.resolve() == root.resolve() / name:
                files[name] = path.read_bytes()
            else:
                faults.append(f"{name} is a link, or in a folder that is one, not packed: put the file itself there.")
        except OSError as error:
            faults.append(f"{name} cannot be read ({error.strerror}): close what holds it, or allow reading it.")
    return files, [*faults, *file_faults(files)]


def is_wanted(path: Path) -> bool:
    """Tell whether a file goes into a zip, if a pattern fits it."""
    return path.is_file() and not is_litter(path)


def is_litter(path: Path) -> bool:
    """Tell whether editors, systems, Python or killed runs have left this behind, or no zip can hold its name."""
    name = path.name
    return name.startswith(".") or name.endswith(("~", ".pyc", "Thumbs.db", "desktop.ini")) or not name.isprintable()


def file_faults(files: dict[str, bytes]) -> Iterator[str]:
    """Yield what is wrong with single files, beside notebooks."""
    longest = LONGEST_PATH - SHORTEST_FOLDER - 1
    for name, content in files.items():
        if len(name) > longest:
            yield f"{name} has a path of {len(name)} characters, of which {longest} open everywhere: shorten it."
        if name.endswith((".py", ".md", ".txt", ".json", ".csv")):
            text = source_text(content.decode(errors="replace"), name.endswith(".py"))
            yield from (f"{name} {fault}" for fault in search({"has in it": text}))


def in_folder(name: str, files: dict[str, bytes], faults: list[str]) -> dict[str, bytes]:
    """Return the files in a folder of this name, cut so that no path is too long, with the faults before them."""
    if faults:
        text = "Packed though the check found this:\n\n" + "".join(f"- {fault}\n" for fault in faults)
        files = {"NOT_IN_ORDER.txt": text.encode(errors="replace"), **files}
    room = LONGEST_PATH - 1 - max(map(len, files))
    folder = name[: max(room, SHORTEST_FOLDER)].rstrip("-_")
    return {f"{folder}/{inner}": content for inner, content in files.items()}


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
    with session.saving(to):
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to, prefix=f".packing-{os.getpid()}-") as folder:
            names = [f"{name}{number}.zip" for number in numbers]
            for inner, files in zip(names, parts, strict=True):
                write_zip(Path(folder) / inner, files)
            (Path(folder) / WHOLE).write_text("\n".join([name, *names]))
            return place_zips(Path(folder), to)


def place_zips(folder: Path, to: Path) -> list[Path]:
    """Move zips into another folder in place of those packed earlier, or leave it as it was; return where they are."""
    name, *names = (folder / WHOLE).read_text().splitlines()
    earlier = re.compile(rf"{name}({NOT_IN_ORDER})?(_\d+-of-\d+)?\.zip")  # what is in order also replaces what was not
    before = {path: path.read_bytes() for path in to.iterdir() if earlier.fullmatch(path.name)}
    placed = []
    try:
        for path in (folder / inner for inner in names if (folder / inner).exists()):  # a killed run has moved some
            placed.append(path.replace(to / path.name))
        for path in before.keys() - {to / inner for inner in names}:
            path.unlink(missing_ok=True)  # another process may have packed the same
    except OSError:  # one of them is open elsewhere
        for path in placed:
            path.unlink()
        for path in (path for path in before if not path.exists()):
            path.write_bytes(before[path])
        raise
    return [to / inner for inner in names]


def clear_leftovers(to: Path) -> None:
    """Remove what killed runs have begun to pack, and put in place what was whole; what another run is at stays."""
    for folder in to.glob(".packing-*"):
        process = folder.name.split("-")[1]
        if process.isdecimal() and int(process) != os.getpid() and psutil.pid_exists(int(process)):
            continue
        with contextlib.suppress(OSError):
            place_zips(folder, to)  # killed between two parts, it would leave a new one beside old ones
        shutil.rmtree(folder, ignore_errors=True)
        print(f"Removed {session.shown(folder)}, which a run that did not end has left.")


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
    with contextlib.suppress(AttributeError):  # of what stands in for a console
        sys.stdout.reconfigure(errors="replace")  # a notebook may hold signs that a console lacks
    if given.command == "pack":
        clear_leftovers(given.to)
    keys, told = ASSIGNMENTS if "all" in given.which else given.which, set()
    return max([hand_in(ASSIGNMENTS[key], given, told) for key in keys])


def hand_in(assignment: Assignment, given: argparse.Namespace, told: set[str]) -> int:
    """Check one assignment, and pack it if that is asked; return its status. A fault in `told` is only counted."""
    print(f"{assignment.title}: ", end="", flush=True)  # reading and packing take some seconds
    files, faults = collect_files(assignment, session.ROOT)
    faults, parts = [" ".join(fault.split()) for fault in [*find_faults(assignment, session.ROOT), *faults]], []
    name = zip_name(assignment, session.ROOT) + (NOT_IN_ORDER if faults else "")
    try:
        parts = split_files(in_folder(name, files, faults), given.limit * 1e6)
    except SubmissionError as error:
        faults.append(str(error))
    new = [fault for fault in faults if fault not in told]
    known = f", {len(faults) - len(new)} of them named above" if len(new) < len(faults) else ""
    print("\n- ".join([f"{len(faults)} to mend{known}" if faults else "in order", *new]))
    told.update(faults)
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
