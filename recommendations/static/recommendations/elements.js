// Builds elements and short texts. Texts of members are inserted as text, never as HTML.

import { formatNumber, gettext, language } from "../access/text.js";

const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const relativeTime = new Intl.RelativeTimeFormat(language, { numeric: "auto" });

export const byId = (id) => document.getElementById(id);

export function element(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function button(text, label, onClick, className = "") {
  const node = element("button", className, text);
  node.type = "button";
  if (label) node.setAttribute("aria-label", label);
  node.addEventListener("click", onClick);
  return node;
}

export function timeElement(time) {
  const node = element("time", "", formatAge(time));
  node.dateTime = time;
  node.title = new Date(time).toLocaleString(language);
  return node;
}

export function formatAge(time) {
  const seconds = (Date.now() - new Date(time)) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return relativeTime.format(-Math.round(seconds / size), unit);
}

export const formatScore = (value) => formatNumber(value, 3);

export const formatSigned = (value) => `${value < 0 ? "−" : "+"}${formatScore(Math.abs(value))}`;

const INTERACTIONS = {
  like: gettext("like"), share: gettext("share"), save: gettext("save"), comment: gettext("comment"), follow: gettext("follow"),
};

export const formatInteraction = (kind) => INTERACTIONS[kind];

export const formatName = (name) => name.replaceAll("_", " ");

export const shorten = (text, length) => (text.length > length ? `${text.slice(0, length).trimEnd()}…` : text);

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
