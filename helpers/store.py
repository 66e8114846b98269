"""The file of a study: one JSON object a line for each trial, and one for each session of appending, what made it."""

import errno
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch

from helpers import session


def key(config, seed) -> str:
    """Return what tells a trial from all others of its study."""
    return json.dumps([config, seed], sort_keys=True)


class Store:
    """The trials of a study: read from what is committed, if they are kept, and from `path`, to which it appends."""

    def __init__(self, name: str, file: str, trial, keep: bool):
        self.path = session.folder("runs") / ("kept" if keep else "") / name / file
        committed = session.kept_path(f"{name}/{file}")
        self.sources = [*([committed] if keep and committed != self.path else []), self.path]
        self.keep, self.begun, self.commit = keep, False, None
        self.texts, self.files = _dependencies(trial)

    def read(self) -> dict:
        """Return {key: record}, the last one of each key; a cache of other code is deleted."""
        lines = [line for path in self.sources if path.exists() for line in path.read_bytes().splitlines()]
        headers, records = _parse(lines)
        if not self.keep and lines and {header.get("code") for header in headers} != {self._code()}:
            self.path.unlink()
            return {}
        self.commit = headers[-1]["commit"] if headers and self.keep else None
        return records

    def append(self, configs, seed, results, seconds, error) -> dict:
        """Append a group in one write, never parted on a local POSIX file system; return it as `read` does."""
        lines = [
            {"config": config, "seed": seed, "result": result, "seconds": seconds, "error": error}
            for config, result in zip(configs, results or [{}] * len(configs), strict=True)
        ]
        if not self.begun:
            lines.insert(0, {"provenance": _provenance()} if self.keep else {"code": self._code()})
        lines = [b"\n" + json.dumps(line).encode() for line in lines]  # the break comes first, to end a torn line
        content = b"".join(lines)
        with session.saving(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab", buffering=0) as file:
                if file.write(content) < len(content):  # the disk became full within them
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
        self.begun = True
        return _parse(lines)[1]

    def changes(self) -> str:
        """Name the project's files that the trial depends on and that have changed since it was kept."""
        if not self.commit:
            return ""
        changed = _git("diff", "--name-only", self.commit, "--", *sorted(map(str, self.files))) or ""
        return f"; since they were kept these have changed: {', '.join(changed.split())}" if changed else ""

    def _code(self) -> str:
        parts = [*sorted(self.texts), *(path.read_text(encoding="utf-8") for path in sorted(self.files))]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _parse(lines) -> tuple[list[dict], dict]:
    """Return what is said of the sessions of appending, and {key: record}, the last one of each key."""
    headers, records = [], {}
    for line in lines:
        try:
            record = json.loads(line)
            if "config" in record:
                records[key(record["config"], record["seed"])] = {k: record[k] for k in ("result", "seconds", "error")}
            elif header := record.get("provenance") or ("code" in record and record):
                headers.append(header)
        except (ValueError, TypeError, KeyError):
            continue  # torn by a kill in mid-write: its trial runs again
    return headers, records


def _provenance() -> dict:
    status = _git("status", "--porcelain")
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    where = {"processor": platform.processor() or platform.machine(), "date": datetime.now(timezone.utc).isoformat()}
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status), **versions, **where}


def _git(*arguments: str) -> str | None:
    """Return what git says in the project's folder, None where there is no git or it fails."""
    if not (session.ROOT / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", *arguments], cwd=session.ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _dependencies(trial) -> tuple[list[str], set[Path]]:
    """Return what a trial reaches: texts of a notebook's functions and constants, and files of the project."""
    texts, files, met, waiting = [], set(), {}, [trial]
    while waiting:
        thing = waiting.pop()
        if id(thing) in met:
            continue
        met[id(thing)] = thing  # held, so that its id is not used again
        module = thing if isinstance(thing, ModuleType) else sys.modules.get(getattr(thing, "__module__", None) or "")
        path = Path(getattr(module, "__file__", None) or os.devnull)
        ours = path.is_relative_to(session.ROOT) and "site-packages" not in path.parts
        if ours and path not in files:
            files.add(path)
            waiting += vars(module).values()
        if isinstance(thing, FunctionType):
            waiting += [cell.cell_contents for cell in thing.__closure__ or ()]
        if isinstance(thing, functools.partial):
            waiting += [thing.func, *thing.args, *thing.keywords.values()]
        elif getattr(thing, "__module__", None) == "__main__" and isinstance(thing, type):
            waiting += [*vars(thing).values(), *thing.__bases__]
        elif getattr(thing, "__module__", None) == "__main__" and isinstance(thing, (FunctionType, MethodType)):
            codes, names = _read_code(thing.__code__)
            texts += codes
            waiting += [thing.__globals__[name] for name in names if name in thing.__globals__]
        elif isinstance(thing, (bool, int, float, str, tuple, list, dict)):
            texts.append(repr(thing))
    return texts, files


def _read_code(code: CodeType) -> tuple[list[str], list[str]]:
    """Return what tells a function's code from others, comments and layout apart, and the names in it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    texts, names = [f"{code.co_code.hex()} {constants!r} {code.co_names}"], list(code.co_names)
    for more in map(_read_code, inner):
        texts += more[0]
        names += more[1]
    return texts, names
