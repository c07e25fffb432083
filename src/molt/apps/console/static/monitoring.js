// The live stream: kept in a ring, drawn at most four times a second whatever comes in.
import { Connection } from "./console.js";

const KEPT = 1000, ROWS = 60, DRAW_MS = 250, STALE_SECONDS = 15;
const body = document.getElementById("rows");
const nothing = document.getElementById("nothing");
const rate = document.getElementById("rate");
const sampled = document.getElementById("sampled");
const form = document.getElementById("filters");
const pauseButton = document.getElementById("pause");
const ring = [];
let held = ring; // what is drawn from: while paused, what there was when the reader paused
let paused = false, changed = true;
let opened = false;
let heardAt = null; // when requests were last heard of
const seen = []; // [time, offered, rows] of the last seconds

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

// --- what one message becomes

function requestRow(r) {
  return {
    what: "request", at: r.at, name: `${r.method} ${r.path}`, agent: r.agent || "–",
    arm: r.arm || "control", mode: r.mode, verdict: r.verdict, status: r.status, latency: r.latency_ms,
    tokens: r.tokens_in == null && r.tokens_out == null ? null : `${r.tokens_in ?? "?"} → ${r.tokens_out ?? "?"}`,
    cost: r.cost, tools: (r.tools || []).join(", "), run: r.run, detail: r.reason || "", model: r.model,
  };
}

function callRow(c) {
  return {
    what: "call", at: c.at, name: `${c.kind} ${c.name}`, agent: c.agent || "–", arm: "candidate", mode: c.mode,
    verdict: c.disposition, status: c.status, latency: c.latency_ms,
    tokens: c.tokens_in == null && c.tokens_out == null ? null : `${c.tokens_in ?? "?"} → ${c.tokens_out ?? "?"}`,
    cost: c.cost, tools: c.kind === "tool" ? c.name : "", run: c.run, detail: c.reason || "", model: c.model,
  };
}

function factRow(e) {
  const open = (e.rulings || []).map((r) => `${r.name} ${r.verdict}`).join(", ");
  return {
    what: "fact", at: e.at, name: e.type, agent: e.by, arm: "", mode: "", verdict: "fact",
    latency: null, tokens: null, cost: null, tools: "", run: null,
    detail: [e.rollout, e.reason, e.note, e.text, e.cause, e.proof, open].filter(Boolean).join(" · "),
  };
}

function keep(row) {
  row.time = new Date(row.at).getTime();
  row.text = Object.values(row).join(" ").toLowerCase();
  ring.push(row);
  if (ring.length > KEPT) ring.splice(0, ring.length - KEPT);
  changed = true;
}

// --- filters live in the address, so that a view can be sent to somebody

const fields = ["q", "what", "agent", "arm", "verdict"];
const params = new URLSearchParams(location.search);
for (const name of fields) if (params.has(name)) form.elements[name].value = params.get(name);

function wanted() {
  const f = Object.fromEntries(fields.map((name) => [name, form.elements[name].value]));
  const q = f.q.trim().toLowerCase();
  return (row) =>
    (!q || row.text.includes(q)) && (!f.what || row.what === f.what) && (!f.agent || row.agent === f.agent)
    && (!f.arm || row.arm === f.arm)
    && (!f.verdict || (f.verdict === "!ok" ? !["ok", "read", "executed", "fact"].includes(row.verdict) : row.verdict === f.verdict));
}
form.addEventListener("input", () => {
  const now = new URLSearchParams();
  for (const name of fields) if (form.elements[name].value) now.set(name, form.elements[name].value);
  history.replaceState(null, "", now.size ? `?${now}` : location.pathname);
  changed = true; draw(true);
});
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("clear").addEventListener("click", () => { ring.length = held.length = 0; changed = true; draw(true); });

function pause(on) {
  if (on && !paused) held = ring.slice();
  if (!on) held = ring;
  paused = on;
  pauseButton.textContent = on ? "Resume" : "Pause";
  pauseButton.setAttribute("aria-pressed", String(on));
  changed = true;
}
pauseButton.addEventListener("click", () => pause(!paused));
// Rows must not move away under a reader's hands.
body.addEventListener("focusin", () => pause(true));

// --- drawing: a fixed set of rows, whose texts change

const STYLE = { ok: "pass", read: "pass", executed: "pass", error: "fail", violation: "fail", denied: "fail",
  fell_back: "wait", would_execute: "wait", limited: "wait", aborted: "idle", dropped: "idle", fact: "idle" };
const pool = [];

function makeRow() {
  const tr = document.createElement("tr");
  const cells = Array.from({ length: 9 }, (_, i) => {
    const td = document.createElement("td");
    if ([3, 5, 6, 7, 8].includes(i)) td.classList.add("wide");
    if ([4, 5, 6].includes(i)) td.classList.add("num");
    tr.append(td);
    return td;
  });
  const link = document.createElement("a"), chip = document.createElement("span");
  cells[0].append(link);
  cells[1].append(chip);
  body.append(tr);
  return { tr, cells, chip, link, row: null };
}

function fill(slot, row) {
  if (slot.row === row) return;
  slot.row = row;
  const { cells, chip, link, tr } = slot;
  tr.hidden = !row;
  if (!row) return;
  tr.className = `${row.what} ${row.verdict}`;
  link.textContent = clock.format(row.time);
  link.title = `${new Date(row.time).toISOString()}${row.run ? ` · run ${row.run}` : ""}`;
  if (row.run) {
    link.href = `/console/runs/${encodeURIComponent(row.run)}?at=${encodeURIComponent(row.at)}`;
    link.setAttribute("aria-label", `${clock.format(row.time)}, follow run ${row.run}`);
  } else {
    link.removeAttribute("href");
    link.removeAttribute("aria-label");
  }
  chip.className = `chip ${STYLE[row.verdict] || "idle"}`;
  chip.textContent = row.verdict.replace("_", " ") + (row.status && row.status >= 400 ? ` ${row.status}` : "");
  cells[2].textContent = row.what === "fact" ? `${row.name} (${row.agent})` : row.agent;
  cells[3].textContent = row.mode === "shadow" ? `${row.arm} (shadow)` : row.arm;
  cells[3].dataset.arm = row.arm;
  cells[4].textContent = row.latency == null ? "" : row.latency >= 1000 ? `${(row.latency / 1000).toFixed(2)} s` : `${Math.round(row.latency)} ms`;
  cells[5].textContent = row.tokens ?? "";
  cells[6].textContent = row.cost == null ? "" : `$${row.cost.toFixed(5)}`;
  cells[7].textContent = cells[7].title = row.tools;
  cells[8].textContent = cells[8].title = row.what === "fact" ? row.detail : row.what === "call" ? row.name : `${row.name} · ${row.detail}`;
}

function draw(force = false) {
  if (!changed || (paused && !force)) return;
  changed = false;
  const keepRow = wanted();
  const rows = [];
  for (let i = held.length - 1; i >= 0 && rows.length < ROWS; i--) if (keepRow(held[i])) rows.push(held[i]);
  while (pool.length < rows.length) pool.push(makeRow());
  pool.forEach((slot, i) => fill(slot, rows[i] || null));
  nothing.hidden = rows.length > 0;
  nothing.textContent = held.length ? "Nothing of what came matches the filter." :
    "Nothing yet. Requests show here as they go through the gateway; a quiet system shows nothing.";
}

function count() {
  const now = performance.now();
  while (seen.length && seen[0][0] < now - 5000) seen.shift();
  const offered = seen.reduce((sum, s) => sum + s[1], 0) / 5, shown = seen.reduce((sum, s) => sum + s[2], 0) / 5;
  const silent = heardAt == null ? 0 : (now - heardAt) / 1000;
  // Nothing at all for a while is said as such: it is not the same as a rate of zero.
  if (silent >= STALE_SECONDS) rate.textContent = `No data for ${Math.round(silent)} s`;
  else if (heardAt == null) rate.textContent = opened ? "Connected; no request yet" : "Waiting for the stream…";
  else rate.textContent = `${offered.toFixed(offered < 10 ? 1 : 0)} requests/s${paused ? " · paused, still counting" : ""}`;
  const partial = shown < offered * 0.98 && offered > 0;
  sampled.hidden = !partial;
  if (partial) sampled.textContent = `Sampled: ${shown.toFixed(0)} of ${offered.toFixed(0)} requests/s are shown, errors and the candidate's answers first. Figures and decisions count every one; the audit log holds every one.`;
}

// --- the stream

const connection = new Connection(12000);
const source = new EventSource("/console/monitoring/stream");
const on = (kind, take) => source.addEventListener(kind, (message) => { connection.heard(); take(JSON.parse(message.data)); });
on("beat", () => {});
on("requests", (data) => {
  heardAt = performance.now();
  seen.push([heardAt, data.offered, data.rows.length]);
  for (const row of data.rows) keep(requestRow(row));
});
on("calls", (data) => data.rows.forEach((c) => keep(callRow(c))));
on("event", (e) => keep(factRow(e)));
source.addEventListener("error", () => connection.lost());
source.addEventListener("open", () => { opened = true; connection.heard(); count(); });
setInterval(draw, DRAW_MS);
setInterval(count, 1000);
