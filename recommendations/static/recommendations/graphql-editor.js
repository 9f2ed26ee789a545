// The editor of a query: a text area over colored lines, which have the same text.

import { byId, element } from "./elements.js";
import { tokenize } from "./graphql-document.js";

const KEYWORDS = new Set(["query", "mutation", "fragment", "on", "true", "false", "null"]);
const area = byId("query");
const lines = byId("query-lines");
let problemLines = new Set();

export const getQuery = () => area.value;

// Replaces a part of the query, so that the reader can undo it, and puts the cursor behind the new text. setRangeText
// would empty the history of changes.
export function replaceText(start, end, text) {
  area.focus();
  area.setSelectionRange(start, end);
  document.execCommand(text ? "insertText" : "delete", false, text);
}

// Replaces the whole query. An empty editor has nothing to undo, and the focus stays where it is.
export function setQuery(text) {
  if (area.value) replaceText(0, area.value.length, text);
  else {
    area.value = text;
    area.dispatchEvent(new Event("input"));
  }
  area.setSelectionRange(0, 0);
  area.scrollTop = 0;
}

// Writes the text into lines of its own at the cursor.
export function insertLines(text) {
  const { selectionStart: start, selectionEnd: end, value } = area;
  const { line, inner } = describeLine();
  const block = text.split("\n").map((row) => inner + row).join("\n");
  const isLineEnd = /^ *(\n|$)/.test(value.slice(end));
  if (line.trim()) replaceText(start, end, `\n${block}${isLineEnd ? "" : "\n"}`);
  else replaceText(start - line.length, end, isLineEnd ? block : `${block}\n`);
}

// Returns the line of the cursor up to the cursor, and the indentation of a line after it.
function describeLine() {
  const line = area.value.slice(area.value.lastIndexOf("\n", area.selectionStart - 1) + 1, area.selectionStart);
  return { line, inner: line.match(/^ */)[0] + (/[{(]\s*$/.test(line) ? "  " : "") };
}

// Puts the cursor at a line and column of an error, both from 1.
export function goTo({ line, column }) {
  const before = area.value.split("\n").slice(0, line - 1);
  const offset = before.reduce((sum, row) => sum + row.length + 1, 0) + column - 1;
  area.blur();
  area.setSelectionRange(offset, offset);
  area.focus(); // scrolls to the cursor
}

// Marks the lines of these errors, until the query changes.
export function markProblems(locations) {
  problemLines = new Set(locations.map(({ line }) => line));
  showLines();
}

function showLines() {
  const rows = [element("span", "line")];
  const write = (text, className) => {
    text.split("\n").forEach((part, i) => {
      if (i) rows.push(element("span", "line"));
      if (part) rows.at(-1).append(className ? element("span", className, part) : part);
    });
  };
  let end = 0;
  for (const token of tokenize(area.value)) {
    write(area.value.slice(end, token.start));
    write(token.text, KEYWORDS.has(token.text) ? "token-keyword" : `token-${token.kind}`);
    end = token.end;
  }
  write(area.value.slice(end));
  rows.forEach((row, i) => row.classList.toggle("problem-line", problemLines.has(i + 1)));
  lines.replaceChildren(...rows);
  scrollLines();
}

function scrollLines() {
  lines.scrollTop = area.scrollTop;
  lines.scrollLeft = area.scrollLeft;
}

// A new line is indented like the line before it.
function breakLine(event) {
  if (event.key !== "Enter" || event.defaultPrevented || event.ctrlKey || event.metaKey || event.isComposing) return;
  event.preventDefault();
  replaceText(area.selectionStart, area.selectionEnd, `\n${describeLine().inner}`);
}

area.addEventListener("input", () => markProblems([]));
area.addEventListener("scroll", scrollLines);
area.addEventListener("keydown", breakLine);
