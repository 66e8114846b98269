"""Studies of many trials: in parallel, resumable, each result written down as soon as it is there.

Trials run in one process for each core of this machine; in two where they share a GPU; in a quick run here. Around a
call of `study`, `with joblib.parallel_config(n_jobs=4)` takes four processes, `n_jobs=1` this one alone. For a cluster
make a `dask.distributed.Client(...)` before, and write `backend="dask"`; its workers need the project's folder on their
PYTHONPATH, and Dask waits forever on a trial that always kills its worker.
"""

import functools
import hashlib
import itertools
import json
import math
import operator
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from contextlib import closing
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType, NoneType

import joblib
import numpy as np
import pandas as pd
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import LokyBackend, get_active_backend

from helpers import session
from helpers.progress import progress

# loky starts a new worker in place of one whose memory has grown, which harms nothing, and says so in every notebook.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")

RESERVED = ("seed", "seconds", "error")  # columns of the table beside those of configs and results
TIMES = ("seconds", "took")  # results whose names begin so are times, which no two runs share
_differences: list[float] = []  # one for each kept trial that this process has made again


def study(name: str, trial, configs, seeds, version: int = 1, keep: bool = False, recheck: int = 2) -> pd.DataFrame:
    """Run `trial(config, seed)` for each config and seed; return a table with one row a trial, in that order.

    A config is a dict of numbers, strings, bools, None and lists of them (the trial and the table get tuples), as is
    what `trial` returns. The columns: config, seed, result, seconds, error: "" if fine. A trial seeds its own random
    numbers and loads its data itself; it has one torch thread, no denormal numbers, and its seed + session.SEEDS_FROM.
    If it raises, the others go on, and the next call tries it again.

    A second process that is given the same study waits for the first one, and reads its results.
    Every finished trial is appended at once to runs/NAME/v1.jsonl, a cache that counts as long as the trial's code is
    the same; or with `keep` to runs/kept/NAME/v1.jsonl (committed with git). Kept trials outlast their code: `recheck`
    of them, drawn at random, run again, and `recheck_difference` tells how far they differ; on the sample they are only
    read, since they come from the real data. Whoever changes what a trial computes raises `version`.

    Raises RuntimeError for a trial that loads a sample unknown to this process; ValueError or TypeError for an unfit
    name, config, seed or result; session.CannotSave where the disk is full or the folder read-only.
    """
    shift = session.KEPT_SEEDS_FROM if keep else session.SEEDS_FROM
    trials, file = _trials(configs, seeds, shift), _File(name, version, trial, keep)
    old, new = _finished(trial, trials, file), {}
    if len(old) < len(trials):
        session.check_saving(file.path)  # before the first trial, not after hours
        with session.alone_with(file.path, f"{name}: another process is at this study, and this one waits for it"):
            old = _finished(trial, trials, file)
            new = _run_missing(trial, [pair for key, pair in trials.items() if key not in old], old, file)
    if old:
        print(f"{name}: {len(old)} trials read from {session.shown(file.source)}{file.remark()}")
    if keep and not session.caveats and not hasattr(trial, "writes"):
        _recheck(name, trial, random.Random().sample(list(old.values()), min(recheck, len(old))), old)
    if errors := [record["error"] for record in new.values() if record["error"]]:
        print(f"{name}: {len(errors)} of {len(trials)} trials failed, the next call tries them again. {errors[0]}")
    return _table(trials, old | new, shift)


def recheck_difference() -> float:
    """Return how far kept trials that were made again differ: the median of this process's, 0 where there are none.

    The difference of a trial is the largest of its results, each over the median size of this result in the study.
    """
    return float(np.median(_differences or [0.0]))


def batched(same, at_most=None):
    """Mark a trial that trains several networks at once: `trial(configs, seed)` returns a list of dicts, one a config.

    Trials with the same seed and the same values of the config keys `same` go into one call, `at_most` many, an int or
    a function of one of their configs. Which come together must not change a result, but for rounding.
    """
    return functools.partial(_mark, batched=((same,) if isinstance(same, str) else tuple(same), at_most))


def writes(*paths_of):
    """Mark a trial that writes files: its result counts only as long as all `path_of(config, seed)` are there."""
    return functools.partial(_mark, writes=paths_of)


def _mark(trial, **marks):
    vars(trial).update(marks)
    return trial


def grid(**values) -> list[dict]:
    """Return a config for each combination of the values: lists of them, or a single one."""
    lists = ([v] if isinstance(v, str) or not hasattr(v, "__iter__") else v for v in values.values())
    return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*lists)]


def _finished(trial, trials: dict, file) -> dict:
    """Return {key: record} of the trials that need not run."""
    paths = {key: [path_of(*pair) for path_of in getattr(trial, "writes", ())] for key, pair in trials.items()}
    return {key: r for key, r in file.read().items() if key in trials and all(Path(p).exists() for p in paths[key])}


def _trials(configs, seeds, shift: int) -> dict:
    """Return {key: (config, seed)} in the order of the table."""
    trials = {}
    shifted = [operator.index(seed) + shift for seed in seeds]
    for config, seed in itertools.product([_checked(c, "Config") for c in configs], shifted):
        if (key := _key(config, seed)) in trials:
            raise ValueError(f"Config {config} with seed {seed} is there twice.")
        trials[key] = config, seed
    return trials


def _key(config, seed) -> str:
    return json.dumps([config, seed], sort_keys=True)


def _checked(given, what: str, others=()) -> dict:
    """Return a config or a result in plain Python, with tuples; `others`: columns whose names it must not have."""
    if not isinstance(given, dict):
        raise TypeError(f"{what}s are dicts, unlike {given!r}.")
    if clash := [key for key in given if not isinstance(key, str) or key in RESERVED or key in others]:
        raise ValueError(f"{what} {clash[0]!r} needs another name: a string that names no other column.")
    return {key: _plain(value) for key, value in given.items()}


def _plain(value):
    value = value.tolist() if hasattr(value, "tolist") else value  # an array or a tensor
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _groups(trial, pairs) -> list:
    """Return (configs, seed) for each call of the trial."""
    if not hasattr(trial, "batched"):
        return [([config], seed) for config, seed in pairs]
    (same, at_most), groups, calls = trial.batched, {}, []
    for config, seed in pairs:
        groups.setdefault((*(config[key] for key in same), seed), []).append(config)
    for (*_, seed), configs in groups.items():
        size = max(1, at_most(configs[0])) if callable(at_most) else at_most or len(configs)
        calls += [(configs[start : start + size], seed) for start in range(0, len(configs), size)]
    return calls


def _run_missing(trial, pairs: list, old: dict, file) -> dict:
    """Run the trials `pairs` (config, seed), each appended to the file at once; return {key: record}."""
    new, total = {}, len(pairs) + len(old)
    if file.keep and pairs:
        seconds = [record["seconds"] * len(pairs) / joblib.cpu_count() for record in old.values()]
        duration = f"some {math.ceil(np.mean(seconds) / 60)} minutes" if seconds else "and nobody knows how long"
        print(f"{file.name}: {len(pairs)} of {total} trials are not kept and run now, {duration}")
    finished = _run_all(trial, pairs)
    with closing(finished), progress(initial=len(old), total=total, desc=file.name) as bar:
        for records in finished:
            file.append(records)
            new |= {_key(record["config"], record["seed"]): record for record in records}
            bar.update(len(records))
    return new


def _run_all(trial, pairs):
    """Yield the records of each group of trials as it finishes, in any order.

    A killed worker ends the work of its neighbors too: those that may have been at work run again, each alone in a
    process, where one that kills it again is the culprit; then the rest go on in a new Parallel, as the old one may
    still give results that come late.
    """
    backend, n_jobs = get_active_backend()
    if n_jobs is None:  # parallel_config does not say it; a quick run's trials take less time than starting processes
        gpu = isinstance(backend, LokyBackend) and torch.cuda.is_available()  # some hundred MB of it for each process
        n_jobs = 1 if session.QUICK else min(2, joblib.cpu_count()) if gpu else -1
    run = joblib.delayed(functools.partial(_run, trial, list(session.caveats)))
    options = {"batch_size": 1, "pre_dispatch": "n_jobs", "max_nbytes": None}
    waiting = dict(enumerate(_groups(trial, pairs)))
    while waiting:
        parallel = joblib.Parallel(n_jobs, return_as="generator_unordered", **options)
        try:
            for index, records in parallel([run(*item) for item in waiting.items()]):
                del waiting[index]
                yield records
        except TerminatedWorkerError:
            for index in list(waiting)[: joblib.effective_n_jobs(n_jobs)]:
                group = waiting.pop(index)
                try:
                    [(_, records)] = joblib.Parallel(2, backend="loky", **options)([run(index, group)])  # 1: no process
                except TerminatedWorkerError:
                    error = "TerminatedWorkerError: it killed its process, alone too (out of memory?)"
                    records = _records(*group, [{}] * len(group[0]), math.nan, error)
                yield records


def _run(trial, caveats: list, index: int, group: tuple[list, int]) -> tuple[int, list[dict]]:
    """Run a group, mostly in a worker, with one thread, as all cores are busy; return its index and its records."""
    session.caveats += [c for c in caveats if c not in session.caveats]  # samples without another try and warning
    (configs, seed), error, start = group, "", time.perf_counter()
    threads, flushed = torch.get_num_threads(), sys.float_info.min / 2 == 0
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # computing with denormal numbers takes 30 times as long
    try:
        copies = [*map(dict, configs)]  # the trial's to change
        results = trial(copies, seed) if hasattr(trial, "batched") else [trial(*copies, seed)]
    except Exception as problem:
        place = traceback.extract_tb(problem.__traceback__)[-1]
        error = f"{type(problem).__name__}: {problem} (in {place.name}, line {place.lineno})"
        results = [{}] * len(configs)
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)
    if unknown := [caveat for caveat in session.caveats if caveat not in caveats]:
        raise RuntimeError(f"The trial met with {unknown[0]}, unlike this process: call data.load before the study.")
    return index, _records(configs, seed, results, (time.perf_counter() - start) / len(configs), error)


def _records(configs: list, seed: int, results, seconds: float, error: str) -> list[dict]:
    """Return what is written down of a group."""
    pairs, ends = zip(configs, results, strict=True), {"seconds": seconds, "error": error}
    return [{"config": c, "seed": seed, "result": _checked(r, "Result", others=c)} | ends for c, r in pairs]


def _table(trials: dict, records: dict, shift: int) -> pd.DataFrame:
    """Return a row for each trial, with the seed as the caller gave it."""
    parts = (
        [config for config, _ in trials.values()],
        [{"seed": seed - shift} for _, seed in trials.values()],
        [records[key]["result"] for key in trials],
        [{name: records[key][name] for name in ("seconds", "error")} for key in trials],
    )
    return pd.concat([pd.DataFrame(part) for part in parts], axis=1)


def _recheck(name: str, trial, drawn: list[dict], old: dict) -> None:
    """Run the trials of the records `drawn` again, say how far they differ, and remember it; nothing is written."""
    results, differences = [record["result"] for record in old.values()], []
    for new in itertools.chain(*_run_all(trial, [(record["config"], record["seed"]) for record in drawn])):
        kept = old[_key(new["config"], new["seed"])]
        differences.append(math.inf if new["error"] else _difference(new["result"], kept["result"], results))
    if differences:
        print(f"{name}: {len(differences)} of them made again differ by at most {max(differences):.2g} of their size")
    _differences.extend(differences)


def _difference(new: dict, kept: dict, results: list[dict]) -> float:
    """Return the largest difference of results, for lists the mean one, over the median size; texts differ by 1."""
    found = [0.0 if new.keys() == kept.keys() else math.inf]
    for name in (name for name in kept if name in new and not name.startswith(TIMES)):
        try:
            ours, theirs, *others = (np.ravel(np.array(r[name], float)) for r in (new, kept, *results) if name in r)
        except ValueError:  # they are texts
            ours = theirs = np.empty(0)
        if not len(ours) or len(ours) != len(theirs):
            found.append(float(new[name] != kept[name]))
            continue
        sizes = np.abs(np.concatenate(others))
        size = np.median([*sizes[np.isfinite(sizes)]] or [1.0]) or 1.0
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        off = np.abs(np.subtract(ours, theirs, where=~same, out=np.zeros(len(ours))))
        found.append(float(np.nan_to_num(off, nan=np.inf).mean() / size))
    return max(found)


class _File:
    """Read the trials of a study, a JSON object a line, from `source` (committed) and `path`; append to `path`."""

    def __init__(self, name: str, version: int, trial, keep: bool):
        if not re.fullmatch(r"\w[\w.-]*", name) or name == "kept":
            raise ValueError(f'A study\'s name is of letters, digits, "_", "-", "." and not "kept", unlike {name!r}.')
        file = f"{name}/v{operator.index(version)}.jsonl"
        self.name, self.keep, self.commit = name, keep, None
        self.path = session.folder("runs") / ("kept" if keep else "") / file
        self.source = session.kept_path(file) if keep else self.path
        texts, self.files = _dependencies(trial)
        code = "\0".join([*texts, *(path.read_text(encoding="utf-8") for path in self.files)])
        self.code = {} if keep else {"code": hashlib.sha256(code.encode()).hexdigest()[:12]}
        self.header = [{"provenance": _provenance()}] if keep else []  # until it is written

    def read(self) -> dict:
        """Return {key: record} of what counts: no errors, no results of other code, the last of each key."""
        records = {}
        paths = (path for path in dict.fromkeys((self.source, self.path)) if path.exists())
        for line in itertools.chain.from_iterable(path.read_bytes().splitlines() for path in paths):
            try:
                record = json.loads(line)
                if "provenance" in record:
                    self.commit = record["provenance"]["commit"]
                elif not record["error"] and record.get("code") == self.code.get("code"):
                    record |= {part: _checked(record[part], part) for part in ("config", "result")}
                    records[_key(record["config"], record["seed"])] = record
            except (ValueError, TypeError, KeyError):
                continue  # torn by a kill in mid-write: its trial runs again
        return records

    def append(self, records: list[dict]) -> None:
        """Append records in one write, which is never parted on a local POSIX file system."""
        lines = [*self.header, *(record | self.code for record in records)]
        content = b"".join(b"\n" + json.dumps(line).encode() for line in lines)  # the break first, to end a torn line
        with session.saving(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab", buffering=len(content) + 1) as file:
                file.write(content)
        self.header = []

    def remark(self) -> str:
        """Say of kept trials that they come from other data, or which files that they depend on have changed."""
        if self.keep and session.caveats and not session.QUICK:
            return "; they come from the real data"
        names = ((self.commit and _git("diff", "--name-only", self.commit, "--", *map(str, self.files))) or "").split()
        more = f" and {len(names) - 1} more" if names[1:] else ""
        return f"; made before changes of {names[0]}{more}" if names else ""


def _provenance() -> dict:
    status = _git("status", "--porcelain", "--", ".", ":!runs/kept")  # a notebook keeps several studies in one session
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    code = {"commit": _git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}
    return code | versions | {"processor": platform.processor() or platform.machine(), "date": now}


def _git(*arguments: str) -> str | None:
    """Return what git says of the project, None where it has no git; a folder around it may have one."""
    if not (session.ROOT / ".git").exists() or not shutil.which("git"):
        return None
    result = subprocess.run(["git", *arguments], cwd=session.ROOT, capture_output=True, text=True)
    return None if result.returncode else result.stdout.strip()


def _dependencies(trial) -> tuple[list[str], list[Path]]:
    """Return what a trial reaches by name: code and constants of the notebook as texts, and files of the project."""
    texts, files, met, waiting = [], set(), {}, [trial]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, (bool, int, float, str, bytes, NoneType)):
            texts.append(repr(thing))
        elif id(thing) not in met:
            met[id(thing)] = thing  # held, so that its id is not used again
            module = thing if isinstance(thing, ModuleType) else sys.modules.get(str(getattr(thing, "__module__", "")))
            path = Path(getattr(module, "__file__", None) or os.devnull)
            if path.is_relative_to(session.ROOT) and "site-packages" not in path.parts and path not in files:
                files.add(path)
                waiting += [v for v in vars(module).values() if isinstance(v, (ModuleType, FunctionType, type))]
            waiting += _parts(thing, in_notebook=getattr(thing, "__module__", None) == "__main__")
    return texts, sorted(files)


def _parts(thing, in_notebook: bool) -> list:
    """Return what a container holds, a function closes over, and what code of the notebook names."""
    match thing:
        case dict():
            return [*thing.items()]
        case list() | tuple() | set() | frozenset():
            return sorted(thing, key=repr) if isinstance(thing, (set, frozenset)) else [*thing]
        case functools.partial():
            return [thing.func, thing.args, thing.keywords]
        case MethodType() | staticmethod() | classmethod():
            return [thing.__func__]
        case type() if in_notebook:
            return [*vars(thing).values(), *thing.__bases__]
        case FunctionType():
            parts = [cell.cell_contents for cell in thing.__closure__ or ()]
            for code in _codes(thing.__code__) if in_notebook else ():  # comments and layout are no part of it
                parts += [code.co_code, *code.co_names, *code.co_consts]
                parts += [thing.__globals__[name] for name in code.co_names if name in thing.__globals__]
            return [*parts, thing.__defaults__]
    return []


def _codes(code: CodeType) -> list[CodeType]:
    """Return the code of a function and of those within it."""
    return [code, *(more for inner in code.co_consts if isinstance(inner, CodeType) for more in _codes(inner))]
