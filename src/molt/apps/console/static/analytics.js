// Charts: drawn from one answer, which the address asks for; a chart's data is its CSV.
import { Connection } from "./console.js";

const form = document.getElementById("filters");
const state = document.getElementById("state");
const connection = new Connection(45000);
const charts = new Map();
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const PALETTE = { light: ["#3b5b92", "#0f766e", "#9a5fd0", "#b45309", "#be185d", "#4d7c0f", "#0369a1", "#78716c"],
  dark: ["#93b4f0", "#2dd4bf", "#c79bf2", "#fbbf24", "#f472b6", "#a3e635", "#38bdf8", "#d6d3d1"] };

const seconds = (ms) => (ms == null ? "–" : ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${Math.round(ms)} ms`);
const percent = (v) => (v == null ? "–" : `${(100 * v).toFixed(1)}%`);
const money = (v) => (v == null ? "–" : `$${v.toPrecision(3)}`);
const plain = (v) => (v == null ? "–" : Number(v.toPrecision(3)).toString());
// Times on the axis of a chart, in 24 hours as everywhere else.
function clockTicks(_, ticks, __, ___, step) {
  const format = step >= 86400 ? { month: "short", day: "numeric" }
    : { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(step < 60 ? { second: "2-digit" } : {}) };
  return ticks.map((t) => new Intl.DateTimeFormat(undefined, format).format(new Date(t * 1000)));
}
const moment = (t) => (t == null ? "–" : new Date(t * 1000).toLocaleTimeString([], { hourCycle: "h23" }));
const CHARTS = {
  traffic: { value: (r) => r.per_second, show: plain },
  errors: { value: (r) => r.error_rate, show: percent, limit: (d) => (d.calls ? null : d.slos.error_rate) },
  p50: { value: (r) => r.p50_ms, show: seconds, limit: (d) => (d.calls ? null : d.slos.p50_ms) },
  p95: { value: (r) => r.p95_ms, show: seconds, limit: (d) => (d.calls ? null : d.slos.p95_ms) },
  tokens: { value: (r) => (r.requests ? r.tokens_out / r.requests : null), show: plain },
  cost: { value: (r) => r.cost_per_1000, show: money, limit: (d) => (d.calls ? null : d.budget_per_1000) },
  tools: { value: (r) => r.tools_per_request, show: plain },
};

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
}

function marks(data) {
  return { hooks: { draw: [(u) => {
    const { ctx } = u, { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.strokeStyle = css("--line"); ctx.fillStyle = css("--soft"); ctx.setLineDash([4, 4]); ctx.font = letters(11 * devicePixelRatio);
    let written = -Infinity;
    for (const mark of data.marks) {
      const x = u.valToPos(mark.at, "x", true);
      if (x < left || x > left + width) continue;
      ctx.beginPath(); ctx.moveTo(x, top); ctx.lineTo(x, top + height); ctx.stroke();
      if (x - written < 34 * devicePixelRatio) continue;
      written = x;
      ctx.fillText(mark.text, x + 3, top + 11 * devicePixelRatio);
    }
    ctx.restore();
  }] } };
}

// Charts grow with the page's letters, which are larger on a wall.
const scale = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 15;
const letters = (px) => `${Math.round(px * scale())}px system-ui, sans-serif`;
const axisStyle = () => ({ font: letters(12), stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } });

function drawChart(holder, name, data, groups, times) {
  const spec = CHARTS[name];
  const index = new Map(times.map((t, i) => [t, i]));
  const columns = groups.map(() => new Array(times.length).fill(null));
  for (const row of data.rows) columns[groups.indexOf(row.group)][index.get(row.at)] = spec.value(row);
  const limit = spec.limit ? spec.limit(data) : null;
  const colours = PALETTE[isDark() ? "dark" : "light"];
  const axis = axisStyle();
  const series = [{ value: (_, t) => moment(t) }, ...groups.map((g, i) => ({
    label: g, stroke: g.startsWith("control") ? colours[0] : g.startsWith("candidate") ? colours[1] : colours[i % colours.length],
    width: 2, dash: g.includes("shadow") ? [6, 4] : undefined, spanGaps: false, points: { size: 4 }, value: (_, v) => spec.show(v),
  }))];
  const all = [times, ...columns];
  if (limit != null) {
    series.push({ label: "limit", stroke: css("--danger"), width: 1, dash: [2, 3], points: { show: false }, value: () => spec.show(limit) });
    all.push(times.map(() => limit));
  }
  charts.get(name)?.destroy();
  holder.textContent = "";
  charts.set(name, new uPlot({
    width: Math.max(200, holder.clientWidth), height: 220 * scale(), series, plugins: [marks(data)],
    scales: { x: { time: true, range: [data.start, data.end] }, y: { range: (_, low, high) => [0, (high ?? 1) * 1.08 || 1] } },
    axes: [{ ...axis, values: clockTicks, space: 76 * scale() }, { ...axis, size: 62 * scale(), values: (_, ticks) => ticks.map(spec.show) }],
    cursor: { sync: { key: "molt" } },
  }, all, holder));
}

function drawHeat(data) {
  const canvas = document.getElementById("heat-canvas");
  const box = canvas.parentElement, ratio = devicePixelRatio || 1;
  const width = Math.max(200, box.clientWidth), big = scale(), height = 250 * big, left = 56 * big, bottom = 24 * big;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  ctx.clearRect(0, 0, width, height);
  ctx.fillStyle = css("--soft"); ctx.font = letters(11);
  const { cells, first, width: wide, ratio: step } = data.heat;
  if (!cells.length) { ctx.fillText("no data in this range", left, height / 2); return; }
  const points = Math.ceil((data.end - first) / wide);
  const rows = Math.max(...cells.map((c) => c[1])) + 1, low = Math.min(...cells.map((c) => c[1]));
  const most = Math.max(...cells.map((c) => c[2]));
  const w = (width - left) / points, h = (height - bottom) / (rows - low);
  for (const [x, y, count] of cells) {
    ctx.globalAlpha = 0.12 + 0.88 * (Math.log1p(count) / Math.log1p(most));
    ctx.fillStyle = css("--accent");
    ctx.fillRect(left + x * w, height - bottom - (y - low + 1) * h, Math.max(1, w - 0.5), Math.max(1, h - 0.5));
  }
  ctx.globalAlpha = 1; ctx.fillStyle = css("--soft");
  for (let y = low; y < rows; y += Math.max(1, Math.ceil((rows - low) / 6))) ctx.fillText(seconds(step ** y), 4, height - bottom - (y - low) * h);
  const clock = (t) => new Date(t * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  ctx.fillText(clock(first), left, height - 6);
  ctx.fillText(clock(data.end), width - 40 * big, height - 6);
}

// A metric over time: the difference as a line in the band of its interval.
function drawMetric(holder, name, rows) {
  charts.get(`ab-${name}`)?.destroy();
  charts.delete(`ab-${name}`);
  holder.textContent = "";
  if (!rows.length) {
    holder.textContent = "Nothing to compare in this range: that needs a step in which both arms serve users, and outcomes.";
    return;
  }
  const column = (key) => rows.map((r) => r[key]);
  const known = rows.slice(Math.floor(rows.length / 2)).flatMap((r) => [r.low, r.high, r.difference]).filter((v) => v != null);
  const low = Math.min(0, ...known), high = Math.max(0, ...known), room = 0.15 * (high - low || 1);
  const axis = axisStyle(), colour = css("--candidate");
  charts.set(`ab-${name}`, new uPlot({
    width: Math.max(200, holder.clientWidth), height: 220 * scale(), plugins: [marks(last || { marks: [] })],
    series: [{ value: (_, t) => moment(t) },
      { label: "difference", stroke: colour, width: 2, points: { size: 4 }, value: (_, v) => plain(v) },
      { label: "from", stroke: colour, width: 1, dash: [3, 3], points: { show: false }, value: (_, v) => plain(v) },
      { label: "to", stroke: colour, width: 1, dash: [3, 3], points: { show: false }, value: (_, v) => plain(v) },
      { label: "none", stroke: css("--danger"), width: 1, dash: [2, 3], points: { show: false }, value: () => "0" }],
    bands: [{ series: [3, 2], fill: `${colour}22` }],
    scales: { x: { time: true }, y: { range: [low - room, high + room] } },
    axes: [{ ...axis, values: clockTicks, space: 76 * scale() }, { ...axis, size: 62 * scale() }],
    cursor: { sync: { key: "molt" } },
  }, [column("unix"), column("difference"), column("low"), column("high"), rows.map(() => 0)], holder));
}

let metrics = null;
function drawMetrics() {
  if (!metrics || typeof uPlot === "undefined") return;
  for (const holder of document.querySelectorAll("[data-ab]"))
    drawMetric(holder, holder.dataset.ab, metrics.filter((r) => r.metric === holder.dataset.ab));
}

const metricsState = document.getElementById("metrics-state");
let again = 0;
async function loadMetrics() {
  try {
    const answer = await fetch(`/console/analytics/metrics${location.search}`, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(`control answered ${answer.status}`);
    const told = await answer.json(), working = told.progress != null;
    if (told.rows.length || !working) metrics = told.rows;
    const asOf = metrics?.length ? `As of ${moment(metrics[metrics.length - 1].unix)}.` : "";
    metricsState.textContent = working ? `${asOf} Being told from the recorded evidence: ${Math.round(100 * told.progress)}%.` : asOf;
    drawMetrics();
    clearTimeout(again);
    if (working) again = setTimeout(loadMetrics, 1000);
  } catch (error) {
    metricsState.textContent = `Could not be loaded (${error.message}); trying again.`;
  }
}

let last = null;
function draw() {
  if (!last || typeof uPlot === "undefined") return;
  const groups = [...new Set(last.rows.map((r) => r.group))].sort();
  const times = [...new Set(last.rows.map((r) => r.at))].sort((a, b) => a - b);
  for (const holder of document.querySelectorAll("[data-chart]")) {
    if (!times.length) { holder.textContent = "no data in this range"; continue; }
    drawChart(holder, holder.dataset.chart, last, groups, times);
  }
  drawHeat(last);
  drawMetrics();
}

async function load() {
  try {
    const answer = await fetch(`/console/analytics/data${location.search}`, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(`control answered ${answer.status}`);
    last = await answer.json();
    connection.heard();
    const what = last.calls ? "calls" : "requests";
    state.textContent = `${last.rows.reduce((sum, r) => sum + r.requests, 0).toLocaleString()} ${what}, one point is ${last.width} s`;
    draw();
  } catch (error) {
    connection.lost();
    state.textContent = `The figures could not be loaded (${error.message}); trying again`;
  }
}
form.addEventListener("change", () => form.requestSubmit());
// A link to a view holds everything; so do the links to its CSV.
for (const link of document.querySelectorAll("a.csv")) {
  const query = new URLSearchParams(location.search);
  if (link.dataset.columns) query.set("columns", link.dataset.columns);
  if (link.dataset.metric) query.set("metric", link.dataset.metric);
  link.href = `/console/analytics/${link.dataset.table}.csv?${query}`;
}
addEventListener("resize", () => draw());
addEventListener("molt:theme", () => draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
load();
setInterval(load, 10000);
if (metricsState) { loadMetrics(); setInterval(() => document.hidden || loadMetrics(), 60000); }
