// Completes names in the query, while the reader types or at Ctrl+Space, from the schema and the position. The list
// has the keys of a combobox: arrows select, Enter inserts, Escape closes. Tab leaves the editor, as elsewhere.

import { ngettext } from "../access/text.js";
import { byId, element } from "./elements.js";
import { suggest } from "./graphql-document.js";
import { replaceText } from "./graphql-editor.js";

const MAX_OPTIONS = 50;
const area = byId("query");
const list = byId("completions");
let schema = null;
let suggestion = null; // of the open list
let selected = 0;

export function startCompletion(newSchema) {
  schema = newSchema;
}

function open(isAsked) {
  if (!schema || area.selectionStart !== area.selectionEnd) return close();
  const { start, prefix, options } = suggest(schema, area.value, area.selectionStart);
  const isWritten = options.some(({ text }) => text === prefix);
  if (!options.length || (!isAsked && (!prefix || isWritten))) return close();
  suggestion = { start, options: options.slice(0, MAX_OPTIONS) };
  list.replaceChildren(...suggestion.options.map(optionItem));
  list.hidden = false;
  const rows = area.value.slice(0, start).split("\n");
  list.style.setProperty("--row", rows.length);
  list.style.setProperty("--column", rows.at(-1).length);
  list.style.setProperty("--scrolled-down", `${area.scrollTop}px`);
  list.style.setProperty("--scrolled-right", `${area.scrollLeft}px`);
  select(0);
  byId("completion-count").textContent = ngettext("{n} suggestion", "{n} suggestions", options.length);
}

function optionItem({ text, detail }, i) {
  const item = element("li", "", element("b", "", text), element("small", "", detail));
  Object.assign(item, { id: `completion-${i}`, role: "option" });
  item.addEventListener("pointerdown", (event) => { // before the editor loses the focus
    event.preventDefault();
    accept(i);
  });
  return item;
}

function select(i) {
  selected = (i + list.children.length) % list.children.length;
  [...list.children].forEach((item, position) => item.setAttribute("aria-selected", position === selected));
  area.setAttribute("aria-activedescendant", `completion-${selected}`);
  list.children[selected].scrollIntoView({ block: "nearest" });
}

function accept(i) {
  const { start, options } = suggestion;
  replaceText(start, area.selectionStart, options[i].text);
  close();
}

function close() {
  if (list.hidden) return;
  list.hidden = true;
  suggestion = null;
  area.removeAttribute("aria-activedescendant");
  byId("completion-count").textContent = "";
}

const KEYS = {
  ArrowDown: () => select(selected + 1),
  ArrowUp: () => select(selected - 1),
  Enter: () => accept(selected),
  Escape: close,
};

area.addEventListener("keydown", (event) => {
  if (event.key === " " && event.ctrlKey) {
    event.preventDefault();
    open(true);
  } else if (!list.hidden && event.key in KEYS && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    KEYS[event.key]();
  } else if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) close();
}, true); // before the editor, which breaks the line at Enter
area.addEventListener("input", (event) => {
  if (event.inputType === "insertText" && /^\w$/.test(event.data ?? "")) open(false);
  else if (event.inputType?.startsWith("delete") && !list.hidden) open(true);
  else close();
});
for (const name of ["blur", "scroll", "pointerdown"]) area.addEventListener(name, close);
