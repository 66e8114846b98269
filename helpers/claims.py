"""Findings that a run can confirm or refute."""

from helpers import session

_claims: dict[str, tuple[str, str]] = {}  # text -> (verdict, line to show), in the order first claimed


def claim(text: str, value, at_least=None, at_most=None, between=None) -> None:
    """Print whether `value` lies within the bounds, which count as inside, and remember it for `summary`.

    `value`: a number, a bool, or a tensor or array of one element; NaN fails. The bounds: `at_least`, `at_most`, both
    of them, or `between=(low, high)`. A run with caveats is not judged. A text claimed again replaces the old claim.
    """
    if (between is None) == (at_least is at_most is None):  # none, or both kinds
        raise ValueError("A claim needs a bound: at_least, at_most or both, or between=(low, high) alone.")
    verdict, number, bound = _judge(value, *(between or (at_least, at_most)), "holds", "FAILS")
    _claims[text] = verdict, f"{verdict}: {text}: {number} ({bound})"
    print(_claims[text][1])


def expect(text: str, value, at_least=None, at_most=None) -> None:
    """Print whether what was written down before its run came true; unlike a claim it may stay refuted."""
    verdict, number, bound = _judge(value, at_least, at_most, "came true", "REFUTED")
    print(f"{verdict}: {text}: {number} (expected: {bound})")


def summary() -> None:
    """Say how many claims of this notebook hold; raise an AssertionError that names those that failed."""
    verdicts = [verdict for verdict, _ in _claims.values()]
    failed = {text: line for text, (verdict, line) in _claims.items() if verdict == "FAILS"}
    print(*failed.values(), sep="\n", end="\n" if failed else "")
    print(f"{verdicts.count('holds')} of {len(verdicts)} hold", end="")
    reasons = ", ".join(session.caveats)
    print(f"; the others are not judged ({reasons}), which speaks against none of them" if reasons else "")
    if failed:
        raise AssertionError(f"{len(failed)} of {len(_claims)} claims failed: {'; '.join(failed)}.")


def _judge(value, low, high, inside: str, outside: str) -> tuple[str, str, str]:
    """Return the verdict on a value, the value and its bounds, all as text."""
    value, low, high = (None if n is None else _number(n) for n in (value, low, high))
    verdict = inside if (low is None or value >= low) and (high is None or value <= high) else outside  # NaN: outside
    if session.caveats:
        verdict = f"not judged ({', '.join(session.caveats)})"
    bounds = ("at least", low), ("at most", high)
    bound = " and ".join(f"{which} {_short(limit)}" for which, limit in bounds if limit is not None)
    return verdict, _short(value), bound


def _number(value) -> float:
    return float(value.item() if hasattr(value, "item") else value)


def _short(value: float) -> str:
    """Format with four significant digits; whole thousands are written out rather than as a power of ten."""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"
