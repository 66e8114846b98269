"""Dates as people write them are turned into ISO form: GRU encoder and decoder, teacher forcing of half of the batches.

A careless tool could take batches that are fed with their own guesses, whose loss is higher, for a loss that jumps.
"""

import random

import torch
import torch.nn as nn

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
LETTERS = ["<pad>", "<sos>", "<eos>", *sorted(set("".join(MONTHS)) | set("0123456789 ,./-"))]
INDEX = {c: k for k, c in enumerate(LETTERS)}
PAD, SOS, EOS = 0, 1, 2


def make_pair(rng):
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1970, 2029)
    form = rng.randrange(3)
    written = [f"{day} {MONTHS[month - 1]} {year}", f"{MONTHS[month - 1]} {day}, {year}", f"{month}/{day}/{year}"][form]
    return written, f"{year}-{month:02d}-{day:02d}"


def encode(words, length):
    rows = [[INDEX[c] for c in word] + [EOS] for word in words]
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


class Encoder(nn.Module):
    def __init__(self, vocab, emb_dim, hid_dim):
        super().__init__()
        self.embedding = nn.Embedding(vocab, emb_dim, padding_idx=PAD)
        self.rnn = nn.GRU(emb_dim, hid_dim, batch_first=True)

    def forward(self, src):
        lengths = (src != PAD).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(src), lengths, batch_first=True, enforce_sorted=False)
        _, hidden = self.rnn(packed)
        return hidden


class Decoder(nn.Module):
    def __init__(self, vocab, emb_dim, hid_dim):
        super().__init__()
        self.embedding = nn.Embedding(vocab, emb_dim)
        self.rnn = nn.GRU(emb_dim, hid_dim, batch_first=True)
        self.fc_out = nn.Linear(hid_dim, vocab)

    def forward(self, token, hidden):
        output, hidden = self.rnn(self.embedding(token), hidden)
        return self.fc_out(output), hidden


class Seq2Seq(nn.Module):
    def __init__(self, vocab, emb_dim=24, hid_dim=96):
        super().__init__()
        self.encoder = Encoder(vocab, emb_dim, hid_dim)
        self.decoder = Decoder(vocab, emb_dim, hid_dim)

    def forward(self, src, trg, teacher_forcing_ratio=0.5):
        hidden = self.encoder(src)
        token = torch.full((len(src), 1), SOS)
        if random.random() < teacher_forcing_ratio:
            return self.decoder(torch.cat([token, trg[:, :-1]], dim=1), hidden)[0]
        outputs = []
        for _ in range(trg.shape[1]):
            logits, hidden = self.decoder(token, hidden)
            outputs.append(logits)
            token = logits.argmax(2)
        return torch.cat(outputs, dim=1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    random.seed(seed)
    pairs = [make_pair(random) for _ in range(4500)]
    src, trg = encode([a for a, _ in pairs], 13), encode([b for _, b in pairs], 11)
    n_train = 4000
    model = Seq2Seq(len(LETTERS))
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(8):
            model.train()
            for idx in torch.randperm(n_train).split(64):
                optimizer.zero_grad()
                output = model(src[idx], trg[idx])
                loss = doctor.loss_fn(output.reshape(-1, output.shape[-1]), trg[idx].reshape(-1))
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1)
                optimizer.step()
    model.eval()
    with torch.no_grad():
        output = model(src[n_train:], trg[n_train:], teacher_forcing_ratio=0)
    score = (output.argmax(2) == trg[n_train:]).float().mean().item()
    return {"score": score, "metric": "letters right", "doctor": doctor, "probe": None, "test": None}
