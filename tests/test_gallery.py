"""The gallery holds the recorded numbers, asks no network for anything, and does in a browser what it says."""

import functools
import html
import itertools
import json
import re
import shutil
import subprocess
from base64 import b64decode

import numpy as np
import pytest

from helpers import gallery
from helpers.gallery import write_gallery

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LEVELS = {
    "init": ("he", "uniform"),
    "inputs": ("raw", "standardized"),
    "regularization": ("none", "l2-0.001", "l2-0.01", "l2-0.1", "dropout-0.1", "dropout-0.3", "dropout-0.5"),
    "batch_norm": ("none", "before", "after"),
}


def record(number, levels, layers=5, steps=100):
    """Return a record with random numbers that look like those of a training; every fifth one diverges."""
    rng = np.random.default_rng(number)
    relus, t = layers - 1, np.arange(steps + 1)
    curve = 1.7 + 0.1 * (number % 7) + 0.8 * np.exp(-t[1:] / 20)
    losses = curve + rng.normal(0, 0.05, (2, steps))
    rms = 2.0 ** rng.normal(0, 2, (relus, 1)) * np.exp(rng.normal(0, 0.03, (relus, steps)).cumsum(1))
    spread = np.array([-2.3, -0.7, 0, 0.7, 2.3])
    series = {
        "losses": losses,
        "weights": spread * (0.04 + 0.0001 * t[:, None]) * rng.uniform(0.5, 2, (layers, 1, 1)),
        "net_values": spread * rms[..., None],
        "outputs": np.maximum(spread, 0) * rms[..., None],
        "net_rms": rms,
        "output_rms": 0.7 * rms,
        "dead": np.clip(rng.uniform(0, 0.5, (relus, 1)) * t[1:] / steps, 0, 1),
        "update_ratio": 1e-3 * np.exp(rng.normal(0, 0.3, (layers, steps))),
    }
    if levels[-1] != "none":
        series |= {"norm_input": rms, "norm_output": np.ones((relus, steps)) + rng.normal(0, 0.02, (relus, steps))}
    if number % 5 == 4:
        losses[:, steps // 2 :] = np.nan
        series["net_values"][:, steps // 2 :] = np.inf
    val_loss = losses[1, -1]
    results = {
        "accuracy": 0.45 - 0.1 * np.nan_to_num(val_loss, nan=3.5),
        "val_loss": val_loss,
        "train_loss": losses[0, -1],
    }
    return {"factors": dict(zip(LEVELS, levels, strict=True)), "results": results, "series": series}


COMBINATIONS = [*itertools.product(*LEVELS.values())]


@functools.cache
def all_records(steps):
    """Return a record for each of the 84 combinations of levels."""
    return [record(number, levels, steps=steps) for number, levels in enumerate(COMBINATIONS)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Write the page of 84 short trainings; return its path."""
    return write_gallery(tmp_path_factory.mktemp("gifs") / "index.html", all_records(steps=12), guess=np.log(10))


def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def decoded(packed):
    """Return the series that a page holds, name -> array."""
    numbers = np.frombuffer(b64decode(packed["numbers"]), "<f2")
    ends = np.cumsum([np.prod(shape) for shape in packed["shapes"].values()])
    assert ends[-1] == len(numbers)
    parts = np.split(numbers, ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(packed["shapes"].items(), parts, strict=True)}


# ---- the file


def test_page_of_84_whole_trainings_is_below_3_mb(tmp_path):
    assert write_gallery(tmp_path / "new" / "index.html", all_records(steps=100)).stat().st_size < 3e6
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index.html"]


def test_numbers_are_those_that_were_recorded(page):
    data, given = data_of(page), all_records(steps=12)
    assert data["batches"] == 12 and data["guess"] == np.log(10) and len(data["records"]) == 84
    for packed, original in zip(data["records"], given, strict=True):
        assert packed["factors"] == original["factors"]
        for name, values in decoded(packed).items():
            np.testing.assert_allclose(values, original["series"][name], rtol=2**-11, atol=3e-8)
        for name, value in original["results"].items():
            assert packed["results"][name] == (value if np.isfinite(value) else None)


def test_what_is_not_finite_stays_and_what_is_too_large_becomes_infinite(tmp_path):
    odd = record(0, ("he", "raw", "none", "none"), steps=6)
    odd["series"]["losses"][0] = [np.nan, np.inf, -np.inf, 65504, 7e4, 1e-9]
    (packed,) = data_of(write_gallery(tmp_path / "a.html", [odd]))["records"]
    np.testing.assert_array_equal(decoded(packed)["losses"][0], [np.nan, np.inf, -np.inf, 65504, np.inf, 0])


def test_page_asks_no_network_for_anything(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'<)]*", text)) == {
        "https://github.com/leeoniya/uPlot"
    }  # in its first comment
    asking = r"\b(?:src|href|srcset)\s*=|\burl\(|@import|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|\bimport\b"
    assert re.findall(asking, text) == []
    assert "default-src 'none'" in text


def test_page_holds_the_license_of_what_it_draws_with(page):
    license_text = (gallery.PAGE / "uPlot.LICENSE").read_text(encoding="utf-8").strip()
    comment = re.search(r"<!--(.*?)-->", page.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert license_text.startswith("The MIT License") and license_text in comment


def test_names_cannot_end_the_script(tmp_path):
    odd = record(0, ("</script><b>", "{{page.js}}", "<!--", "none"), steps=3)
    path = write_gallery(tmp_path / "a.html", [odd])
    assert data_of(path)["records"][0]["factors"] == odd["factors"]


# ---- what is refused


def changed(**parts):
    """Return a function that puts other series, or None for none, into the last record."""

    def change(records):
        series = records[-1]["series"] | parts
        records[-1]["series"] = {name: values for name, values in series.items() if values is not None}

    return change


BAD = {
    "no records": (list.clear, "at least one record, and there are none: record"),
    "no results": (lambda records: records[1].pop("results"), "Record 2 has no results: give"),
    "no series": (lambda records: records[0].pop("series"), "Record 1 has no series: give"),
    "empty results": (lambda records: [r["results"].clear() for r in records], "Record 1 has the results , .*: give"),
    "other factors": (
        lambda records: records[2]["factors"].pop("init"),
        "Record 3 has the factors inputs, .*: give all",
    ),
    "other order": (
        lambda records: records[1].update(results={"b": 1, "a": 2}),
        "Record 2 has the results b, a, .* order",
    ),
    "same factors": (lambda records: records.append(records[1]), "Records 2 and 4 have the same factors: keep one"),
    "lacking series": (changed(dead=None), "Record 3 lacks these series, .*: dead; record"),
    "more series": (changed(gradients=np.ones(3)), "Record 3 lacks these series, .* excess: gradients; record"),
    "half a norm": (changed(norm_input=np.ones((4, 6))), "Record 3 lacks these series, .*: norm_output; record"),
    "fewer batches": (changed(losses=np.ones((2, 5))), r"Record 3 has losses \(2, 5\) instead of \(2, 6\): record all"),
    "fewer layers": (changed(weights=np.ones((4, 7, 5))), r"Record 3 has weights \(4, 7, 5\) instead of \(5, 7, 5\)"),
    "no arrays": (changed(dead=0.5), r"Record 3 has dead \(\) instead of \(4, 6\)"),
}


@pytest.mark.parametrize(("spoil", "words"), BAD.values(), ids=BAD)
def test_bad_records_are_refused_with_what_to_do_and_the_old_page_stays(spoil, words, tmp_path):
    (tmp_path / "index.html").write_text("old")
    records = [record(i, ("he", "raw", level, "none"), steps=6) for i, level in enumerate(LEVELS["regularization"][:3])]
    spoil(records)
    with pytest.raises(ValueError, match=words) as caught:
        write_gallery(tmp_path / "index.html", records)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


# ---- the page in a browser

COLLECT = """<script>
const errors = [], report = {};
window.onerror = message => { errors.push(message); };
window.onunhandledrejection = event => { errors.push(String(event.reason)); };
window.onsecuritypolicyviolation = event => { errors.push(event.blockedURI); };
console.error = (...parts) => { errors.push(parts.join(" ")); };
</script>"""

ACT = """<pre id="report"></pre><script>
const all = query => [...document.querySelectorAll(query)], one = query => document.querySelector(query);
const wait = (time = 60) => new Promise(resolve => setTimeout(resolve, time));
const listed = () => all("#table tbody tr").map(row => Number(row.dataset.record));
const selected = () => all(".head").map(head => Number(head.dataset.record));
const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const colored = () => all(".panel canvas").map(canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Uint32Array(data.buffer).filter(Boolean).length;
});
const set = (query, value, type) => {
  one(query).value = value;
  one(query).dispatchEvent(new Event(type, { bubbles: true }));
};
const scales = () => plots.map(({ plot, panel }) => [panel.dataset.quantity, plot.scales.y.min, plot.scales.y.max]);
(async () => {
  try {
    await wait();
    await act();
  } catch (error) {
    errors.push(String(error));
  }
  report.requests = performance.getEntriesByType("resource").length;
  report.errors = errors;
  one("#report").textContent = JSON.stringify(report);
})();
async function act() { ACTIONS }
</script>"""

EVERYTHING = """
report.start = selected();
report.marked = all("tr[aria-selected=true]").map(row => Number(row.dataset.record));
report.half = Array.from(HALF, String);
report.drawn = [];
for (const t of [12, 6, 1]) {
  set("#batch", t, "input");
  await wait();
  report.drawn.push({ now: one("#now").textContent, pixels: colored(), scales: scales() });
}

one("[data-factor=init][data-level=he]").click();
report.he = listed();
one("[data-factor=batch_norm][data-level=after]").click();
one("[data-factor=batch_norm][data-level=before]").click();
report.heWithNorm = listed();
all(".filter [aria-pressed=true]").forEach(button => button.click());
report.unfiltered = listed().length;

report.sorted = {};
for (const key of ["accuracy", "accuracy", "val_loss", "val_loss", "regularization"]) {
  one(`#table th [data-key=${key}]`).click();
  report.sorted[`${key} ${one("th[aria-sort]").getAttribute("aria-sort")}`] = listed();
}
report.focusStays = document.activeElement.dataset.key;

one('tr[data-record="10"]').focus();
one("#neighbors [data-factor=batch_norm]").click();
report.norms = selected();
one("#neighbors [data-factor=regularization]").click();
report.regularizations = selected();
one('tr[data-record="50"]').click();
report.tooMany = [selected(), one("#count").textContent];

one('tr[data-record="10"]').focus();
press("Enter");
report.without = selected();
press(" ");
report.again = selected();
press("ArrowDown");
report.below = [Number(document.activeElement.dataset.record), listed()[listed().indexOf(10) + 1]];
press("ArrowUp");
report.above = Number(document.activeElement.dataset.record);
report.tabStops = all("#table tbody tr").filter(row => row.tabIndex === 0).map(row => Number(row.dataset.record));
press("ArrowRight");
press("ArrowRight");
press("ArrowLeft");
report.scrubbed = one("#now").textContent;
press("p");
await wait(450);
report.played = state.t;
press("p");
const stopped = state.t;
await wait(300);
report.paused = state.t === stopped;

location.hash = "#chosen=1,4";
await wait();
for (const box of all("#shown input")) if (!box.checked) box.click();
set("#layer", 4, "change");
one("#log").click();
one("#batch").focus();
set("#batch", 12, "input");
await wait();
report.everything = [...new Set(all(".panel").map(panel => panel.dataset.quantity))];
report.texts = [...new Set(all(".panel .none").map(text => text.textContent))];

const { plot } = plots[0], place = plot.over.getBoundingClientRect();
const at = { bubbles: true, clientX: place.left + plot.valToPos(5, "x"), clientY: place.top + 20 };
plot.over.dispatchEvent(new MouseEvent("mouseenter", at));
plot.over.dispatchEvent(new MouseEvent("mousemove", at));
await wait();
report.tip = one("#tip").hidden ? "hidden" : one("#tip").textContent;
report.tipOf = selected()[0];

location.hash = "#chosen=3,7,999&t=5&shown=dead&layer=2&log=0";
await wait();
report.fromHash = [selected(), one("#now").textContent, all(".panel").map(panel => panel.dataset.quantity)];
all(".head button").forEach(button => one(".head button").click());
await wait();
report.none = [selected(), one("#columns").textContent];
"""


def browse(page, folder, actions, size="1280,900"):
    """Open a copy of a page that is given `actions` in Chromium; return what they report, without an error."""
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{COLLECT}", 1)
    copy = folder / "copy of the page.html"
    copy.write_text(text.replace("</body>", ACT.replace("ACTIONS", actions) + "</body>"), encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    command = [CHROMIUM, *options, f"--window-size={size}", f"--user-data-dir={folder / 'profile'}", copy.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    report = json.loads(html.unescape(re.search(r'<pre id="report">(.*?)</pre>', shown, re.DOTALL)[1]))
    assert report.pop("errors") == [] and report.pop("requests") == 0
    return report


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def seen(page, tmp_path_factory):
    """Do everything once in a wide window."""
    return browse(page, tmp_path_factory.mktemp("wide"), EVERYTHING)


def order_by(key, indices=range(84)):
    """Return indices of records by a result, those that are not finite last."""
    results = [item["results"][key] for item in all_records(steps=12)]
    return sorted(indices, key=lambda i: (not np.isfinite(results[i]), results[i] if np.isfinite(results[i]) else i))


@needs_browser
def test_browser_reads_every_float16(seen):
    expected = np.arange(2**16, dtype="<u2").view("<f2").astype(float)
    got = np.array([float(text.replace("Infinity", "inf")) for text in seen["half"]])
    np.testing.assert_array_equal(got, expected)


@needs_browser
def test_page_begins_with_the_best_and_the_worst(seen):
    order = order_by("val_loss")
    assert seen["start"] == [order[0], order[-1]] and sorted(seen["marked"]) == sorted(seen["start"])


@needs_browser
def test_slider_draws_the_history_up_to_a_batch_on_scales_that_stay_and_are_common(seen):
    assert [drawn["now"] for drawn in seen["drawn"]] == ["batch 12 / 12", "batch 6 / 12", "batch 1 / 12"]
    last, middle, first = (np.array(drawn["pixels"]) for drawn in seen["drawn"])
    assert len(last) == 8 and (last > middle).all() and (middle > first).all()
    assert seen["drawn"][0]["scales"] == seen["drawn"][1]["scales"] == seen["drawn"][2]["scales"]
    scales = {name: (low, high) for name, low, high in seen["drawn"][0]["scales"]}
    assert list(scales) == ["loss", "net_rms", "dead", "update_ratio"]
    assert all((low, high) == scales[name] for name, low, high in seen["drawn"][0]["scales"])


@needs_browser
def test_filters_list_the_trainings_with_the_pressed_levels(seen):
    assert sorted(seen["he"]) == [i for i in range(84) if COMBINATIONS[i][0] == "he"]
    assert sorted(seen["heWithNorm"]) == [
        i for i in range(84) if COMBINATIONS[i][0] == "he" and COMBINATIONS[i][3] != "none"
    ]
    assert seen["unfiltered"] == 84


@needs_browser
def test_table_is_sorted_by_any_column_in_both_directions(seen):
    order = order_by("val_loss")
    diverged = [i for i in order if i % 5 == 4]
    assert seen["sorted"]["val_loss ascending"] == order
    assert seen["sorted"]["val_loss descending"] == [*order[: -len(diverged)][::-1], *diverged]
    accuracies = [all_records(steps=12)[i]["results"]["accuracy"] for i in seen["sorted"]["accuracy descending"]]
    assert accuracies == sorted(accuracies, reverse=True)
    listed = [LEVELS["regularization"].index(COMBINATIONS[i][2]) for i in seen["sorted"]["regularization ascending"]]
    assert listed == sorted(listed) and seen["focusStays"] == "regularization"


@needs_browser
def test_trainings_that_differ_in_one_factor_are_found(seen):
    assert seen["norms"] == [i for i in range(84) if COMBINATIONS[i][:3] == COMBINATIONS[10][:3]]
    assert seen["regularizations"] == [
        i
        for i in range(84)
        if COMBINATIONS[i][:2] == COMBINATIONS[10][:2] and COMBINATIONS[i][3] == COMBINATIONS[10][3]
    ]
    assert seen["tooMany"] == [seen["regularizations"], "7 are chosen, which is the most: take one away first."]


@needs_browser
def test_keys_do_what_the_mouse_does(seen):
    assert seen["without"] == [i for i in seen["regularizations"] if i != 10]
    assert seen["again"] == [*seen["without"], 10]
    assert seen["below"][0] == seen["below"][1] and seen["above"] == 10 and seen["tabStops"] == [10]
    assert seen["scrubbed"] == "batch 2 / 12" and 4 <= seen["played"] <= 7 and seen["paused"]


@needs_browser
def test_every_quantity_is_drawn_and_says_its_numbers(seen):
    assert len(seen["everything"]) == 9 and seen["texts"] == ["no ReLU after this layer"]
    training, validation = all_records(steps=12)[seen["tipOf"]]["series"]["losses"][:, 4]
    words = dict(line.split(": ") for line in seen["tip"].splitlines()[1:])
    assert seen["tip"].startswith("batch 5\n") and list(words) == ["training", "validation"]
    np.testing.assert_allclose([float(value) for value in words.values()], [training, validation], rtol=5e-3)


@needs_browser
def test_address_keeps_what_is_shown_and_nothing_may_be_chosen(seen):
    assert seen["fromHash"] == [[3, 7], "batch 5 / 12", ["dead", "dead"]]
    assert seen["none"] == [[], "Choose trainings in the table."]


@needs_browser
def test_phone_scrolls_only_downward(tmp_path):
    """Open, on a phone, a page without batch norm, guess or validation loss, of one diverged training of one layer."""
    one = record(4, ("he", "raw", "none", "none"), layers=2, steps=3)
    one["results"] = {"seconds": 9.5}
    actions = """
    for (const box of all("#shown input")) if (!box.checked) box.click();
    await wait();
    report.width = [document.documentElement.scrollWidth <= innerWidth, innerWidth];
    report.panels = all(".panel").map(panel => panel.querySelector("canvas") ? "drawn" : panel.textContent);
    report.inside = plots.every(({ plot, panel }) => plot.width <= panel.clientWidth);
    report.neighbors = all("#neighbors button:disabled").length;
    """
    got = browse(write_gallery(tmp_path / "a.html", [one]), tmp_path, actions, "390,844")
    assert got["width"][0] and got["width"][1] <= 600 and got["inside"] and got["neighbors"] == 4
    assert got["panels"] == ["drawn"] * 3 + ["no batch norm"] + ["drawn"] * 5
