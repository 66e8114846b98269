"""The doctor's rules, one for each cause: what of the evidence tells it, and what experiment would prove it.

A rule's `find` looks at the Evidence and returns a Symptom or None; it raises NotRun where it cannot judge. It knows
of no other rule: what one presupposes of another stands in `unless`.

To add a cause: an entry in causes.py, a function here, a Rule in RULES, a broken run in tests/test_doctor.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

from doctor.changes import Change
from doctor.evidence import Evidence, Symptom
from doctor.rules import data, evaluation, loop, loss, network, optimizer, weights


@dataclass(frozen=True)
class Rule:
    """How one cause is told."""

    cause: str
    find: Callable[[Evidence], Symptom | None]
    proofs: tuple[Change, ...] = ()  # experiments: one has to win, where the symptom is not certain
    unless: tuple[str, ...] = ()  # causes whose symptoms bring this one about, so that it then tells nothing
    recall: bool = False  # whether the mean over classes judges the proof
    probe: bool = False  # looks at the data as a whole, which only tells something where nothing else is certain


FIRST_WEIGHTS = ("init-too-large", "init-too-small")
SCALES = (*FIRST_WEIGHTS, "inputs-not-scaled")
OUTPUTS = ("sigmoid-before-loss", "softmax-before-loss")
SOUND_WEIGHTS, ALL_TRAINED, FREE = (Change(weights="sound"),), (Change(trained="all"),), (Change(outputs="free"),)
# By which unseen data differ, too.
UNLIKE = ("noisy-inputs", "repeated-samples", "target-leak", "samples-mixed", "inputs-not-scaled")
OTHER_STATISTICS = ("batchnorm-small-batch", "samples-mixed", "left-in-eval-mode")
DROWNING = ("schedule-collapsed", "padding-not-masked")  # by which one class comes too often, too
RELU, NORMALIZED, RESCALED = (Change(activations=kind) for kind in ("relu", "normalized", "rescaled"))

# In the order in which findings are shown, and proofs tried, of which the first that wins is the last one made: what is
# certain or special stands before what many things can bring about.
RULES = (
    Rule("graph-cut", loop.graph_cut, ALL_TRAINED),
    Rule("gradients-not-zeroed", loop.gradients_not_zeroed),
    Rule("no-optimizer-step", loop.no_optimizer_step, unless=("graph-cut",)),
    Rule("module-not-registered", loop.module_not_registered),
    Rule("parameters-not-in-optimizer", loop.parameters_not_in_optimizer, ALL_TRAINED),
    Rule("layer-frozen", loop.layer_frozen, ALL_TRAINED),
    Rule("layer-not-frozen", loop.layer_not_frozen),
    Rule("left-in-eval-mode", loop.left_in_eval_mode, (Change(),)),
    Rule("not-in-eval-mode", evaluation.not_in_eval_mode),
    Rule("weights-not-copied", loop.weights_not_copied),
    Rule("loss-sign", loss.loss_sign),
    Rule("shape-broadcast", loss.shape_broadcast),
    Rule("softmax-wrong-dim", loss.softmax_wrong_dim),
    Rule("softmax-before-loss", loss.softmax_before_loss),
    Rule("sigmoid-before-loss", loss.sigmoid_before_loss),
    Rule("wrong-loss", loss.wrong_loss),
    Rule("activation-on-output", loss.activation_on_output, FREE, unless=OUTPUTS),
    Rule("loss-summed", loss.loss_summed, (Change(loss="mean"), Change(loss="mean of outputs"), Change())),
    Rule("samples-mixed", network.samples_mixed, unless=("softmax-wrong-dim",)),
    Rule("constant-inputs", data.constant_inputs),
    Rule("data-not-shuffled", data.data_not_shuffled, (Change(),)),
    Rule("class-weights-wrong", loss.class_weights_wrong, (Change(loss="cross entropy"),), recall=True),
    Rule("class-imbalance", data.class_imbalance, (Change(samples="balanced"),), DROWNING, recall=True),
    Rule("symmetric-init", weights.symmetric_init),
    Rule("axes-scrambled", data.axes_scrambled),
    Rule("inputs-drift", data.inputs_drift, (Change(),)),
    Rule("inputs-not-scaled", data.inputs_not_scaled, (Change(inputs="scaled"),)),
    Rule("targets-not-scaled", data.targets_not_scaled, (Change(targets="scaled"),)),
    Rule("padding-not-masked", data.padding_not_masked),
    Rule("loss-terms-unbalanced", loss.loss_terms_unbalanced),
    Rule("init-too-large", weights.init_too_large, SOUND_WEIGHTS),
    Rule("dead-relu-at-init", weights.dead_relu_at_init, SOUND_WEIGHTS),
    Rule("init-too-small", weights.init_too_small, SOUND_WEIGHTS),
    Rule("no-nonlinearity", network.no_nonlinearity),
    Rule("saturated-activations", network.saturated_activations, (NORMALIZED, RELU), unless=SCALES),
    Rule("exploding-gradient", network.exploding_gradient, (RESCALED, NORMALIZED), unless=SCALES),
    Rule("vanishing-gradient", network.vanishing_gradient, (RELU, NORMALIZED), unless=FIRST_WEIGHTS),
    Rule("dropout-too-high", network.dropout_too_high, (Change(dropout=0.3),)),
    Rule("batchnorm-small-batch", network.batchnorm_small_batch, (Change(batch=8.0),)),
    Rule("batchnorm-stats-stale", network.batchnorm_stats_stale, unless=OTHER_STATISTICS, probe=True),
    Rule("clip-too-tight", optimizer.clip_too_tight, (Change(),)),
    Rule("schedule-collapsed", optimizer.schedule_collapsed, (Change(schedule="highest"),)),
    Rule("over-regularized", optimizer.over_regularized, (Change(decay=0.0), Change())),
    Rule("lr-too-high", optimizer.lr_too_high, (Change(rate=0.1), Change(rate=0.01), Change(rate=0.001))),
    Rule("dead-relu", network.dead_relu, (Change(),)),
    Rule("lr-too-low", optimizer.lr_too_low, (Change(rate=10.0), Change(rate=100.0), Change(rate=1000.0))),
    Rule("noisy-inputs", data.noisy_inputs, (Change(inputs="smoothed"),), probe=True),
    Rule("repeated-samples", data.repeated_samples, (Change(),), probe=True),
    Rule("train-test-mismatch", evaluation.train_test_mismatch, unless=UNLIKE, probe=True),
    Rule("target-leak", data.target_leak, probe=True),
    Rule("labels-shuffled", data.labels_shuffled, unless=("constant-inputs", "noisy-inputs"), probe=True),
    Rule("data-mispaired", data.data_mispaired, unless=("constant-inputs", "noisy-inputs"), probe=True),
    Rule("label-noise", data.label_noise, unless=("noisy-inputs", "repeated-samples"), probe=True),
    Rule("metric-wrong", evaluation.metric_wrong, probe=True),
    Rule("nan", network.not_a_number),
)
