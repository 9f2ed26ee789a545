// Draw time series as inline SVG. A reader can step through each plot by pointer or by arrow keys, select a time range by
// dragging or by Shift and arrow keys, or open it as a table.

import { gettext, language } from "../access/text.js";

const HEIGHT = 152, LEFT = 46, RIGHT = 8, TOP = 10, BOTTOM = 20;
const MIN_DRAG_PX = 6;
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

// Format Unix seconds as hours and minutes in UTC. A span of more than a day, or a time of another day, adds the date.
export function formatTime(seconds, span) {
  const text = new Date(seconds * 1000).toISOString();
  return Math.max(span, Date.now() / 1000 - seconds) > 86400 ? `${text.slice(5, 10)} ${text.slice(11, 16)}` : text.slice(11, 16);
}

// Return the smallest round number that is at least the value.
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 1.5, 2, 3, 4, 5, 7.5, 10].map((step) => step * unit).find((step) => step >= value) ?? 10 * unit;
}

// The last width of each plot, by title. A plot that replaces another is drawn at this width at once,
// before its ResizeObserver reports a size.
const widths = new Map();

// Draw a plot. `range` is the time that it shows, [from, to] in Unix seconds, or null for the time of its points. While the
// reader selects a range, `onSelecting` is called with it, and with null when they stop; `onSelect` with the result.
export function plot({ title, unit, lines }, { range, onSelecting, onSelect }) {
  const names = Object.keys(lines).filter((name) => lines[name].length);
  const figure = createElement("figure");
  const caption = createElement("figcaption", {}, createElement("h3", {}, unit ? `${title}, ${unit}` : title));
  figure.append(caption);
  if (!names.length) {
    figure.append(createElement("p", { class: "empty" }, gettext("No data in this period.")));
    return figure;
  }
  const moments = [...new Set(names.flatMap((name) => lines[name].map(([at]) => at)))].sort((a, b) => a - b);
  const [first, last] = range ?? [moments[0], moments.at(-1)];
  const span = last - first;
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
  const svg = createSvgElement("svg", { class: "plot", role: "img", tabindex: "0", "aria-label": describePlot(title, unit, lines, names, first, last), "aria-describedby": "zoom-help" });
  figure.append(svg);
  let canvas = drawLines(svg, widths.get(title) ?? 480, lines, names, first, last);
  new ResizeObserver(() => {
    const width = svg.clientWidth;
    if (!width || width === canvas.width) return;
    widths.set(title, width);
    canvas = drawLines(svg, width, lines, names, first, last);
  }).observe(svg);
  let position = moments.length - 1;
  const showMoment = (index) => {
    position = Math.max(0, Math.min(moments.length - 1, index));
    canvas.showMoment(moments[position], gettext("at {time} UTC", { time: formatTime(moments[position], span) }));
    legendValues.forEach((element, number) => { element.textContent = formatValue(values[number].get(moments[position])); });
  };
  const showLatest = () => {
    position = moments.length - 1;
    canvas.showLatest();
    legendValues.forEach((element, number) => { element.textContent = formatValue(lines[names[number]].at(-1)[1]); });
  };
  // The selection: where it began and where it ends, in Unix seconds.
  let anchor = null;
  let selected = null;
  const select = (at) => {
    selected = [Math.min(anchor, at), Math.max(anchor, at)];
    canvas.showSelection(selected);
    onSelecting(selected);
  };
  const stopSelecting = () => {
    if (anchor === null) return;
    anchor = selected = null;
    canvas.showSelection(null);
    onSelecting(null);
  };
  const finish = () => {
    const chosen = selected;
    stopSelecting();
    if (chosen && chosen[1] > chosen[0]) onSelect(chosen);
  };
  const timeAt = (event) => canvas.moment(event.clientX - svg.getBoundingClientRect().left);
  let pressedX = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || !span) return;
    svg.setPointerCapture(event.pointerId);
    stopSelecting();
    pressedX = event.clientX;
  });
  svg.addEventListener("pointermove", (event) => {
    const at = timeAt(event);
    showMoment(moments.reduce((best, moment, index) => (Math.abs(moment - at) < Math.abs(moments[best] - at) ? index : best), 0));
    if (pressedX === null || (anchor === null && Math.abs(event.clientX - pressedX) < MIN_DRAG_PX)) return;
    anchor ??= canvas.moment(pressedX - svg.getBoundingClientRect().left);
    select(at);
  });
  svg.addEventListener("pointerup", () => {
    pressedX = null;
    finish();
  });
  svg.addEventListener("pointercancel", () => {
    pressedX = null;
    stopSelecting();
  });
  svg.addEventListener("pointerleave", showLatest);
  svg.addEventListener("blur", () => {
    stopSelecting();
    showLatest();
  });
  svg.addEventListener("keydown", (event) => {
    const target = { ArrowLeft: position - 1, ArrowRight: position + 1, Home: 0, End: moments.length - 1 }[event.key];
    if (target !== undefined) {
      if (event.shiftKey) anchor ??= moments[position];
      else stopSelecting();
      showMoment(target);
      if (event.shiftKey) select(moments[position]);
    } else if (anchor !== null && event.key === "Enter") finish();
    else if (anchor !== null && event.key === "Escape") stopSelecting();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const rows = moments.toReversed().map((at) => [formatTime(at, 1e9), ...values.map((series) => series.get(at) ?? null)]);
  figure.append(createElement("details", { "data-key": title }, createElement("summary", {}, gettext("As a table")), table(["UTC", ...names], rows, title)));
  return figure;
}

function describePlot(title, unit, lines, names, first, last) {
  const descriptions = names.map((name) => {
    const values = lines[name].map(([, value]) => value);
    const [last, lowest, highest] = [values.at(-1), Math.min(...values), Math.max(...values)].map(formatValue);
    return gettext("{name}: {last} at the end, from {lowest} to {highest}", { name, last, lowest, highest });
  });
  const time = gettext("{from} to {to} UTC", { from: formatTime(first, last - first), to: formatTime(last, last - first) });
  return `${title}${unit ? ` in ${unit}` : ""}, ${time}. ${descriptions.join(". ")}.`;
}

// Draw the plot for a width in pixels, so that its text has the same size on a phone and on a large screen.
function drawLines(svg, width, lines, names, first, last) {
  const span = last - first;
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
  const selection = createSvgElement("rect", { class: "selection", y: TOP, height: HEIGHT - TOP - BOTTOM, visibility: "hidden" });
  svg.append(end, selection);
  names.forEach((name, number) => {
    const points = lines[name].map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    if (points.length > 1) svg.append(createSvgElement("polyline", { class: `curve line-${number % 6}`, points: points.join(" ") }));
    const [at, value] = lines[name].at(-1);
    svg.append(createSvgElement("circle", { class: `dot line-${number % 6}`, cx: x(at), cy: y(value), r: 3 }));
  });
  svg.append(cursor);
  return {
    width,
    moment: (left) => first + Math.max(0, Math.min(1, (left - LEFT) / inner)) * span,
    showSelection(range) {
      selection.setAttribute("visibility", range ? "visible" : "hidden");
      if (!range) return;
      selection.setAttribute("x", x(range[0]));
      selection.setAttribute("width", x(range[1]) - x(range[0]));
    },
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
