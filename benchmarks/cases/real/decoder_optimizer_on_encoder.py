"""Translation by encoder and decoder, the decoder's optimizer holding the encoder.

Source: https://github.com/zhaoyingjun/chatbot/issues/115
Cause: there are two optimizers, but both get the parameters of the encoder, by a slip in copying the line: the decoder
stays as it was drawn.
Fix: give the second one decoder.parameters().
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("parameters-not-in-optimizer",)
WORDS, LENGTH, START = 16, 5, 16


class EncoderRNN(nn.Module):
    def __init__(self, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 32)
        self.gru = nn.GRU(32, hidden, batch_first=True)

    def forward(self, words):
        return self.gru(self.embedding(words))[1]


class DecoderRNN(nn.Module):
    def __init__(self, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(WORDS + 1, 32)
        self.gru = nn.GRU(32, hidden, batch_first=True)
        self.out = nn.Linear(hidden, WORDS)

    def forward(self, words, hidden):
        return self.out(self.gru(self.embedding(words), hidden)[0])


def sentences(n: int, seed: int):
    """Return sentences of one language and their translations: other words, in reverse order."""
    dictionary = torch.randperm(WORDS, generator=torch.Generator().manual_seed(7))
    words = torch.randint(WORDS, (n, LENGTH), generator=torch.Generator().manual_seed(seed))
    return words, dictionary[words].flip(1)


def criterion(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def shifted(y):
    return torch.cat([torch.full((len(y), 1), START), y[:, :-1]], 1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = sentences(5000, seed), sentences(1000, seed + 100)
    encoder, decoder = EncoderRNN(64), DecoderRNN(64)
    encoder_optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    decoder_optimizer = torch.optim.Adam((decoder if fixed else encoder).parameters(), lr=3e-3)
    with watch(decoder, criterion, decoder_optimizer) as doctor:
        for i in batches(len(x), 50, 6, seed):
            encoder_optimizer.zero_grad()
            decoder_optimizer.zero_grad()
            loss = doctor.loss_fn(decoder(shifted(y[i]), encoder(x[i])), y[i])
            loss.backward()
            encoder_optimizer.step()
            decoder_optimizer.step()
    with torch.no_grad():
        score = (decoder(shifted(ty), encoder(tx)).argmax(2) == ty).float().mean().item()
    return {"score": score, "metric": "share of right words", "doctor": doctor, "probe": None, "test": None}
