"""Says why a network does not learn: `Doctor` watches a training loop, `checks` tries a model before one.

It needs torch and numpy; where a table is shown, pandas.
"""

from doctor import causes, checks
from doctor.diagnose import Doctor
from doctor.report import Check, Finding, Outcome, Report

__all__ = ["CAUSES", "Check", "Doctor", "Finding", "Outcome", "Report", "checks"]

CAUSES: tuple[str, ...] = tuple(causes.CAUSES)  # the vocabulary of causes
