"""Speech synthesis whose speaker-consistency loss gives no gradient.

Source: https://github.com/coqui-ai/TTS/issues/2348 (fixed by coqui-ai/TTS#2364)
Cause: the speaker encoder computes the spectrogram of its input under torch.no_grad(), as it did when it was trained
itself. Used as a loss, it lets no gradient through to the synthesizer; the sum with the other loss hides that.
Fix: compute the spectrogram with gradients.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("graph-cut",)

SAMPLES, HARMONICS, SYLLABLES = 256, 12, 8


def spectrum(wave):
    frames = wave.unfold(1, 64, 32) * torch.hann_window(64)
    return (torch.fft.rfft(frames).abs() + 1e-2).log()


def speech(n: int, seed: int, voices):
    """Return waves (N, SAMPLES), what is said (N,) and who says it (N,): loudness over time, and its overtones."""
    g = torch.Generator().manual_seed(seed)
    said, who = torch.randint(SYLLABLES, (n,), generator=g), torch.randint(len(voices), (n,), generator=g)
    t = torch.arange(SAMPLES) / SAMPLES
    loud = 0.2 + torch.sin(torch.pi * (t * (1 + said[:, None] % 4) + 0.3 * (said[:, None] // 4))).square()
    overtones = torch.arange(1, HARMONICS + 1)[:, None]
    phase = 6.28 * torch.rand(n, HARMONICS, 1, generator=g)
    tone = (voices[who][..., None] * torch.sin(6.28 * 9 * overtones * t + phase)).sum(1)
    return loud * tone + 0.02 * torch.randn(n, SAMPLES, generator=g), said, who


class SpeakerEncoder(nn.Module):
    def __init__(self, fixed: bool, speakers: int):
        super().__init__()
        self.fixed = fixed
        self.net = nn.Sequential(nn.Linear(33, 48), nn.ReLU(), nn.Linear(48, 16))
        self.head = nn.Linear(16, speakers)

    def forward(self, wave):
        with torch.set_grad_enabled(self.fixed and torch.is_grad_enabled()):
            mel = spectrum(wave)
            mel = mel - mel.mean((1, 2), keepdim=True)
        return F.normalize(self.net(mel).mean(1), dim=1)


class Synthesizer(nn.Module):
    def __init__(self, speakers: int):
        super().__init__()
        self.text, self.speaker = nn.Embedding(SYLLABLES, 24), nn.Embedding(speakers, 16)
        self.loudness = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 16), nn.Softplus())
        self.timbre = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, HARMONICS), nn.Softplus())
        t = torch.arange(SAMPLES) / SAMPLES
        self.register_buffer("tones", torch.sin(6.28 * 9 * torch.arange(1, HARMONICS + 1)[:, None] * t))

    def forward(self, said, who):
        h = torch.cat([self.text(said), self.speaker(who)], 1)
        loud = F.interpolate(self.loudness(h)[:, None], size=SAMPLES, mode="linear")[:, 0]
        return loud * (self.timbre(h) @ self.tones)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    voices = torch.rand(20, HARMONICS, generator=torch.Generator().manual_seed(seed)).pow(3)
    wave, said, who = speech(2000, seed, voices)
    encoder = SpeakerEncoder(fixed, len(voices))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    for i in batches(len(wave), 50, 6, seed):
        optimizer.zero_grad()
        F.cross_entropy(10 * encoder.head(encoder(wave[i])), who[i]).backward()
        optimizer.step()
    encoder.requires_grad_(False).eval()

    model = Synthesizer(len(voices))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with watch(model, None, optimizer) as doctor:
        for i in batches(len(wave), 50, 8, seed):
            fake = model(said[i], who[i])
            energy, wanted = (w.square().unfold(1, 32, 32).mean(2) for w in (fake, wave[i]))
            loss_energy = F.l1_loss((energy + 1e-3).log(), (wanted + 1e-3).log())
            loss_spk_consistency = -F.cosine_similarity(encoder(wave[i]), encoder(fake)).mean()
            loss = loss_energy + 9 * loss_spk_consistency
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    test, test_said, test_who = speech(400, seed + 100, voices)
    with torch.no_grad():
        score = F.cosine_similarity(encoder(test), encoder(model(test_said, test_who))).mean().item()
    return {
        "score": score,
        "metric": "similarity of the voice to the speaker's",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
