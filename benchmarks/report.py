"""Writes the table of a benchmark beside its script, with the date and the machine it was measured on."""

import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch


def machine() -> str:
    """Return what the timings depend on, in a few words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores ({platform.machine()}), {gpu}, torch {torch.__version__}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def write_report(
    name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str, command: str = ""
) -> None:
    """Print a Markdown table and write it to benchmarks/NAME.md; `command`: module and arguments, if not NAME."""
    lines = [f"# {title}", "", f"`python -m benchmarks.{command or name}`, {date.today()}: {machine()}", ""]
    text = "\n".join([*lines, table(header, rows), "", note, ""])
    print(text)
    Path(__file__).with_name(f"{name}.md").write_text(text, encoding="utf-8")
