"""Captions of pictures of two digits: a CNN and an LSTM, an optimizer with its own rate for each of the two parts.

A careless tool could take the half of the weights that one optimizer does not hold for weights left out.
"""

import torch
import torch.nn as nn
from torch.nn.utils import clip_grad_norm_

from benchmarks.cases.data import mnist

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
VOCAB = ["<pad>", "<start>", "<end>", "a", "pair", "of", "left", "right", "and", *NAMES, "s"]
WORD = {w: k for k, w in enumerate(VOCAB)}


def caption(a, b):
    text = f"a pair of {NAMES[a]} s" if a == b else f"a {NAMES[a]} left and a {NAMES[b]} right"
    tokens = [WORD[w] for w in ["<start>", *text.split(), "<end>"]]
    return tokens + [WORD["<pad>"]] * (9 - len(tokens))


def make_pictures(images, labels, n):
    first, second = torch.randint(len(images), (2, n))
    same = torch.rand(n) < 0.2
    second = torch.where(same, first, second)
    pictures = torch.cat([images[first], images[second]], dim=3)
    captions = [caption(a, b) for a, b in zip(labels[first].tolist(), labels[second].tolist(), strict=True)]
    return pictures, torch.tensor(captions)


class EncoderCNN(nn.Module):
    def __init__(self, embed_size):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 5, stride=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.embed = nn.Linear(16 * 4 * 11, embed_size)

    def forward(self, images):
        return self.embed(self.conv(images).flatten(1))


class DecoderRNN(nn.Module):
    def __init__(self, embed_size, hidden_size, vocab_size):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, embed_size)
        self.lstm = nn.LSTM(2 * embed_size, hidden_size, batch_first=True)
        self.linear = nn.Linear(hidden_size, vocab_size)

    def forward(self, features, captions):
        words = self.embed(captions)
        seen = features.unsqueeze(1).expand(-1, words.shape[1], -1)
        hiddens, _ = self.lstm(torch.cat([words, seen], dim=2))
        return self.linear(hiddens)


class Captioner(nn.Module):
    def __init__(self, embed_size=48, hidden_size=64):
        super().__init__()
        self.encoder = EncoderCNN(embed_size)
        self.decoder = DecoderRNN(embed_size, hidden_size, len(VOCAB))

    def forward(self, images, captions):
        return self.decoder(self.encoder(images), captions)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    pictures, captions = make_pictures(x, y, 6000)
    test_pictures, test_captions = make_pictures(tx, ty, 600)
    model = Captioner()
    encoder_optimizer = torch.optim.Adam(model.encoder.parameters(), lr=1e-3)
    decoder_optimizer = torch.optim.Adam(model.decoder.parameters(), lr=4e-3)
    with watch(model, nn.CrossEntropyLoss(ignore_index=WORD["<pad>"]), encoder_optimizer) as doctor:
        for _epoch in range(5):
            model.train()
            for idx in torch.randperm(len(pictures)).split(40):
                scores = model(pictures[idx], captions[idx, :-1])
                loss = doctor.loss_fn(scores.flatten(0, 1), captions[idx, 1:].flatten())
                decoder_optimizer.zero_grad()
                encoder_optimizer.zero_grad()
                loss.backward()
                clip_grad_norm_(model.decoder.parameters(), 5.0)
                decoder_optimizer.step()
                encoder_optimizer.step()
    model.eval()
    with torch.no_grad():
        guess = model(test_pictures, test_captions[:, :-1]).argmax(2)
    wanted = test_captions[:, 1:]
    names = (wanted >= WORD["zero"]) & (wanted <= WORD["nine"])
    score = (guess == wanted)[names].float().mean().item()
    return {"score": score, "metric": "names of digits right", "doctor": doctor, "probe": None, "test": None}
