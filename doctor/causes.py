"""CAUSES: the vocabulary of what keeps a network from learning, each with its definition and what to do about it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    definition: str
    fix: str
    code: str = ""  # a line to copy


# For each cause its name and definition, then the fix, and perhaps a line of code for it, each in a line of its own.
VOCABULARY = """
---- the loop
gradients-not-zeroed: Gradients of earlier steps are still there when the next ones are added.
    Call optimizer.zero_grad() once for each optimizer.step().
    > optimizer.zero_grad(); loss.backward(); optimizer.step()
no-optimizer-step: No step uses gradients: backward() or step() is not called, or they are cleared in between.
    Call optimizer.step() after loss.backward(), and zero_grad() before backward() or after step().
    > optimizer.zero_grad(); loss.backward(); optimizer.step()
parameters-not-in-optimizer: Parameters get gradients, but the optimizer does not know them.
    Give the optimizer model.parameters(), after the last layer has been added or replaced.
    > optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
layer-frozen: A layer that should learn does not: requires_grad is off, or its rate is 0.
    Set requires_grad to True before the optimizer is made, and give the layer a rate.
    > model.requires_grad_(True)
layer-not-frozen: A layer that should keep its weights learns on, as requires_grad was set on the module.
    Set it on the parameters, as module.requires_grad_(False) does; as an attribute of a module it does nothing.
    > module.requires_grad_(False)
graph-cut: The way from the loss back to parameters is cut: detach(), .data, argmax, no_grad, or a loss made anew.
    Compute the loss from the outputs with tensor operations alone, and take out what cuts the way.
module-not-registered: Parameters are used that the model does not know, as in a plain list of layers.
    Keep layers as attributes, in nn.ModuleList or nn.ModuleDict, made once, before the optimizer is made.
    > self.layers = nn.ModuleList(layers)
left-in-eval-mode: Training goes on in evaluation mode: dropout is off, batch norm uses and keeps its running averages.
    Call model.train() after each evaluation.
    > model.train()
weights-not-copied: Weights that are to be kept share their memory with those that go on learning.
    Keep a copy: copy.deepcopy(model.state_dict()), or save it to a file.
    > best = copy.deepcopy(model.state_dict())
clip-too-tight: Clipping shortens most gradients by far, so that the steps stay tiny.
    Clip at some times the usual norm of the gradient, or not at all.
    > nn.utils.clip_grad_norm_(model.parameters(), 1.0)
not-in-eval-mode: Evaluation runs in training mode: dropout stays on, batch norm uses the batch.
    Call model.eval() before evaluating, and model.train() after it; give F.dropout training=self.training.
    > model.eval()
---- the optimizer
lr-too-high: The learning rate is so high that steps overshoot.
    Divide the learning rate by 10, perhaps again.
lr-too-low: The learning rate is so low that the loss hardly falls in the steps there are.
    Multiply the learning rate by 10, perhaps again.
schedule-collapsed: The schedule brings the rate to almost nothing while there is still much to learn.
    Let it fall more slowly: scheduler.step() once an epoch if it counts epochs, a larger gamma, a later milestone.
over-regularized: The penalty on the weights outweighs the loss, and they shrink towards 0.
    Divide the weight decay (or the factor of the penalty) by 100, or set it to 0.
---- the loss
softmax-before-loss: The model ends with softmax, and the loss applies it once more.
    Leave the softmax out of the model; cross_entropy takes logits.
    > loss = F.cross_entropy(logits, labels)
sigmoid-before-loss: The model ends with sigmoid, and the loss applies it once more.
    Leave the sigmoid out of the model; binary_cross_entropy_with_logits takes logits.
    > loss = F.binary_cross_entropy_with_logits(logits, targets)
activation-on-output: An activation function after the last layer keeps outputs from values that are wanted.
    Leave out the activation after the last layer, or bring the targets into its range.
shape-broadcast: Outputs and targets differ in shape, and each output is compared with the targets of other samples.
    Bring both to the same shape before the loss: targets.view_as(outputs), or outputs.squeeze(1).
    > loss = loss_fn(outputs, targets.view_as(outputs))
softmax-wrong-dim: Softmax runs over the samples of the batch instead of over the classes.
    Use dim=1; before cross_entropy no softmax at all.
    > probabilities = logits.softmax(dim=1)
wrong-loss: The loss does not suit the task, such as a squared error on class indices.
    Use cross_entropy with one output for each class.
    > loss = F.cross_entropy(logits, labels)
loss-sign: The sign of the loss is wrong: training makes predictions worse.
    Minimize the loss: take out the minus sign, or maximize=True.
loss-summed: The loss is summed over the batch, so that steps are as many times too long.
    Take the mean over the batch: reduction="mean".
    > loss_fn = nn.CrossEntropyLoss(reduction="mean")
class-weights-wrong: The weights of the classes in the loss favor those that are frequent anyway.
    Weight each class by one over its number of samples, in the order of the class indices.
    > weight = len(labels) / (classes * labels.bincount(minlength=classes))
loss-terms-unbalanced: One part of the loss drowns another, which then is not learned.
    Take the mean, or the sum, over the same things in all parts, then weight them.
---- the first weights
symmetric-init: Units of a layer start equal and stay equal.
    Draw the weights at random: leave PyTorch's initialization, or take He's or Xavier's.
    > nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
init-too-large: The first weights are so large that logits or activations start huge.
    Take He's initialization for ReLU, Xavier's for tanh.
    > nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
init-too-small: The first weights are so small that the signal fades from layer to layer.
    Take He's initialization for ReLU, Xavier's for tanh.
    > nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
dead-relu-at-init: Most ReLUs of a layer are 0 for every sample from the start.
    Take He's initialization with biases of 0, and look at the sign of weights and inputs.
    > nn.init.kaiming_normal_(layer.weight, nonlinearity="relu"); nn.init.zeros_(layer.bias)
---- the network
vanishing-gradient: The gradient fades on its way to the first layers, though the weights have the right scale.
    Take ReLU instead of sigmoid, batch norm, or connections that skip layers.
exploding-gradient: The gradient grows from layer to layer on its way back, from the first step on.
    Take He's or Xavier's initialization, batch norm, or clip the gradient.
    > nn.utils.clip_grad_norm_(model.parameters(), 1.0)
saturated-activations: Most outputs of sigmoid or tanh are at their bounds, where the slope is nearly 0.
    Scale the inputs, draw smaller weights (Xavier), or lower the learning rate.
dead-relu: Most ReLUs of a layer have become 0 for every sample in the course of training.
    Start anew with a smaller learning rate, or take leaky ReLU.
no-nonlinearity: There is no activation function between layers: together they are one linear layer.
    Put an activation function, such as ReLU, after each hidden layer.
dropout-too-high: Dropout takes so much away that the network cannot fit even the training data.
    Lower p to 0.5 or less.
samples-mixed: What the model gives for one sample depends on the other samples of the batch.
    Swap dimensions with permute or transpose, not with view; no softmax over dimension 0; mind batch_first.
batchnorm-stats-stale: The running averages of batch norm, used in evaluation, do not fit the weights.
    Leave momentum at 0.1 and train on in training mode; after averaging weights call update_bn().
batchnorm-small-batch: Batch norm sees so few samples at a time that its averages are noise.
    Take larger batches, or group norm or layer norm instead.
    > nn.GroupNorm(8, channels)
---- the data
inputs-not-scaled: Inputs are far from mean 0 and std 1, such as pixels from 0 to 255.
    Divide pixels by 255, or subtract the mean and divide by the std of the training set.
    > inputs = (inputs - train_inputs.mean()) / train_inputs.std()
targets-not-scaled: Targets are so large, or so far from 0, that the outputs do not get there.
    Subtract the mean of the training targets and divide by their std; undo it for predictions.
    > targets = (targets - train_targets.mean()) / train_targets.std()
axes-scrambled: Axes of the inputs were split anew by view or reshape where they should be swapped.
    Swap axes with permute or transpose; view and reshape only split and join neighbors.
    > images = images.permute(0, 3, 1, 2)
inputs-drift: What the model gets changes from epoch to epoch, as where data are normalized in place each time.
    Prepare the data once, or on a copy: x = x - mean in place of x -= mean.
    > inputs = inputs - mean
noisy-inputs: Inputs drown in noise.
    Find where the noise comes from; if it is there to stay: smooth the inputs, or train on more of them.
constant-inputs: The model gets the same for every sample, or nothing of the input gets through.
    Look at a batch right before the model: see how it is loaded and transformed.
train-test-mismatch: Training and test data are not prepared alike.
    Use one and the same preparation, with the numbers of the training set, for both.
target-leak: The inputs hold the target, or what is known only together with it.
    Take out the columns that are made from the target, and prepare training and test data apart.
padding-not-masked: Padding is treated like data, in the loss, in a mean over time, in attention, or as the last state.
    Mask it: ignore_index, packed sequences, a padding mask, a mean over real positions.
repeated-samples: The same few samples come again and again where new ones are meant.
    Seed each worker and epoch differently, and draw a new batch in each step.
labels-shuffled: Labels do not belong to their inputs.
    Permute, filter and split inputs and labels together; look at samples with their labels.
    > order = torch.randperm(len(inputs)); inputs, labels = inputs[order], labels[order]
data-mispaired: Inputs and targets belong to different samples, such as masks of other images.
    Keep each pair together: sort both lists alike, permute and split them with the same indices; look at some pairs.
label-noise: A part of the labels is wrong.
    Look at the samples with the largest loss and mend or drop them; smooth the labels.
data-not-shuffled: Samples come ordered by class, so that each step forgets the classes before.
    Shuffle in each epoch: DataLoader(..., shuffle=True).
    > loader = DataLoader(data, batch_size=64, shuffle=True)
class-imbalance: One class drowns the others, and the model predicts little else.
    Weight the loss by class, or draw rare classes more often; judge class by class.
    > sampler = WeightedRandomSampler((1 / labels.bincount())[labels], len(labels))
---- the evaluation
metric-wrong: The network learns, and what is measured does not say so.
    Compute the metric again by hand, on outputs and targets of the same samples, in evaluation mode.
---- the symptom of last resort
nan: Numbers that are not finite appear, and nothing before explains them.
    Look at the first place that the report names: 0 / 0, log(0), sqrt at 0, or NaN in the data.
"""

CAUSES = {
    name: Cause(*texts) for name, *texts in re.findall(r"(?m)^(\S+): (.+)\n    (.+)(?:\n    > (.+))?$", VOCABULARY)
}
