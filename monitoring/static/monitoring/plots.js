// Draws lines over time as inline SVG. Each plot can be read by pointer, by arrow keys, and as a table.

const HEIGHT = 152, LEFT = 46, RIGHT = 8, TOP = 10, BOTTOM = 20;
const NS = "http://www.w3.org/2000/svg";

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, text = "") {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

export const shown = (value) =>
  value === null || value === undefined ? "–" : typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 1 ? 3 : 2 }) : value;

// Hours are enough within a day; over more the day is told too. All in UTC, as everywhere in the service.
function clock(seconds, span) {
  const text = new Date(seconds * 1000).toISOString();
  return span > 86400 ? `${text.slice(5, 10)} ${text.slice(11, 16)}` : text.slice(11, 16);
}

// The least round number that is not below the value.
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 1.5, 2, 3, 4, 5, 7.5, 10].map((step) => step * unit).find((step) => step >= value) ?? 10 * unit;
}

// How wide each plot was, so that one that replaces another is drawn at once, not a moment later.
const widths = new Map();

export function plot({ title, unit, lines }) {
  const names = Object.keys(lines).filter((name) => lines[name].length);
  const figure = make("figure");
  const caption = make("figcaption", {}, make("h3", {}, unit ? `${title}, ${unit}` : title));
  figure.append(caption);
  if (!names.length) {
    figure.append(make("p", { class: "empty" }, "Nothing in this time."));
    return figure;
  }
  const moments = [...new Set(names.flatMap((name) => lines[name].map(([at]) => at)))].sort((a, b) => a - b);
  const span = moments.at(-1) - moments[0];
  const values = names.map((name) => new Map(lines[name]));
  const legend = make("ul", { class: "legend" });
  const readings = names.map((name, number) => {
    const key = draw("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
    key.append(draw("line", { x1: 0, y1: 5, x2: 26, y2: 5, class: `curve line-${number % 6}` }));
    const value = make("b", {}, shown(lines[name].at(-1)[1]));
    legend.append(make("li", {}, key, `${name} `, value));
    return value;
  });
  caption.append(legend);
  const svg = draw("svg", { class: "plot", role: "img", tabindex: "0", "aria-label": inWords(title, unit, lines, names, moments, span) });
  figure.append(svg);
  let canvas = paint(svg, widths.get(title) ?? 480, lines, names, moments, span);
  new ResizeObserver(() => {
    const width = svg.clientWidth;
    if (!width || width === canvas.width) return;
    widths.set(title, width);
    canvas = paint(svg, width, lines, names, moments, span);
  }).observe(svg);
  let place = moments.length - 1;
  const read = (index) => {
    place = Math.max(0, Math.min(moments.length - 1, index));
    canvas.point(moments[place], `at ${clock(moments[place], span)} UTC`);
    readings.forEach((reading, number) => { reading.textContent = shown(values[number].get(moments[place])); });
  };
  const rest = () => {
    place = moments.length - 1;
    canvas.rest();
    readings.forEach((reading, number) => { reading.textContent = shown(lines[names[number]].at(-1)[1]); });
  };
  svg.addEventListener("pointermove", (event) => {
    const at = canvas.moment(event.clientX - svg.getBoundingClientRect().left);
    read(moments.reduce((best, moment, index) => (Math.abs(moment - at) < Math.abs(moments[best] - at) ? index : best), 0));
  });
  svg.addEventListener("pointerleave", rest);
  svg.addEventListener("blur", rest);
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: moments.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    read(to);
  });
  const rows = moments.toReversed().map((at) => [clock(at, 1e9), ...values.map((one) => one.get(at) ?? null)]);
  figure.append(make("details", { "data-key": title }, make("summary", {}, "As a table"), table(["UTC", ...names], rows, title)));
  return figure;
}

function inWords(title, unit, lines, names, moments, span) {
  const told = names.map((name) => {
    const values = lines[name].map(([, value]) => value);
    return `${name}: ${shown(values.at(-1))} at the end, from ${shown(Math.min(...values))} to ${shown(Math.max(...values))}`;
  });
  const time = `${clock(moments[0], span)} to ${clock(moments.at(-1), span)} UTC`;
  return `${title}${unit ? ` in ${unit}` : ""}, ${time}. ${told.join(". ")}.`;
}

// Draws it anew for a width in pixels, so that a text is as large on a phone as on a wall.
function paint(svg, width, lines, names, moments, span) {
  const [first, last] = [moments[0], moments.at(-1)];
  const top = ceiling(Math.max(...names.flatMap((name) => lines[name].map(([, value]) => value)), 1e-9));
  const inner = width - LEFT - RIGHT;
  const x = (at) => (span ? LEFT + ((at - first) / span) * inner : LEFT + inner / 2);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren();
  for (const part of [0, 0.5, 1]) {
    svg.append(draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(top * part), y2: y(top * part) }));
    svg.append(draw("text", { x: LEFT - 6, y: y(top * part) + 4, "text-anchor": "end" }, shown(top * part)));
  }
  if (span) svg.append(draw("text", { x: LEFT, y: HEIGHT - 5 }, clock(first, span)));
  const end = draw("text", { x: width - RIGHT, y: HEIGHT - 5, "text-anchor": "end" }, `${clock(last, span)} UTC`);
  const cursor = draw("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  svg.append(end);
  names.forEach((name, number) => {
    const points = lines[name].map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    if (points.length > 1) svg.append(draw("polyline", { class: `curve line-${number % 6}`, points: points.join(" ") }));
    const [at, value] = lines[name].at(-1);
    svg.append(draw("circle", { class: `dot line-${number % 6}`, cx: x(at), cy: y(value), r: 3 }));
  });
  svg.append(cursor);
  return {
    width,
    moment: (left) => first + ((left - LEFT) / inner) * span,
    point(at, text) {
      cursor.setAttribute("visibility", "visible");
      cursor.setAttribute("x1", x(at));
      cursor.setAttribute("x2", x(at));
      end.textContent = text;
    },
    rest() {
      cursor.setAttribute("visibility", "hidden");
      end.textContent = `${clock(last, span)} UTC`;
    },
  };
}

export function bars({ title, unit, values }) {
  const entries = Object.entries(values).sort(([, a], [, b]) => b - a);
  const most = Math.max(...entries.map(([, value]) => value), 1e-9);
  const list = make("dl", { class: "bars" });
  for (const [name, value] of entries) {
    list.append(
      make("dt", {}, name),
      make("dd", {}, make("progress", { max: most, value, "aria-label": `${name}: ${shown(value)} ${unit}` })),
      make("dd", { class: "value" }, `${shown(value)} ${unit}`),
    );
  }
  return make("figure", {}, make("figcaption", {}, make("h3", {}, title)), list);
}

const WORDS_BAD = new Set(["failed", "fails", "lost", "open", "fail"]);

export function table(columns, rows, title) {
  const numeric = columns.map((_, column) => rows.length > 0 && rows.every((row) => row[column] === null || typeof row[column] === "number"));
  const head = make("tr", {}, ...columns.map((name, column) => make("th", { scope: "col", ...(numeric[column] && { class: "number" }) }, name)));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, column) => {
    const length = String(cell).length;
    const kind = numeric[column] ? "number" : WORDS_BAD.has(cell) ? "bad" : length > 40 ? "long" : length < 24 ? "word" : "";
    return make("td", { class: kind }, String(shown(cell)));
  })));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}
