// A call of the API as code to copy. The key is a placeholder: the page never has a key.

import { gettext } from "../access/text.js";
import { formatUrl } from "./api.js";
import { byId } from "./elements.js";

const KEY = "YOUR_API_KEY";

const quoteForShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function formatCurl(call) {
  const method = call.method === "GET" ? "" : `-X ${call.method} `;
  const lines = [`curl ${method}${quoteForShell(location.origin + formatUrl(call))}`];
  lines.push(`-H 'Authorization: Bearer ${KEY}'`);
  if (call.body) lines.push("-H 'Content-Type: application/json'", `-d ${quoteForShell(JSON.stringify(call.body))}`);
  return lines.join(" \\\n  ");
}

const PYTHON_WORDS = { true: "True", false: "False", null: "None" };
const WORDS_OR_TEXTS = /"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g;

// Returns a body as indented JSON. `replaceValue` returns a text or word of JSON as the language writes it.
function formatBody(body, indentation, replaceValue) {
  const lines = JSON.stringify(body, null, 2).replaceAll("\n", `\n${indentation}`);
  return lines.replace(WORDS_OR_TEXTS, replaceValue);
}

// Returns a text of JSON with its line breaks as such, between quotes that may contain them. The languages have the
// other escapes of JSON.
function openLines(json, quote) {
  if (!json.includes("\\n") || /`|\$\{/.test(json)) return json;
  return quote + json.slice(1, -1).replace(/\\(.)/g, (escape, letter) => (letter === "n" ? "\n" : escape)) + quote;
}

const toPython = (json) => PYTHON_WORDS[json] ?? openLines(json, '"""');
const toTypeScript = (json) => openLines(json, "`");

function formatPython(call) {
  const lines = [
    "import httpx", "", `response = httpx.${call.method.toLowerCase()}(`,
    `    ${JSON.stringify(location.origin + formatUrl(call))},`, `    headers={"Authorization": "Bearer ${KEY}"},`,
  ];
  if (call.body) lines.push(`    json=${formatBody(call.body, "    ", toPython)},`);
  return [...lines, ")", "response.raise_for_status()", "result = response.json()"].join("\n");
}

function formatTypeScript(call) {
  const headers = [`Authorization: "Bearer ${KEY}"`, ...(call.body ? ['"Content-Type": "application/json"'] : [])];
  const lines = [`const response = await fetch(${JSON.stringify(location.origin + formatUrl(call))}, {`];
  if (call.method !== "GET") lines.push(`  method: "${call.method}",`);
  lines.push(`  headers: { ${headers.join(", ")} },`);
  if (call.body) lines.push(`  body: JSON.stringify(${formatBody(call.body, "  ", toTypeScript)}),`);
  lines.push("});", "if (!response.ok) throw new Error(await response.text());");
  return [...lines, "const result = await response.json();"].join("\n");
}

const LANGUAGES = { curl: formatCurl, python: formatPython, typescript: formatTypeScript };

let calls = {};

// Opens the dialog with these calls, which are named like the options of the dialog.
export function openCode(newCalls) {
  calls = newCalls;
  for (const option of byId("code-call").options) option.disabled = !(option.value in calls);
  if (!(byId("code-call").value in calls)) [byId("code-call").value] = Object.keys(calls);
  showCode();
  byId("code-dialog").showModal();
}

function showCode() {
  byId("code").textContent = LANGUAGES[byId("code-language").value](calls[byId("code-call").value]);
  byId("copied").textContent = "";
}

async function copyCode() {
  try {
    await navigator.clipboard.writeText(byId("code").textContent);
    byId("copied").textContent = gettext("Copied.");
  } catch { // the clipboard needs HTTPS or this machine
    getSelection().selectAllChildren(byId("code"));
    byId("copied").textContent = gettext("Selected. Press Ctrl+C to copy.");
  }
}

for (const id of ["code-call", "code-language"]) byId(id).addEventListener("change", showCode);
byId("copy").addEventListener("click", copyCode);
