"""Doctor watches an ordinary training loop and names the cause of its trouble.

    with Doctor(model, loss_fn, optimizer) as doctor:
        ...                                            # an ordinary loop; it calls doctor.loss_fn
    doctor.report()                                    # what the loop has shown
    doctor.report(probe=(inputs, targets))             # and what short trainings of copies show
    doctor.report(probe=..., test=(inputs, targets))   # and the comparison with unseen data

A symptom with impaired learning, or one whose fix wins in an experiment, is a finding; a symptom alone is a note. How
often the first finding is right, and how often a sound run has one, is measured in benchmarks/doctor_benchmark.md.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from textwrap import fill, shorten

from torch import nn

from doctor import causes
from doctor.evidence import NotRun, Seen, Symptom
from doctor.sandbox import STEPS, Change, Interventions
from doctor.rules import RULES, Rule
from doctor.watch import Watch

CAUSES: tuple[str, ...] = tuple(causes.CAUSES)
GAIN = 0.03  # of the accuracy, that an experiment has to win: twice its standard error on 1,000 samples


@dataclass(frozen=True)
class Finding:
    """A cause, where and when it could first be told, the evidence in numbers, and what to do."""

    cause: str
    layer: str  # "" where it is none in particular
    step: int
    evidence: str
    certain: bool  # the symptom cannot be there without the cause
    gain: float = 0.0  # of the accuracy, by the experiment that proves it
    change: Change | None = None  # of this experiment

    @property
    def fix(self) -> str:
        return causes.CAUSES[self.cause].fix


@dataclass(frozen=True)
class Check:
    """What became of a rule: `outcome` is "finding", "note", "nothing" or "skipped", `text` the evidence or why."""

    cause: str
    outcome: str
    text: str = ""


@dataclass(frozen=True, repr=False)
class Report:
    """Findings, most certain first, and what became of each check."""

    findings: list[Finding]
    checks: list[Check]
    impaired: str = ""  # how it shows that little is learned, "" if it does not
    not_watched: tuple[str, ...] = ()  # errors of the watching, which the loop has not seen

    @property
    def healthy(self) -> bool:
        return not self.findings

    @property
    def headline(self) -> str:
        if self.findings:
            return f"{len(self.findings)} finding{'s' if len(self.findings) > 1 else ''}, most certain first."
        if self.impaired:
            return f"No finding, though it does not learn: {self.impaired}."
        return "No finding."

    def __repr__(self) -> str:
        lines = [self.headline]
        for i, f in enumerate(self.findings, 1):
            lines += [f"{i}. {f.cause}{f' at {f.layer}' if f.layer else ''}, from step {f.step} on"]
            parts = (f"Evidence: {f.evidence}.", f"Fix: {f.fix}")
            lines += [fill(part, 100, initial_indent="   ", subsequent_indent="   ") for part in parts]
        for outcome, title in (("note", "Notes"), ("skipped", "Skipped")):
            of_it = [c for c in self.checks if c.outcome == outcome]
            lines += [f"{title}:"] * bool(of_it)
            lines += [fill(f"- {c.cause}: {c.text}", 100, subsequent_indent="  ") for c in of_it]
        lines += [fill(f"Not watched: {error}", 100, subsequent_indent="  ") for error in self.not_watched]
        nothing = [c.cause for c in self.checks if c.outcome == "nothing"]
        lines.append(fill(f"Nothing to see of: {', '.join(nothing) or 'none'}.", 100, subsequent_indent="  "))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        html = [f"<p><b>{escape(self.headline)}</b></p>"]
        for f in self.findings:
            where = f" at <code>{escape(f.layer)}</code>" if f.layer else ""
            html.append(
                f"<p><b>{f.cause}</b>{where}, from step {f.step} on<br>"
                f"{escape(f.evidence)}.<br><i>Fix:</i> {escape(f.fix)}</p>"
            )
        html += [f"<p>Not watched: {escape(error)}</p>" for error in self.not_watched]
        rows = "".join(f"<tr><td>{c.cause}</td><td>{c.outcome}</td><td>{escape(c.text)}</td></tr>" for c in self.checks)
        head = "<tr><th>cause</th><th>check</th><th></th></tr>"
        style = "<style>.doctor td, .doctor th {text-align: left !important}</style>"
        table = f"<table class='doctor'>{head}{rows}</table>"
        return "".join([*html, f"{style}<details><summary>All checks</summary>{table}</details>"])


class Doctor:
    """Watch a loop, every `every`-th step of it and the first ones; a context manager, or until `close`.

    It changes nothing in the loop, and what it cannot watch stands in the report. Not covered: a model that another
    one's loss uses, too, as in a GAN; what is in order there would be called a fault.
    """

    def __init__(self, model: nn.Module, loss_fn, optimizer, every: int = 1):
        self.watch = Watch(model, loss_fn, optimizer, every)
        self.loss_fn = self.watch.loss_fn  # to be called in the loop where the given one is a plain function

    def __enter__(self) -> "Doctor":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks away."""
        self.watch.close()

    def report(self, probe=None, test=None) -> Report:
        """Return what the watched steps show, so far.

        `probe`: (inputs (N, ...), targets (N, ...)) as the loop gives them to the model, some 1,000 to 4,000 samples;
        they allow experiments on copies, which take seconds. `test`: the same of unseen data. Models of several inputs
        are judged without. Raises ValueError for a probe that is no such pair, or has fewer than 100 samples.
        """
        try:
            with gradients_kept(self.watch.model):
                return judged(Seen(self.watch, probe, test))
        except NotRun as reason:
            return Report([], [Check(cause, "skipped", str(reason)) for cause in CAUSES], "", tuple(self.watch.errors))


@contextlib.contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """Give the gradients back at the end: a loss that knows the model by name would change them in an experiment."""
    kept = {p: p.grad for p in model.parameters()}
    try:
        for p in kept:
            p.grad = None
        yield
    finally:
        for p, gradient in kept.items():
            p.grad = gradient


def judged(seen: Seen) -> Report:
    """Go through all rules; experiments end when a cause is certain or proven: they would blame its consequences."""
    symptoms = {rule: looked_at(rule, seen) for rule in RULES}
    checks, findings = [], []
    for rule, symptom in symptoms.items():
        if not isinstance(symptom, Symptom):
            checks.append(Check(rule.cause, "skipped" if symptom else "nothing", symptom or ""))
            continue
        sick, evidence, gain, change = weighed(rule, symptom, seen)
        seen.explained += [rule.cause] if sick and change else []
        checks.append(Check(rule.cause, "finding" if sick else "note", evidence))
        if sick:
            findings.append(Finding(rule.cause, symptom.layer, symptom.step, evidence, symptom.certain, gain, change))
    findings.sort(key=lambda finding: not finding.certain)
    return Report(findings, checks, seen.impaired, tuple(seen.watch.errors))


def looked_at(rule: Rule, seen: Seen) -> Symptom | str | None:
    """Return the symptom, or the reason why the rule cannot judge."""
    try:
        symptom = rule.look(seen)
        seen.explained += [rule.cause] if symptom and symptom.certain else []
        return symptom
    except NotRun as reason:
        return str(reason)
    except Exception as error:  # whatever the model or its numbers may bring about
        return shorten(f"It stopped with {type(error).__name__}: {error}", 200, placeholder=" ...")


def weighed(rule: Rule, symptom: Symptom, seen: Seen) -> tuple[bool, str, float, Change | None]:
    """Tell whether a symptom is a finding, its evidence, and the experiment that proves it with what it gains."""
    if symptom.certain:
        return True, symptom.evidence, 0.0, None
    if seen.explained:
        return False, f"{symptom.evidence}; judged when {seen.explained[0]} is mended", 0.0, None
    if not (rule.proofs and seen.interventions):
        return bool(seen.impaired), f"{symptom.evidence}; {seen.impaired or 'yet it learns'}", 0.0, None
    try:
        change, gain = proven(rule, seen.interventions)
    except Exception as error:  # whatever a model may need that a copy and a probe do not give
        text = f"{symptom.evidence}; its experiment stopped with {type(error).__name__}: {error}"
        return bool(seen.impaired), shorten(text, 300, placeholder=" ..."), 0.0, None
    if change is None:
        return False, f"{symptom.evidence}; its fix does not help", 0.0, None
    return True, f"{symptom.evidence}; a copy trained with {change} gets {100 * gain:.0f} points more", gain, change


def proven(rule: Rule, lab: Interventions) -> tuple[Change | None, float]:
    """Return the experiment that wins most, and its gain; what makes it worse ends the search, as more of it would.

    It has to win more while there are few steps: what only learns faster is then ahead, too.
    """
    best, gain, margin = None, 0.0, GAIN * STEPS / lab.steps
    for change in rule.proofs:
        if (won := lab.gain(change, rule.recall)) > gain + margin:
            best, gain = change, won
        elif lab.score(change, rule.recall) < lab.score(Change(), rule.recall) - margin:
            break
    return best, gain
