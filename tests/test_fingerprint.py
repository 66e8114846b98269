"""A fingerprint changes with what can change a result, and with nothing else."""

import functools
import importlib
import linecache
import math
import os
import subprocess
import sys
import time
from types import ModuleType

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nbclient import NotebookClient

from helpers import data, ensemble, session
from helpers.fingerprint import fingerprint

PROJECT = {
    "tools/__init__.py": "",
    "tools/constants.py": "STEPS = 3\nUNUSED = 1\n",
    "tools/shared.py": '''
from pathlib import Path

RATE = 0.1
FOLDER = Path(__file__).parent
TABLE = {}
BASE = RATE * 2


def scale(x):
    """Scale."""
    return x * BASE + len(TABLE)


def register(function):
    TABLE[function.__name__] = function
    return function


TABLE["a"] = 1


@register
def registered(x):
    return x + 32


def unused(x):
    return x


class Net:
    factor = 4

    def forward(self, x):
        return even(x, 8)


def even(n, depth):
    return n == 0 or odd(n - 1, depth)


def odd(n, depth):
    return n != 0 and even(n - 1, depth)


def doubled(function):
    def wrapper(x):
        return 2 * function(x)

    return wrapper


@doubled
def decorated(x):
    return x + 16
''',
    "trial.py": '''
import functools
import torch
import tools.shared
from tools.constants import STEPS
from tools import shared as s
from tools.shared import decorated

OPTIONS = {"rate": 0.5, "act": torch.tanh}


def helper(x, power=2, folder=s.FOLDER):  # the project's folder differs from test to test
    return x**power


cubed = functools.partial(helper, power=3)


def trial(config: dict, seed: int) -> dict:
    """Say what it does."""
    import json
    rate = OPTIONS["rate"]  # a comment
    unused = [helper(x) for x in range(STEPS)]
    return {"y": cubed(s.Net().forward(tools.shared.scale(config["x"]))) + rate + decorated(1)}
''',
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes the project with one edit, imports it, and returns its trial's fingerprint."""

    def write(old="", new="", name="trial", started=math.inf):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        assert not old or any(old in text for text in PROJECT.values())
        for path, text in PROJECT.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text.replace(old, new) if old else text)
        monkeypatch.setattr(session, "ROOT", folder.resolve())
        monkeypatch.setattr(session, "STARTED", started)
        with monkeypatch.context() as context:
            context.syspath_prepend(folder)
            for module in [m for m in sys.modules if m.split(".")[0] in ("trial", "tools")]:
                context.delitem(sys.modules, module)
            importlib.invalidate_caches()
            found = fingerprint(getattr(importlib.import_module("trial"), name))
            for module in [m for m in sys.modules if m.split(".")[0] in ("trial", "tools")]:
                del sys.modules[module]
        return found

    return write


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('config["x"]))', 'config["z"]))'),  # the trial itself
        ("RATE = 0.1", "RATE = 0.2"),  # a constant that a constant of a called helper is made of
        ("STEPS = 3", "STEPS = 4"),  # imported by name
        ('"rate": 0.5', '"rate": 0.6'),
        ("torch.tanh", "torch.relu"),
        ("power=2", "power=4"),
        ("power=3", "power=4"),  # of a functools.partial
        ("x**power", "x ** (power + 1)"),
        ("factor = 4", "factor = 5"),  # of a class
        ("even(x, 8)", "even(x, 9)"),  # of a method
        ("n == 0 or", "n <= 0 or"),  # functions that call each other
        ("n != 0 and", "n > 0 and"),
        ("2 * function(x)", "3 * function(x)"),  # a decorator
        ("x + 16", "x + 17"),  # a decorated function
        ('TABLE["a"] = 1', 'TABLE["b"] = 1'),  # a constant that grows
        ("x + 32", "x + 33"),  # a function in a registry
    ],
)
def test_changes_with_what_changes_results(project, old, new):
    assert project(old, new) != project()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another\n\n"),
        ("Say what it does.", "Say it otherwise."),
        ('    """Scale."""\n', ""),
        ("config: dict, seed: int) -> dict", "config, seed)"),
        ("TABLE = {}", "TABLE: dict = {}\n\n\n"),
        ("UNUSED = 1", "UNUSED = 2"),
        ("def unused(x):\n    return x", "def unused(x):\n    return 2 * x"),  # `unused` is a local name in the trial
    ],
)
def test_stays_with_what_does_not(project, old, new):
    assert project(old, new) == project()


def test_a_file_edited_after_the_start_is_refused(project):
    with pytest.raises(ValueError, match=r"^trial\.py was edited after .*: start the kernel again\.$"):
        project(started=time.time() - 10)


def test_constants_of_an_edited_file_are_refused(project, tmp_path, monkeypatch):
    def read_by(trial):
        monkeypatch.setattr(session, "STARTED", time.time() - 10)
        os.utime(path, (0, 0))
        first = fingerprint(trial)
        os.utime(path)
        with pytest.raises(ValueError, match=r"^settings\.py was edited"):
            fingerprint(trial)
        return first

    path = tmp_path / "settings.py"
    path.write_text("STEPS = 3\n")
    monkeypatch.setattr(session, "ROOT", tmp_path)
    settings = ModuleType("settings")
    settings.STEPS, settings.__file__ = 3, str(path)
    scope = {"settings": settings, "__name__": "__main__"}
    lines = ["def trial(config, seed):\n", "    return settings.STEPS\n"]
    linecache.cache["<cell>"] = len("".join(lines)), None, lines, "<cell>"
    exec(compile("".join(lines), "<cell>", "exec"), scope)
    assert read_by(scope["trial"])


@pytest.mark.parametrize("line", ["from tools.shared import decorated", "import tools.shared", "from . import tools"])
def test_the_projects_code_is_imported_at_the_top(project, line):
    with pytest.raises(ValueError, match=f'^Move "{line}" out of the function: a study must see what code it runs\\.$'):
        project("import json", line)


SNIPPET = '''
import functools
from dataclasses import dataclass
from math import pi, sqrt
from pathlib import Path

TABLE = {"a": 0.1, "b": (1, None, True), "c": [b"x", 2j, -0.5], "d": {3, 1}, "e": len}
HERE = Path(__file__).parent / "runs"


@dataclass(frozen=True)
class Point:
    """A point."""
    x: float = 1.0
    y: float = sqrt(pi)

    def norm(self, *, power: int = 2) -> float:
        return sum(v**power for v in (self.x, self.y)) ** (1 / power)


@functools.cache
def cached(x):
    return [y for y in range(x) if (z := y % 2)] or {k: v for k, v in TABLE.items()}


def outer(factor):
    def inner(config, seed, *rest, flag=HERE, **more):
        text = f"{config!r:>{seed}} {{}} {factor:.2f}" f"{seed=} {seed:}" "end" + f"{config['a']}"
        match config:
            case {"a": [1, *_], **others} if others:
                return text[1:-1:2], lambda z, /: z @ seed
            case Point(x=0) | None:
                pass
        try:
            with open("file") as file:
                rest = [*file, *map(str, rest)]
        except (OSError, ValueError) as error:
            raise RuntimeError from error
        return Point(), cached(3), torch.float32, functools.reduce(max, [1]), start.norm
    return inner


import torch
start = Point(2.0)
trial = functools.partial(outer(3), seed=1)
'''


def test_hash_is_the_same_with_every_version_of_python(tmp_path, monkeypatch):
    path = tmp_path / "snippet.py"
    path.write_text(SNIPPET)
    monkeypatch.setattr(session, "ROOT", tmp_path)
    monkeypatch.setattr(session, "STARTED", math.inf)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "snippet", None)  # to have it removed
    del sys.modules["snippet"]
    assert fingerprint(importlib.import_module("snippet").trial) == "9351d48977ad"


def test_what_loads_data_does_not_hang_on_what_was_loaded(monkeypatch):
    def trial(configs, seed):
        return ensemble.train(configs, seed, data.split("MNIST", device=session.device()))

    before = fingerprint(trial)
    monkeypatch.setattr(data, "_loaded", {"MNIST": torch.zeros(1)})
    monkeypatch.setattr(session, "caveats", ["stand-in MNIST"])
    assert fingerprint(trial) == before
    monkeypatch.setitem(ensemble.OWN, "lr", 0.2)
    assert fingerprint(trial) != before


CELLS = [
    "import dataclasses, functools, torch\nfrom torch import nn",
    "WIDTH = 3",
    "class Net(nn.Module):\n    def forward(self, x):\n        return x * 1",
    "@dataclasses.dataclass\nclass Options:\n    rate: float = 0.1",
    "class Net(nn.Module):\n    def forward(self, x):\n        return x * WIDTH",
    "options = Options()",
    "def train(x):  # comment\n    return Net()(x), options.rate, Options\n",
    "@torch.no_grad()\ndef trial(config, seed):\n    return train(functools.reduce(max, [1]))",
]


def test_is_the_same_in_every_kernel_and_in_a_script(tmp_path):
    start = f"import sys\nsys.path.insert(0, {str(session.ROOT)!r})\nfrom helpers.fingerprint import fingerprint"
    cells = [start, *CELLS, "print(fingerprint(trial))", "WIDTH = 4", "print(fingerprint(trial))"]
    script = tmp_path / "script.py"
    cells_of_script = [cell for cell in cells if not cell.endswith("x * 1")]  # what a later cell defines anew
    script.write_text("\n".join(cells_of_script).replace("# comment", ""))
    command = [sys.executable, script]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60).execute()
    assert [output.text.strip() for cell in notebook.cells for output in cell.outputs] == printed
    assert printed[0] != printed[1]


def closing_over(value):
    return lambda config, seed: value


def with_default(config, seed, images=torch.zeros(2)):  # noqa: B008 (what is tested)
    return images


def test_closures_and_constants_count_by_value():
    values = [1, 1.0, "1", None, (1, 2), [1, 2], {1, 2}, {"a": 1}, np.float32(0.1), torch.float32, np.add, np.multiply]
    prints = [fingerprint(closing_over(value)) for value in values]
    assert len(set(prints)) == len(values)
    assert prints == [fingerprint(closing_over(value)) for value in values]
    assert fingerprint(closing_over({"a": 1, "b": 2})) != fingerprint(closing_over({"a": 1, "b": 3}))
    assert fingerprint(functools.partial(closing_over, 1)) != fingerprint(functools.partial(closing_over, 2))


@pytest.mark.parametrize("value", [torch.zeros(2), np.zeros(2), torch.nn.Linear(1, 1), object(), list[int]])
def test_what_would_travel_with_every_task_is_refused(value):
    with pytest.raises(TypeError, match=f'"value" \\({type(value).__name__}\\), which would travel'):
        fingerprint(closing_over({"inside": [value]}))


def test_default_tensor_is_refused():
    with pytest.raises(TypeError, match="a default of with_default"):
        fingerprint(with_default)


def test_missing_source_is_refused():
    scope = {"__name__": "__main__"}
    exec("def made(config, seed): return {}", scope)
    one, two = lambda: 1, lambda: 2
    for function in (scope["made"], one, two):
        with pytest.raises(ValueError, match="cannot be told"):
            fingerprint(function)


def test_foreign_functions_count_by_name():
    foreign = [torch.tanh, torch.sigmoid, torch.Tensor.tanh, F.max_pool1d, F.max_pool2d, np.mean, np.add, len]
    assert len({fingerprint(function) for function in foreign}) == len(foreign)
    assert fingerprint(torch.nn.functional.relu) == fingerprint(torch.nn.functional.relu)
    assert fingerprint(torch.nn.functional.relu) != fingerprint(torch.nn.functional.tanh)


def test_a_result_version_stands_for_the_code():
    def versioned(x):
        return x

    def trial(config, seed):
        return versioned(seed)

    by_code = fingerprint(trial)
    versioned.result_version = 1
    first = fingerprint(trial)
    versioned.result_version = 2
    assert len({by_code, first, fingerprint(trial)}) == 3
