"""What goes wrong on other people's machines, done in earnest: nothing finished is lost, nothing half-made looks whole.

Faults of one module alone are tested with it: damaged data sets and event files, torn results, zips that climb out,
kill -9 of a study and of a hand-in, two studies at once.
"""

import ctypes
import multiprocessing
import os
import random
import re
import time
from zipfile import ZipFile

import imageio.v3 as iio
import joblib
import numpy as np
import pytest

import submission
from benchmarks import kill
from helpers import logbook, session, sweep
from helpers.movie import write_gif

resource = pytest.importorskip("resource", reason="needs processes and limits of POSIX")

# ---- what runs in processes of their own


def trial(config, seed):
    return {"y": list(range(config["x"], config["x"] + 100))}


def study(trial=trial):
    with joblib.parallel_config(n_jobs=1):
        return sweep.study("many", trial, [{"x": x} for x in range(60)], [0])


def noise():
    for seed in range(20):
        yield 64 * np.random.default_rng(seed).integers(0, 4, (40, 40, 3), np.uint8)  # few colors, which is quick


def write_movie():
    write_gif(session.ROOT / "gifs" / "noise.gif", noise(), 10)


def write_log():
    with logbook.Logbook(session.ROOT / "runs" / "log") as log:
        for step in range(2000):
            log.step(1, loss=step)


def pack():
    submission.main(["pack", "1", "--anyway", "--to", str(session.ROOT / "to")])


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def start(root):
    """Return a function that starts work in a process whose project folder is `root`, and returns it with a pipe.

    The pipe gives what the work sends by its argument, if it takes one, and then the error that ends it, or None.
    """
    context = multiprocessing.get_context("fork")  # the work may be any function, and need not import anything anew
    processes = []

    def run(work, sender):
        session.ROOT, session.QUICK, session.caveats[:] = root, False, []
        try:
            work()
        except Exception as error:
            sender.send(f"{type(error).__name__}: {error}")
        else:
            sender.send(None)

    def start(work):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run, args=(work, sender))
        process.start()
        processes.append(process)
        return process, receiver

    yield start
    for process in processes:
        process.kill()
        process.join()


def error_of(started) -> str | None:
    """Return the error that ends a process, None if it ends well."""
    process, receiver = started
    assert receiver.poll(timeout=100)
    error = receiver.recv()
    process.join()
    return error


def cannot_save(what: str, why: str) -> str:
    return rf"CannotSave: {what} cannot be saved \({why}\): make room or .* run this again; all that .* whole\."


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- a disk that is full


def on_a_full_disk(work):
    """Do the work where no file may have more than 20,000 bytes."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        work()

    return limited


def test_full_disk_stops_a_study_that_goes_on_where_it_stopped(start, root):
    error = error_of(start(on_a_full_disk(study)))
    assert re.fullmatch(cannot_save(r"runs/many/\w+\.jsonl", "File too large"), error)
    [file] = root.rglob("*.jsonl")
    before = file.read_bytes()
    assert len(before) == 20_000
    assert error_of(start(study)) is None
    after = file.read_bytes()
    assert after.startswith(before)
    assert after.count(b'"error"') == 60  # each trial once, but for the torn line


def test_full_disk_leaves_the_old_movie(start, root):
    (root / "gifs").mkdir()
    (root / "gifs" / "noise.gif").write_bytes(b"old")
    error = error_of(start(on_a_full_disk(write_movie)))
    assert re.fullmatch(cannot_save("gifs/noise.gif", "File too large"), error)
    assert contents(root / "gifs") == {"noise.gif": b"old"}


def test_full_disk_leaves_what_was_logged_before(start, root):
    assert re.fullmatch(cannot_save("runs/log", "File too large"), error_of(start(on_a_full_disk(write_log))))
    losses = logbook.read(root / "runs" / "log")["loss/train"].values.tolist()
    assert losses == list(range(len(losses))) and 100 < len(losses) < 2000


def test_full_disk_leaves_the_old_zip(start, root, monkeypatch, capfd):
    old = {"Assignment-1_without-a-group_NOT-IN-ORDER.zip": b"old"}
    (root / "to").mkdir()
    for name, content in old.items():
        (root / "to" / name).write_bytes(content)
    monkeypatch.setattr(submission, "write_zip", lambda path, files: path.write_bytes(bytes(30_000)))
    assert error_of(start(on_a_full_disk(pack))) is None
    assert "Nothing was written: to cannot be saved (File too large): make room" in capfd.readouterr().out
    assert contents(root / "to") == old


# ---- a folder that is read-only

EVERY_RIGHT = hasattr(os, "geteuid") and os.geteuid() == 0


def bound_by_permissions(work):
    """Do the work without root's right to ignore permissions."""

    def bound():
        if EVERY_RIGHT:
            libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
            rights = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice
            assert libc.capget(header, rights) == 0
            for kind in (0, 1):  # os.access asks for the permitted ones
                rights[kind] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.capset(header, rights) == 0
        work()

    return bound


def never(config, seed):
    os._exit(1)  # it runs, though its result cannot be saved


@pytest.mark.parametrize(("work", "what"), [(lambda: study(never), r"runs/many/\w+\.jsonl"), (write_movie, "gifs")])
def test_read_only_folder_is_said_before_the_work(work, what, start, root):
    (root / "gifs").mkdir()
    (root / "gifs" / "noise.gif").touch()
    for folder in (root / "gifs", root):
        folder.chmod(0o500)
    assert re.fullmatch(cannot_save(what, "Permission denied"), error_of(start(bound_by_permissions(work))))


def test_read_only_folder_keeps_a_hand_in_from_being_written(start, root, capfd):
    root.chmod(0o500)
    assert error_of(start(bound_by_permissions(pack))) is None
    assert "Nothing was written: to cannot be saved (Permission denied)" in capfd.readouterr().out


# ---- kill -9


@pytest.mark.parametrize("seconds", [0, 0.05, 0.1, 0.2])
def test_kill_9_leaves_a_whole_movie(seconds, start, root):
    def write_for_ever():
        while True:
            write_movie()

    movie = root / "gifs" / "noise.gif"
    process, _ = start(write_for_ever)
    while not movie.exists():
        assert process.is_alive()
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.join()
    assert len(iio.imread(movie)) == 20


# ---- two runs at once in the same folders


def test_two_runs_write_the_same_movie(start, root):
    def write_thrice():
        for _ in range(3):
            write_movie()

    assert [error_of(run) for run in [start(write_thrice), start(write_thrice)]] == [None, None]
    assert [path.name for path in (root / "gifs").iterdir()] == ["noise.gif"]
    assert len(iio.imread(root / "gifs" / "noise.gif")) == 20


def test_two_runs_pack_the_same_hand_in(start, root, capfd):
    def pack_five_times():
        for _ in range(5):
            pack()

    assert [error_of(run) for run in [start(pack_five_times), start(pack_five_times)]] == [None, None]
    assert "Nothing was written" not in capfd.readouterr().out
    [packed] = (root / "to").iterdir()
    assert ZipFile(packed).testzip() is None


# ---- killed at random moments, as in benchmarks/kill.py


@pytest.mark.parametrize("name", kill.KINDS)
def test_kills_lose_nothing_and_leave_nothing_half_made(name):
    _, _, lost, half_made, _ = kill.measure(name, 3, random.Random(1))
    assert (lost, half_made) == (0, 0)
