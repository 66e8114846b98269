"""LSTM language model whose criterion splits the softmax into frequent and rare words.

Source: https://github.com/salesforce/awd-lstm-lm/issues/30
Cause: the criterion has parameters of its own, the vectors and biases that say how likely the rare words are as a
group, which start at 0. The optimizer gets those of the model alone, so they stay there.
Fix: the optimizer gets the parameters of the criterion as well.
"""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("parameters-not-in-optimizer",)
VOCAB, BPTT = 240, 25


def corpus(n: int, streams: int, seed: int):
    """Return words (N, streams) of a text in which a topic, seen in its words, changes now and then."""
    rules = torch.Generator().manual_seed(5)
    chances = 1 / (torch.arange(VOCAB) + 2.0)
    follow = (chances.log() + 2.2 * torch.randn(12, VOCAB, generator=rules)).softmax(1)
    kind = torch.randint(12, (VOCAB,), generator=rules)
    g = torch.Generator().manual_seed(seed)
    words = torch.randint(VOCAB, (n, streams), generator=g)
    for t in range(1, n):
        words[t] = torch.multinomial(follow[kind[words[t - 1]]], 1, generator=g)[:, 0]
    return words


class SplitCrossEntropyLoss(nn.Module):
    """Words below the first split, and one pretended word for each later part, share the first softmax."""

    def __init__(self, hidden_size: int, splits: list[int]):
        super().__init__()
        self.splits = [0, *splits, VOCAB]
        self.tail_vectors = nn.Parameter(torch.zeros(len(splits), hidden_size))
        self.tail_bias = nn.Parameter(torch.zeros(len(splits)))

    def logprob(self, weight, bias, hiddens):
        first = self.splits[1]
        head_weight = torch.cat([weight[:first], self.tail_vectors])
        head_bias = torch.cat([bias[:first], self.tail_bias])
        head = F.linear(hiddens, head_weight, head_bias).log_softmax(-1)
        parts = [head[:, :first]]
        for k, (start, end) in enumerate(zip(self.splits[1:-1], self.splits[2:], strict=True)):
            tail = F.linear(hiddens, weight[start:end], bias[start:end]).log_softmax(-1)
            parts.append(head[:, first + k, None] + tail)
        return torch.cat(parts, 1)

    def forward(self, weight, bias, hiddens, targets):
        return F.nll_loss(self.logprob(weight, bias, hiddens), targets)


class RNNModel(nn.Module):
    def __init__(self, ninp: int = 64, dropout: float = 0.1):
        super().__init__()
        self.drop, self.encoder = nn.Dropout(dropout), nn.Embedding(VOCAB, ninp)
        self.rnn, self.decoder = nn.LSTM(ninp, ninp), nn.Linear(ninp, VOCAB)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        self.decoder.weight = self.encoder.weight

    def forward(self, words, hidden=None):
        out, hidden = self.rnn(self.drop(self.encoder(words)), hidden)
        return self.drop(out).flatten(0, 1), hidden


def evaluate(model, criterion, words):
    model.eval()
    with torch.no_grad():
        output, _ = model(words[:-1])
        return criterion(model.decoder.weight, model.decoder.bias, output, words[1:].flatten()).item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train, valid = corpus(1500, 40, seed + 1), corpus(300, 10, seed + 2)
    model, criterion = RNNModel(), SplitCrossEntropyLoss(64, splits=[20, 100])
    params = list(model.parameters()) + (list(criterion.parameters()) if fixed else [])
    optimizer = torch.optim.Adam(params, lr=3e-3, weight_decay=1.2e-6)
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(5):
            model.train()
            hidden = None
            for start in range(0, len(train) - 1 - BPTT, BPTT):
                data, targets = train[start : start + BPTT], train[start + 1 : start + 1 + BPTT]
                optimizer.zero_grad()
                output, hidden = model(data, hidden)
                hidden = tuple(part.detach() for part in hidden)
                loss = doctor.loss_fn(model.decoder.weight, model.decoder.bias, output, targets.flatten())
                loss.backward()
                nn.utils.clip_grad_norm_(params, 0.25)
                optimizer.step()
    score = -evaluate(model, criterion, valid)
    return {"score": score, "metric": "minus validation loss", "doctor": doctor, "probe": None, "test": None}
