"""Doctor watches an ordinary training loop and names the cause of its trouble.

    with Doctor(model, loss_fn, optimizer) as doctor:
        ...                                            # an ordinary loop; it calls doctor.loss_fn
    doctor.report()                                    # what the loop has shown
    doctor.report(probe=(inputs, targets))             # and what short trainings of copies show
    doctor.report(probe=..., test=(inputs, targets))   # and the comparison with unseen data

A symptom with impaired learning, or one whose fix wins in an experiment, is a finding; a symptom alone is a note.
"""

import contextlib
import warnings
from collections.abc import Iterator
from graphlib import TopologicalSorter
from textwrap import shorten

from torch import nn

from doctor.calls import unheard
from doctor.causes import CAUSES
from doctor.changes import Change
from doctor.evidence import GAIN, MEANT, Evidence, NotRun, Symptom
from doctor.plots import outcome, picture
from doctor.report import Check, Finding, Outcome, Report
from doctor.rules import RULES, Rule
from doctor.sandbox import LONGEST, Interventions
from doctor.watch import FIRST, Watch

ADVERSARIAL = "Another network's loss goes through this model, as in a GAN: whether it learns cannot be told."
MISSING = 0.25  # of what a model that learns gets wrong, that an experiment has to win


class Doctor(contextlib.AbstractContextManager):
    """Watch a loop, every `every`-th step of it and the first ones; a context manager, or until `close`.

    It changes nothing in the loop, and what it cannot watch stands in the report. Where another model's loss goes
    through this one, as in a GAN, it does not judge whether it learns. Raises ValueError for `every` below 1.
    """

    def __init__(self, model: nn.Module, loss_fn=None, optimizer=None, every: int = 1):
        self.watch = Watch(model, loss_fn, optimizer, every)
        self.loss_fn = self.watch.loss_fn  # to be called in the loop where the given one is a plain function

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks."""
        self.watch.close()

    def report(self, probe=None, test=None) -> Report:
        """Return what the watched steps show, so far.

        `probe`: (inputs (N, ...), targets (N, ...)) as the loop gives them to the model, or a DataLoader, of some 1,000
        samples or more, for experiments on copies, which take seconds. `test`: the same of unseen data. Models of
        several inputs are judged without. Raises ValueError for a probe that is no such pair, or below 100 samples.
        """
        errors = tuple(self.watch.errors)
        self.watch.pause()
        try:
            with gradients_kept(self.watch.model), unheard(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the loop has had its own
                return diagnose(Evidence(self.watch, probe, test), errors)
        except NotRun as reason:
            skipped = [Check(cause, Outcome.SKIPPED, str(reason)) for cause in CAUSES]
            return Report(missing_backward(self.watch.count), skipped, "", errors)


def missing_backward(count) -> list[Finding]:
    """Return a finding where there were passes and steps, and never a gradient, by whatever way."""
    if count["passes"] and count["steps"] >= FIRST and not count["steps with gradients"] + count["backwards"]:
        text = f"{count['steps']} steps, and backward() was never called: the optimizer has had no gradient"
        return [Finding("no-optimizer-step", "", 0, text, certain=True)]
    return []


@contextlib.contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """Give the gradients back at the end: a loss that knows the model by name would change them in an experiment."""
    kept = {p: p.grad for p in model.parameters()}
    try:
        model.zero_grad()
        yield
    finally:
        for p, gradient in kept.items():
            p.grad = gradient


def diagnose(evidence: Evidence, errors: tuple[str, ...] = ()) -> Report:
    """Apply all rules; experiments end when one is proven, or a cause found that needs none: others follow from it."""
    found = find_symptoms(evidence)
    errors += (ADVERSARIAL,) * evidence.adversarial
    explained, checks, findings = certain_causes(found), [], []
    for rule in RULES:
        result = found[rule.cause]
        if isinstance(result, Symptom):
            result = judge(rule, result, evidence, explained)
        if isinstance(result, Finding):
            explained += [result.cause] if result.change or not rule.proofs else []
            findings.append(result)
            result = Check(result.cause, Outcome.FINDING, result.evidence)
        checks.append(result)
    findings.sort(key=lambda finding: not finding.certain)
    return Report(findings, checks, evidence.impaired, errors)


def find_symptoms(evidence: Evidence) -> dict[str, Symptom | Check]:
    """Return by cause what each rule finds, or why there is no symptom.

    A rule comes after those named in its `unless`, and those that need the probe only where nothing is certain yet.
    """
    rules, found, explained = {rule.cause: rule for rule in RULES}, {}, []
    order = [rules[cause] for cause in TopologicalSorter({r.cause: r.unless for r in RULES}).static_order()]
    for probe in (False, True):
        for rule in (rule for rule in order if rule.probe == probe):
            excluded = [other for other in rule.unless if isinstance(found[other], Symptom)]
            found[rule.cause] = find_symptom(rule, evidence, excluded + explained)
        explained = certain_causes(found)
    return found


def certain_causes(found: dict[str, Symptom | Check]) -> list[str]:
    """Return the causes with a certain symptom, in the order of RULES."""
    return [rule.cause for rule in RULES if isinstance(r := found.get(rule.cause), Symptom) and r.certain]


def find_symptom(rule: Rule, evidence: Evidence, explained: list[str]) -> Symptom | Check:
    """Return the symptom that a rule finds, or a check that says why there is none."""
    if explained:
        return Check(rule.cause, Outcome.SKIPPED, f"It is judged when {explained[0]} is mended.")
    try:
        return rule.find(evidence) or Check(rule.cause, Outcome.NOTHING)
    except NotRun as reason:
        return Check(rule.cause, Outcome.SKIPPED, str(reason))
    except Exception as error:  # whatever the model or its numbers may bring about
        text = shorten(f"It stopped with {type(error).__name__}: {error}", 200, placeholder=" ...")
        return Check(rule.cause, Outcome.SKIPPED, text)


def judge(rule: Rule, symptom: Symptom, evidence: Evidence, explained: list[str]) -> Finding | Check:
    """Return a finding where a symptom is certain, proven, or goes with impaired learning; otherwise a note."""

    def result(is_finding, text: str, change: Change | None = None, gain: float = 0.0) -> Finding | Check:
        text = f"{symptom.evidence}; {text}" if text else symptom.evidence
        if not is_finding:
            return Check(rule.cause, Outcome.NOTE, text)
        shown = picture(rule.cause, evidence)
        if change:
            compared = {"the model as it is": None, "trained anew": Change(), f"with {change}": change}
            shown += outcome({text: evidence.interventions.score(by, rule.recall) for text, by in compared.items()})
        return Finding(rule.cause, symptom.layer, symptom.step, text, symptom.certain, change, gain, shown)

    if symptom.certain:
        return result(True, "")
    if symptom.needs == MEANT and not evidence.impaired:
        return result(False, "which may be meant")
    if explained:
        return result(False, f"judged when {explained[0]} is mended")
    if not (rule.proofs and evidence.interventions):
        return result(evidence.impaired and not symptom.usual, evidence.impaired or "yet it learns")
    try:
        change, gain = prove(rule, evidence.interventions, GAIN if evidence.impaired else symptom.needs)
    except Exception as error:  # whatever a model may need that a copy and a probe do not give
        text = f"its experiment stopped with {type(error).__name__}: {error}"
        return result(evidence.impaired and not symptom.usual, shorten(text, 200, placeholder=" ..."))
    if change is None:
        return result(False, "its fix does not help")
    return result(True, f"a copy trained with {change} gets {100 * gain:.0f} points more", change, gain)


def prove(rule: Rule, trials: Interventions, needs: float | None) -> tuple[Change | None, float]:
    """Return the experiment that wins most, and its gain; what makes it worse ends the search, as more of it would.

    It has to win more while there are few steps: what only learns faster is then ahead, too. `needs`: of the score;
    None: a part of what is missing, as many a change is good for a few points.
    """
    best, gain, margin = None, 0.0, GAIN * LONGEST / trials.steps
    missing = 1 - trials.score(None, rule.recall)
    needs = max(GAIN, MISSING * missing if needs is None else needs)
    if missing <= needs:
        return None, 0.0  # not even a perfect score would win
    for change in rule.proofs:
        if (won := trials.gain(change, rule.recall)) > max(needs, gain + margin):
            best, gain = change, won
        elif trials.score(change, rule.recall) < trials.score(Change(), rule.recall) - margin:
            break
    return best, gain
