"""How well the notebooks' claims hold on fresh seeds, and with the oldest packages that requirements.txt allows.

    python -m benchmarks.replication                            # all notebooks, seeds from 1000 and from 2000
    python -m benchmarks.replication 03 10 --offsets 1000       # two of them, one offset
    python -m benchmarks.replication 03 --offsets 1000 --python FOLDER/bin/python  # `KEEP=FOLDER .ci/floors` makes it
    python -m benchmarks.replication 04 --offsets 2000 --anew   # with its kept studies on fresh seeds, too: an hour

What a notebook computes live runs on other seeds; kept studies, which take hours, are read as they are, but for
`--anew`. So a claim with the very number of the saved notebook rests on kept results, or on no seed, and is counted
apart. Each run is added to replication.jsonl as soon as it has ended, and is not made again as long as the notebook's
code is the same. Kept studies that were cut off go on where they stopped.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import session

HERE = Path(__file__).resolve().parent
RESULTS, TABLE = HERE / "replication.jsonl", HERE / "replication.md"
CLAIM = re.compile(r"(?m)^(holds|FAILS): (.+): (\S+) \((at (?:least|most) .+)\)$")
VERSIONS = "import platform, torch; print(f'Python {platform.python_version()}, torch {torch.__version__}')"
HEAD = """# Claims on fresh seeds

Written by `python -m benchmarks.replication`. *Live*: claims whose number is another than in the saved notebook; what
the others say rests on kept results that were read as they are, or on no seed. *Anew*: kept studies ran on fresh seeds,
too. A row stays when its notebook changes.

| notebook | seeds from | kept studies | versions | live claims | of these hold | others | minutes | code |
|---|---|---|---|---|---|---|---|---|
"""


def find_notebooks(names: list[str]) -> list[Path]:
    """Return the notebooks whose names begin so, in that order; all for none. Raises ValueError for an unknown one."""
    found = [sorted((session.ROOT / "notebooks").glob(f"{name}*.ipynb")) for name in names or [""]]
    if unknown := [name for name, paths in zip(names, found, strict=False) if not paths]:
        raise ValueError(f"There is no notebook {unknown[0]!r}: give the beginning of a name, such as 03.")
    return [path for paths in found for path in paths]


def read_cells(path: Path) -> list[dict]:
    """Return the code cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def hash_code(cells: list[dict]) -> str:
    """Return what tells one version of a notebook's code from another."""
    return hashlib.sha256("\0".join("".join(cell["source"]) for cell in cells).encode()).hexdigest()[:12]


def read_claims(cells: list[dict]) -> dict[str, dict]:
    """Return {text: verdict, number and bound} of all claims that cells have printed."""
    printed = ["".join(output.get("text", "")) for cell in cells for output in cell["outputs"]]
    found = (match.groups() for text in printed for match in CLAIM.finditer(text))
    return {text: {"verdict": verdict, "number": number, "bound": bound} for verdict, text, number, bound in found}


def read_errors(cells: list[dict]) -> list[str]:
    """Return the errors in which cells ended, but for the last one's: it raises for claims that failed."""
    outputs = [output for cell in cells[:-1] for output in cell["outputs"] if output["output_type"] == "error"]
    return [f"{output['ename']}: {output['evalue']}" for output in outputs]


def run_notebook(path: Path, offset: int, python: str, kept: str) -> dict:
    """Execute a notebook on fresh seeds, its kept studies "read" or "anew"; return its record."""
    start, saved = time.monotonic(), read_cells(path)
    with tempfile.TemporaryDirectory() as folder:
        options = ["--config", "headless.py", "--to", "notebook", "--execute", "--allow-errors", "--output-dir", folder]
        command = [python, "-m", "nbconvert", *options, str(path)]
        seeds = {"SEEDS_FROM": str(offset), "KEPT_SEEDS_FROM": "0", "RUNS": folder}  # nothing of another run is read
        if kept == "anew":
            seeds |= {"KEPT_SEEDS_FROM": str(offset), "RUNS": str(session.folder("runs") / "replication")}
        result = subprocess.run(command, env=os.environ | seeds, cwd=session.ROOT, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"{path.name} cannot be run with {python}: {result.stderr.strip().splitlines()[-1]}")
        cells = read_cells(Path(folder) / path.name)
    record = {"notebook": path.stem, "code": hash_code(saved), "seeds_from": offset, "kept": kept}
    before, claims = read_claims(saved), read_claims(cells)
    for text, claim in claims.items():
        claim["saved"] = before.get(text, {}).get("number")
    found = {"seconds": round(time.monotonic() - start), "claims": claims, "errors": read_errors(cells)}
    return record | {"versions": read_versions(python)} | found


def read_versions(python: str) -> str:
    """Return the versions that an interpreter brings."""
    return subprocess.check_output([python, "-c", VERSIONS], text=True).strip()


def read_records() -> list[dict]:
    """Return all runs so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def add_record(record: dict) -> None:
    """Add a run to the results, and write the table; a kill in between leaves the old files whole."""
    records = [*read_records(), record]
    codes = {path.stem: hash_code(read_cells(path)) for path in find_notebooks([])}
    with session.new_file(RESULTS) as path:
        path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf-8")
    with session.new_file(TABLE) as path:
        path.write_text(write_table(records, codes), encoding="utf-8")


def is_live(claim: dict) -> bool:
    return claim["number"] != claim["saved"]


def write_table(records: list[dict], codes: dict[str, str]) -> str:
    """Return the page: a row for each run, then what failed; `codes`: of the notebooks as they are now."""
    rows, failures = [], []
    for record in sorted(records, key=start_of):
        live = [claim for claim in record["claims"].values() if is_live(claim)]
        holds, minutes = sum(claim["verdict"] == "holds" for claim in live), record["seconds"] / 60
        age = "present" if codes.get(record["notebook"]) == record["code"] else "earlier"
        numbers = len(live), holds, len(record["claims"]) - len(live), f"{minutes:.1f}", age
        rows.append(f"| {' | '.join(map(str, (*start_of(record), *numbers)))} |")
        failures += [f"- {', '.join(map(str, start_of(record)))}, {age} code: {line}" for line in what_failed(record)]
    parts = "\n".join(rows), "## Together", "\n".join(add_up(records)), "## What failed"
    return HEAD + "\n\n".join((*parts, "\n".join(failures) or "Nothing.")) + "\n"


def add_up(records: list[dict]) -> list[str]:
    """Return a line for each offset: how many live claims held in the first run of each notebook there."""
    firsts = {}
    for record in records:
        firsts.setdefault((record["seeds_from"], record.get("kept", "read")), {}).setdefault(record["notebook"], record)
    lines = []
    for (offset, kept), runs in sorted(firsts.items()):
        verdicts = [c["verdict"] == "holds" for run in runs.values() for c in run["claims"].values() if is_live(c)]
        held = f"{sum(verdicts)} of {len(verdicts)} live claims held ({sum(verdicts) / len(verdicts):.1%})"
        lines.append(
            f"- seeds from {offset}, kept studies {kept}, the first run of each of {len(runs)} notebooks: {held}"
        )
    return lines


def start_of(record: dict) -> tuple:
    return record["notebook"], record["seeds_from"], record.get("kept", "read"), record["versions"]


def what_failed(record: dict) -> list[str]:
    """Return a line for each claim that failed and for each error."""
    failed = {text: claim for text, claim in record["claims"].items() if claim["verdict"] == "FAILS"}
    lines = [f"{text}: {c['number']} ({c['bound']}; saved: {c['saved']})" for text, c in failed.items()]
    return lines + [f"error: {error}" for error in record["errors"]]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replication", description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", help="how their names begin, such as 03 (all)")
    parser.add_argument("--offsets", type=int, nargs="+", default=[1000, 2000], help="added to the seeds (1000 2000)")
    parser.add_argument("--anew", action="store_true", help="run kept studies on fresh seeds, too: hours for some")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to run them with (this one)")
    given = parser.parse_args(arguments)
    versions, kept = read_versions(given.python), "anew" if given.anew else "read"
    for offset in given.offsets:
        for path in find_notebooks(given.notebooks):
            known = {(one["code"], *start_of(one)) for one in read_records()}
            if (hash_code(read_cells(path)), path.stem, offset, kept, versions) not in known:
                record = run_notebook(path, offset, given.python, kept)
                add_record(record)
                print(path.stem, offset, f"{record['seconds']} s", *what_failed(record), sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
