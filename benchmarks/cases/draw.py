"""Draws cases into development or held out, by their names alone, and finds them (RULE.md).

python -m benchmarks.cases.draw: lists all.
"""

import importlib
from hashlib import sha256
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
KINDS, WHOLE = ("real", "sound"), ("second", "third")  # sets that were written later, and held out as a whole
SETS = ("development", "held-out", *WHOLE)


def is_for_development(name: str) -> bool:
    return int(sha256(name.encode()).hexdigest()[0], 16) < 6


def names(kind: str, part: str) -> list[str]:
    """Return the names of a kind, "real" or "sound", that belong to a part, one of SETS."""
    if part in WHOLE:
        return sorted(path.stem for path in (HERE / part / kind).glob("[a-z]*.py"))
    found = sorted(path.stem for path in (HERE / kind).glob("[a-z]*.py"))
    return [name for name in found if is_for_development(name) == (part == "development")]


def load(name: str) -> ModuleType:
    """Import a case. Raises ValueError for a name that none has."""
    for path in HERE.glob(f"**/{name}.py"):
        return importlib.import_module(".".join(["benchmarks.cases", *path.relative_to(HERE).with_suffix("").parts]))
    raise ValueError(f"There is no case {name!r}: `python -m benchmarks.cases.draw` lists them.")


if __name__ == "__main__":
    for kind in KINDS:
        for part in SETS:
            print(f"{kind}, {part}:", *names(kind, part))
