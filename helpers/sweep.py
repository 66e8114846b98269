"""Studies of many trials: in parallel, resumable, each result written down as soon as it is there.

`with joblib.parallel_config(...)` around a call of `study` says where its trials run; without it, in one process for
each core of this machine (in a quick run here). `parallel_config(n_jobs=4)` takes four of them, `n_jobs=1` this
process alone. A cluster:

    client = dask.distributed.Client()             # workers of this machine; or Client("scheduler:8786")
    with joblib.parallel_config(backend="dask"):
        table = study(...)

Start it after the set-up cell; workers of other machines need the project's folder on their PYTHONPATH. Dask runs a
trial again where its worker has died, but waits forever on one that always kills it; joblib's own processes do not.
Each process that uses a GPU holds some hundred MB of it and they take turns: with CUDA two processes are the default.
Results of a CPU and of a GPU share one file, though they differ by rounding: a study may be continued on the other.
"""

import functools
import itertools
import math
import operator
import random
import re
import sys
import time
import traceback
import warnings
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import fmean, median

import joblib
import numpy as np
import pandas as pd
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import LokyBackend, get_active_backend

from helpers import session, store
from helpers.progress import progress

# loky starts a new worker in place of one whose memory has grown, which harms nothing, and says so in every notebook.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")

RESERVED = ("seed", "seconds", "error")  # columns of the table beside those of configs and results
TIMES = ("seconds", "took")  # results whose names begin so are times, which no two runs share

_differences: list[float] = []  # one for each kept trial that this process has made again


def study(name: str, trial, configs, seeds, version: int = 1, keep: bool = False, recheck: int = 2) -> pd.DataFrame:
    """Run `trial(config, seed)` for each config and seed; return a table with one row a trial, in that order.

    `trial` returns a dict of numbers or strings, or of lists of them. A config is a dict of numbers, strings, bools,
    None and lists of them (the trial and the table get tuples). The columns: config, seed, result, seconds, error (""
    if fine). session.SEEDS_FROM is added to the seed that the trial gets, not to that of the table.

    Every finished trial is appended at once to runs/NAME/v1.jsonl, or with `keep` to runs/kept/NAME/v1.jsonl
    (committed with git). A trial that is found there with the same config and seed is not run again. Without `keep`
    the file is a cache: it begins anew when the code of the trial has changed. Kept trials outlast their code:
    `recheck` of those that are read, drawn at random, run again, and the printed line and `recheck_difference` tell how
    far they differ. Whoever changes what a trial computes raises `version`, the number in the file's name.
    On the sample kept trials are read as they are, since they come from the real data.

    A trial that raises does not stop the others: its error is written down, and it is tried again at the next call,
    since the cause may have passed, as a full disk does. In its worker a trial has one torch thread and flushes
    denormal numbers to zero. It seeds its own random numbers and loads its data itself. One that loads a sample unknown
    to this process raises a RuntimeError here; ValueError or TypeError for anything unfit as a name, config, seed or
    result; session.CannotSave where the disk is full or the folder read-only.
    """
    trials = _trials(configs, seeds)
    file = store.Store(_checked_name(name), f"v{operator.index(version)}.jsonl", trial, keep)
    records = {key: record for key, record in file.read().items() if key in trials and not record["error"]}
    records = {key: record for key, record in records.items() if _written(trial, *trials[key])}
    kept, missing = dict(records), [pair for key, pair in trials.items() if key not in records]
    if missing:
        if keep:
            print(
                f"{name}: {len(missing)} of {len(trials)} trials are not kept and run now, {_duration(missing, records)}"
            )
        session.check_saving(file.path)  # before the first trial, not after hours
        finished = _all(functools.partial(_run, trial, list(session.caveats)), _groups(trial, missing))
        with closing(finished), progress(initial=len(records), total=len(trials), desc=name) as bar:
            for (configs_done, seed), outcome in finished:
                records |= file.append(configs_done, seed, *outcome)
                bar.update(len(configs_done))
    if kept:
        print(f"{name}: {len(kept)} trials read from {session.shown(file.sources[0])}{file.changes()}")
    if keep and kept and not session.caveats and not hasattr(trial, "writes"):
        drawn = random.Random().sample(sorted(kept), min(recheck, len(kept)))
        _recheck(name, trial, {key: trials[key] for key in drawn}, records)
    if errors := [records[key]["error"] for key in trials if records[key]["error"]]:
        print(f"{name}: {len(errors)} of {len(trials)} trials failed, the next call tries them again. {errors[0]}")
    return _table(trials, records)


def recheck_difference() -> float:
    """Return how far kept trials that were made again differ: the median of this process's, NaN where there are none.

    The difference of a trial is the largest of its results, each over the median size of this result in the study.
    """
    return median(_differences) if _differences else math.nan


def batched(same, at_most=None):
    """Mark a trial that trains several networks at once: `trial(configs, seed)` returns a list of dicts, one a config.

    Trials with the same seed and the same values of the config keys `same` go into one call, `at_most` many, an int
    or a function of one of their configs. Which of them come together must not change a result, but for rounding:
    after a resumption it is others. They are written down when the call returns, with equal shares of its seconds.
    """

    def mark(trial):
        trial.batched = (same,) if isinstance(same, str) else tuple(same), at_most
        return trial

    return mark


def writes(path_of):
    """Mark a trial that writes a file: its result counts only as long as the file `path_of(config, seed)` is there."""

    def mark(trial):
        trial.writes = path_of
        return trial

    return mark


def grid(**values) -> list[dict]:
    """Return a config for each combination of the values: lists of them, or a single one."""
    lists = ([v] if isinstance(v, str) or not hasattr(v, "__iter__") else v for v in values.values())
    return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*lists)]


def sample(n: int, seed: int, **values) -> list[dict]:
    """Return `n` random configs; a value is `uniform`, `log_uniform`, `choice`, or a constant.

    A larger `n` adds to the same configs, and a further key leaves the values of the others as they are.
    """
    randoms = {key: random.Random(f"{seed} {key}") for key in values}
    return [{key: v(randoms[key]) if callable(v) else v for key, v in values.items()} for _ in range(n)]


def uniform(low: float, high: float):
    """Draw from [low, high], every value equally likely."""
    return lambda rng: rng.uniform(low, high)


def log_uniform(low: float, high: float, whole: bool = False):
    """Draw from [low, high], every order of magnitude equally likely; `whole` numbers on demand."""
    if whole:
        return lambda rng: min(int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))), high)
    return lambda rng: math.exp(rng.uniform(math.log(low), math.log(high)))


def choice(values):
    """Draw one of the values."""
    return lambda rng: rng.choice(list(values))


# ---- what is to be run


def _trials(configs, seeds) -> dict:
    """Return {key: (config, seed)} in the order of the table."""
    trials = {}
    for config, seed in itertools.product([_config(c) for c in configs], map(operator.index, seeds)):
        seed += session.SEEDS_FROM
        key = store.key(config, seed)
        if key in trials:
            raise ValueError(f"Config {config} with seed {seed} is there twice.")
        trials[key] = config, seed
    return trials


def _config(config) -> dict:
    if not isinstance(config, dict) or not all(isinstance(k, str) and k not in RESERVED for k in config):
        raise ValueError(f"A config is a dict with keys that are strings other than {RESERVED}, unlike {config!r}.")
    return {key: _plain(value, f"Config {key}") for key, value in config.items()}


def _plain(value, what: str):
    """Return a number, string, bool or None, or a tuple of them, as plain Python."""
    if hasattr(value, "tolist"):  # of numpy or torch
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item, what) for item in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{what} is no number, string, bool or None, nor a list of them, but {value!r}.")


def _groups(trial, pending: list) -> list:
    """Return (configs, seed) for each call of the trial."""
    if not hasattr(trial, "batched"):
        return [([config], seed) for config, seed in pending]
    same, at_most = trial.batched
    groups = {}
    for config, seed in pending:
        if missing := [key for key in same if key not in config]:
            raise ValueError(f"Trials are batched by {missing[0]}, which is missing in config {config}.")
        groups.setdefault((*(config[key] for key in same), seed), []).append(config)
    calls = []
    for (*_, seed), configs in groups.items():
        size = max(1, at_most(configs[0])) if callable(at_most) else at_most or len(configs)
        calls += [(configs[start : start + size], seed) for start in range(0, len(configs), size)]
    return calls


# ---- running it


def _all(run, groups):
    """Yield each group and its outcome, (results, seconds, error), as it finishes.

    A killed worker ends the work of its neighbours too. So those that may have been at work run again, each alone in
    a process, where one that kills it again is the culprit; then the rest go on in parallel.
    """
    waiting = dict(enumerate(groups))
    backend, n_jobs = get_active_backend()
    gpu = isinstance(backend, LokyBackend) and torch.cuda.is_available()
    if n_jobs is None:  # parallel_config does not say; in a quick run processes take longer to start than trials
        n_jobs = 1 if session.QUICK else min(2, joblib.cpu_count()) if gpu else -1
    while waiting:
        try:
            with closing(_parallel(run, waiting, n_jobs=n_jobs)) as finished:
                for index, outcome in finished:
                    yield waiting.pop(index), outcome
        except TerminatedWorkerError:
            for index in list(waiting)[: joblib.effective_n_jobs(n_jobs)]:
                group = waiting.pop(index)
                try:
                    [(_, outcome)] = _parallel(run, {index: group}, n_jobs=2, backend="loky")  # 1 is this process
                except TerminatedWorkerError:
                    outcome = None, math.nan, "TerminatedWorkerError: it killed its process, alone too (out of memory?)"
                yield group, outcome


def _parallel(run, groups: dict, **options):
    """Yield what `run` returns for each group; as many of them are in work as there are processes."""
    tasks = [joblib.delayed(run)(index, *group) for index, group in groups.items()]
    options |= {"batch_size": 1, "pre_dispatch": "n_jobs", "max_nbytes": None}
    yield from joblib.Parallel(return_as="generator_unordered", **options)(tasks)


def _run(trial, caveats: list, index: int, configs: list, seed: int):
    """Run a group, mostly in a worker; return its index and outcome."""
    session.caveats += [c for c in caveats if c not in session.caveats]  # samples without another try and warning
    start, results, error = time.perf_counter(), None, ""
    copies = [dict(config) for config in configs]  # the trial's to change
    with _lean_torch():
        try:
            results = trial(copies, seed) if hasattr(trial, "batched") else [trial(copies[0], seed)]
        except Exception as problem:
            place = traceback.extract_tb(problem.__traceback__)[-1]
            error = f"{type(problem).__name__}: {problem} (in {place.name}, line {place.lineno})"
    if unknown := [caveat for caveat in session.caveats if caveat not in caveats]:
        raise RuntimeError(f"The trial met with {unknown[0]}, unlike this process: call data.load before the study.")
    results = None if error else _checked(results, configs)
    return index, (results, (time.perf_counter() - start) / len(configs), error)


@contextmanager
def _lean_torch():
    """Compute with one thread, as all cores are busy, and without denormal numbers, which cost 30 times as much."""
    threads, flushed = torch.get_num_threads(), sys.float_info.min / 2 == 0
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


def _checked(results, configs: list) -> list[dict]:
    """Return the results of a group in plain Python."""
    if not isinstance(results, (list, tuple)) or len(results) != len(configs):
        raise TypeError(f"A batched trial returns a list with one dict for each of its {len(configs)} configs.")
    for result, config in zip(results, configs, strict=True):
        if not isinstance(result, dict) or not all(isinstance(key, str) for key in result):
            raise TypeError(f"A trial returns a dict with strings as keys, not {result!r}.")
        if clash := [key for key in result if key in config or key in RESERVED]:
            raise ValueError(f"The trial's result {clash[0]} has the name of another column: give it its own.")
    return [{key: _plain(value, f"Result {key}") for key, value in result.items()} for result in results]


# ---- kept trials made again


def _duration(missing: list, records: dict) -> str:
    """Say how long trials will take, by those that are there."""
    spent = [record["seconds"] for record in records.values()]
    if not spent:
        return "and how long that takes is not known"
    return f"some {math.ceil(fmean(spent) * len(missing) / joblib.cpu_count() / 60)} minutes"


def _recheck(name: str, trial, drawn: dict, records: dict) -> None:
    """Run kept trials again, say how far they differ, and remember it; nothing is written."""
    groups, differences = _groups(trial, list(drawn.values())), []
    for (configs, seed), (results, _, error) in _all(functools.partial(_run, trial, list(session.caveats)), groups):
        for config, result in zip(configs, results or [{}] * len(configs), strict=True):
            record = records[store.key(config, seed)]
            differences.append(math.inf if error else _difference(result, record["result"], records))
    if differences:
        print(f"{name}: {len(differences)} of them made again differ by at most {max(differences):.2g} of their size")
    _differences.extend(differences)


def _difference(new: dict, old: dict, records: dict) -> float:
    """Return the largest difference of two results of a trial, each number over its median size in `records`."""
    found = [math.inf] if new.keys() != old.keys() else [0.0]
    for key in (key for key in old if key in new and not key.startswith(TIMES)):
        everywhere = [_numbers(record["result"].get(key)) for record in records.values()]
        ours, theirs = _numbers(_plain(new[key], key)), _numbers(old[key])
        if ours is None or theirs is None or len(ours) != len(theirs):  # texts agree or do not
            found.append(float(_plain(new[key], key) != _plain(old[key], key)))
        elif len(theirs):
            sizes = np.abs(np.concatenate([values for values in everywhere if values is not None]))
            size = np.median(sizes[np.isfinite(sizes)]) if np.isfinite(sizes).any() else 0.0
            with np.errstate(invalid="ignore"):  # inf - inf
                off = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, np.abs(ours - theirs))
            found.append(float(np.nan_to_num(off, nan=np.inf).mean() / (size or 1.0)))
    return max(found)


def _numbers(value) -> np.ndarray | None:
    """Return a number or a list of numbers as an array (n,); None for anything else."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return np.array(values, float) if all(isinstance(v, (bool, int, float)) for v in values) else None


# ---- the file of a study, and the table


def _written(trial, config, seed) -> bool:
    return not hasattr(trial, "writes") or Path(trial.writes(config, seed)).exists()


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name) or name == "kept":
        raise ValueError(f'A study\'s name is of letters, digits, "_", "-" and ".", and not "kept", unlike {name!r}.')
    return name


def _table(trials: dict, records: dict) -> pd.DataFrame:
    rows = []
    for key, (config, seed) in trials.items():
        record = records[key]
        result = {name: _plain(value, name) for name, value in record["result"].items()}
        shown = {"seed": seed - session.SEEDS_FROM}
        rows.append((config, shown, result, {"seconds": record["seconds"], "error": record["error"]}))
    columns = dict.fromkeys(name for part in zip(*rows, strict=True) for piece in part for name in piece)
    return pd.DataFrame([{k: v for piece in row for k, v in piece.items()} for row in rows], columns=list(columns))
