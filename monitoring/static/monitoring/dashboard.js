// Fetch the dashboard's data every few seconds, redraw the panels that changed, and show the age of the data.

import { gettext } from "../access/text.js";
import { bars, createElement, formatTime, formatValue, plot, table } from "./plots.js";

const INTERVAL_MS = 5_000;
const STALE_MS = 20_000;

const { url, login } = document.body.dataset;
const [panels, contents, age, problem, pause, range, zoomText, zoomReset] = ["panels", "contents", "age", "problem", "pause", "range", "zoom-text", "zoom-reset"].map((id) => document.getElementById(id));
const parameters = new URLSearchParams(location.search);
const rendered = new Map();
let shown = [];
let isPaused = false;
let fetchedAt = null;
let timer = null;
let zoom = readZoom(); // [from, to] in Unix seconds, or null
let isSelecting = false;

async function fetchData() {
  let response;
  try {
    response = await fetch(url, { headers: { Accept: "application/json" } });
  } catch {
    throw new Error(gettext("The server cannot be reached. The page retries every few seconds."));
  }
  if (response.status === 403) throw new SignedOut();
  if (!response.ok) throw new Error(gettext("The server returned {status}. The page retries every few seconds.", { status: response.status }));
  return response.json();
}

class SignedOut extends Error {}

async function refresh() {
  clearTimeout(timer);
  try {
    const data = await fetchData();
    renderPanels(data.panels);
    fetchedAt = Date.now();
    problem.hidden = true;
  } catch (error) {
    showProblem(error);
  }
  updateAge();
  if (!isPaused && !document.hidden) timer = setTimeout(refresh, INTERVAL_MS);
}

// A screen reader announces an alert whenever its text is set, so the same message is not set twice.
function showProblem(error) {
  const message = error instanceof SignedOut ? gettext("You are signed out.") : error.message;
  if (!problem.hidden && problem.dataset.message === message) return;
  problem.dataset.message = message;
  problem.replaceChildren(message);
  if (error instanceof SignedOut) problem.append(" ", createElement("a", { href: login }, gettext("Sign in")));
  problem.hidden = false;
}

function updateAge() {
  if (fetchedAt === null) return;
  const seconds = Math.round((Date.now() - fetchedAt) / 1000);
  const isStale = Date.now() - fetchedAt > STALE_MS;
  if (isPaused) age.textContent = gettext("Paused, updated {n} s ago", { n: seconds });
  else if (isStale) age.textContent = gettext("Out of date: updated {n} s ago", { n: seconds });
  else age.textContent = gettext("Updated {n} s ago", { n: seconds });
  age.classList.toggle("stale", isStale && !isPaused);
  for (const section of panels.children) section.classList.toggle("old", isStale && !isPaused);
}

function renderPanels(data) {
  shown = data;
  if (isSelecting) return; // a panel that is replaced would lose the selection
  for (const panel of data) {
    const text = JSON.stringify(panel);
    if (rendered.get(panel.key) === text) continue;
    rendered.set(panel.key, text);
    const fresh = buildSection(panel);
    const before = document.getElementById(`panel-${panel.key}`);
    if (before) replacePanel(before, fresh);
    else panels.append(fresh);
  }
  if (!contents.childElementCount) {
    contents.append(...data.map(({ key, title }) => createElement("a", { href: `#panel-${key}` }, title)));
  }
  panels.setAttribute("aria-busy", "false");
}

// Replace a panel. Open details, scroll positions and the keyboard focus are kept.
function replacePanel(before, fresh) {
  const focusIndex = before.contains(document.activeElement) ? [...before.querySelectorAll("a, summary, [tabindex]")].indexOf(document.activeElement) : -1;
  const scrolled = [...before.querySelectorAll(".scroll")].map((element) => [element.scrollLeft, element.scrollTop]);
  for (const details of fresh.querySelectorAll("details")) {
    details.open = before.querySelector(`details[data-key="${CSS.escape(details.dataset.key)}"]`)?.open ?? false;
  }
  before.replaceWith(fresh);
  [...fresh.querySelectorAll(".scroll")].forEach((element, index) => {
    if (scrolled[index]) [element.scrollLeft, element.scrollTop] = scrolled[index];
  });
  if (focusIndex >= 0) fresh.querySelectorAll("a, summary, [tabindex]")[focusIndex]?.focus({ preventScroll: true });
}

function buildSection(panel) {
  const element = createElement("section", { class: "panel", id: `panel-${panel.key}`, "aria-labelledby": `title-${panel.key}` });
  element.append(createElement("h2", { id: `title-${panel.key}` }, panel.title));
  if (panel.error) {
    element.append(createElement("p", { class: "failed" }, gettext("This panel failed ({error}). See the web server's log.", { error: panel.error })));
    return element;
  }
  if (panel.empty_text) {
    element.append(createElement("p", { class: "empty" }, panel.empty_text));
    return element;
  }
  if (panel.stats.length) element.append(createElement("dl", { class: "stats" }, ...panel.stats.map(buildStat)));
  if (panel.note) element.append(createElement("p", { class: "note" }, panel.note));
  element.append(...panel.plots.map(buildPlot), ...panel.bars.map(bars), ...panel.tables.map(buildTable));
  return element;
}

const buildPlot = (data) =>
  plot(zoom ? zoomLines(data) : cutLines(data, Number(range.value)), { range: zoom, onSelecting: showSelection, onSelect: setZoom });

const mapLines = (data, keeps) =>
  ({ ...data, lines: Object.fromEntries(Object.entries(data.lines).map(([name, points]) => [name, points.filter(([at]) => keeps(at))])) });

const zoomLines = (data) => mapLines(data, (at) => at >= zoom[0] && at <= zoom[1]);

// Keep the points of the last seconds. A plot whose points are further apart than that is shown whole.
function cutLines(data, seconds) {
  const last = Math.max(...Object.values(data.lines).flatMap((points) => points.map(([at]) => at)));
  const cut = mapLines(data, (at) => last - at <= seconds);
  return Object.values(cut.lines).some((points) => points.length > 1) ? cut : data;
}

const buildStat = ({ label, value, unit, tone }) =>
  createElement("div", { class: tone }, createElement("dt", {}, label), createElement("dd", {}, String(formatValue(value)), createElement("small", {}, value === null ? "" : ` ${unit}`)));

function buildTable({ title, columns, rows, link }) {
  const caption = createElement("figcaption", {}, createElement("h3", {}, title));
  if (link) caption.append(createElement("a", { href: link, class: "note" }, gettext("Show all")));
  return createElement("figure", {}, caption, table(columns, rows, title));
}

// The time range. The address keeps it, so that it can be sent to others.

function readZoom() {
  const [from, to] = ["from", "to"].map((name) => Number(parameters.get(name) ?? NaN));
  return Number.isFinite(from) && from < to && to < 1e10 ? [from, to] : null;
}

const formatRange = ([from, to]) => gettext("{from} to {to} UTC", { from: formatTime(from, to - from), to: formatTime(to, to - from) });

function showSelection(selected) {
  isSelecting = selected !== null;
  if (selected) {
    zoomText.textContent = gettext("{range} selected", { range: formatRange(selected) });
    return;
  }
  showZoom();
  renderPanels(shown);
}

function setZoom(selected) {
  zoom = selected && [Math.floor(selected[0]), Math.ceil(selected[1])];
  showZoom();
  const kept = new URLSearchParams(range.selectedOptions[0].defaultSelected ? {} : { range: range.value });
  if (zoom) ["from", "to"].forEach((name, i) => kept.set(name, zoom[i]));
  history.replaceState(null, "", location.pathname + (kept.size ? `?${kept}` : "") + location.hash);
  rendered.clear();
  renderPanels(shown);
}

function showZoom() {
  zoomText.textContent = zoom ? formatRange(zoom) : "";
  zoomReset.hidden = zoom === null;
}

range.addEventListener("change", () => setZoom(null));
zoomReset.addEventListener("click", () => {
  range.focus(); // the button disappears
  setZoom(null);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && zoom) setZoom(null);
});
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", isPaused);
  pause.textContent = isPaused ? gettext("Resume") : gettext("Pause");
  if (isPaused) clearTimeout(timer);
  else refresh();
  updateAge();
});
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && !isPaused) refresh();
});
if ([...range.options].some(({ value }) => value === parameters.get("range"))) range.value = parameters.get("range");
showZoom();
setInterval(updateAge, 1_000);
refresh();
