// Draw time series as inline SVG. A reader can step through each plot by pointer or by arrow keys, or open it as a table.

import { gettext, language } from "../access/text.js";

const HEIGHT = 152, LEFT = 46, RIGHT = 8, TOP = 10, BOTTOM = 20;
const NS = "http://www.w3.org/2000/svg";

export function createElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function createSvgElement(tag, attributes = {}, text = "") {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

export const formatValue = (value) =>
  value === null || value === undefined ? "–" : typeof value === "number" ? value.toLocaleString(language, { maximumFractionDigits: Math.abs(value) < 1 ? 3 : 2 }) : value;

// Format Unix seconds as hours and minutes in UTC. A span of more than a day adds the date.
function formatTime(seconds, span) {
  const text = new Date(seconds * 1000).toISOString();
  return span > 86400 ? `${text.slice(5, 10)} ${text.slice(11, 16)}` : text.slice(11, 16);
}

// Return the smallest round number that is at least the value.
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 1.5, 2, 3, 4, 5, 7.5, 10].map((step) => step * unit).find((step) => step >= value) ?? 10 * unit;
}

// The last width of each plot, by title. A plot that replaces another is drawn at this width at once,
// before its ResizeObserver reports a size.
const widths = new Map();

export function plot({ title, unit, lines }) {
  const names = Object.keys(lines).filter((name) => lines[name].length);
  const figure = createElement("figure");
  const caption = createElement("figcaption", {}, createElement("h3", {}, unit ? `${title}, ${unit}` : title));
  figure.append(caption);
  if (!names.length) {
    figure.append(createElement("p", { class: "empty" }, "No data in this period."));
    return figure;
  }
  const moments = [...new Set(names.flatMap((name) => lines[name].map(([at]) => at)))].sort((a, b) => a - b);
  const span = moments.at(-1) - moments[0];
  const values = names.map((name) => new Map(lines[name]));
  const legend = createElement("ul", { class: "legend" });
  const legendValues = names.map((name, number) => {
    const key = createSvgElement("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
    key.append(createSvgElement("line", { x1: 0, y1: 5, x2: 26, y2: 5, class: `curve line-${number % 6}` }));
    const value = createElement("b", {}, formatValue(lines[name].at(-1)[1]));
    legend.append(createElement("li", {}, key, `${name} `, value));
    return value;
  });
  caption.append(legend);
  const svg = createSvgElement("svg", { class: "plot", role: "img", tabindex: "0", "aria-label": describePlot(title, unit, lines, names, moments, span) });
  figure.append(svg);
  let canvas = drawLines(svg, widths.get(title) ?? 480, lines, names, moments, span);
  new ResizeObserver(() => {
    const width = svg.clientWidth;
    if (!width || width === canvas.width) return;
    widths.set(title, width);
    canvas = drawLines(svg, width, lines, names, moments, span);
  }).observe(svg);
  let position = moments.length - 1;
  const showMoment = (index) => {
    position = Math.max(0, Math.min(moments.length - 1, index));
    canvas.showMoment(moments[position], `at ${formatTime(moments[position], span)} UTC`);
    legendValues.forEach((element, number) => { element.textContent = formatValue(values[number].get(moments[position])); });
  };
  const showLatest = () => {
    position = moments.length - 1;
    canvas.showLatest();
    legendValues.forEach((element, number) => { element.textContent = formatValue(lines[names[number]].at(-1)[1]); });
  };
  svg.addEventListener("pointermove", (event) => {
    const at = canvas.moment(event.clientX - svg.getBoundingClientRect().left);
    showMoment(moments.reduce((best, moment, index) => (Math.abs(moment - at) < Math.abs(moments[best] - at) ? index : best), 0));
  });
  svg.addEventListener("pointerleave", showLatest);
  svg.addEventListener("blur", showLatest);
  svg.addEventListener("keydown", (event) => {
    const target = { ArrowLeft: position - 1, ArrowRight: position + 1, Home: 0, End: moments.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    showMoment(target);
  });
  const rows = moments.toReversed().map((at) => [formatTime(at, 1e9), ...values.map((series) => series.get(at) ?? null)]);
  figure.append(createElement("details", { "data-key": title }, createElement("summary", {}, gettext("As a table")), table(["UTC", ...names], rows, title)));
  return figure;
}

function describePlot(title, unit, lines, names, moments, span) {
  const descriptions = names.map((name) => {
    const values = lines[name].map(([, value]) => value);
    const [last, lowest, highest] = [values.at(-1), Math.min(...values), Math.max(...values)].map(formatValue);
    return gettext("{name}: {last} at the end, from {lowest} to {highest}", { name, last, lowest, highest });
  });
  const time = `${formatTime(moments[0], span)} to ${formatTime(moments.at(-1), span)} UTC`;
  return `${title}${unit ? ` in ${unit}` : ""}, ${time}. ${descriptions.join(". ")}.`;
}

// Draw the plot for a width in pixels, so that its text has the same size on a phone and on a large screen.
function drawLines(svg, width, lines, names, moments, span) {
  const [first, last] = [moments[0], moments.at(-1)];
  const top = roundUp(Math.max(...names.flatMap((name) => lines[name].map(([, value]) => value)), 1e-9));
  const inner = width - LEFT - RIGHT;
  const x = (at) => (span ? LEFT + ((at - first) / span) * inner : LEFT + inner / 2);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren();
  for (const fraction of [0, 0.5, 1]) {
    svg.append(createSvgElement("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(top * fraction), y2: y(top * fraction) }));
    svg.append(createSvgElement("text", { x: LEFT - 6, y: y(top * fraction) + 4, "text-anchor": "end" }, formatValue(top * fraction)));
  }
  if (span) svg.append(createSvgElement("text", { x: LEFT, y: HEIGHT - 5 }, formatTime(first, span)));
  const end = createSvgElement("text", { x: width - RIGHT, y: HEIGHT - 5, "text-anchor": "end" }, `${formatTime(last, span)} UTC`);
  const cursor = createSvgElement("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  svg.append(end);
  names.forEach((name, number) => {
    const points = lines[name].map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    if (points.length > 1) svg.append(createSvgElement("polyline", { class: `curve line-${number % 6}`, points: points.join(" ") }));
    const [at, value] = lines[name].at(-1);
    svg.append(createSvgElement("circle", { class: `dot line-${number % 6}`, cx: x(at), cy: y(value), r: 3 }));
  });
  svg.append(cursor);
  return {
    width,
    moment: (left) => first + ((left - LEFT) / inner) * span,
    showMoment(at, text) {
      cursor.setAttribute("visibility", "visible");
      cursor.setAttribute("x1", x(at));
      cursor.setAttribute("x2", x(at));
      end.textContent = text;
    },
    showLatest() {
      cursor.setAttribute("visibility", "hidden");
      end.textContent = `${formatTime(last, span)} UTC`;
    },
  };
}

export function bars({ title, unit, values }) {
  const entries = Object.entries(values).sort(([, a], [, b]) => b - a);
  const largest = Math.max(...entries.map(([, value]) => value), 1e-9);
  const list = createElement("dl", { class: "bars" });
  for (const [name, value] of entries) {
    list.append(
      createElement("dt", {}, name),
      createElement("dd", {}, createElement("progress", { max: largest, value, "aria-label": `${name}: ${formatValue(value)} ${unit}` })),
      createElement("dd", { class: "value" }, `${formatValue(value)} ${unit}`),
    );
  }
  return createElement("figure", {}, createElement("figcaption", {}, createElement("h3", {}, title)), list);
}

const BAD_WORDS = new Set(["failed", "fails", "lost", "open", "fail"]);

export function table(columns, rows, title) {
  const numeric = columns.map((_, column) => rows.length > 0 && rows.every((row) => row[column] === null || typeof row[column] === "number"));
  const head = createElement("tr", {}, ...columns.map((name, column) => createElement("th", { scope: "col", ...(numeric[column] && { class: "number" }) }, name)));
  const body = rows.map((row) => createElement("tr", {}, ...row.map((cell, column) => {
    const length = String(cell).length;
    const kind = numeric[column] ? "number" : BAD_WORDS.has(cell) ? "bad" : length > 40 ? "long" : length < 24 ? "word" : "";
    return createElement("td", { class: kind }, String(formatValue(cell)));
  })));
  return createElement("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    createElement("table", {}, createElement("thead", {}, head), createElement("tbody", {}, ...body)));
}
