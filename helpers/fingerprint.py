"""A short hash of what a function computes: of its code, the project's code that it calls, and their constants."""

import ast
import copy
import functools
import hashlib
import inspect
import linecache
import re
import symtable
import sys
from importlib.machinery import PathFinder
from pathlib import Path, PurePath
from types import FunctionType, MethodType, ModuleType, NoneType

import numpy as np
import torch

from helpers import session

CONSTANTS = (NoneType, bool, int, float, complex, str, bytes, range, torch.dtype, torch.device)
MARKS = {"batched", "writes"}  # decorators that tell a study how to run a trial
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def fingerprint(function) -> str:
    """Return a hash that changes with what the project holds of the ways in which `function` gets its results.

    It covers the code without comments, layout, docstrings and annotations; the functions and classes of the project
    or notebook that it reaches by a global name, a module's attribute, a closure, a default or a functools.partial,
    and theirs in turn; and the present values of the constants that they name. Other packages count by name only,
    whatever their version; so does a function whose results do not hang on its code and that says so by an attribute
    `result_version`. The hash is the same in every process and Python, and wherever the project's folder lies.
    It does not see what is reached by getattr(module, name) or through a module that is handed on as an object, what
    is set on a class from outside, and data files.
    Raises TypeError for whatever else the function refers to, above all tensors, arrays and models: they would travel
    with each task, so they belong inside the function; ValueError where a source cannot be found or is newer than
    this process, which then still runs the old one, and for an import of the project's code within a function.
    """
    return hashlib.sha256(repr(_Reader().value(function, "the function")).encode()).hexdigest()[:12]


class _Reader:
    """Describes code and constants by nested tuples of strings; what was met before is given by its number."""

    def __init__(self):
        self.met = {}  # id -> (number, object); holding the object keeps its id from being used again

    def value(self, value, name):
        """Describe an object; `name` is what an error message calls it."""
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, CONSTANTS):
            return repr(value)
        if isinstance(value, PurePath):  # trials may write below session.folder
            return "path", session.shown(value)
        if isinstance(value, (list, tuple)):
            return type(value).__name__, *(self.value(item, name) for item in value)
        if isinstance(value, (set, frozenset)):
            return "set", self.value(sorted(value, key=repr), name)
        if isinstance(value, dict):
            return "dict", *((self.value(key, name), self.value(item, name)) for key, item in value.items())
        if isinstance(value, functools.partial):
            return "partial", self.value((value.func, value.args, value.keywords), name)
        if isinstance(value, MethodType):
            return "method", self.value((value.__func__, value.__self__), name)
        if isinstance(value, ModuleType):
            return "module", value.__name__
        if id(value) in self.met:  # it may refer back to itself
            return "met", self.met[id(value)][0]
        self.met[id(value)] = len(self.met), value
        return self.object(value, name)

    def object(self, value, name):
        """Describe a function, a class or an instance."""
        if (version := getattr(value, "result_version", None)) is not None:
            return "version", value.__qualname__, version
        if isinstance(value, FunctionType) and _ours(value.__globals__):
            defaults = self.value((value.__defaults__, value.__kwdefaults__), f"a default of {value.__name__}")
            closure = inspect.getclosurevars(value).nonlocals
            return "function", defaults, self.code(_definition(value), value.__globals__, closure)
        if isinstance(value, type) and _ours(_home(value)):
            return "class", self.code(_definition(value), _home(value), {})
        is_class = issubclass(type(value), type)  # isinstance is true of list[int] in Python 3.10
        if inspect.isroutine(value) or is_class or isinstance(value, np.ufunc) or hasattr(value, "__wrapped__"):
            package = str(getattr(value, "__module__", None)).split(".")[0]  # modules move within it
            label, wrapped = value.__name__, getattr(value, "__wrapped__", None)  # by a decorator of another package
            return "other", package, label, getattr(value, "__qualname__", label), self.value(wrapped, name)
        if _ours(_home(type(value))):
            return "instance", self.value((type(value), vars(value)), name)
        raise TypeError(
            f'The function refers to "{name}" ({type(value).__name__}), which would travel with every task: '
            "load or build it inside the function."
        )

    def code(self, nodes, module, closure):
        """Describe pieces of code and all that they refer to; `module` holds their global names."""
        tree, found = _stripped(nodes), []
        for chain in sorted(_chains(tree, closure)):
            space, name = closure if chain[0] in closure else module, chain[0]
            for attribute in chain[1:]:
                if not (isinstance(space.get(name), ModuleType) and _ours(vars(space[name]))):
                    break
                space, name = vars(space[name]), attribute
            if name in space and not name.startswith("__"):  # `__file__` tells of this machine
                if "__file__" in space:
                    _text(Path(space["__file__"]))  # workers may have the constants of an edited file
                found.append(self.value(space[name], name))
        return _dump(tree), *found


def _ours(module: dict) -> bool:
    """Tell whether a module, given by its names, is the notebook (or script) or belongs to the project."""
    path = Path(module.get("__file__") or "/").resolve()
    inside = path.is_relative_to(session.ROOT) and "site-packages" not in path.parts
    return inside or module.get("__name__") == "__main__"


def _home(cls) -> dict:
    """Return the names of the module that defines a class."""
    return getattr(sys.modules.get(cls.__module__), "__dict__", {})


def _definition(thing) -> list:
    """Return the syntax tree of a function; of a class, those of all the classes of its name in that file or cell."""
    is_class = isinstance(thing, type)
    kinds, name = (ast.ClassDef, thing.__name__) if is_class else (FUNCTIONS, thing.__code__.co_name)

    def defines(node):
        if not isinstance(node, kinds) or getattr(node, "name", "<lambda>") != name:
            return False
        first_line = min(part.lineno for part in [node, *getattr(node, "decorator_list", [])])
        return is_class or first_line == thing.__code__.co_firstlineno

    nodes = [node for node in _definitions(_source(thing)) if defines(node)]
    if not nodes or (len(nodes) > 1 and not is_class):
        raise ValueError(f"The source of {name} cannot be told: define it in a cell or a file, one lambda on a line.")
    return copy.deepcopy(nodes)  # to be stripped


@functools.lru_cache
def _definitions(text: str) -> list:
    """Return the syntax trees of all functions and classes of a file or cell, which takes longer than all the rest."""
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, (*FUNCTIONS, ast.ClassDef))]


def _source(thing) -> str:
    """Return the text of the file or cell that defines a function or class."""
    module = getattr(thing, "__globals__", None) or _home(thing)
    if "__file__" in module:
        return _text(Path(module["__file__"]))
    if isinstance(thing, FunctionType):
        return "".join(linecache.getlines(thing.__code__.co_filename))
    defines = re.compile(rf"^\s*class {thing.__name__}\b", re.MULTILINE)
    return next((cell for cell in reversed(module.get("In", [])) if defines.search(cell)), "")


def _text(path: Path) -> str:
    """Read a file of code, which must be the one that this process has imported."""
    if path.stat().st_mtime > session.STARTED:
        raise ValueError(f"{session.shown(path)} was edited after this kernel had started: start the kernel again.")
    return path.read_text(encoding="utf-8")


def _stripped(nodes: list) -> ast.Module:
    """Return code without what changes no result: docstrings, annotations, the decorators of helpers.sweep."""
    tree = ast.Module(nodes, [])
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _refuse_ours(node)
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
            node.decorator_list = [d for d in node.decorator_list if not MARKS & {*_dotted(getattr(d, "func", d))}]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _refuse_ours(node) -> None:
    """Raise a ValueError for an import of the project's code, which none could follow without executing it."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    specs = (PathFinder.find_spec(name.split(".")[0]) for name in names)
    places = (spec.origin or next(iter(spec.submodule_search_locations)) for spec in specs if spec)
    if getattr(node, "level", 0) or any(_ours({"__file__": place}) for place in places):
        raise ValueError(f'Move "{ast.unparse(node)}" out of the function: a study must see what code it runs.')


def _chains(tree, near: dict) -> set:
    """Return the names that code has from outside, each with the attributes taken from it: {("a", "b")}."""
    tables, outside = [symtable.symtable(ast.unparse(tree), "code", "exec")], set(near)
    for table in tables:
        tables += table.get_children()
        outside |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    chains = {chain for node in ast.walk(tree) if (chain := _dotted(node)) and chain[0] in outside}
    return chains | {(name,) for name in near}


def _dotted(node) -> tuple:
    """Return ("a", "b") for the expression a.b, and () for what is more than names."""
    if isinstance(node, ast.Attribute):
        return (*base, node.attr) if (base := _dotted(node.value)) else ()
    return (node.id,) if isinstance(node, ast.Name) else ()


def _dump(node):
    """Return a syntax tree as nested tuples, without what comes and goes with Python's versions: its empty fields."""
    if isinstance(node, list):
        return tuple(map(_dump, node))
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.JoinedStr):
        node.values = [value for value in node.values if getattr(value, "value", None) != ""]
    fields = ((name, _dump(value)) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return type(node).__name__, *fields
