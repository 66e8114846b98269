"""CAUSES: the vocabulary of what keeps a network from learning, each with its definition and what to do about it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    definition: str
    fix: str


# For each cause its name and definition, then the fix, in a line of its own.
VOCABULARY = """
---- the loop
gradients-not-zeroed: Gradients of earlier steps are still there when the next ones are added.
    Call optimizer.zero_grad() once for each optimizer.step().
no-optimizer-step: Gradients are computed, but no step follows, or they are cleared before it.
    Call optimizer.step() after loss.backward(), and zero_grad() before backward() or after step().
parameters-not-in-optimizer: Parameters get gradients, but the optimizer does not know them.
    Give the optimizer model.parameters(), after the last layer has been added or replaced.
layer-frozen: A layer that should learn does not: requires_grad is off, its rate is 0, or it is cut off by detach().
    Set requires_grad to True before the optimizer is made, give it a rate, and take out detach() and no_grad.
clip-too-tight: Clipping shortens most gradients by far, so that the steps stay tiny.
    Clip at some times the usual norm of the gradient, or not at all.
not-in-eval-mode: Evaluation runs in training mode: dropout stays on, batch norm uses the batch.
    Call model.eval() before evaluating, and model.train() after it.
---- the optimizer
lr-too-high: The learning rate is so high that steps overshoot.
    Divide the learning rate by 10, perhaps again.
lr-too-low: The learning rate is so low that the loss hardly falls in the steps there are.
    Multiply the learning rate by 10, perhaps again.
over-regularized: The penalty on the weights outweighs the loss, and they shrink towards 0.
    Divide the weight decay (or the factor of the penalty) by 100, or set it to 0.
---- the loss
softmax-before-loss: The model ends with softmax, and the loss applies it once more.
    Leave the softmax out of the model; cross_entropy takes logits.
softmax-wrong-dim: Softmax runs over the samples of the batch instead of over the classes.
    Use dim=1; before cross_entropy no softmax at all.
wrong-loss: The loss does not suit the task, such as a squared error on class indices.
    Use cross_entropy with one output for each class.
loss-sign: The sign of the loss is wrong: training makes predictions worse.
    Minimize the loss: take out the minus sign, or maximize=True.
loss-summed: The loss is summed over the batch, so that steps are as many times too long.
    Take the mean over the batch: reduction="mean".
---- the first weights
symmetric-init: Units of a layer start equal and stay equal.
    Draw the weights at random: leave PyTorch's initialization, or take He's or Xavier's.
init-too-large: The first weights are so large that logits or activations start huge.
    Take He's initialization for ReLU, Xavier's for tanh.
init-too-small: The first weights are so small that the signal fades from layer to layer.
    Take He's initialization for ReLU, Xavier's for tanh.
dead-relu-at-init: Most ReLUs of a layer are 0 for every sample from the start.
    Take He's initialization with biases of 0, and look at the sign of weights and inputs.
---- the network
vanishing-gradient: The gradient fades on its way to the first layers, though the weights have the right scale.
    Take ReLU instead of sigmoid, batch norm, or connections that skip layers.
exploding-gradient: The gradient grows from layer to layer on its way back, from the first step on.
    Take He's or Xavier's initialization, batch norm, or clip the gradient.
saturated-activations: Most outputs of sigmoid or tanh are at their bounds, where the slope is nearly 0.
    Scale the inputs, draw smaller weights (Xavier), or lower the learning rate.
dead-relu: Most ReLUs of a layer have become 0 for every sample in the course of training.
    Start anew with a smaller learning rate, or take leaky ReLU.
no-nonlinearity: There is no activation function between layers: together they are one linear layer.
    Put an activation function, such as ReLU, after each hidden layer.
dropout-too-high: Dropout takes so much away that the network cannot fit even the training data.
    Lower p to 0.5 or less.
---- the data
inputs-not-scaled: Inputs are far from mean 0 and std 1, such as pixels from 0 to 255.
    Divide pixels by 255, or subtract the mean and divide by the std of the training set.
noisy-inputs: Inputs drown in noise.
    Find where the noise comes from; if it is there to stay: smooth the inputs, or train on more of them.
constant-inputs: The model gets the same for every sample, or nothing of the input gets through.
    Look at a batch right before the model: see how it is loaded and transformed.
train-test-mismatch: Training and test data are not prepared alike.
    Use one and the same preparation, with the numbers of the training set, for both.
labels-shuffled: Labels do not belong to their inputs.
    Permute, filter and split inputs and labels together; look at samples with their labels.
label-noise: A part of the labels is wrong.
    Look at the samples with the largest loss and mend or drop them; smooth the labels.
data-not-shuffled: Samples come ordered by class, so that each step forgets the classes before.
    Shuffle in each epoch: DataLoader(..., shuffle=True).
class-imbalance: One class drowns the others, and the model predicts little else.
    Weight the loss by class, or draw rare classes more often; judge class by class.
---- the symptom of last resort
nan: Numbers that are not finite appear, and nothing before explains them.
    Look at the first place that the report names: 0 / 0, log(0), sqrt at 0, or NaN in the data.
"""

CAUSES = {name: Cause(*texts) for name, *texts in re.findall(r"(?m)^(\S+): (.+)\n    (.+)$", VOCABULARY)}
