"""A word language model as in the PyTorch examples: columns of text, hidden state detached from part to part, SGD.

A careless tool could take a rate of 20 with clipping at 0.25, the data in order, or the detached state for a fault.
"""

import torch
from torch import nn

BPTT, COLUMNS = 20, 20


class RNNModel(nn.Module):
    def __init__(self, vocab=40, width=48):
        super().__init__()
        self.drop, self.encoder = nn.Dropout(0.1), nn.Embedding(vocab, width)
        self.rnn, self.decoder = nn.LSTM(width, width, 1), nn.Linear(width, vocab)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, words, hidden):
        output, hidden = self.rnn(self.drop(self.encoder(words)), hidden)
        return self.decoder(self.drop(output)).flatten(0, 1), hidden


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    chances = torch.softmax(3 * torch.randn(40, 40), 1)
    words = torch.zeros(900, COLUMNS, dtype=torch.long)
    for t in range(1, 900):
        words[t] = torch.multinomial(chances[words[t - 1]], 1).squeeze(1)
    train, held = words[:801], words[801:]
    model, criterion, lr, best = RNNModel(), nn.CrossEntropyLoss(), 20.0, float("inf")
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    zeros = torch.zeros(1, COLUMNS, 48)
    with watch(model, criterion, optimizer) as doctor:
        for _ in range(12):
            model.train()
            hidden = (zeros, zeros)
            for t in range(0, 800, BPTT):
                hidden = tuple(h.detach() for h in hidden)
                optimizer.zero_grad()
                output, hidden = model(train[t : t + BPTT], hidden)
                loss = doctor.loss_fn(output, train[t + 1 : t + BPTT + 1].flatten())
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.25)
                optimizer.step()
            model.eval()
            with torch.no_grad():
                val_loss = doctor.loss_fn(model(held[:-1], (zeros, zeros))[0], held[1:].flatten()).item()
            if val_loss > best:
                for group in optimizer.param_groups:
                    group["lr"] /= 4
            best = min(best, val_loss)
    score = -float(torch.tensor(best).exp())
    return {"score": score, "metric": "minus perplexity (-40 untrained)", "doctor": doctor, "probe": None, "test": None}
