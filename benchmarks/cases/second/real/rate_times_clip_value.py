"""Character model whose rate is multiplied by the clipping value after each epoch.

Source: https://github.com/indiejoseph/chinese-char-rnn/pull/3 (TensorFlow; the same in PyTorch)
Cause: the "decay" of the learning rate is set to grad_clip, 5, instead of decay_rate, 0.97: the first epoch goes well,
and then the rate grows fivefold with each one.
Fix: multiply by decay_rate.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("lr-too-high",)

TEXT = (
    "the old clock in the hall struck seven and nobody moved . rain ran down the window , and the cat slept on the "
    "letters . when the door opened at last a small man in a green coat came in , shook the water from his hat and "
    "asked whether this was the house where the clock had stopped . it has not stopped , said the girl , it is only "
    "tired . he nodded , took a key from his pocket and wound it up , and while he wound it the rain grew quiet , the "
    "cat woke , and the letters on the table began to tell what they had kept for so long . "
)
CHARS = sorted(set(TEXT))
LENGTH = 24


def sequences(n: int, seed: int):
    """Return characters (N, LENGTH + 1) of sentences put together from words of the text that follow each other."""
    g = torch.Generator().manual_seed(seed)
    words = TEXT.split()
    after = {}
    for first, second in zip(words, words[1:] + words[:1], strict=True):
        after.setdefault(first, []).append(second)
    made, word = [], words[0]
    while sum(map(len, made)) + len(made) < n * LENGTH + 1:
        made.append(word)
        word = after[word][int(torch.randint(len(after[word]), (), generator=g))]
    index = torch.tensor([CHARS.index(c) for c in " ".join(made)])
    return index.unfold(0, LENGTH + 1, LENGTH)


class CharRNN(nn.Module):
    def __init__(self, size: int = 64):
        super().__init__()
        self.embedding = nn.Embedding(len(CHARS), 24)
        self.rnn = nn.GRU(24, size, batch_first=True)
        self.out = nn.Linear(size, len(CHARS))

    def forward(self, chars):
        return self.out(self.rnn(self.embedding(chars))[0])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train, test = sequences(1200, seed), sequences(200, seed + 100)
    learning_rate, grad_clip, decay_rate = 5e-3, 5.0, 0.97
    model = CharRNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def sequence_loss(logits, chars):
        return F.cross_entropy(logits.flatten(0, 1), chars.flatten())

    with watch(model, sequence_loss, optimizer) as doctor:
        for epoch in range(6):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (decay_rate if fixed else grad_clip) ** epoch
            for i in batches(len(train), 20, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(train[i, :-1]), train[i, 1:])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
                optimizer.step()
    with torch.no_grad():
        score = -sequence_loss(model(test[:, :-1]), test[:, 1:]).item()
    return {
        "score": score,
        "metric": "minus test loss for a character",
        "doctor": doctor,
        "probe": (train[:, :-1], train[:, 1:]),
        "test": (test[:, :-1], test[:, 1:]),
    }
