"""Claims print a verdict, are listed once, and fail a notebook only at its end."""

import numpy as np
import pytest
import torch

from helpers import claims, session


@pytest.fixture(autouse=True)
def _no_claims_yet(monkeypatch):
    monkeypatch.setattr(claims, "_claims", {})
    monkeypatch.setattr(session, "caveats", [])


@pytest.mark.parametrize(
    ("value", "bounds", "line"),
    [
        (0.95678, {"at_least": 0.9}, "holds: it learns: 0.9568 (at least 0.9)"),
        (0.9, {"at_least": 0.9}, "holds: it learns: 0.9 (at least 0.9)"),
        (0.8, {"at_least": 0.9}, "FAILS: it learns: 0.8 (at least 0.9)"),
        (2, {"at_most": 1}, "FAILS: it learns: 2 (at most 1)"),
        (2, {"at_least": 1, "at_most": 3}, "holds: it learns: 2 (at least 1 and at most 3)"),
        (4, {"between": (1, 3)}, "FAILS: it learns: 4 (at least 1 and at most 3)"),
        (float("nan"), {"at_least": 0}, "FAILS: it learns: nan (at least 0)"),
        (float("nan"), {"at_most": 0}, "FAILS: it learns: nan (at most 0)"),
        (60170, {"at_most": 70000}, "holds: it learns: 60170 (at most 70000)"),
        (3e-7, {"between": (0, 1e-6)}, "holds: it learns: 3e-07 (at least 0 and at most 1e-06)"),
        (torch.tensor(0.5), {"at_most": 1}, "holds: it learns: 0.5 (at most 1)"),
        (np.float32(0.5), {"at_most": np.int64(1)}, "holds: it learns: 0.5 (at most 1)"),
        (np.array([0.5]), {"at_least": torch.zeros(1)}, "holds: it learns: 0.5 (at least 0)"),
        (True, {"at_least": True}, "holds: it learns: 1 (at least 1)"),
    ],
)
def test_line(value, bounds, line, capsys):
    claims.claim("it learns", value, **bounds)
    assert capsys.readouterr().out == line + "\n"


@pytest.mark.parametrize("bounds", [{}, {"at_least": 0, "between": (0, 1)}])
def test_bounds_are_needed_and_of_one_kind(bounds):
    with pytest.raises(ValueError, match="needs a bound"):
        claims.claim("it learns", 1, **bounds)


def test_a_run_with_caveats_is_not_judged(monkeypatch, capsys):
    monkeypatch.setattr(session, "caveats", ["quick run", "sample MNIST"])
    claims.claim("it learns", 0.1, at_least=0.9)
    claims.summary()
    assert capsys.readouterr().out.splitlines() == [
        "not judged (quick run, sample MNIST): it learns: 0.1 (at least 0.9)",
        "0 of 1 hold; the others are not judged (quick run, sample MNIST), which speaks against none of them",
    ]


def test_what_was_expected_may_stay_refuted(monkeypatch, capsys):
    claims.expect("it learns", 0.1, at_least=0.9)
    claims.expect("it learns", 0.1, at_most=0.9)
    monkeypatch.setattr(session, "caveats", ["quick run"])
    claims.expect("it learns", float("nan"), at_most=0.9)
    claims.summary()
    assert capsys.readouterr().out.splitlines()[:3] == [
        "REFUTED: it learns: 0.1 (expected: at least 0.9)",
        "came true: it learns: 0.1 (expected: at most 0.9)",
        "not judged (quick run): it learns: nan (expected: at most 0.9)",
    ]


def test_summary_counts_each_text_once_and_names_what_failed(capsys):
    claims.claim("first", 1, at_least=2)
    claims.claim("second", 1, at_least=2)
    claims.claim("third", 1, at_least=0)
    claims.claim("first", 3, at_least=2)  # the cell is run again
    capsys.readouterr()
    with pytest.raises(AssertionError, match=r"^1 of 3 claims failed: second\.$"):
        claims.summary()
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["FAILS", "2 of 3 hold"]
