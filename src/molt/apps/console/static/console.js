// What every page does in the browser: local times, and whether what is shown is still true.
const shown = new WeakMap();
const local = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const short = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export function localTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    if (shown.get(element) === element.dateTime) continue;
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const today = at.toDateString() === new Date().toDateString();
    element.textContent = today ? short.format(at) : local.format(at);
    element.title = `${local.format(at)} here · ${at.toISOString().replace("T", " ").slice(0, 19)} UTC`;
    shown.set(element, element.dateTime);
  }
}

// --- connection: a page that has heard nothing for a while says so, with how old it is

const badge = document.getElementById("connection");

export class Connection {
  // `limit` in milliseconds: longer than that without word is no longer live.
  constructor(limit) {
    this.limit = limit;
    this.heardAt = performance.now();
    this.failed = false;
    setInterval(() => this.show(), 500);
    this.show();
  }
  heard() { this.heardAt = performance.now(); this.failed = false; this.show(); }
  lost() { this.failed = true; this.show(); leaveIfSignedOut(); }
  show() {
    if (!badge) return;
    const silent = performance.now() - this.heardAt;
    const away = this.failed || silent > this.limit;
    const text = away ? `disconnected · ${Math.round(silent / 1000)} s old, trying again` : "live";
    if (badge.textContent !== text) badge.textContent = text;
    badge.hidden = false;
    badge.classList.toggle("away", away);
    document.documentElement.classList.toggle("disconnected", away);
  }
}

// A stream ends with the session too; then the page leads to where one signs in, and back.
async function leaveIfSignedOut() {
  const answer = await fetch("/api/v1/me").catch(() => null);
  if (answer?.status === 401) location.reload();
}

function watchLive(element) {
  const connection = new Connection(Number(element.dataset.live) || 5000);
  element.addEventListener("htmx:sse:after:message", () => {
    connection.heard();
    localTimes(element);
    const digest = element.querySelector("[data-approval-digest]")?.dataset.approvalDigest;
    for (const field of document.querySelectorAll("input[data-digest]")) {
      if (!field.closest(":popover-open")) field.value = digest || "";
    }
    const about = element.querySelector("[data-approving]");
    for (const words of document.querySelectorAll("[data-about]")) {
      // A form that is open keeps what its reader saw, as it keeps the digest.
      if (about && !words.closest(":popover-open")) words.replaceChildren(...about.cloneNode(true).childNodes);
    }
    const offers = element.querySelector("[data-offers]")?.dataset.offers.split(" ");
    if (offers) for (const one of document.querySelectorAll("[data-offer]")) {
      // A form that is open stays; when it is sent, control says what stands in the way.
      if (!one.querySelector(":popover-open") && !one.closest(":popover-open")) one.hidden = !offers.includes(one.dataset.offer);
    }
    const version = element.querySelector("[data-rollout-version]")?.dataset.rolloutVersion;
    if (version) for (const field of document.querySelectorAll("input[data-version]")) {
      // A form that is open keeps the version that its reader saw.
      if (!field.closest(":popover-open")) field.value = version;
    }
  });
  element.addEventListener("htmx:sse:error", () => connection.lost());
  element.addEventListener("htmx:sse:close", () => connection.lost());
}

localTimes();
// On a narrow screen the menu scrolls: the page that is open is to be seen in it.
const menu = document.querySelector(".top nav"), open = menu?.querySelector("[aria-current]");
if (open) menu.scrollLeft = open.offsetLeft - menu.offsetLeft - (menu.clientWidth - open.offsetWidth) / 2;
document.querySelectorAll("[data-live]").forEach(watchLive);
document.addEventListener("htmx:after:swap", () => localTimes());
