// A call of the API as code to copy. The key is a placeholder: the page never has a key.

import { formatUrl } from "./api.js";

const KEY = "YOUR_API_KEY";

const quoteForShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function formatCurl(call) {
  const lines = [`curl ${call.method === "GET" ? "" : `-X ${call.method} `}${quoteForShell(location.origin + formatUrl(call))}`];
  lines.push(`-H 'Authorization: Bearer ${KEY}'`);
  if (call.body) lines.push("-H 'Content-Type: application/json'", `-d ${quoteForShell(JSON.stringify(call.body))}`);
  return lines.join(" \\\n  ");
}

// The bodies consist of objects, lists and texts, which Python writes like JSON.
const formatBody = (body, indentation) => JSON.stringify(body, null, 2).replaceAll("\n", `\n${indentation}`);

function formatPython(call) {
  const lines = [
    "import httpx", "", `response = httpx.${call.method.toLowerCase()}(`,
    `    ${JSON.stringify(location.origin + formatUrl(call))},`, `    headers={"Authorization": "Bearer ${KEY}"},`,
  ];
  if (call.body) lines.push(`    json=${formatBody(call.body, "    ")},`);
  return [...lines, ")", "response.raise_for_status()", "result = response.json()"].join("\n");
}

function formatTypeScript(call) {
  const headers = [`Authorization: "Bearer ${KEY}"`, ...(call.body ? ['"Content-Type": "application/json"'] : [])];
  const lines = [`const response = await fetch(${JSON.stringify(location.origin + formatUrl(call))}, {`];
  if (call.method !== "GET") lines.push(`  method: "${call.method}",`);
  lines.push(`  headers: { ${headers.join(", ")} },`);
  if (call.body) lines.push(`  body: JSON.stringify(${formatBody(call.body, "  ")}),`);
  return [...lines, "});", "if (!response.ok) throw new Error(await response.text());", "const result = await response.json();"].join("\n");
}

export const LANGUAGES = { curl: formatCurl, python: formatPython, typescript: formatTypeScript };
