// Asks for the figures every few seconds, shows what changed, and says how old they are.

import { bars, make, plot, shown, table } from "./plots.js";

const EVERY_MS = 5_000;
const STALE_MS = 20_000;

const { figures: address, login } = document.body.dataset;
const [panels, contents, age, problem, pause] = ["panels", "contents", "age", "problem", "pause"].map((id) => document.getElementById(id));
const drawn = new Map();
let isPaused = false;
let asOf = null;
let timer = null;

async function ask() {
  let response;
  try {
    response = await fetch(address, { headers: { Accept: "application/json" } });
  } catch {
    throw new Error("The server cannot be reached. It is asked again every few seconds.");
  }
  if (response.status === 403) throw new SignedOut();
  if (!response.ok) throw new Error(`The server answered ${response.status}. It is asked again every few seconds.`);
  return response.json();
}

class SignedOut extends Error {}

async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await ask();
    show(answer.panels);
    asOf = Date.now();
    problem.hidden = true;
  } catch (error) {
    complain(error);
  }
  tellAge();
  if (!isPaused && !document.hidden) timer = setTimeout(refresh, EVERY_MS);
}

// An alert is spoken when it changes, so the same one is not written twice.
function complain(error) {
  const told = error instanceof SignedOut ? "You are signed out." : error.message;
  if (!problem.hidden && problem.dataset.told === told) return;
  problem.dataset.told = told;
  problem.replaceChildren(told);
  if (error instanceof SignedOut) problem.append(" ", make("a", { href: login }, "Sign in"));
  problem.hidden = false;
}

function tellAge() {
  if (asOf === null) return;
  const seconds = Math.round((Date.now() - asOf) / 1000);
  const isStale = Date.now() - asOf > STALE_MS;
  age.textContent = isPaused ? `Paused, as of ${seconds} s ago` : isStale ? `Old: as of ${seconds} s ago` : `As of ${seconds} s ago`;
  age.classList.toggle("stale", isStale && !isPaused);
  for (const section of panels.children) section.classList.toggle("old", isStale && !isPaused);
}

function show(answer) {
  for (const panel of answer) {
    const text = JSON.stringify(panel);
    if (drawn.get(panel.key) === text) continue;
    drawn.set(panel.key, text);
    const fresh = section(panel);
    const before = document.getElementById(`panel-${panel.key}`);
    if (before) replace(before, fresh);
    else panels.append(fresh);
  }
  if (!contents.childElementCount) {
    contents.append(...answer.map(({ key, title }) => make("a", { href: `#panel-${key}` }, title)));
  }
  panels.setAttribute("aria-busy", "false");
}

// What a person opened, scrolled or stands on stays as it is.
function replace(before, fresh) {
  const inside = before.contains(document.activeElement) ? [...before.querySelectorAll("a, summary, [tabindex]")].indexOf(document.activeElement) : -1;
  const scrolled = [...before.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
  for (const one of fresh.querySelectorAll("details")) {
    one.open = before.querySelector(`details[data-key="${CSS.escape(one.dataset.key)}"]`)?.open ?? false;
  }
  before.replaceWith(fresh);
  [...fresh.querySelectorAll(".scroll")].forEach((one, index) => {
    if (scrolled[index]) [one.scrollLeft, one.scrollTop] = scrolled[index];
  });
  if (inside >= 0) fresh.querySelectorAll("a, summary, [tabindex]")[inside]?.focus({ preventScroll: true });
}

function section(panel) {
  const element = make("section", { class: "panel", id: `panel-${panel.key}`, "aria-labelledby": `title-${panel.key}` });
  element.append(make("h2", { id: `title-${panel.key}` }, panel.title));
  if (panel.error) {
    element.append(make("p", { class: "failed" }, `These figures could not be had (${panel.error}). The web server's log says more.`));
    return element;
  }
  if (panel.empty) {
    element.append(make("p", { class: "empty" }, panel.empty));
    return element;
  }
  if (panel.figures.length) element.append(make("dl", { class: "figures" }, ...panel.figures.map(figure)));
  if (panel.note) element.append(make("p", { class: "note" }, panel.note));
  element.append(...panel.plots.map(plot), ...panel.bars.map(bars), ...panel.tables.map(listing));
  return element;
}

const figure = ({ label, value, unit, tone }) =>
  make("div", { class: tone }, make("dt", {}, label), make("dd", {}, String(shown(value)), make("small", {}, value === null ? "" : ` ${unit}`)));

function listing({ title, columns, rows, link }) {
  const caption = make("figcaption", {}, make("h3", {}, title));
  if (link) caption.append(make("a", { href: link, class: "note" }, "All of them"));
  return make("figure", {}, caption, table(columns, rows, title));
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", isPaused);
  pause.textContent = isPaused ? "Go on" : "Pause";
  if (isPaused) clearTimeout(timer);
  else refresh();
  tellAge();
});
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && !isPaused) refresh();
});
setInterval(tellAge, 1_000);
refresh();
