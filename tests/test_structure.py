"""The shape of the project: who may import whom, and how large each part may grow."""

import ast
import re
import statistics

import nbformat
import pytest

from helpers import session

ROOT = session.ROOT

# Lines of a part in all; beyond them a change has to take something away.
BUDGETS = {"helpers": 2699, "doctor": 5031, "submission.py": 350, "handin_notebook.py": 335}
MODULE = 400  # lines
FUNCTION, MEDIAN = 40, 12  # lines, from `def` to the end, docstring and blank lines included

# What a part may import of the project, beside itself.
ARROWS = {
    "helpers": {"doctor.measure"},
    "doctor": set(),
    "benchmarks": {"doctor", "helpers"},
    "submission.py": {"helpers.session", "handin_notebook"},
    "handin_notebook.py": set(),
}
NOTEBOOKS_MAY_IMPORT = {"helpers", "doctor"}
REMOVED = ("fingerprint", "standin", "result_version", "allow_standin")


def modules(part):
    """Return the Python files of a part: a package, or a single file at the root."""
    files = [ROOT / part] if part.endswith(".py") else sorted((ROOT / part).rglob("*.py"))
    assert files
    return files


def read(path):
    return path.read_text(encoding="utf-8")


def imports(source, package=()):
    """Yield the dotted names that code imports, each with what is taken from a module; `package`: where it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            module = [*parents, *([node.module] if node.module else [])]
            yield from (".".join([*module, name.name]) for name in node.names)


def forbidden(names, allowed):
    """Return the names that belong to the project and lie below none of `allowed`."""
    ours = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/*.py")}
    return {
        name
        for name in names
        if name.split(".")[0] in ours and not any(f"{name}.".startswith(f"{prefix}.") for prefix in allowed)
    }


@pytest.mark.parametrize("part", ARROWS)
def test_a_part_imports_only_what_it_may(part):
    allowed = ARROWS[part] | {part.removesuffix(".py")}
    for path in modules(part):
        package = path.relative_to(ROOT).parent.parts
        assert not forbidden(imports(read(path), package), allowed), path


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_imports_only_what_it_may(path):
    cells = nbformat.read(path, as_version=4).cells
    sources = [re.sub(r"(?m)^\s*[%!].*$", "", cell.source) for cell in cells if cell.cell_type == "code"]
    found = forbidden((name for source in sources for name in imports(source)), NOTEBOOKS_MAY_IMPORT)
    assert found == set()


@pytest.mark.parametrize("part", BUDGETS)
def test_a_part_keeps_to_its_budget(part):
    lines = {path.relative_to(ROOT).as_posix(): len(read(path).splitlines()) for path in modules(part)}
    assert sum(lines.values()) <= BUDGETS[part]
    assert {path: count for path, count in lines.items() if count > MODULE} == {}


@pytest.mark.parametrize("part", BUDGETS)
def test_functions_are_short(part):
    functions = [
        (node.end_lineno - node.lineno + 1, f"{path.relative_to(ROOT).as_posix()}: {node.name}")
        for path in modules(part)
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert [(lines, name) for lines, name in functions if lines > FUNCTION] == []
    assert statistics.median(lines for lines, _ in functions) <= MEDIAN


@pytest.mark.parametrize("part", ["helpers", "doctor"])
def test_nothing_opens_a_window(part):
    calls = (node for path in modules(part) for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.Call))
    assert not [ast.unparse(call) for call in calls if getattr(call.func, "attr", "") == "show"]


def test_what_was_removed_is_not_mentioned():
    texts = [*ROOT.glob("*.*"), *(path for part in ("docs", "runs/kept", "data") for path in ROOT.glob(f"{part}/*.md"))]
    texts += [path for part in ("helpers", "doctor", "benchmarks", "tests") for path in ROOT.glob(f"{part}/**/*.py")]
    texts += ROOT.glob("notebooks/*.ipynb")
    mention = re.compile(rf"\b({'|'.join(REMOVED)})\b")
    others = (path for path in texts if path.is_file() and path.name != "test_structure.py")
    assert {path.name: mention.findall(read(path)) for path in others if mention.search(read(path))} == {}


def definitions(name):
    """Return the code of each function and class of a notebook, by name."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    trees = (ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", cell.source)) for cell in cells if cell.cell_type == "code")
    return {node.name: ast.unparse(node) for tree in trees for node in tree.body if hasattr(node, "name")}


def test_notebook_08_uses_the_code_that_02_explains():
    explained, used = definitions("02_failure_diagnoses"), definitions("08_more_failures")
    differ = {name for name in explained.keys() & used.keys() if explained[name] != used[name]}
    assert differ == {"train", "sound"}  # there with more settings
    assert {"MLP", "batches", "outcome", "here", "prove", "by_change"} <= used.keys()
