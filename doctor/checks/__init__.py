"""One-shot checks of a model, its data and its loss: each is one call with a verdict, its number, and what to do.

    checks.run(model, loss_fn, (inputs, targets), optimizer)     # all of them, in the order of debugging
    checks.initial_loss(model, loss_fn, (inputs, targets))       # one of them

Give the model as it is before training. `data` is (inputs, targets), (inputs, targets, test_inputs, test_targets), or a
DataLoader, of which the first 10,000 samples are taken; classification with class indices is the main case.
A check "fires" where something is wrong, not where it is merely unusual: how often it does on sound models is measured
in benchmarks/checks_false_alarms.py. "passes" says only that this one thing is in order; "not run" comes with its
reason. All work on copies, with random numbers of their own: model, optimizer, gradients, modes, buffers and random
states of the caller stay as they are, and their hooks do not see the copies.
"""

import functools
import inspect

from doctor.checks.data import (
    duplicates,
    input_scale,
    label_balance,
    label_range,
    labels_fit_inputs,
    train_test_moments,
)
from doctor.checks.loss import (
    gradient_check,
    gradient_flow,
    gradients,
    initial_loss,
    loss_function,
    loss_is_mean,
    regularization,
    softmax_before_loss,
)
from doctor.checks.model import (
    activations,
    dead_units,
    eval_repeatable,
    nonlinearity,
    output_shape,
    samples_independent,
    saturation,
    shapes,
    signal,
)
from doctor.checks.training import (
    gradients_zeroed,
    label_frequency,
    overfit_tiny,
    parameters_move,
    train_eval_gap,
    update_ratio,
    zero_inputs,
)
from doctor.checks.verdict import NotRun, Status, Verdict
from doctor.sandbox import Data, undisturbed

__all__ = ["CHECKS", "NotRun", "Status", "Verdict", "activations", "gradients", "run", "shapes"]

CHECKS = {function.__name__.replace("_", " "): function for function in (  # in the order of debugging
    input_scale, label_range, label_balance, labels_fit_inputs, duplicates, train_test_moments,
    output_shape, samples_independent,
    loss_function, loss_is_mean, softmax_before_loss, initial_loss, regularization,
    dead_units, saturation, signal, nonlinearity,
    gradient_check, gradient_flow,
    eval_repeatable, parameters_move, gradients_zeroed, update_ratio,
    overfit_tiny, zero_inputs, train_eval_gap, label_frequency,
)}  # fmt: skip


@functools.cache
def _table_class() -> type:
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("checks.run returns a table: `pip install pandas`, or call single checks.") from error

    class Table(pd.DataFrame):
        """Verdicts, one a row, shown whole: pandas would cut off the long texts."""

        _constructor = property(lambda self: Table)

        def __repr__(self) -> str:
            if list(self.columns) != list(Verdict.__dataclass_fields__):
                return super().__repr__()
            return "\n".join(repr(Verdict(*row)) for row in self.itertuples(index=False))

        def _repr_html_(self) -> str:
            with pd.option_context("display.max_colwidth", None):
                html = self.to_html(index=False, na_rep="", float_format="{:.4g}".format, classes="checks")
            return f"<style>.checks th, .checks td {{text-align: left !important}}</style>{html}"

    return Table


def run(model, loss_fn, data, optimizer=None, train_step=None, evaluate=None, penalty=None, only=None):
    """Run all checks; return a DataFrame of their verdicts, a row for each, in the order in which one would debug.

    `loss_fn(outputs, targets)` gives a tensor of one element. The rest is optional, and checks that need what is not
    given are "not run": the `optimizer` of the model's parameters; the student's own step
    `train_step(model, loss_fn, optimizer, inputs, targets)`, the ordinary one if None; their own
    `evaluate(model, inputs, targets)` -> number; and their own `penalty(model, strength)` -> tensor. `only`: the names
    of some checks, to run no others. Raises ValueError for data that are empty, or whose lengths differ.
    """
    table = _table_class()  # first, as it may be missing
    with undisturbed():
        data = Data.of(data, model)
    given = {"model": model, "loss_fn": loss_fn, "data": data, "optimizer": optimizer}
    given |= {"train_step": train_step, "evaluate": evaluate, "penalty": penalty}
    chosen = CHECKS.values() if only is None else [CHECKS[name] for name in only]
    rows = [vars(one(**{key: given[key] for key in inspect.signature(one).parameters})) for one in chosen]
    return table(rows)
