// The schema as a list that can be searched. A field's name inserts it into the query; a type's name opens the type.

import { ngettext } from "../access/text.js";
import { button, byId, element } from "./elements.js";
import { formatType, innerName } from "./graphql-schema.js";

const KINDS = { OBJECT: "Types", INPUT_OBJECT: "Inputs", ENUM: "Values", SCALAR: "Scalars" };
let schema = null;
let insert = null;

// Shows the schema. `onInsert` is called with a type and its field, as the introspection describes them.
export function showTree(newSchema, onInsert) {
  schema = newSchema;
  insert = onInsert;
  const { query, mutation } = schema.roots;
  const others = [...schema.types.values()].filter(({ name }) => name !== query && name !== mutation);
  others.sort((a, b) => a.name.localeCompare(b.name));
  const groups = Object.entries(KINDS).map(([kind, title]) => group(title, others.filter((type) => type.kind === kind)));
  byId("tree").replaceChildren(
    rootGroup("Queries", query), ...(mutation ? [rootGroup("Mutations", mutation, "changes data")] : []), ...groups.filter(Boolean),
  );
  search();
}

function rootGroup(title, name, mark) {
  const { fields } = schema.types.get(name);
  const heading = element("h3", "", title, ...(mark ? [" ", element("small", "changes", mark)] : []));
  return element("section", "", heading, element("ul", "", ...fields.map((field) => fieldItem(schema.types.get(name), field))));
}

function group(title, types) {
  if (!types.length) return null;
  return element("section", "", element("h3", "", title), element("ul", "", ...types.map(typeItem)));
}

function typeItem(type) {
  const node = element("details", "", element("summary", "", type.name), ...described(type));
  node.id = `type-${type.name}`;
  if (type.fields) node.append(element("ul", "", ...type.fields.map((field) => fieldItem(type, field))));
  const inputs = type.inputFields ?? type.enumValues;
  if (inputs) node.append(element("ul", "", ...inputs.map(inputItem)));
  return searchable(element("li", "", node), type);
}

function fieldItem(type, field) {
  const name = button(field.name, `Insert ${field.name}`, () => insert(type, field), "link field-name");
  const item = element("li", field.isDeprecated ? "deprecated" : "", name, ": ", typeLink(field.type), ...described(field));
  if (field.args.length) item.append(element("ul", "arguments", ...field.args.map(inputItem)));
  return searchable(item, field);
}

function inputItem(input) {
  const item = element("li", input.isDeprecated ? "deprecated" : "", element("span", "field-name", input.name));
  if (input.type) item.append(": ", typeLink(input.type));
  if (input.defaultValue && input.defaultValue !== "null") item.append(` = ${input.defaultValue}`);
  item.append(...described(input));
  return searchable(item, input);
}

function described({ description, isDeprecated, deprecationReason }) {
  const texts = [description, isDeprecated ? `Deprecated: ${deprecationReason}` : ""].filter(Boolean);
  return texts.map((text) => element("p", "hint", text));
}

const typeLink = (type) => button(formatType(type), `Open type ${formatType(type)}`, () => openType(innerName(type)), "link");

function openType(name) {
  byId("schema").open = true;
  byId("tree-search").value = "";
  search();
  const node = byId(`type-${name}`);
  node.open = true;
  node.querySelector("summary").focus();
  node.scrollIntoView({ block: "nearest" });
}

function searchable(item, { name, description }) {
  item.dataset.text = `${name} ${description ?? ""}`.toLowerCase();
  return item;
}

// Shows what contains the text, with what is around and within it, and opens the types that contain it.
function search() {
  const wanted = byId("tree-search").value.trim().toLowerCase();
  const items = [...byId("tree").querySelectorAll("li")];
  const found = new Set(items.filter((item) => item.dataset.text.includes(wanted)));
  for (const item of items) {
    const hasWithin = [...item.querySelectorAll("li")].some((inner) => found.has(inner));
    const isWithin = found.has(item.parentElement.closest("li"));
    item.hidden = !found.has(item) && !hasWithin && !isWithin;
    const details = item.firstElementChild;
    if (details.matches("details")) details.open = Boolean(wanted) && hasWithin;
  }
  for (const section of byId("tree").children) section.hidden = !section.querySelector("li:not([hidden])");
  byId("tree-count").textContent = wanted && (found.size ? ngettext("{n} result", "{n} results", found.size) : "Nothing in the schema has this text.");
}

byId("tree-search").addEventListener("input", search);
