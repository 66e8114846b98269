"""Studies lose no trial and double none, whatever is killed, and give the same table wherever they run."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import joblib
import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient

from helpers import session, sweep
from helpers.sweep import batched, grid, study


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """Let studies write to a folder of the test's own."""
    monkeypatch.setattr(session, "folder", lambda name: tmp_path / name)
    monkeypatch.setattr(session, "caveats", ["quick run"] if session.QUICK else [])  # as in fresh workers
    return tmp_path / "runs"


@pytest.fixture
def alone():
    """Run trials in this process, which is quick."""
    with joblib.parallel_config(n_jobs=1):
        yield


def lines(runs):
    """Return the trials that are written down."""
    texts = (line for path in sorted(runs.rglob("*.jsonl")) for line in path.read_text().split("\n") if line)
    return [line for line in map(json.loads, texts) if "config" in line]


def note(config, seed):
    """Write down in the file config["log"] that a trial was run."""
    with open(config["log"], "a") as file:
        file.write(f"{config['x']} {seed}\n")


def noted(path):
    return sorted(path.read_text().split("\n")[:-1])


def describe(config, seed):
    time.sleep(0.3 * (config["x"] == 0))
    return {
        "sum": config["x"] + seed,
        "nan": float("nan"),
        "curve": np.array([1.0, math.inf]),
        "threads": torch.get_num_threads(),
        "denormal": torch.tensor(1e-40) * 1,
    }


def here(trial, configs, seeds):
    """Return the table of a study in this process."""
    with joblib.parallel_config(n_jobs=1):
        return study("here", trial, configs, seeds)


def same(one, other):
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), other.drop(columns="seconds"))
    return True


def test_table_is_the_same_in_processes_here_and_read_again(runs, capsys):
    configs = grid(x=range(3), widths=[[8, 4], [16]], act="relu")
    table = study("order", describe, configs, seeds=[5, np.int64(1)])
    assert " ".join(table) == "x widths act seed sum nan curve threads denormal seconds error"
    assert table[["x", "widths", "seed"]].values.tolist() == [
        [x, widths, seed] for x in range(3) for widths in ((8, 4), (16,)) for seed in (5, 1)
    ]
    assert (table["sum"] == table.x + table.seed).all() and table.nan.isna().all() and (table.error == "").all()
    assert (table.threads == 1).all() and (table.denormal == 0).all() and (table.seconds[table.x == 0] > 0.3).all()
    assert set(table.curve) == {(1.0, math.inf)}

    before = torch.get_num_threads()
    assert same(here(describe, configs, seeds=[5, 1]), table)
    assert torch.get_num_threads() == before and torch.tensor(1e-40) * 1 > 0

    capsys.readouterr()
    assert same(study("order", describe, configs, seeds=[5, 1]), table)
    assert "order: 12 trials read from" in capsys.readouterr().out


def test_dask_gives_the_same_table(runs):
    from distributed import Client, LocalCluster

    configs = grid(x=range(4), widths=[[8, 4]])
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        spread = study("dask", describe, configs, seeds=[0, 1])
    assert same(spread, here(describe, configs, seeds=[0, 1]))


@pytest.mark.parametrize(("config", "n_jobs"), [({}, 2), ({"n_jobs": 5}, 5), ({"backend": "threading"}, -1)])
def test_two_processes_share_a_gpu(runs, monkeypatch, config, n_jobs):
    def here(n_jobs, **options):
        asked.append(n_jobs)
        return lambda tasks: [function(*arguments) for function, arguments, _ in tasks]

    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.setattr(joblib, "Parallel", here)
    monkeypatch.setattr(session, "QUICK", False)
    with joblib.parallel_config(**config):
        study("gpu", single, grid(x=1, width=2), [0])
    assert asked == [n_jobs]


def test_only_what_is_new_is_run(runs, tmp_path, alone):
    def trial(config, seed):
        note(config, seed)
        return {"y": config["x"]}

    for xs, seeds in ((2, 1), (2, 1), (3, 1), (3, 2)):
        table = study("more", trial, grid(x=range(xs), log=str(tmp_path / "log")), range(seeds))
        assert table.y.tolist() == [x for x in range(xs) for _ in range(seeds)]
    assert noted(tmp_path / "log") == ["0 0", "0 1", "1 0", "1 1", "2 0", "2 1"]
    assert [f"{line['config']['x']} {line['seed']}" for line in lines(runs)] == [
        "0 0",
        "1 0",
        "2 0",
        "0 1",
        "1 1",
        "2 1",
    ]


def test_trial_of_whose_files_one_is_missing_runs_again(runs, tmp_path, alone):
    def text(config, seed):
        return tmp_path / f"{config['x']}.txt"

    def picture(config, seed):
        return text(config, seed).with_suffix(".png")

    @sweep.writes(text, picture)
    def trial(config, seed):
        note(config, seed)
        text(config, seed).touch()
        picture(config, seed).touch()
        return {"y": config["x"]}

    configs = grid(x=range(4), log=str(tmp_path / "log"))
    study("files", trial, configs, [0])
    (tmp_path / "1.txt").unlink()
    (tmp_path / "3.png").unlink()
    assert study("files", trial, configs, [0]).y.tolist() == [0, 1, 2, 3]
    assert noted(tmp_path / "log") == ["0 0", "1 0", "1 0", "2 0", "3 0", "3 0"]


def times(factor):
    return lambda config, seed: {"y": factor * config["x"]}


def test_results_of_other_code_do_not_count(runs, alone):
    for factor in (2, 3, 2):
        assert study("code", times(factor), [{"x": 1}], [0]).y.tolist() == [factor]
    assert len(lines(runs)) == 2  # that of the first is still there


def test_failures_are_recorded_and_tried_again(runs, tmp_path, alone, capsys):
    def trial(config, seed):
        if config["x"] == 1 and not Path(config["folder"], "mended").exists():
            raise OSError("disk full\nreally")
        return {"y": 1}

    configs = grid(x=range(3), folder=str(tmp_path))
    table = study("fails", trial, configs, [0])
    assert list(table) == ["x", "folder", "seed", "y", "seconds", "error"]
    assert table.error[1].startswith("OSError: disk full\nreally (in trial, line ")
    assert table.y.isna().tolist() == [False, True, False]
    assert "fails: 1 of 3 trials failed" in capsys.readouterr().out
    (tmp_path / "mended").touch()
    assert study("fails", trial, configs, [0]).y.tolist() == [1, 1, 1]
    assert [line["config"]["x"] for line in lines(runs)] == [0, 1, 2, 1]


def test_torn_line_costs_one_trial(runs, alone):
    study("torn", describe, grid(x=[1, 2, 3]), [0])
    [path] = runs.rglob("*.jsonl")
    path.write_bytes(b"garbage \xff\n17\n{}\n" + path.read_bytes()[:-20])
    table = study("torn", describe, grid(x=[1, 2, 3, 4]), [0])
    assert table["sum"].tolist() == [1, 2, 3, 4] and (table.error == "").all()
    written = [line for line in path.read_bytes().splitlines() if line.startswith(b'{"config') and line.endswith(b"}")]
    assert [json.loads(line)["config"]["x"] for line in written] == [1, 2, 3, 4]


def single(config, seed):
    return {"y": config["x"] * config["width"] + seed}


def together(configs, seed):
    assert len({config["width"] for config in configs}) == 1
    if any(config["x"] < 0 for config in configs):
        raise ValueError("negative")
    return [{**single(config, seed), "size": len(configs)} for config in configs]


def test_batched_trials_give_the_table_of_single_ones(runs, alone):
    configs = grid(x=range(5), width=[3, 4])
    table = study("one", single, configs, [0, 1])
    by_width = study("many", batched(same="width")(together), configs, [0, 1])
    assert same(by_width.drop(columns="size"), table) and (by_width["size"] == 5).all()
    assert len(lines(runs / "many")) == 20

    few = batched(same=["width"], at_most=lambda config: config["width"] - 1)(together)  # 2 or 3 a call
    assert same(study("many", few, configs, [0, 1]), by_width)  # how trials are grouped is no part of the code
    study("few", few, configs, [0])
    assert sorted(line["result"]["size"] for line in lines(runs / "few")) == [1, 2, 2, 2, 2, 2, 2, 3, 3, 3]


@batched(same=("width",), at_most=3)
def marked(configs, seed):
    return together(configs, seed)


def test_batch_that_fails_is_recorded_for_each_of_its_trials(runs):
    table = study("bad", marked, grid(x=[1, 2, 3, -1, 5], width=7), [0])
    assert table["size"].tolist() == pytest.approx([3, 3, 3, math.nan, math.nan], nan_ok=True)
    assert table.error.str.startswith("ValueError: negative").tolist() == [False, False, False, True, True]
    with pytest.raises(KeyError, match="width"):
        study("missing", marked, [{"x": 1}], [0])


def kill_own_process(config, seed):
    if config["x"] == 2:
        os._exit(1)
    return {"y": config["x"]}


def test_trial_that_kills_its_worker_is_found(runs):
    table = study("killer", kill_own_process, grid(x=range(6)), [0])
    assert table.y.tolist() == pytest.approx([0, 1, math.nan, 3, 4, 5], nan_ok=True)
    assert table.error.str.startswith("TerminatedWorkerError").tolist() == [False, False, True, False, False, False]
    assert len(lines(runs)) == 6


SCRIPT = """
import sys, time
from pathlib import Path
import joblib
from helpers import session
from helpers.sweep import study

session.ROOT = Path(sys.argv[1])

def trial(config, seed):
    time.sleep(0.15)
    return {"y": 10 * config["x"] + seed}

if __name__ == "__main__":
    with joblib.parallel_config(n_jobs=int(sys.argv[2])):
        table = study("script", trial, [{"x": x} for x in range(int(sys.argv[3]))], [0, 1])
    assert (table.y == 10 * table.x + table.seed).all()
"""


@pytest.fixture
def script(tmp_path):
    """Return a function that starts a process that runs the script's study; at the end all of them are killed."""
    started = []
    (tmp_path / "script.py").write_text(SCRIPT)

    def start(n_jobs, configs):
        arguments = [sys.executable, tmp_path / "script.py", tmp_path, str(n_jobs), str(configs)]
        environment = {**os.environ, "PYTHONPATH": str(session.ROOT), "QUICK": "0"}
        process = subprocess.Popen(arguments, env=environment)
        started.append(psutil.Process(process.pid))
        return process

    def kill(process):
        """Kill a process; its orphaned workers, which would idle on for five minutes, live until the end."""
        started.extend(psutil.Process(process.pid).children(recursive=True))
        process.kill()
        process.wait(timeout=30)

    start.kill = kill
    yield start
    for process in list(started):
        with contextlib.suppress(psutil.NoSuchProcess):
            started += process.children(recursive=True)
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_resumption_after_kill_9(runs, script):
    process, end = script(n_jobs=2, configs=15), time.monotonic() + 120
    while sum(path.read_bytes().count(b"\n") for path in runs.rglob("*.jsonl")) < 7:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    script.kill(process)
    before = lines(runs)
    assert 6 <= len(before) < 30
    assert script(n_jobs=1, configs=15).wait(timeout=120) == 0
    after = lines(runs)
    assert after[: len(before)] == before
    assert sorted((line["config"]["x"], line["seed"]) for line in after) == [(x, s) for x in range(15) for s in (0, 1)]


def test_two_processes_at_once(runs, script):
    both = [script(n_jobs=1, configs=5) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    written = lines(runs)  # every one is whole
    found = {(line["config"]["x"], line["seed"]): line["result"]["y"] for line in written}
    assert len(written) == len(found), "a trial was computed twice"
    assert found == {(x, s): 10 * x + s for x in range(5) for s in (0, 1)}


def returns(result):
    return lambda config, seed: result


@pytest.mark.parametrize(
    ("name", "trial", "configs", "seeds", "message"),
    [
        ("../up", single, [], [], "name"),
        ("kept", single, [], [], "name"),
        ("a", single, [{"x": 1}, {"x": np.int64(1)}], [0], "twice"),
        ("a", single, [{"x": 1}], [0, 0], "twice"),
        ("a", single, [{"x": 1}], [0.5], "integer"),
        ("a", single, [{"seed": 1}], [0], "another name"),
        ("a", single, [{1: 1}], [0], "another name"),
        ("a", single, [3], [0], "dicts"),
        ("a", single, [{"x": {1, 2}}], [0], "set"),
        ("a", returns(3), [{"x": 1}], [0], "dicts"),
        ("a", returns({"y": {1, 2}}), [{"x": 1}], [0], "set"),
        ("a", returns({"x": 1}), [{"x": 1}], [0], "another name"),
        ("a", returns({"error": 1}), [{"x": 1}], [0], "another name"),
        ("a", batched("x")(returns([])), [{"x": 1}], [0], "shorter"),
    ],
)
def test_what_is_unfit_is_refused(name, trial, configs, seeds, message, runs, alone):
    with pytest.raises((ValueError, TypeError), match=message):
        study(name, trial, configs, seeds)
    assert not runs.exists()


def test_kept_studies_lie_apart_and_say_what_made_them(runs, alone):
    for xs in ([1], [1, 2, 3], [2, 3]):
        study("long", single, grid(x=xs, width=2), [0], keep=True)
    [path] = runs.rglob("*.jsonl")
    assert path == runs / "kept" / "long" / "v1.jsonl"
    told = [json.loads(line)["provenance"] for line in path.read_text().split("\n") if "provenance" in line]
    assert len(told) == 2 and told[0]["torch"] == torch.__version__ and "commit" in told[0]


@pytest.fixture
def kept(runs, alone, monkeypatch):
    """Keep a study of ten trials; return a function that makes it again with another factor, and its version."""
    monkeypatch.setattr(sweep, "_differences", [])
    monkeypatch.setattr(session, "caveats", [])
    study("ten", times(2), grid(x=range(1, 11)), [0], keep=True)
    return lambda factor, **options: study("ten", times(factor), grid(x=range(1, 11)), [0], keep=True, **options)


def test_another_algorithm_is_caught_by_the_recheck(kept, capsys):
    assert kept(3).y.tolist() == list(range(2, 21, 2))  # what was kept
    assert sweep.recheck_difference() > 0.05
    assert "differ" in capsys.readouterr().out
    assert kept(3, version=2).y.tolist() == list(range(3, 31, 3))


def test_the_same_algorithm_agrees_with_what_was_kept(kept, runs):
    before = lines(runs)
    kept(2, recheck=4)
    assert sweep.recheck_difference() == 0 and len(sweep._differences) == 4 and lines(runs) == before


def test_nothing_is_made_again_on_the_sample_or_if_not_wanted(kept, monkeypatch):
    kept(3, recheck=0)
    monkeypatch.setattr(session, "caveats", ["sample MNIST"])
    assert kept(3).y.tolist() == list(range(2, 21, 2))
    assert sweep.recheck_difference() == 0


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ({"a": 2.0}, {"a": 1.0}, 1.0),
        ({"a": (1.0, 6.0)}, {"a": (2.0, 2.0)}, 1.25),
        ({"a": (1.0,)}, {"a": (2.0, 2.0)}, 1.0),
        ({"a": math.nan}, {"a": 1.0}, math.inf),
        (
            {"a": math.nan, "b": -math.inf, "c": "x", "d": None},
            {"a": math.nan, "b": -math.inf, "c": "x", "d": None},
            0.0,
        ),
        ({"a": ("x", "y")}, {"a": ("x",)}, 1.0),
        ({"took": 5}, {"took": 1}, 0.0),
        ({"a": 1}, {"b": 1}, math.inf),
    ],
)
def test_differences_are_measured_by_the_size_of_a_result(new, old, expected):
    assert sweep._difference(new, old, [old]) == expected


def test_seeds_are_shifted_for_the_trial_alone(runs, alone, monkeypatch):
    monkeypatch.setattr(session, "SEEDS_FROM", 1000)
    table = study("fresh", lambda config, seed: {"y": seed}, [{"x": 1}], [0, 1])
    assert table["seed"].tolist() == [0, 1] and table["y"].tolist() == [1000, 1001]
    assert [line["seed"] for line in lines(runs)] == [1000, 1001]


def test_kept_seeds_are_shifted_by_their_own_number(runs, alone, monkeypatch):
    monkeypatch.setattr(session, "SEEDS_FROM", 1000)
    monkeypatch.setattr(session, "KEPT_SEEDS_FROM", 2)
    table = study("fresh", lambda config, seed: {"y": seed}, [{"x": 1}], [0, 1], keep=True)
    assert table["seed"].tolist() == [0, 1] and table["y"].tolist() == [2, 3]


WORDS = """
import joblib
from doctor import causes
from helpers import sweep
with joblib.parallel_config(n_jobs=1):
    table = sweep.study("words", lambda config, seed: {"y": len(causes.CAUSES)}, [{"x": 1}], [0], keep=True)
print(table["y"].tolist(), sweep.recheck_difference())
"""


def test_another_sentence_leaves_what_is_kept_valid(tmp_path):
    for package in ("helpers", "doctor"):
        shutil.copytree(session.ROOT / package, tmp_path / package)
    command, printed = [sys.executable, "-c", WORDS], []
    for _ in range(2):
        printed.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
        file = tmp_path / "doctor" / "causes.py"
        text = file.read_text()
        file.write_text(text.replace("Call optimizer.", "Please call optimizer.", 1))
        assert file.read_text() != text
    assert "run now" in printed[0] and "run now" not in printed[1] and printed[1].splitlines()[-1].endswith("0.0")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), cuts=st.sets(st.integers(1, 3)))
def test_a_study_goes_on_in_any_order(order, cuts, runs, alone):
    """Whatever part of the trials was there before, and in whatever order, the table is the same."""
    shutil.rmtree(runs, ignore_errors=True)
    for end in [*sorted(cuts), 4]:
        table = study("any", times(3), [{"x": x} for x in order[:end]], [1, 0])
    assert table["y"].tolist() == [3 * x for x in order for _ in range(2)] and len(lines(runs)) == 8


CELLS = [
    f"import os, sys\nos.environ['QUICK'] = '0'\nsys.path.insert(0, {str(session.ROOT)!r})",
    "from pathlib import Path\nfrom helpers import session\nfrom helpers.sweep import grid, study",
    "session.ROOT = Path.cwd()",
    "SCALE = 3\n\nclass Net:\n    def __call__(self, x):\n        return SCALE * x",
    "NETS = {'plain': Net}  # found by the trial, and its code, the same in each kernel",
    "def trial(config, seed):\n    assert 'a' in {'a', 'b'}\n    return {'y': NETS['plain']()(config['x']) + seed}",
    "table = study('cells', trial, grid(x=range(5)), range(2))",
    "print(table.y.tolist())",
]


def test_trial_of_a_notebook(runs, tmp_path):
    """Two kernels: the second reads what the first has run; either leaves one line of progress and no other output."""
    outputs = []
    for _ in range(2):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
        options = {"timeout": 120, "shutdown_kernel": "immediate", "resources": {"metadata": {"path": str(tmp_path)}}}
        NotebookClient(notebook, **options).execute()
        outputs.append([output for cell in notebook.cells for output in cell.outputs])
    assert [[output.output_type for output in kernel] for kernel in outputs] == [
        ["display_data", "stream"],
        ["stream"] * 2,
    ]
    assert outputs[0][0].data["text/plain"].startswith("cells: 100%") and "10/10" in outputs[0][0].data["text/plain"]
    assert (
        outputs[1][0].text.startswith("cells: 10 trials read from runs/cells/") and outputs[1][0].text.count("\n") == 1
    )
    assert outputs[0][1].text == outputs[1][1].text == str([3 * x + s for x in range(5) for s in range(2)]) + "\n"


def test_grid_is_the_full_product():
    assert grid(a=[1, 2], b="he", c=(None, 0.5)) == [{"a": a, "b": "he", "c": c} for a in (1, 2) for c in (None, 0.5)]


def load_sample(config, seed):
    session.caveats.append("sample MNIST")
    return {"y": 1}


def test_a_sample_that_only_the_trial_knows_stops_the_study(runs, alone):
    with pytest.raises(RuntimeError, match="met with sample MNIST, unlike this process"):
        study("secret", load_sample, [{"x": 1}], [0])
    assert not runs.exists()


def test_a_worker_learns_which_samples_are_known(runs):
    [(_, [record])] = [sweep._run(load_sample, ["sample MNIST", "sample CIFAR10"], 0, ([{"x": 1}], 0))]
    assert record["result"] == {"y": 1} and session.caveats[:2] == ["sample MNIST", "sample CIFAR10"]
