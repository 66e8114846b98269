"""What packages say of the third set of real bugs and sound programs, beside the doctor: real_rivals.md.

    python -m benchmarks.real_rivals run FOLDER NAME   # one case, in a process of its own
    python -m benchmarks.real_rivals FOLDER            # what is not there, then the table

Packages run as they are installed, untuned, and are told of each loss and step. Each message counts as right for every
cause that it can mean (rivals.py), so their shares are upper bounds. They get no data and try nothing: the doctor's row
beside them is the one without data. traincheck is left out: it compares a run with invariants that it has inferred from
sound runs of the same program, which a user who has only the faulty program lacks.
"""

import contextlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import torch

from benchmarks.cases.draw import load, names
from benchmarks.real_cases import share, truth
from benchmarks.report import write_report
from benchmarks.rivals import PACKAGES, Package, read_meanings
from doctor.calls import BACKWARD

PART = "third"  # of cases.draw.SETS: the one that no rule of the doctor was made on


class TorchAudit(Package):
    """Rules on batches, modules, gradients and the optimizer, looked at every tenth step."""

    NAME, VERSION, MODULES = "torch-audit", "0.3.0", ("torch_audit",)
    MEANS = read_meanings("""
        TA100: GROWS
        TA102: GROWS
        TA104: NOT-TRAINED
        TA103: DEAD FADES
        TA105: DEAD
        TA301: inputs-not-scaled
        TA302: constant-inputs
        TA303: samples-mixed
        TA304: batchnorm-small-batch
        TA305: nan
        TA403: over-regularized
        TA402: over-regularized
        TA405: DEAD symmetric-init
        TA500: parameters-not-in-optimizer module-not-registered graph-cut
        TA501: batchnorm-stats-stale
    """)

    def begin(self):
        self.auditor = self.modules[0].autopatch(self.model, optimizer=self.optimizer, every_n_steps=10, reporters=[])

    def judge(self):
        findings = self.auditor.finish(report=False).findings
        self.auditor.unpatch()
        said = [f for f in findings if f.severity.value != "INFO" and f.rule_id in self.MEANS]  # the others: speed
        said.sort(key=lambda finding: finding.severity, reverse=True)
        return [finding.rule_id for finding in said]


ALL = {**PACKAGES, TorchAudit.NAME: TorchAudit}


class Beside(contextlib.AbstractContextManager):
    """In the place of a doctor: one package, which is told of each loss and each step."""

    def __init__(self, package: type[Package], model, loss_fn=None, optimizer=None):
        self.loss_fn, self.rival, self.loss = loss_fn, package(model, loss_fn, optimizer), None
        self.step_hook = optimizer.register_step_post_hook(self.after_step)

    def __enter__(self):
        self.rival.__enter__()
        BACKWARD.listen(self.note_loss)
        return self

    def __exit__(self, *exception):
        BACKWARD.ignore(self.note_loss)
        self.step_hook.remove()
        self.rival.__exit__(*exception)

    def note_loss(self, function, args, kwargs, result):
        tensors = next(iter((*args, *kwargs.values())))
        self.loss = (tensors if isinstance(tensors, torch.Tensor) else tensors[0]).detach()

    def after_step(self, *_):
        if self.loss is not None:
            self.rival.step(self.loss)


def run_case(name: str) -> dict[str, dict]:
    """Return by package what it says of a case: its alarms, and the causes that each can mean."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    case, found = load(name), {}
    for package in ALL.values():
        beside = []

        def watch(*given, package=package, beside=beside):
            beside.append(Beside(package, *given))
            return beside[-1]

        case.run(False, watch)
        rival = beside[0].rival
        means = [rival.MEANS.get(alarm, ()) for alarm in rival.alarms()]
        found[package.NAME] = {"alarms": rival.alarms(), "means": means, "errors": dict(rival.errors)}
    return found


def judge(said: dict, accepted: tuple[str, ...]) -> str:
    """Return "right", "wrong" or "silent" for the first alarm; "" where the package could not watch the program."""
    if said["errors"]:
        return ""
    if not said["alarms"]:
        return "silent"
    return "right" if set(said["means"][0]) & set(accepted) else "wrong"


def rows(results: dict[str, dict], doctor: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row for the doctor, with data and without, and one for each package."""
    real = doctor[doctor["kind"] == "real"].set_index("case")
    first = real["accepted"].str.split("|").str[0]
    lines = []
    for key in ("with data", "without data"):
        verdict, sound = real[f"{key}: verdict"], doctor[doctor["kind"] == "sound"]
        counts = (verdict == "right", verdict.isin(["wrong", "in three"]), verdict == "silent")
        alarms = (sound[f"{key}: first"] != "").tolist()
        shares = (share(flags.tolist(), first.tolist()) for flags in counts)
        lines.append((f"doctor, {key}", *shares, share(alarms, sound["case"].tolist()), "0"))
    for name in ALL:
        verdicts = {case: judge(said[name], truth(case)) for case, said in results.items() if case in first}
        seen = [case for case, verdict in verdicts.items() if verdict]
        shares = (share([verdicts[c] == v for c in seen], first[seen].tolist()) for v in ("right", "wrong", "silent"))
        sound = {case: said[name] for case, said in results.items() if case not in first}
        alarms = {case: bool(said["alarms"]) for case, said in sound.items() if not said["errors"]}
        failed = len(verdicts) - len(seen) + len(sound) - len(alarms)
        lines.append((name, *shares, share([*alarms.values()], [*alarms]), str(failed)))
    return lines


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [*names("real", PART), *names("sound", PART)]
    for name in drawn:
        if not (folder / f"{name}.json").exists():
            command = [sys.executable, "-m", "benchmarks.real_rivals", "run", str(folder), name]
            subprocess.run(command, capture_output=True, check=True)
    results = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in drawn}
    doctor = pd.read_csv(Path(__file__).with_name(f"real_cases_{PART}.csv"), keep_default_na=False)
    header = ("", "right cause first", "a wrong cause first", "no alarm", "sound programs with an alarm", "not watched")
    title, note = f"Real bugs, {PART} set: the doctor beside packages", __doc__.split("\n\n", 2)[2].strip()
    write_report("real_rivals", title, header, rows(results, doctor), note, "real_rivals FOLDER")


if __name__ == "__main__":
    if sys.argv[1] == "run":
        path = Path(sys.argv[2]) / f"{sys.argv[3]}.json"
        path.with_suffix(".part").write_text(json.dumps(run_case(sys.argv[3])), encoding="utf-8")
        path.with_suffix(".part").rename(path)
    else:
        main(Path(sys.argv[1]))
