"""Runs the doctor on the cases of draws.py: what it says when, and what its fix wins back. Kept in runs/kept.

python -m benchmarks.doctor_cases development  # 500 faulty and 72 healthy runs
python -m benchmarks.doctor_cases fresh        # 273 and 72; benchmarks/doctor_benchmark.py makes tables of it
python -m benchmarks.doctor_cases fresh 35     # runs so many of the kept ones again
"""

import math
import sys
import time
from dataclasses import asdict, replace

import pandas as pd
import torch
from torch import nn

from benchmarks.draws import Case, faulty_cases, healthy_cases
from benchmarks.faults import FIXES
from benchmarks.programs import Program, Trained, layers_of, prepare, train
from doctor import Doctor, Report
from helpers import data, sweep

EVERY = 4  # the first four passes are watched in any case
MOMENTS = {2: False, 100: True}  # passes after which the doctor is asked, beside the end; whether for experiments
PROBE = 4_000  # training samples that it gets
RECHECK = 2  # kept trials that run again
VERSION = 2  # of the doctor's rules and of the fixes; 1: the 33 causes, on the held-out cases


def config_of(case: Case, **more) -> dict:
    """Return a case as the config of a trial, where `seed` means another thing."""
    config = asdict(case)
    return {"program_seed": config.pop("seed"), **config, **more}


def case_of(config: dict) -> Case:
    fields = {key: config[key] for key in ("cause", "variant", "network", "data", "optimizer")}
    return Case(seed=config["program_seed"], **fields)


# ---- accuracies


def final_accuracy(case: Case, run: Trained) -> float:
    """Return the accuracy at the end, as this program measures it; with rare classes the mean over classes."""
    return run.balanced if case.cause == "class-imbalance" else run.accuracies[-1]


def accuracy(config: dict, seed: int) -> dict:
    """Run a case as it would be "sound", or with the fix of a cause, a rate changed as the doctor's experiment did."""
    case, cause = case_of(config), config["run"]
    program = case.sound if cause == "sound" else FIXES[cause](case.program)
    if config["rate"] != 1:
        program = replace(program, rate=config["rate"] * case.program.rate)
    return {"accuracy": final_accuracy(case, train(program))}


# ---- diagnoses


class ExaminingDoctor(Doctor):
    """A doctor that is asked in the course of the loop, too."""

    def __init__(self, model, loss_fn, optimizer, program: Program):
        self.passes, self.reports, self.took = 0, {}, {}
        given = prepare(program)  # the same data, which the loop does not hand on
        self.probe, self.test = tuple(part[:PROBE] for part in given.training), given.test
        self.hook = model.register_forward_pre_hook(self.count_pass)
        super().__init__(model, loss_fn, optimizer, EVERY)

    def count_pass(self, module: nn.Module, args) -> None:
        if module.training and torch.is_grad_enabled():
            if self.passes in MOMENTS:
                self.ask(f"at {self.passes}", MOMENTS[self.passes])
            self.passes += 1

    def ask(self, moment: str, with_data: bool) -> None:
        start = time.process_time()
        self.reports[moment] = self.report(self.probe, self.test) if with_data else self.report()
        self.took[moment] = time.process_time() - start

    def close(self) -> None:
        super().close()
        self.hook.remove()
        self.ask("watching only", with_data=False)
        self.ask("end", with_data=True)


def causes_of(report: Report) -> list[str]:
    return [finding.cause for finding in report.findings]


def faulty_layers(case: Case, model: nn.Sequential) -> set[str]:
    """Return the names of the layers that a fault sits in; empty where it is all of them, or none."""
    names = [name for name, module in model.named_children() if module in layers_of(model)]
    program = case.program
    if case.cause == "layer-frozen" or program.learns == "last layer":
        return set(names[:-1])
    if program.learns == "first layer":
        return set(names[1:])
    return {names[-2]} if program.init == "last constant" else set()


def diagnosis(config: dict, seed: int) -> dict:
    """Ask the doctor about a case: the causes that it names, most certain first, after some passes and at the end."""
    case = case_of(config)
    start = time.process_time()
    run = train(case.program, lambda *loop: ExaminingDoctor(*loop, case.program))
    took = time.process_time() - start
    doctor, layers = run.doctor, faulty_layers(case, run.model)
    first = doctor.reports["end"].findings[:1]
    located = [float(first[0].layer in layers)] if first and layers and first[0].cause == case.cause else []
    rate = first[0].change.rate if first and first[0].change else 1.0
    results = {"accuracy": final_accuracy(case, run), "layer": located, "rate": rate}
    results |= {moment: causes_of(report) for moment, report in doctor.reports.items()}
    results |= {f"seconds {moment}": spent for moment, spent in doctor.took.items()}
    return results | {"took": took - sum(doctor.took.values())}


# ---- studies


def keep_study(name: str, trial, configs: list[dict], recheck: int, version: int = VERSION) -> pd.DataFrame:
    """Return the kept results of trials; what is not kept yet runs now. Raises RuntimeError where a trial failed."""
    for source in ("MNIST", "FashionMNIST", "CIFAR10"):
        data.load(source)  # a sample in its place is then known to the study
    table = sweep.study(name, trial, configs, [0], version=version, keep=True, recheck=recheck)
    if failed := (table["error"] != "").sum():
        raise RuntimeError(f"{failed} of {len(table)} trials of {name} failed: the others alone prove nothing.")
    return table


def accuracies(cases: list[Case], runs: list[str], rates: list[float], recheck: int) -> list[float]:
    """Return the accuracy of each case with its run."""
    configs = [config_of(case, run=run, rate=rate) for case, run, rate in zip(cases, runs, rates, strict=True)]
    return keep_study("doctor-accuracies", accuracy, configs, recheck)["accuracy"].tolist()


def fix_accuracies(cases: list[Case], diagnoses: pd.DataFrame, recheck: int) -> pd.Series:
    """Return the accuracy of each case with the fix of its first finding, NaN where there is none, or no fix known."""
    fixes = [causes[0] if causes else None for causes in diagnoses["end"]]
    fixable = [place for place, cause in enumerate(fixes) if cause in FIXES]
    fixed = pd.Series(math.nan, diagnoses.index)
    rates = diagnoses["rate"].iloc[fixable].tolist()
    chosen = [cases[place] for place in fixable], [fixes[place] for place in fixable]
    fixed.iloc[fixable] = accuracies(*chosen, rates, recheck)
    return fixed


def study(part: str, recheck: int = RECHECK) -> pd.DataFrame:
    """Return a row for each case of a part: what the doctor says, and accuracies `sound`, `faulty` and `fixed`.

    The last is that with the fix of the first finding, NaN where there is none. What is not kept yet runs now.
    """
    cases = faulty_cases(part) + healthy_cases(part)
    table = keep_study("doctor", diagnosis, [config_of(case) for case in cases], recheck)
    table = table.rename(columns={"accuracy": "faulty"})
    table["fixed"] = fix_accuracies(cases, table, recheck)
    table["sound"] = accuracies(cases, ["sound"] * len(cases), [1.0] * len(cases), recheck)
    return table


if __name__ == "__main__":
    print(study(sys.argv[1], *map(int, sys.argv[2:])))
