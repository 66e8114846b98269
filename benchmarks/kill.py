"""Kill what writes files, at random moments, 300 times: `python -m benchmarks.kill` writes benchmarks/kill.md.

A study, a movie, a Logbook, a hand-in and a doctor's report are written over and over by a process that is killed
(kill -9) after 0 to 0.8 s of writing, 60 times each, each kind in one folder in which its runs go on. Each tells by a
pipe what it has finished. Lost is what was finished and is not there; half-made is a file that looks whole and is not:
a movie, a zip or a page that cannot be read to its end, or a result that nobody computed. Needs processes of POSIX.
"""

import contextlib
import functools
import io
import multiprocessing
import random
import runpy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import imageio.v3 as iio
import joblib
import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.report import write_report
from doctor import Doctor
from helpers import logbook, movie, session, sweep

KILLS = 60  # of each kind
LONGEST = 0.8  # seconds of writing before a kill
FRAMES = 8


def trial(config: dict, seed: int) -> dict:
    return {"y": [config["x"]] * 200}


def write_study(root: Path, done: Callable[[int], None]) -> None:
    """Go on with a study of a hundred trials, or begin the next one."""
    with joblib.parallel_config(n_jobs=1):
        for number in range(1000):
            table = sweep.study(f"study-{number}", trial, [{"x": x} for x in range(100)], [0])
            assert all(row.y == (row.x,) * 200 for row in table.itertuples())
            done(number)


def lost_of_study(root: Path, finished: list[int]) -> tuple[int, int]:
    """Count finished trials that are not read again, and results that nobody computed."""
    lost = half = 0
    for number in set(finished):
        with contextlib.redirect_stdout(io.StringIO()), joblib.parallel_config(n_jobs=1):
            [path] = (root / "runs" / f"study-{number}").glob("*.jsonl")
            before = path.read_bytes()
            table = sweep.study(f"study-{number}", trial, [{"x": x} for x in range(100)], [0])
        lost += path.read_bytes()[len(before) :].count(b"\n")
        half += sum(row.y != (row.x,) * 200 for row in table.itertuples())
    return lost, half


def write_movies(root: Path, done) -> None:
    for number in range(10**6):
        seeds = np.random.default_rng(number)
        movie.write_gif(root / "a.gif", (64 * seeds.integers(0, 4, (40, 40, 3), np.uint8) for _ in range(FRAMES)))
        done(number)


def lost_of_movies(root: Path, finished) -> tuple[int, int]:
    if not (root / "a.gif").exists():
        return bool(finished), 0
    return 0, len(iio.imread(root / "a.gif")) != FRAMES


def write_log(root: Path, done) -> None:
    with logbook.Logbook(root / f"log-{time.time_ns()}") as log:
        done(log.folder.name)
        for step in range(10**6):
            log.step(1, loss=step)
            done(step)


def lost_of_log(root: Path, finished) -> tuple[int, int]:
    if not finished:
        return 0, 0
    name, *steps = finished
    read = logbook.read(root / name).get("loss/train")
    values = [] if read is None else read.values.tolist()
    return max(0, len(steps) - len(values)), values != [*range(len(values))]


@functools.cache
def submission_main() -> Callable:
    """Return what `python submission.py` runs."""
    return runpy.run_path(str(Path(__file__).resolve().parents[1] / "submission.py"))["main"]


def write_hand_in(root: Path, done) -> None:
    for number in range(10**6):
        (root / "group.json").write_text(f'{{"group": "{number}", "names": ["Ada"]}}')
        submission_main()(["pack", "1", "--anyway", "--to", str(root / "to")])
        done(number)


def lost_of_hand_in(root: Path, finished) -> tuple[int, int]:
    zips = [*(root / "to").glob("*.zip")]
    return bool(finished) and not zips, sum(ZipFile(path).testzip() is not None for path in zips)


@functools.cache
def report():
    """Return the report of a doctor on one step."""
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Doctor(model, cross_entropy, optimizer) as doctor:
        doctor.loss_fn(model(torch.randn(6, 4)), torch.arange(6) % 3).backward()
        optimizer.step()
    return doctor.report()


def write_report_pages(root: Path, done) -> None:
    for number in range(10**6):
        report().save(root / "report.html")
        done(number)


def lost_of_pages(root: Path, finished) -> tuple[int, int]:
    if not (root / "report.html").exists():
        return bool(finished), 0
    return 0, not (root / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


class Kind(NamedTuple):
    write: Callable
    judge: Callable  # -> how much of what was finished is lost, and how much is half-made


KINDS = {
    "study": Kind(write_study, lost_of_study),
    "movie": Kind(write_movies, lost_of_movies),
    "Logbook": Kind(write_log, lost_of_log),
    "hand-in": Kind(write_hand_in, lost_of_hand_in),
    "doctor's report": Kind(write_report_pages, lost_of_pages),
}


def kill_once(kind: Kind, root: Path, seconds: float) -> list:
    """Let it write in a process that is killed; return what it says it has finished."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work():
        session.ROOT, session.QUICK, session.caveats[:] = root, False, []
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            sender.send("ready")
            kind.write(root, sender.send)

    process = context.Process(target=work)
    process.start()
    assert receiver.recv() == "ready"
    finished, end = [], time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if receiver.poll(left):
            finished.append(receiver.recv())
    process.kill()
    process.join()
    with contextlib.suppress(EOFError, OSError):
        sender.close()
        while receiver.poll():
            finished.append(receiver.recv())
    return finished


def measure(name: str, kills: int, rng: random.Random) -> list[int]:
    """Kill one kind of work in one folder; return kills, what was finished before them, lost, half-made, left over."""
    kind, counts, kept = KINDS[name], np.zeros(3, int), session.ROOT
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for _ in range(kills):
            finished = kill_once(kind, root, rng.uniform(0, LONGEST))
            session.ROOT = root
            try:
                counts += [len(finished), *kind.judge(root, finished)]
            finally:
                session.ROOT = kept
        return [kills, *map(int, counts), sum(path.name.startswith(".") for path in root.rglob("*"))]


def main(kills: int = KILLS) -> None:
    torch.set_num_threads(1)
    submission_main(), report()  # before the processes part
    rng, start = random.Random(0), time.monotonic()
    rows = [[name, *map(str, measure(name, kills, rng))] for name in KINDS]
    note = "Lost: finished and not there afterwards. Half-made: looks whole and is not. Left over: unfinished files or "
    note += f"folders, whose names begin with a dot and which nothing reads. {time.monotonic() - start:.0f} s."
    header = "work", "kills", "pieces finished before them", "lost", "half-made", "left over"
    write_report("kill", "Killed at random moments (kill -9)", header, rows, note)


if __name__ == "__main__":
    main()
