"""How long a saved notebook is as a page: an estimate in pixels, without a browser.

Fitted to what Chromium gives for ten notebooks of 9 to 73 pages (1,080 pixels wide, formulas as text): the height of a
whole one is off by 1.7 % at most; the pages, rounded up, are those that it prints for eight, and one more for two.
"""

import base64
import math
import re
import struct

PAGE = 1500  # pixels
BREAKS = 1.06  # what a printed page loses where a picture does not fit on it
WIDE = 940  # pixels a picture may have; a wider one is shrunk
TEXT, CODE = 134, 118  # characters a line
LINE, CODE_LINE = 22.5, 17


def pages(cells) -> float:
    """Return the pages of 1,500 pixels that cells take: a fraction, to be rounded up."""
    narrow = any("padding: 1px 8px" in html for cell in cells for html in htmls(cell))
    return BREAKS * sum(height(cell, narrow) for cell in cells) / PAGE


def main_path(cells) -> list:
    """Return the cells before the appendix."""
    ends = (i for i, cell in enumerate(cells) if re.search(r"(?m)^#+ Appendix", source(cell)) and is_text(cell))
    return cells[: next(ends, len(cells))]


def is_text(cell) -> bool:
    return cell["cell_type"] == "markdown"


def source(cell) -> str:
    return "".join(cell["source"])


def htmls(cell) -> list[str]:
    return ["".join(output["data"].get("text/html", "")) for output in cell.get("outputs", []) if "data" in output]


def height(cell, narrow=False) -> float:
    """Return the pixels of a cell; `narrow`: its tables have narrow rows."""
    if is_text(cell):
        return 10 + text_height(source(cell))
    outputs = sum(output_height(output, narrow) for output in cell["outputs"])
    return 22 + CODE_LINE * len(cell["source"]) + outputs


def text_height(text: str) -> float:
    """Return the pixels of Markdown; what `details` hide does not count."""
    text, folded = re.subn(r"(?s)<details>.*?</details>", "", text)
    total = 16.0 * folded
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line for line in block.splitlines() if not re.fullmatch(r'(<a id="[\w-]+"></a>|[|\s:-]+)', line)]
        if lines and lines[0].startswith("|"):
            total += 12 + sum(row_height(line) for line in lines)
            continue
        for heading in [line for line in lines if line.startswith("#")]:
            total += {1: 42, 2: 62, 3: 36}.get(len(heading) - len(heading.lstrip("#")), 34)
        lines = [line for line in lines if not line.startswith("#")]
        items = [line for line in lines if re.match(r"\s*([-*]|\d+\.) ", line)]
        parts = lines if items else [" ".join(lines)] * bool(lines)
        total += sum(LINE * math.ceil(seen(part) / TEXT) for part in parts) + 14 * bool(parts)
    return total


def seen(line: str) -> int:
    """Return the characters of a line without the addresses of its links and the signs of its markup."""
    return max(1, len(re.sub(r"\]\([^)]*\)|[*`$\[]|!\[|<[^>]+>|\\[a-z]+", "", line)))


def row_height(line: str) -> float:
    """Return the pixels of a row of a Markdown table, whose cells share the width by their texts."""
    return 15 + 14.5 * math.ceil(seen(line) / 130)


def output_height(output, narrow: bool) -> float:
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        width, high = struct.unpack(">II", base64.b64decode(data["image/png"])[16:24])
        wanted = output.get("metadata", {}).get("image/png", {}).get("width", width)
        return high / width * min(wanted, WIDE) + 5
    html = "".join(data.get("text/html", ""))
    if gifs := re.findall(r"data:image/gif;base64,([\w+/=]{16})", html):
        sizes = [struct.unpack("<HH", base64.b64decode(start)[6:10]) for start in gifs]
        return max(high * min(1, WIDE / len(gifs) / width) for width, high in sizes) + 5
    if rows := html.count("<tr"):
        return 12 + (17.5 if narrow else 28.5) * rows
    if html:  # colored code, or a style alone
        return 15 * re.sub("(?s)<style>.*?</style>", "", html).count("\n")
    lines = "".join(data["text/plain"]).rstrip("\n").split("\n")
    return 5 + CODE_LINE * sum(math.ceil(max(1, len(line)) / CODE) for line in lines)
