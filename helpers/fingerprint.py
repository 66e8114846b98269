"""A short hash of what a function computes: of its code, the project's code that it calls, and their constants."""

import ast
import contextlib
import functools
import hashlib
import inspect
import re
import symtable
import sys
from importlib.util import resolve_name
from pathlib import Path, PurePath
from types import FunctionType, MethodType, ModuleType, NoneType

import numpy as np
import torch

from helpers import session

CONSTANTS = (NoneType, bool, int, float, complex, str, bytes, range, torch.dtype, torch.device)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
MARKER = ("batched",)  # a decorator that says how trials are run, not what they compute


def fingerprint(function) -> str:
    """Return a hash that changes with everything in the project that can change what `function` computes.

    It covers the code without comments, layout, docstrings and annotations; the functions and classes of the project
    or notebook that it reaches by a global name, a module's attribute, an import, a closure, a default or a
    functools.partial, and theirs in turn; and their constants: a notebook's by value, a module's by the statement
    that sets it, since workers import the module afresh. Other packages count by name only, whatever their version;
    so does a function whose results do not hang on its code and that says so by an attribute `result_version`.
    The hash is the same in every process, and wherever the project's folder lies.

    Raises TypeError for whatever else the function refers to, above all tensors, arrays and models: they would travel
    with each task, so they belong inside the function; ValueError where a source cannot be found.
    """
    return hashlib.sha256(repr(_Reader().value(function, "the function")).encode()).hexdigest()[:12]


class _Reader:
    """Describes code and constants by nested tuples of strings; what was met before is given by its number."""

    def __init__(self):
        self.met = {}  # key -> (number, object); holding the object keeps its id from being used again

    def value(self, value, name):
        """Describe an object; `name` is what an error message calls it."""
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, CONSTANTS):
            return repr(value)
        if isinstance(value, PurePath):
            inside = value.is_relative_to(session.ROOT)
            return "path", (value.relative_to(session.ROOT) if inside else value).as_posix()
        if isinstance(value, (list, tuple)):
            return type(value).__name__, *(self.value(item, name) for item in value)
        if isinstance(value, (set, frozenset)):
            return "set", *sorted(repr(self.value(item, name)) for item in value)
        if isinstance(value, dict):
            return "dict", *((self.value(key, name), self.value(item, name)) for key, item in value.items())
        if isinstance(value, functools.partial):
            return "partial", self.value((value.func, value.args, value.keywords), name)
        if isinstance(value, MethodType):
            return "method", self.value((value.__func__, value.__self__), name)
        if isinstance(value, ModuleType):
            return "module", value.__name__
        return self.once(id(value), value, lambda: self.object(value, name))

    def once(self, key, value, describe):
        """Describe what may refer back to itself."""
        if key in self.met:
            return "met", self.met[key][0]
        self.met[key] = len(self.met), value
        return describe()

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
        if label := getattr(value, "__qualname__", getattr(value, "__name__", None)):
            decorated = getattr(value, "__wrapped__", None)  # by a decorator of another package
            return "other", str(getattr(value, "__module__", None)), label, self.value(decorated, name)
        if _ours(_home(type(value))):
            return "instance", self.value((type(value), vars(value)), name)
        raise TypeError(
            f'The function refers to "{name}" ({type(value).__name__}), which would travel with every task: '
            "load or build it inside the function."
        )

    def code(self, nodes, module, closure):
        """Describe pieces of code and all that they refer to; `module` holds their global names."""
        tree = _stripped(nodes)
        near = closure | _imports(tree, module)
        found = []
        for chain in sorted(_chains(tree, near)):
            space, name = near if chain[0] in near else module, chain[0]
            for attribute in chain[1:]:
                if not (isinstance(space.get(name), ModuleType) and _ours(vars(space[name]))):
                    break
                space, name = vars(space[name]), attribute
            if name in space and not name.startswith("__"):  # `__file__` tells of this machine
                by_value = space is near or space.get("__name__") == "__main__"
                found.append(self.value(space[name], name) if by_value else self.variable(space, name))
        return _dump(tree), *found

    def variable(self, module, name):
        """Describe a constant by the statements that set it: its value may be a cache."""
        value = module[name]
        statements = [] if isinstance(value, (FunctionType, type, ModuleType)) else _statements(module, name)
        if not statements:
            return self.value(value, name)
        return self.once((module["__name__"], name), value, lambda: self.code(statements, module, {}))


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

    try:
        nodes = [node for node in ast.walk(ast.parse(_source(thing))) if defines(node)]
    except (OSError, TypeError, SyntaxError):
        nodes = []
    if not nodes or (len(nodes) > 1 and not is_class):
        raise ValueError(
            f"The source of {name} cannot be told: define it in a cell or a file, one lambda on a line, and start "
            "the kernel again where that file was edited."
        )
    return nodes


def _source(thing) -> str:
    """Return the text of the cell or file that defines a function or class."""
    cells = _home(thing).get("In", []) if thing.__module__ == "__main__" and isinstance(thing, type) else []
    for cell in reversed(cells):  # inspect finds the functions of a cell, but not its classes
        if re.search(rf"^\s*class {thing.__name__}\b", cell, re.MULTILINE):
            return cell
    return "".join(inspect.findsource(thing)[0])


def _statements(module: dict, name: str) -> list:
    """Return the statements of a module's top level, other than definitions, that give `name` its value."""

    def sets(node):
        stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name
        return stored or (isinstance(node, ast.alias) and (node.asname or node.name) == name)

    body = ast.parse(Path(module["__file__"]).read_text(encoding="utf-8")).body
    return [s for s in body if not isinstance(s, (*FUNCTIONS, ast.ClassDef)) and any(map(sets, ast.walk(s)))]


def _stripped(nodes: list) -> ast.Module:
    """Return code without what changes no result: docstrings, annotations of arguments and results, our marker."""
    tree = ast.Module(nodes, [])
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
            node.decorator_list = [d for d in node.decorator_list if _dotted(getattr(d, "func", d))[-1:] != MARKER]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _imports(tree, module: dict) -> dict:
    """Return what the import statements within code give names to: modules, and what those of the project hold."""
    found, package = {}, {"__package__": module.get("__package__"), "__name__": module.get("__name__")}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        with contextlib.suppress(ImportError):
            bound = {}
            exec(ast.unparse(node), package, bound)
            if isinstance(node, ast.ImportFrom):
                origin = resolve_name("." * node.level + (node.module or ""), package["__package__"])
            if isinstance(node, ast.Import) or _ours(vars(sys.modules[origin])):
                found |= bound
    return found


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
    """Return a syntax tree as nested tuples, without empty fields: these come and go with Python's versions."""
    if isinstance(node, list):
        return tuple(map(_dump, node))
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, _dump(value)) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return type(node).__name__, *fields
