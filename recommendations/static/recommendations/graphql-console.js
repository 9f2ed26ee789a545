// The GraphQL console: write a query, run it with the session of the reader, read the response and the schema.

import * as api from "./api.js";
import { openCode } from "./code.js";
import { button, byId, element } from "./elements.js";
import { startCompletion } from "./graphql-completion.js";
import { findOperations, selectedType } from "./graphql-document.js";
import { getQuery, goTo, insertLines, markProblems, replaceText, setQuery } from "./graphql-editor.js";
import { EXAMPLES, changesData } from "./graphql-examples.js";
import { INTROSPECTION, formatField, formatOperation, operationName, readSchema } from "./graphql-schema.js";
import { showTree } from "./graphql-tree.js";

const STORAGE_KEY = "recsys-graphql-console";
const NARROW = "(max-width: 56rem)";
const JSON_TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|\b(?:true|false|null)\b/g;
const state = { schema: null, found: {}, isRunning: false };

function showStatus(text, isError = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

// The request

// Returns the variables, or null if they are not a JSON object. The page then says what is wrong.
function readVariables() {
  const text = byId("variables").value.trim();
  let problem = "";
  let variables = {};
  try {
    if (text) variables = JSON.parse(text);
    if (Object.prototype.toString.call(variables) !== "[object Object]") problem = 'Write an object, such as {"memberId": "42"}.';
  } catch (error) {
    problem = `This is not JSON: ${error.message}`;
  }
  byId("variables-problem").textContent = problem;
  byId("variables").setAttribute("aria-invalid", problem !== "");
  return problem ? null : variables;
}

const namedOperations = () => findOperations(getQuery()).filter(({ name }) => name);

// Returns the operation that will run: the selected one, or the only one.
function chosenOperation() {
  const operations = findOperations(getQuery());
  return operations.length > 1 ? operations.find(({ name }) => name && name === byId("operation").value) : operations[0];
}

function buildRequest(variables) {
  const body = { query: getQuery() };
  if (Object.keys(variables).length) body.variables = variables;
  if (findOperations(getQuery()).length > 1 && byId("operation").value) body.operationName = byId("operation").value;
  return body;
}

async function run() {
  const variables = readVariables();
  if (state.isRunning || !variables) return variables ? undefined : byId("variables").focus();
  state.isRunning = true;
  byId("run").setAttribute("aria-disabled", true); // a disabled button would lose the focus
  byId("response").setAttribute("aria-busy", "true");
  showStatus("Running …");
  const started = performance.now();
  try {
    const response = await api.respond(api.graphql(buildRequest(variables)));
    const text = await response.text();
    showResponse(response, text, performance.now() - started);
  } catch (error) {
    showStatus(error.message, true);
  } finally {
    state.isRunning = false;
    byId("run").removeAttribute("aria-disabled");
    byId("response").setAttribute("aria-busy", "false");
  }
}

function showResponse(response, text, milliseconds) {
  let content = null;
  try {
    content = JSON.parse(text);
  } catch { /* a proxy may answer with another format */ }
  const errors = content === null ? [{ message: "The response is not JSON." }] : listErrors(response, content);
  byId("response-facts").hidden = false;
  byId("response-status").textContent = `${response.status} ${response.statusText}`.trim();
  byId("response-time").textContent = `${Math.round(milliseconds)} ms`;
  byId("response-request").textContent = response.headers.get("X-Request-ID") ?? "unknown";
  byId("response").replaceChildren(...(content === null ? [text] : colorJson(JSON.stringify(content, null, 2))));
  byId("response").hidden = false;
  byId("response").scrollTop = 0;
  byId("response-empty").hidden = true;
  byId("errors").replaceChildren(...errors.map(errorItem));
  markProblems(errors.flatMap(({ locations }) => locations ?? []));
  showStatus(errors.length ? `The response has ${errors.length === 1 ? "an error" : `${errors.length} errors`}.` : "Done.", errors.length > 0);
}

// Returns the errors of GraphQL, or the problem of the API that refused the request.
function listErrors(response, { errors = [], detail, code }) {
  if (response.ok || errors.some(({ message }) => message)) return errors;
  const details = errors.map(({ pointer, detail: text }) => [pointer, text].filter(Boolean).join(" "));
  return [{ message: details.join(" ") || detail || "The request failed.", extensions: { code } }];
}

function errorItem({ message, locations = [], path = [], extensions = {} }) {
  const item = element("li", "", element("strong", "", message));
  const facts = [extensions.code, path.length ? `in ${path.join(".")}` : ""].filter(Boolean);
  if (facts.length) item.append(element("small", "", ` ${facts.join(", ")}`));
  for (const place of locations)
    item.append(" ", button(`line ${place.line}, column ${place.column}`, "", () => goTo(place), "link"));
  return item;
}

// Returns JSON as nodes, with its names, texts and other values in colors.
function colorJson(text) {
  const nodes = [];
  let end = 0;
  for (const { 0: match, 1: string, 2: colon, index } of text.matchAll(JSON_TOKEN)) {
    nodes.push(text.slice(end, index));
    const kind = colon ? "name" : string ? "string" : "number";
    nodes.push(element("span", `token-${kind}`, string ?? match), colon ?? "");
    end = index + match.length;
  }
  return [...nodes, text.slice(end)];
}

// The query

function showQuery() {
  const operations = findOperations(getQuery());
  const names = namedOperations().map(({ name }) => name);
  const select = byId("operation");
  const chosen = select.value;
  if (names.join() !== [...select.options].map(({ value }) => value).join()) {
    select.replaceChildren(...names.map((name) => new Option(name)));
    select.value = names.includes(chosen) ? chosen : names[0] ?? "";
  }
  byId("operations").hidden = operations.length < 2;
  const isMutation = chosenOperation()?.kind === "mutation";
  byId("run").textContent = isMutation ? "Run mutation" : "Run";
  byId("mutation-hint").hidden = !isMutation;
  save();
}

function save() {
  const values = { query: getQuery(), variables: byId("variables").value, operation: byId("operation").value };
  sessionStorage.setItem(STORAGE_KEY, JSON.stringify(values));
}

// Ids for the examples. A reader without the permission for one gets a placeholder.

const FIND = {
  memberId: async () => (await api.send(api.members(""))).members[0]?.id,
  page: async () => api.send(api.feed({ memberId: await findId("memberId"), feed: "discovery", limit: 1 })),
  postId: async () => (await findId("page"))?.picks[0]?.post.id,
  requestId: async () => (await findId("page"))?.request_id,
  jobId: async () => (await api.send(api.jobs(1))).jobs[0]?.id,
};

async function findId(name) {
  try {
    state.found[name] ??= await FIND[name]();
  } catch { /* refused, or nothing is there */ }
  return state.found[name];
}

const usedNames = ({ query, needs = [] }) => [...(query.includes("$memberId") ? ["memberId"] : []), ...needs];

async function showExample(example) {
  const variables = {};
  const missing = [];
  for (const name of usedNames(example)) {
    variables[name] = await findId(name) ?? "";
    if (!variables[name]) missing.push(name);
  }
  byId("variables").value = JSON.stringify({ ...variables, ...example.values }, null, 2);
  readVariables();
  setQuery(example.query);
  showStatus(missing.length ? `Replace the empty values: there is no ${missing.join(" and no ")} that you may read.` : "");
}

function exampleItem(example) {
  const node = button(example.title, "", () => showExample(example), "link");
  return element("li", "", node, ...(changesData(example) ? [" ", element("small", "changes", "changes data")] : []));
}

// The schema

async function loadSchema() {
  try {
    const { data } = await api.send(api.graphql({ query: INTROSPECTION }));
    state.schema = readSchema(data);
    startCompletion(state.schema);
    showTree(state.schema, insertField);
    byId("tree-status").textContent = "";
  } catch (error) {
    byId("tree-status").replaceChildren(error.message, " ", button("Load again", "", loadSchema));
  }
}

// Inserts a field where the cursor is, or as an operation of its own.
function insertField(type, field) {
  const cursor = byId("query").selectionEnd;
  const kind = Object.keys(state.schema.roots).find((name) => state.schema.roots[name] === type.name);
  if (selectedType(state.schema, getQuery(), cursor)?.name === type.name) {
    insertLines(formatField(state.schema, field));
    showStatus(`${field.name} was inserted at the cursor.`);
  } else if (kind) {
    const query = getQuery();
    const gap = query.trim() ? (query.endsWith("\n") ? "\n" : "\n\n") : "";
    replaceText(query.length, query.length, gap + formatOperation(state.schema, kind, field));
    byId("operation").value = operationName(field);
    showQuery();
    showStatus(`${operationName(field)} was added as an operation of its own.`);
  } else {
    showStatus(`Put the cursor between the braces of a ${type.name}, then insert ${field.name} again.`, true);
  }
}

byId("query").addEventListener("input", showQuery);
byId("operation").addEventListener("change", showQuery);
byId("variables").addEventListener("input", () => {
  readVariables();
  save();
});
byId("request").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
byId("request").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  run();
});
byId("show-code").addEventListener("click", () => {
  const variables = readVariables();
  if (variables) openCode({ operation: api.graphql(buildRequest(variables)) });
  else byId("variables").focus();
});

byId("examples-list").append(...EXAMPLES.map(exampleItem));
if (matchMedia(NARROW).matches) byId("examples").open = byId("schema").open = false;
loadSchema();
const stored = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "null");
if (stored?.query) {
  byId("variables").value = stored.variables;
  setQuery(stored.query);
  byId("operation").value = stored.operation;
  showQuery();
} else showExample(EXAMPLES[0]);
