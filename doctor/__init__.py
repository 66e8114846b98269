"""Says why a network does not learn: `Doctor` watches a training loop, `checks` tries a model before one.

It stands alone: torch and numpy, and pandas where a table is shown.
"""

from doctor import checks
from doctor.diagnose import CAUSES, Check, Doctor, Finding, Report

__all__ = ["CAUSES", "Check", "Doctor", "Finding", "Report", "checks"]
