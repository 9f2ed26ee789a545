// Reads GraphQL documents while they are written, so that they may be incomplete or wrong: the tokens, the operations,
// and what can be written at a position.

import { formatType, innerName } from "./graphql-schema.js";

const TOKEN = /(?<comment>#.*)|(?<string>"""[^]*?(?:"""|$)|"(?:[^"\\\n]|\\.)*"?)|(?<name>[_A-Za-z]\w*)|(?<number>-?\d[\w.+-]*)|(?<mark>\.{3}|[^\s,])/g;
const OPERATIONS = ["query", "mutation"];
const NOTHING = { prefix: "", options: [] };

// Returns the tokens as { kind, text, start, end }. Comments are tokens too.
export function tokenize(text) {
  return Array.from(text.matchAll(TOKEN), ({ 0: match, index, groups }) => {
    const kind = Object.keys(groups).find((name) => groups[name] !== undefined);
    return { kind, text: match, start: index, end: index + match.length };
  });
}

// Returns the operations of a document as { kind, name, start, end }. The name of an anonymous one is empty.
export function findOperations(text) {
  const tokens = tokenize(text).filter(({ kind }) => kind !== "comment");
  const operations = [];
  let definition = null; // the one that has begun
  let depth = 0;
  tokens.forEach((token, i) => {
    if (!definition) {
      const isShort = token.text === "{"; // a query without the word
      const name = !isShort && tokens[i + 1]?.kind === "name" ? tokens[i + 1].text : "";
      definition = { kind: isShort ? "query" : token.text, name, start: token.start, end: text.length };
      if (OPERATIONS.includes(definition.kind)) operations.push(definition);
    }
    if ("{(".includes(token.text)) depth += 1;
    if ("})".includes(token.text)) depth -= 1;
    if (token.text === "}" && depth <= 0) {
      definition.end = token.end;
      definition = null;
      depth = 0;
    }
  });
  return operations;
}

// Follows a document up to a position. A frame is what a bracket has opened:
// - selection: fields of `type`; `called` is the last field or directive, and `inner` the type of its selection;
// - values: the arguments of a field or the fields of an input object, `inputs`; `input` is the last one;
// - variables: the definitions of variables.
// `lists` is the number of lists that are open in the frame.
class Reader {
  constructor(schema) {
    this.schema = schema;
    this.frames = [];
    this.next = null; // the type of the selection that begins at the next "{" outside of all frames
    this.texts = []; // of the tokens so far
  }

  get frame() {
    return this.frames.at(-1);
  }

  typeNamed(name) {
    return this.schema.types.get(name);
  }

  read({ kind, text }) {
    const before = this.texts.at(-1);
    this.texts.push(text);
    if ("{(".includes(text)) this.frames.push({ lists: 0, ...this.open(text) });
    else if ("})".includes(text)) this.frames.pop();
    else if (!this.frame) this.readTop(text, before);
    else if (text === "...") this.frame.inner = this.frame.type;
    else if (text === "[") this.frame.lists += 1;
    else if (text === "]") this.frame.lists -= 1;
    else if (kind === "name" && this.frame.kind === "selection") this.readSelected(text, before);
    else if (kind === "name" && this.frame.kind === "values" && !this.isInValue(before))
      this.frame.input = this.frame.inputs.find(({ name }) => name === text);
  }

  readTop(text, before) {
    if (Object.hasOwn(this.schema.roots, text) && !OPERATIONS.includes(before)) this.next = this.typeNamed(this.schema.roots[text]);
    else if (before === "on") this.next = this.typeNamed(text);
  }

  readSelected(text, before) {
    const { frame } = this;
    if (before === "@") frame.called = this.schema.directives.get(text);
    else if (before === "on" && this.texts.at(-3) === "...") frame.inner = this.typeNamed(text);
    else if (before !== "...") {
      frame.called = frame.type?.fields?.find(({ name }) => name === text);
      frame.inner = frame.called && this.typeNamed(innerName(frame.called.type));
    }
  }

  // Returns the frame that the bracket opens.
  open(text) {
    const { frame } = this;
    if (!frame && text === "(") return { kind: "variables" };
    if (!frame) {
      const type = this.next ?? this.typeNamed(this.schema.roots.query);
      this.next = null;
      return { kind: "selection", type };
    }
    if (frame.kind === "selection" && text === "{") return { kind: "selection", type: frame.inner };
    if (frame.kind === "selection") return { kind: "values", inputs: frame.called?.args ?? [] };
    return { kind: "values", inputs: (frame.input && this.typeNamed(innerName(frame.input.type))?.inputFields) ?? [] };
  }

  // Returns whether a value follows, and not the name of an argument.
  isInValue(before) {
    return before === ":" || this.frame.lists > 0;
  }
}

function readUntil(schema, text, offset) {
  const reader = new Reader(schema);
  for (const token of tokenize(text.slice(0, offset))) if (token.kind !== "comment") reader.read(token);
  return reader;
}

// Returns the type whose fields can be written at the position, or null outside of a selection.
export function selectedType(schema, text, offset) {
  const { frame } = readUntil(schema, text, offset);
  return frame?.kind === "selection" ? frame.type ?? null : null;
}

// Returns what can be written at the position: { start, prefix, options }, where `prefix` is the beginning that is
// already written, from `start` on, and an option is { text, detail }. No options in a comment, a string or a number.
export function suggest(schema, text, offset) {
  const last = tokenize(text.slice(0, offset)).at(-1);
  const isTouching = last?.end === offset;
  if (isTouching && ["comment", "string", "number"].includes(last.kind)) return { start: offset, ...NOTHING };
  const prefix = isTouching && last.kind === "name" ? last.text : "";
  const start = offset - prefix.length;
  const wanted = prefix.toLowerCase();
  const matching = listOptions(readUntil(schema, text, start), text).filter((option) => option.text.toLowerCase().includes(wanted));
  const begins = (option) => option.text.toLowerCase().startsWith(wanted);
  return { start, prefix, options: [...matching.filter(begins), ...matching.filter((option) => !begins(option))] };
}

const words = (names, detail) => names.map((text) => ({ text, detail }));
const typed = ({ name, type }) => ({ text: name, detail: formatType(type) });

function listOptions(reader, text) {
  const { frame, schema } = reader;
  const before = reader.texts.at(-1);
  if (!frame) return before === undefined || before === "}" ? words([...OPERATIONS, "fragment"], "") : [];
  if (before === "@") return Array.from(schema.directives.values(), ({ name, description }) => ({ text: name, detail: description ?? "" }));
  if (before === "$") return frame.kind === "variables" ? [] : words(variablesIn(text), "variable");
  if (frame.kind === "variables") return reader.isInValue(before) ? inputTypes(schema) : [];
  if (frame.kind === "values") return reader.isInValue(before) ? values(reader, text) : frame.inputs.map(typed);
  if (before === "...") return words(["on", ...fragmentsIn(text)], "fragment");
  if (before === "on" && reader.texts.at(-2) === "...") return words(frame.type ? [frame.type.name] : [], "type");
  return frame.type?.fields ? [...frame.type.fields.map(typed), { text: "__typename", detail: "String!" }] : [];
}

function values({ frame, schema }, text) {
  const name = frame.input && innerName(frame.input.type);
  const constants = name === "Boolean" ? ["true", "false"] : (schema.types.get(name)?.enumValues ?? []).map((value) => value.name);
  return [...words(constants, name), ...words(variablesIn(text).map((variable) => `$${variable}`), "variable")];
}

const inputTypes = (schema) =>
  words([...schema.types.values()].filter(({ kind }) => ["SCALAR", "ENUM", "INPUT_OBJECT"].includes(kind)).map(({ name }) => name), "type");

// Returns the names of the variables that the document defines.
function variablesIn(text) {
  return [...new Set(Array.from(text.matchAll(/\$(\w+)\s*:/g), ([, name]) => name))];
}

const fragmentsIn = (text) => Array.from(text.matchAll(/\bfragment\s+(\w+)/g), ([, name]) => name);
