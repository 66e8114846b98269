"""What a run needs to know of itself: where it writes, on what it computes, and whether its numbers count."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

ROOT = Path(__file__).resolve().parents[1]
NOT_FILLED_IN = "not filled in yet"
QUICK = os.environ.get("QUICK", "0") not in ("", "0")
SEEDS_FROM = int(os.environ.get("SEEDS_FROM") or 0)  # added to every seed of a study: a run on fresh seeds
KEPT_SEEDS_FROM = int(os.environ.get("KEPT_SEEDS_FROM") or SEEDS_FROM)  # the same for kept studies; 0: as committed

# Reasons why the numbers of this run prove nothing. With one no claim is judged, and all goes to `provisional/`.
caveats: list[str] = ["quick run"] if QUICK else []


def folder(name: str) -> Path:
    """Return the folder `name` ("runs", "gifs") of this run, another one with caveats or other seeds; create nothing.

    The environment variable RUNS says where "runs" lies instead of in the project.
    """
    base = ROOT
    if name == "runs" and os.environ.get("RUNS"):
        base, name = Path(os.environ["RUNS"]).absolute(), ""
    reasons = [reason.replace(" ", "-") for reason in sorted(caveats)]
    reasons += [f"seeds-from-{SEEDS_FROM}"] if SEEDS_FROM else []
    return base / "provisional" / "+".join(reasons) / name if reasons else base / name


def kept_path(path: str) -> Path:
    """Return `path` in the project's runs/kept if it is there and this run may read it, else where it is written."""
    committed = ROOT / "runs" / "kept" / path
    return committed if committed.exists() and not QUICK and not KEPT_SEEDS_FROM else folder("runs") / "kept" / path


@contextlib.contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, in folders that are created, and move it there if the block succeeds."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class CannotSave(OSError):
    """A file cannot be written."""


@contextlib.contextmanager
def saving(path: Path) -> Iterator[None]:
    """Raise CannotSave, which says what to do, where the block meets a full disk or a read-only folder at `path`."""
    try:
        yield
    except CannotSave:
        raise
    except OSError as error:
        advice = "make room or allow writing there, and run this again; all that was saved before is whole"
        raise CannotSave(f"{shown(path)} cannot be saved ({error.strerror or error}): {advice}.") from error


def check_saving(path: Path) -> None:
    """Raise CannotSave if `path`, or the folder where it is to come, is read-only."""
    nearest = next(place for place in (path, *path.parents) if place.exists())
    with saving(path):
        if not os.access(nearest, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def alone_with(path: Path, waiting: str) -> Iterator[None]:
    """Let one process of a user and machine at a time into the block of `path`; another prints `waiting` and waits."""
    name = hashlib.sha256(f"{Path.home()} {path.absolute()}".encode()).hexdigest()[:16]
    with open(Path(tempfile.gettempdir()) / f"{name}.lock", "ab") as file:  # closing it, by a kill too, ends the lock
        if not _locked(file):
            print(waiting, flush=True)
            while not _locked(file):
                time.sleep(0.2)
        yield


def _locked(file) -> bool:
    """Lock an open file if no other process has it; a file system that knows no locks lets everybody in."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(2**30)  # far behind what is read and written
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


def shown(path: Path) -> str:
    """Write a path inside the project from its root on, so that a saved notebook shows none of the machine's."""
    return (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()


def pick(full, quick):
    """Return `full`, or `quick` in a quick run."""
    return quick if QUICK else full


def device() -> torch.device:
    """Return the GPU where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_group(root: Path) -> tuple[str, list[str]]:
    """Return group and names from `root`/group.json, empty if not filled in; raise ValueError if it is unreadable."""
    try:
        given = json.loads((root / "group.json").read_text(encoding="utf-8-sig"))  # Windows may put a mark in front
        group, names = given["group"], given["names"]
        if not isinstance(group, (str, int)) or not isinstance(names, list):
            raise TypeError
        return str(group).strip(), [name.strip() for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        where = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        example = '{"group": "7", "names": ["...", "..."]}'
        raise ValueError(f"group.json should read {example}{where}: write it so, in UTF-8.") from error


def is_example(names: list[str]) -> bool:
    """Return whether these are the names that group.json comes with."""
    return any(name.endswith(" Example") for name in names)


def signature(group: str, names: list[str]) -> str:
    """Return the line by which a notebook shows whose it is."""
    return f"group: {group or NOT_FILLED_IN}   names: {', '.join(names) or NOT_FILLED_IN}"


def check_uploads(folder: Path) -> None:
    """Say which zip in `folder` has other code than what was unpacked from an older one, and runs."""
    for upload in folder.glob("*.zip"):
        with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(upload) as archive:
            files = [(folder / "bundle" / e.filename.replace("\\", "/"), e.CRC) for e in archive.infolist()]
            ours = [(f, crc) for f, crc in files if f.suffix == ".py" and f.is_relative_to(ROOT) and f.exists()]
            older = [(f, crc) for f, crc in ours if f.stat().st_mtime < upload.stat().st_mtime]
            if any(zlib.crc32(f.read_bytes()) != crc for f, crc in older):
                advice = f"delete the folder {folder / 'bundle'}, restart the session and run all cells"
                print(f"!!! {upload.name} is newer and has other code than what runs here: {advice}.")


def describe() -> None:
    """Print who hands this in, and the versions and hardware that the numbers below come from."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    group, names = read_group(ROOT)
    print(f"{signature(group, names)}   ({'an example: write yours into' if is_example(names) else 'from'} group.json)")
    check_uploads(Path("/content"))
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} CPU cores, {gpu}")
    if QUICK:
        print('QUICK=1: a short smoke run. Its numbers mean nothing; it writes to "provisional/".')
    if SEEDS_FROM:
        print(f'SEEDS_FROM={SEEDS_FROM}: other seeds, for kept studies {KEPT_SEEDS_FROM}; it writes to "provisional/".')
    if "ipykernel" in sys.modules:  # in a saved page tables get narrow rows
        page = sys.modules["IPython"].display
        page.display(page.HTML("<style>.dataframe :is(td, th) {padding: 1px 8px !important; line-height: 1.2}</style>"))
