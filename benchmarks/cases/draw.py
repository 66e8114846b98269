"""Draws cases into development or held out, by their names alone (RULE.md).

python -m benchmarks.cases.draw: lists both.
"""

from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent


def is_for_development(name: str) -> bool:
    return int(sha256(name.encode()).hexdigest()[0], 16) < 6


def names(kind: str, development: bool) -> list[str]:
    """Return the names of a kind, "real" or "sound", that are for development, or that are held out."""
    found = sorted(path.stem for path in (HERE / kind).glob("[a-z]*.py"))
    return [name for name in found if is_for_development(name) == development]


if __name__ == "__main__":
    for kind in ("real", "sound"):
        for development, title in ((True, "development"), (False, "held out")):
            print(f"{kind}, {title}:", *names(kind, development))
