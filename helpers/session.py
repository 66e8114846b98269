"""What a run needs to know of itself: where it writes, on what it computes, and whether its numbers count."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import torch

STARTED = time.time()  # the set-up cell imports this module before any other of the project
ROOT = Path(__file__).resolve().parents[1]
QUICK = os.environ.get("QUICK", "0") not in ("", "0")

# Reasons why the numbers of this run prove nothing. With one of them no claim is judged and
# everything is written below `provisional/`, so that a real run's files are never touched.
caveats: list[str] = ["quick run"] if QUICK else []


def add_caveat(reason: str) -> None:
    """Mark the run as one whose numbers are not to be judged."""
    if reason not in caveats:
        caveats.append(reason)


def folder(name: str) -> Path:
    """Return the folder `name` ("runs", "gifs") of this run; one with caveats has its own. Nothing is created."""
    if not caveats:
        return ROOT / name
    return ROOT / "provisional" / "+".join(reason.replace(" ", "-") for reason in sorted(caveats)) / name


@contextlib.contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, moved there if the block succeeds: nobody ever sees half a file.

    Folders are created. A file that was there before stays as it is until the new one is whole.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def shown(path: Path) -> str:
    """Write a path inside the project from its root on, so that a saved notebook shows none of the machine's."""
    return (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()


def pick(full, quick, kept: bool = False):
    """Return `full`, or `quick` in a quick run; with `kept` also on stand-in data, for which no trials are kept."""
    return quick if QUICK or (kept and caveats) else full


def device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe() -> None:
    """Print who hands this in, and the versions and hardware that the numbers below come from."""
    try:
        who = json.loads((ROOT / "group.json").read_text(encoding="utf-8"))
        group, names = who["group"] or "not filled in yet", ", ".join(who["names"]) or "not filled in yet"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError('group.json at the root should read {"group": "...", "names": ["...", "..."]}.') from error
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"group: {group}   names: {names}   (from group.json)")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} CPU cores, {gpu}")
    if QUICK:
        print('QUICK=1: a short smoke run. Its numbers mean nothing; it writes to "provisional/".')
