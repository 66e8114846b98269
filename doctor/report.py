"""What the doctor says: findings and what became of each check, as text and as HTML."""

import os
from dataclasses import dataclass
from enum import Enum
from html import escape
from pathlib import Path
from textwrap import fill

from doctor.causes import CAUSES
from doctor.changes import Change

STYLE = "<style>.doctor td, .doctor th {text-align: left !important; vertical-align: top}</style>"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Report of the doctor</title>
<style>body {{font-family: sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; line-height: 1.4}}
pre {{background: #f4f4f4; padding: 0.4em}} figure {{margin: 0.5em 0 1em}} figcaption {{font-size: small; color: #555}}
.doctor {{border-collapse: collapse}} .doctor td, .doctor th {{border: 1px solid #ccc; padding: 0.2em 0.5em}}</style>
</head><body>{body}</body></html>
"""


class Outcome(str, Enum):
    """What a rule has come to."""

    FINDING = "finding"
    NOTE = "note"  # a symptom alone: it learns, or its fix does not help
    NOTHING = "nothing"
    SKIPPED = "skipped"

    __str__ = str.__str__


@dataclass(frozen=True)
class Check:
    """What became of the rule for a cause; `text`: the evidence, or why it was skipped."""

    cause: str
    outcome: Outcome
    text: str = ""


@dataclass(frozen=True)
class Finding:
    """A cause, where and when it could first be told, the evidence in numbers, and what to do."""

    cause: str
    layer: str  # "" where it is none in particular
    step: int
    evidence: str
    certain: bool  # the symptom cannot be there without the cause
    change: Change | None = None  # the experiment that proves it
    gain: float = 0.0  # of the score, by it
    pictures: str = ""  # of the evidence and of the experiment, as SVG

    @property
    def fix(self) -> str:
        return CAUSES[self.cause].fix


@dataclass(frozen=True, repr=False)
class Report:
    """Findings, most certain first, and what became of each check."""

    findings: list[Finding]
    checks: list[Check]
    impaired: str = ""  # how it shows that little is learned, "" if it does not
    not_watched: tuple[str, ...] = ()  # errors of the watching, which the loop has not seen

    @property
    def healthy(self) -> bool:
        """Whether the run was judged, and nothing found."""
        return not self.findings and not self.not_judged

    @property
    def not_judged(self) -> str:
        """Why no check could run, "" if one did."""
        ran = any(check.outcome is not Outcome.SKIPPED for check in self.checks)
        return "" if ran or not self.checks else self.checks[0].text

    @property
    def headline(self) -> str:
        if self.findings:
            return f"{len(self.findings)} finding{'s' if len(self.findings) > 1 else ''}, most certain first."
        if self.impaired:
            return f"No finding, though it does not learn: {self.impaired}."
        return f"Not judged. {self.not_judged}" if self.not_judged else "No finding."

    def checks_with(self, outcome: Outcome) -> list[Check]:
        return [check for check in self.checks if check.outcome is outcome]

    def __repr__(self) -> str:
        lines = [self.headline]
        for i, f in enumerate(self.findings, 1):
            lines += [f"{i}. {f.cause}{f' at {f.layer}' if f.layer else ''}, from step {f.step} on"]
            parts = (f"Evidence: {f.evidence}.", f"Fix: {f.fix}")
            lines += [fill(part, 100, initial_indent="   ", subsequent_indent="   ") for part in parts]
        for outcome, title in ((Outcome.NOTE, "Notes:"), (Outcome.SKIPPED, "Skipped:")):
            causes = {c.text: [] for c in self.checks_with(outcome)}
            for check in self.checks_with(outcome):
                causes[check.text].append(check.cause)
            parts = (f"- {', '.join(named)}: {text}" for text, named in causes.items())
            lines += [title] * bool(causes) + [fill(part, 100, subsequent_indent="  ") for part in parts]
        lines += [fill(f"Not watched: {error}", 100, subsequent_indent="  ") for error in self.not_watched]
        nothing = ", ".join(check.cause for check in self.checks_with(Outcome.NOTHING))
        lines.append(fill(f"No sign of: {nothing or 'none of the others'}.", 100, subsequent_indent="  "))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        html = [f"<p><b>{escape(self.headline)}</b></p>"]
        for f in self.findings:
            where = f" at <code>{escape(f.layer)}</code>" if f.layer else ""
            html.append(f"<p><b>{f.cause}</b>{where}, from step {f.step} on<br>{escape(f.evidence)}.<br>")
            code = CAUSES[f.cause].code
            html.append(f"<i>Fix:</i> {escape(f.fix)}</p>" + (f"<pre>{escape(code)}</pre>" if code else ""))
            html.append(f.pictures)
        skipped = ", ".join(check.cause for check in self.checks_with(Outcome.SKIPPED))
        html += [f"<p>Not judged, for reasons that the table below names: {skipped}.</p>"] if skipped else []
        html += [f"<p>Not watched: {escape(error)}</p>" for error in self.not_watched]
        rows = [f"<tr><td>{c.cause}</td><td>{c.outcome}</td><td>{escape(c.text)}</td></tr>" for c in self.checks]
        table = ["<table class='doctor'><tr><th>cause</th><th>check</th><th></th></tr>", *rows, "</table>"]
        return "".join([*html, STYLE, "<details><summary>All checks</summary>", *table, "</details>"])

    def save(self, path: str | os.PathLike) -> Path:
        """Write the report as one HTML page that needs nothing else, and return its path.

        An older page stays until the new one is complete. Raises OSError where it cannot be written.
        """
        path = Path(path)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(PAGE.format(body=self._repr_html_()), encoding="utf-8")
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path
