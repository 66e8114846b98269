"use strict";

// ---- the recorded numbers

const DATA = JSON.parse(document.getElementById("data").textContent);
const LOSS_COLORS = ["#0072b2", "#d55e00"];
const BAND_COLORS = { weights: "#009e73", net_values: "#cc79a7", outputs: "#56b4e9" }; // as in the movies
const DEPTH = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [200, 180, 20]]; // as viridis, dark to light
const ALARM = "#d00000";
const FRAME = 100; // milliseconds a batch while it plays
const HEIGHT = 150; // pixels of a panel

/** Value of a float16, by its bits: Float16Array is missing in older browsers. */
function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}
const HALF = Float64Array.from({ length: 65536 }, (_, bits) => halfToNumber(bits));

/** Numbers of a record: name -> {shape, values}, values in the order of rows. Decoded when first asked for. */
function decode(record) {
  if (record.series) return record.series;
  const text = atob(record.numbers), bytes = Uint8Array.from(text, letter => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  record.series = {};
  for (const [name, shape] of Object.entries(record.shapes)) {
    const length = shape.reduce((a, b) => a * b, 1);
    const values = Float64Array.from({ length }, (_, i) => HALF[view.getUint16(2 * (at + i), true)]);
    record.series[name] = { shape, values };
    at += length;
  }
  return record.series;
}

/** Row i of a series (n, T): an array by batch. */
const line = ({ shape, values }, i) => Array.from(values.subarray(i * shape[1], (i + 1) * shape[1]));

/** The quantiles of layer i of a series (n, T, 5): five arrays by batch, the lowest first. */
function quantiles({ shape: [, steps, count], values }, i) {
  const at = i * steps * count;
  return Array.from({ length: count }, (_, q) => Array.from({ length: steps }, (_, t) => values[at + t * count + q]));
}

const records = DATA.records;
const factors = Object.keys(records[0].factors);
const results = Object.keys(records[0].results);
const levels = Object.fromEntries(factors.map(f => [f, [...new Set(records.map(r => r.factors[f]))]]));
const most = Math.max(6, ...factors.map(f => levels[f].length)); // all levels of a factor fit beside each other
const layers = records[0].shapes.update_ratio[0];
const words = name => name.replaceAll("_", " ");
const nameOf = record => Object.values(record.factors).join(" · ");

// ---- the quantities: title, and the curves of a record as {label, color, values, dash}

const depthColor = i => {
  const place = layers > 1 ? i / (layers - 1) * (DEPTH.length - 1) : 0;
  const k = Math.min(Math.floor(place), DEPTH.length - 2);
  return `rgb(${DEPTH[k].map((c, j) => Math.round(c + (place - k) * (DEPTH[k + 1][j] - c)))})`;
};
const byLayer = (name, dash, suffix = "") => series =>
  Array.from({ length: series[name].shape[0] }, (_, i) =>
    ({ label: `layer ${i + 1}${suffix}`, color: depthColor(i), dash, values: line(series[name], i) }));
const bands = name => series => {
  if (state.layer >= series[name].shape[0]) return [];
  const labels = ["1 %", "25 %", "median", "75 %", "99 %"];
  return quantiles(series[name], state.layer).map((values, q) =>
    ({ label: labels[q], color: BAND_COLORS[name], width: q === 2 ? 2 : 0, values }));
};
const norm = series => series.norm_input
  ? [...byLayer("norm_output", null, " output")(series), ...byLayer("norm_input", [4, 4], " input")(series)] : [];
const losses = series => ["training", "validation"].map((label, i) =>
  ({ label, color: LOSS_COLORS[i], values: line(series.losses, i) }));

const QUANTITIES = {
  loss: { title: "Loss", curves: losses, guide: DATA.guess, guideLabel: "guessing", start: true },
  net_rms: { title: "Root mean square of the net values", curves: byLayer("net_rms"), log: true, start: true },
  output_rms: { title: "Root mean square of the outputs", curves: byLayer("output_rms"), log: true },
  norm: { title: "Root mean square at batch norm", note: "dashed: input, solid: output", curves: norm, log: true,
    none: "no batch norm" },
  dead: { title: "Dead units", note: "share", curves: byLayer("dead"), limits: [-0.02, 1.02], start: true },
  update_ratio: { title: "Update |Δw| / |w|", curves: byLayer("update_ratio"), log: true, guide: 1e-3, start: true },
  weights: { title: "Weights", curves: bands("weights"), band: true },
  net_values: { title: "Net values", curves: bands("net_values"), band: true, none: "no ReLU after this layer" },
  outputs: { title: "Outputs", curves: bands("outputs"), band: true, none: "no ReLU after this layer" },
};

// ---- state

const state = { chosen: [], t: DATA.batches, shown: [], layer: 0, log: false, sort: null, down: false, active: 0 };
const wanted = Object.fromEntries(factors.map(f => [f, new Set()])); // levels to list; none: all of them
let plots = [], hovered = null, timer = null;

/** Best and worst training by validation loss; one without a finite loss is the worst. */
function bestAndWorst() {
  const key = results.includes("val_loss") ? "val_loss" : results[0];
  const order = sorted(records.map((_, i) => i), key, false);
  return [...new Set([order[0], order[order.length - 1]])];
}

/** Indices in the order of a column; results that are not finite come last, in either direction. */
function sorted(indices, key, down) {
  const value = i => key in levels ? levels[key].indexOf(records[i].factors[key]) : records[i].results[key];
  return [...indices].sort((a, b) => {
    if (value(a) === null || value(b) === null) return (value(a) === null) - (value(b) === null) || a - b;
    return (down ? -1 : 1) * (value(a) - value(b)) || a - b;
  });
}

/** Indices of the records that the table lists. */
function visible() {
  const fits = i => factors.every(f => !wanted[f].size || wanted[f].has(records[i].factors[f]));
  return sorted(records.map((_, i) => i).filter(fits), state.sort, state.down);
}

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const numbers = text => text.split(",").filter(Boolean).map(Number).filter(i => records[i]);
  const chosen = [...new Set(numbers(given.get("chosen") || ""))].slice(0, most);
  state.chosen = chosen.length ? chosen : bestAndWorst();
  state.t = Math.min(Math.max(Math.round(Number(given.get("t"))) || DATA.batches, 1), DATA.batches);
  const shown = (given.get("shown") || "").split(",").filter(name => QUANTITIES[name]);
  state.shown = shown.length ? shown : Object.keys(QUANTITIES).filter(name => QUANTITIES[name].start);
  state.layer = Math.min(Math.max((Number(given.get("layer")) || 1) - 1, 0), layers - 1);
  state.log = given.get("log") === "1";
}

function writeHash() {
  const hash = `#chosen=${state.chosen}&t=${state.t}&shown=${state.shown}&layer=${state.layer + 1}&log=${+state.log}`;
  try { history.replaceState(null, "", hash); } catch { /* not allowed in some frames; the page works without */ }
}

// ---- small helpers for the document

const byId = id => document.getElementById(id);
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
function toggleButton(label, pressed, onclick) {
  const button = make("button", { type: "button", textContent: label, onclick });
  button.setAttribute("aria-pressed", pressed);
  return button;
}
/** Three significant digits, with a true minus. */
function format(value) {
  if (value === null || value === undefined) return "not finite";
  if (!Number.isFinite(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  const text = size && (size < 1e-3 || size >= 1e5) ? value.toExponential(1) : String(+value.toPrecision(3));
  return text.replaceAll("-", "−");
}
/** A result in a table, where the digits stand below each other. */
const formatResult = v => v === null ? "not finite" : Math.abs(v) < 100 ? v.toFixed(3) : format(v);

// ---- filters, table and neighbors

function drawFilters() {
  byId("filters").replaceChildren(...factors.map(f => {
    const box = make("div", { className: "filter" }, make("span", { textContent: words(f) }));
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", words(f));
    for (const level of levels[f]) {
      const button = toggleButton(level, false, () => {
        if (!wanted[f].delete(level)) wanted[f].add(level);
        button.setAttribute("aria-pressed", wanted[f].has(level));
        drawTable();
      });
      Object.assign(button.dataset, { factor: f, level });
      box.append(button);
    }
    return box;
  }));
}

function drawHeader() {
  byId("table").tHead.rows[0].replaceChildren(...[...factors, ...results].map(key => {
    const cell = make("th", { scope: "col" });
    const mark = state.sort === key ? (state.down ? " ▼" : " ▲") : "";
    if (mark) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    const button = make("button", { type: "button", textContent: words(key) + mark, onclick: () => {
      state.down = state.sort === key && !state.down;
      state.sort = key;
      drawHeader();
      drawTable();
      byId("table").querySelector(`[data-key="${CSS.escape(key)}"]`).focus();
    } });
    button.dataset.key = key;
    cell.append(button);
    return cell;
  }));
}

function drawTable() {
  const rows = visible();
  if (!rows.includes(state.active) && rows.length) state.active = rows[0];
  byId("table").tBodies[0].replaceChildren(...rows.map(i => {
    const row = make("tr", { onclick: () => { state.active = i; toggle(i); } });
    row.dataset.record = i;
    for (const f of factors) row.append(make("td", { textContent: records[i].factors[f] }));
    for (const r of results)
      row.append(make("td", { className: "number", textContent: formatResult(records[i].results[r]) }));
    row.addEventListener("focus", () => { state.active = i; markRows(); });
    return row;
  }));
  markRows();
}

/** Mark the chosen rows and the active one, to which the tabulator key goes and whose neighbors are offered. */
function markRows() {
  const rows = [...byId("table").tBodies[0].rows];
  for (const row of rows) {
    const i = Number(row.dataset.record);
    row.setAttribute("aria-selected", state.chosen.includes(i));
    row.tabIndex = i === state.active ? 0 : -1;
    row.classList.toggle("active", i === state.active);
  }
  const listed = `${rows.length} of ${records.length} trainings`;
  byId("count").textContent = `${listed}; ${state.chosen.length} chosen, ${most} at most.`;
  drawNeighbors();
}

function drawNeighbors() {
  const own = records[state.active].factors;
  const buttons = factors.map(f => {
    const same = records.map((_, i) => i).filter(i => factors.every(g => g === f || records[i].factors[g] === own[g]));
    same.sort((a, b) => levels[f].indexOf(records[a].factors[f]) - levels[f].indexOf(records[b].factors[f]));
    const button = make("button", { type: "button", textContent: words(f), disabled: same.length < 2 });
    button.onclick = () => {
      choose(same);
      byId("neighbors").querySelector(`[data-factor="${CSS.escape(f)}"]`).focus();
    };
    button.dataset.factor = f;
    return button;
  });
  byId("neighbors").replaceChildren(
    make("span", {}, "Compare ", make("b", { textContent: nameOf(records[state.active]) }),
      " with those that differ only in"), ...buttons);
}

function toggle(i) {
  const rest = state.chosen.filter(j => j !== i);
  if (rest.length === state.chosen.length) {
    if (rest.length >= most) {
      byId("count").textContent = `${most} are chosen, which is the most: take one away first.`;
      return;
    }
    rest.push(i);
  }
  choose(rest);
}

function choose(indices) {
  state.chosen = indices;
  markRows();
  drawColumns();
}

// ---- the panels of the chosen trainings

/** Numbers to be drawn: log10 where the scale is, null for a gap. */
const drawn = (values, log) => values.map(v => {
  const w = log ? Math.log10(v) : v;
  return Number.isFinite(w) ? w : null;
});

/** Limits that hold all finite numbers of all batches. */
function limitsOf(columns) {
  let low = Infinity, high = -Infinity;
  for (const v of columns.flat().filter(v => v !== null)) [low, high] = [Math.min(low, v), Math.max(high, v)];
  if (low > high) [low, high] = [-1, 1];
  const margin = 0.05 * (high - low) || 0.05;
  return [low - margin, high + margin];
}

function drawColumns() {
  for (const { plot } of plots) plot.destroy();
  plots = [];
  const box = byId("columns"), chosen = state.chosen, left = box.scrollLeft;
  box.style.setProperty("--columns", chosen.length || 1);
  box.replaceChildren(...chosen.map(makeHead));
  if (!chosen.length) box.append(make("p", { className: "none", textContent: "Choose trainings in the table." }));
  for (const name of Object.keys(QUANTITIES).filter(name => chosen.length && state.shown.includes(name))) {
    box.append(makeTitle(name));
    drawRow(name, chosen, box);
  }
  drawLegend();
  box.scrollLeft = left;
  showBatch();
}

function makeHead(i) {
  const remove = make("button", { type: "button", textContent: "×", onclick: () => toggle(i) });
  remove.setAttribute("aria-label", `Take ${nameOf(records[i])} away`);
  const head = make("div", { className: "head" }, remove, make("b", { textContent: nameOf(records[i]) }), make("span"));
  head.dataset.record = i;
  return head;
}

function makeTitle(name) {
  const { title, log, note, band, guide, guideLabel } = QUANTITIES[name];
  const notes = [];
  if (log || (name === "loss" && state.log)) notes.push("log10");
  if (band) notes.push(`layer ${state.layer + 1}: median, 25–75 % dark, 1–99 % light`);
  if (note) notes.push(note);
  if (guide) notes.push(`dotted: ${guideLabel ? `${guideLabel}, ` : ""}${format(guide)}`);
  const small = make("small", { textContent: notes.length ? ` (${notes.join("; ")})` : "" });
  return make("h2", {}, make("span", {}, title, small));
}

/** Draw one quantity of all chosen trainings, on one scale. */
function drawRow(name, chosen, box) {
  const quantity = QUANTITIES[name], log = quantity.log || (name === "loss" && state.log);
  const guide = quantity.guide ? (log ? Math.log10(quantity.guide) : quantity.guide) : null;
  const sets = chosen.map(i => quantity.curves(decode(records[i])));
  const columns = sets.map(curves => curves.map(curve => drawn(curve.values, log)));
  const limits = quantity.limits || limitsOf([...columns.flat(), guide === null ? [] : [guide]]);
  const panels = chosen.map(i => {
    const panel = make("div", { className: "panel" });
    Object.assign(panel.dataset, { record: i, quantity: name });
    return panel;
  });
  box.append(...panels);
  panels.forEach((panel, k) => {
    if (!sets[k].length) panel.append(make("p", { className: "none", textContent: quantity.none || "not recorded" }));
    else plots.push(makePlot(panel, sets[k], columns[k], limits, guide, quantity, log));
  });
}

/** A line needs two batches: the first one alone is a point. */
const alone = plot => plot.data[0].length === 1;

function makePlot(panel, curves, columns, limits, guide, quantity, log) {
  const first = DATA.batches + 1 - columns[0].length; // weights begin at batch 0, before the first step
  const xs = columns[0].map((_, t) => first + t);
  const broken = xs.filter((_, t) => curves.some(curve => !Number.isFinite(curve.values[t])));
  const label = quantity.limits ? v => `${Math.round(100 * v)} %` : format;
  const grid = { stroke: "#e6e6e6", width: 1 }, ticks = { show: false };
  const axis = { font: "11px system-ui, sans-serif", stroke: "#444", grid, ticks };
  const options = {
    width: panel.clientWidth || 200, height: HEIGHT, legend: { show: false }, padding: [6, 14, 0, 0],
    scales: { x: { time: false, range: () => [0, DATA.batches + 1] }, y: { range: () => limits } },
    axes: [{ ...axis, size: 20, gap: 2, space: 36 },
      { ...axis, size: 44, gap: 2, space: 24, values: (_, ticks) => ticks.map(label) }],
    series: [{}, ...curves.map(({ label, color, dash, width = 1.5 }) =>
      ({ label, stroke: quantity.band ? shade(color) : color, dash, width, points: { show: alone, size: 4 } }))],
    cursor: { sync: { key: "batch" }, drag: { x: false, y: false }, points: { size: 5 } },
    hooks: {
      drawClear: [plot => drawMarks(plot, broken)],
      draw: guide === null ? [] : [plot => drawGuide(plot, guide)],
      setCursor: [plot => showTip(plot, curves, first)],
    },
  };
  if (quantity.band) options.bands = [[5, 1, 0.3], [4, 2, 0.6]].map(([high, low, alpha]) =>
    ({ series: [high, low], fill: curves[0].color + Math.round(255 * alpha).toString(16) }));
  const plot = new uPlot(options, [[], ...curves.map(() => [])], panel);
  plot.root.addEventListener("mousemove", () => { hovered = plot; }, true); // before uPlot's own listener
  plot.over.addEventListener("mouseleave", () => { byId("tip").hidden = true; });
  return { plot, xs, columns, panel };
}

/** A darker color for the median on its band. */
const shade = color => `rgb(${[1, 3, 5].map(i => Math.round(0.45 * parseInt(color.slice(i, i + 2), 16)))})`;

/** Red stripes at the batches, up to the present one, with a number that is not finite. */
function drawMarks(plot, broken) {
  const { ctx, bbox } = plot, edge = x => Math.round(plot.valToPos(x, "x", true)); // whole pixels leave no seams
  ctx.save();
  ctx.fillStyle = ALARM;
  for (const x of broken.filter(x => x <= state.t))
    ctx.fillRect(edge(x - 0.5), bbox.top, edge(x + 0.5) - edge(x - 0.5), bbox.height);
  ctx.restore();
}

function drawGuide(plot, guide) {
  const { ctx, bbox } = plot, y = plot.valToPos(guide, "y", true);
  if (y < bbox.top || y > bbox.top + bbox.height) return;
  ctx.save();
  ctx.strokeStyle = "#777777";
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

/** Show the recorded numbers of a batch beside the mouse. */
function showTip(plot, curves, first) {
  const { idx, left } = plot.cursor, tip = byId("tip");
  if (plot !== hovered) return; // it only follows another panel
  tip.hidden = idx === null || idx === undefined || left < 0;
  if (tip.hidden) return;
  const place = plot.over.getBoundingClientRect();
  tip.textContent = [`batch ${first + idx}`, ...curves.map(c => `${c.label}: ${format(c.values[idx])}`)].join("\n");
  const x = place.left + left + 14;
  tip.style.left = `${x + tip.offsetWidth > innerWidth ? Math.max(x - 28 - tip.offsetWidth, 0) : x}px`;
  tip.style.top = `${Math.max(Math.min(place.top + 4, innerHeight - tip.offsetHeight - 4), 4)}px`;
}

function drawLegend() {
  const item = (text, color) => make("span", {}, make("i", { style: `border-color: ${color}` }), text);
  const shows = names => names.some(name => state.shown.includes(name));
  const items = [];
  if (shows(["loss"])) items.push(item("training", LOSS_COLORS[0]), item("validation", LOSS_COLORS[1]));
  if (shows(["net_rms", "output_rms", "norm", "dead", "update_ratio"]))
    for (let i = 0; i < layers; i++) items.push(item(`layer ${i + 1}`, depthColor(i)));
  items.push(item("a number that is not finite", ALARM));
  byId("legend").replaceChildren(...items);
}

// ---- the batch

/** Show the history of all chosen trainings up to batch t. */
function showBatch() {
  byId("batch").value = state.t;
  byId("now").textContent = `batch ${state.t} / ${DATA.batches}`;
  for (const { plot, xs, columns } of plots) {
    const end = xs.findIndex(x => x > state.t), stop = end < 0 ? xs.length : end;
    plot.setData([xs.slice(0, stop), ...columns.map(values => values.slice(0, stop))]);
  }
  for (const head of document.querySelectorAll(".head")) {
    const { losses } = decode(records[head.dataset.record]);
    const values = [0, 1].map(i => format(line(losses, i)[state.t - 1]));
    head.lastChild.textContent = `training ${values[0]}, validation ${values[1]}`;
  }
  if (!timer) writeHash();
}

function go(t) {
  state.t = Math.min(Math.max(t, 1), DATA.batches);
  showBatch();
}

function play(on = !timer) {
  clearInterval(timer);
  timer = null;
  if (on) {
    if (state.t === DATA.batches) go(1);
    timer = setInterval(() => { if (state.t < DATA.batches) go(state.t + 1); else play(false); }, FRAME);
  } else writeHash();
  byId("play").textContent = on ? "⏸" : "▶";
  byId("play").setAttribute("aria-label", on ? "Pause" : "Play");
}

// ---- controls

function drawOptions() {
  byId("shown").replaceChildren(...Object.entries(QUANTITIES).map(([name, { title }]) => {
    const box = make("input", { type: "checkbox", checked: state.shown.includes(name), onchange: () => {
      state.shown = Object.keys(QUANTITIES).filter(other => other === name ? box.checked : state.shown.includes(other));
      drawColumns();
    } });
    box.dataset.quantity = name;
    return make("label", {}, box, ` ${title}`);
  }));
  const options = Array.from({ length: layers }, (_, i) => new Option(i + 1, i, false, i === state.layer));
  byId("layer").replaceChildren(...options);
  byId("log").checked = state.log;
}

function moveRow(step) {
  const rows = [...byId("table").tBodies[0].rows];
  const at = rows.findIndex(row => Number(row.dataset.record) === state.active);
  const row = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
  if (row) row.focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input[type=range]")) return;
  const inRow = event.target.closest("tbody tr");
  const actions = { ArrowLeft: () => go(state.t - 1), ArrowRight: () => go(state.t + 1), p: () => play() };
  if (inRow) Object.assign(actions, {
    ArrowUp: () => moveRow(-1), ArrowDown: () => moveRow(1),
    Home: () => moveRow(-Infinity), End: () => moveRow(Infinity),
    Enter: () => toggle(state.active), " ": () => toggle(state.active),
  });
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function start() {
  readHash();
  state.sort = results.includes("val_loss") ? "val_loss" : results[0];
  state.active = state.chosen[0];
  const counts = `${records.length} trainings of ${DATA.batches} batches each`;
  byId("intro").textContent = `${counts}; panels in a row have one scale; all run over the batches.`;
  byId("batch").max = DATA.batches;
  drawFilters();
  drawHeader();
  drawTable();
  drawOptions();
  const row = document.querySelector(`tr[data-record="${state.active}"]`);
  byId("scroll").scrollTop = row.offsetTop - 3 * row.offsetHeight; // below the header, without moving the page
  if (innerWidth < 600) byId("options").open = false;
  drawColumns();
  byId("batch").addEventListener("input", event => go(Number(event.target.value)));
  byId("play").addEventListener("click", () => play());
  byId("layer").addEventListener("change", event => { state.layer = Number(event.target.value); drawColumns(); });
  byId("log").addEventListener("change", event => { state.log = event.target.checked; drawColumns(); });
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => { readHash(); drawOptions(); markRows(); drawColumns(); });
  new ResizeObserver(() => {
    const resized = plots.filter(({ plot, panel }) => panel.clientWidth && panel.clientWidth !== plot.width);
    for (const { plot, panel } of resized) plot.setSize({ width: panel.clientWidth, height: HEIGHT });
  }).observe(byId("columns"));
}

start();
