"""Says why a network does not learn: `Doctor` watches a training loop, `checks` tries a model before one.

It needs torch and numpy; where a table is shown, pandas. `checks` is imported when it is first used.
"""

import importlib

from doctor import causes
from doctor.diagnose import Doctor
from doctor.report import Check, Finding, Outcome, Report

__all__ = ["CAUSES", "Check", "Doctor", "Finding", "Outcome", "Report", "checks"]

CAUSES: tuple[str, ...] = tuple(causes.CAUSES)  # the vocabulary of causes


def __getattr__(name: str):
    if name == "checks":
        return importlib.import_module("doctor.checks")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
