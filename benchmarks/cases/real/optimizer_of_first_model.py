"""Character RNN whose optimizer belongs to a network made earlier.

Source: https://github.com/spro/practical-pytorch/issues/9
Cause: the network is made twice, after its class and again before the training loop; the optimizer holds the
parameters of the first one, so the one that is trained never changes.
Fix: make the optimizer after the second network.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches

TRUTH = ("parameters-not-in-optimizer",)
LETTERS, LANGUAGES, LENGTH = 26, 6, 8


def names(n: int, seed: int):
    """Return words (N, T) of made-up languages, each with its own habits which letter follows which, and labels."""
    habits = torch.distributions.Gamma(0.3, 1.0)
    torch.manual_seed(7)  # the languages are the same for training and test
    follows = habits.sample((LANGUAGES, LETTERS, LETTERS)) + 0.01
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(LANGUAGES, (n,), generator=g)
    words = [torch.randint(LETTERS, (n,), generator=g)]
    for _ in range(LENGTH - 1):
        words.append(torch.multinomial(follows[y, words[-1]], 1, generator=g)[:, 0])
    return torch.stack(words, 1), y


class CharRNN(nn.Module):
    def __init__(self, hidden: int = 64):
        super().__init__()
        self.i2e = nn.Embedding(LETTERS, 32)
        self.rnn = nn.RNN(32, hidden, batch_first=True)
        self.h2o = nn.Linear(hidden, LANGUAGES)

    def forward(self, x):
        _, h = self.rnn(self.i2e(x))
        return torch.log_softmax(self.h2o(h[-1]), dim=1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    (x, y), (tx, ty) = names(6000, seed), names(2000, seed + 100)
    torch.manual_seed(seed)
    rnn = CharRNN()
    criterion = nn.NLLLoss()
    optimizer = torch.optim.SGD(rnn.parameters(), lr=0.1, momentum=0.9)

    rnn = CharRNN()
    if fixed:
        optimizer = torch.optim.SGD(rnn.parameters(), lr=0.1, momentum=0.9)
    with watch(rnn, criterion, optimizer) as doctor:
        for i in batches(len(x), 50, 6, seed):
            optimizer.zero_grad()
            rnn.zero_grad()
            loss = doctor.loss_fn(rnn(x[i]), y[i])
            loss.backward()
            optimizer.step()
    return {
        "score": accuracy(rnn, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:4000], y[:4000]),
        "test": (tx, ty),
    }
