// The schema of the GraphQL endpoint, from its introspection.

// A type within lists and non-null marks: [[ID!]!]! has five levels.
const TYPE = "kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }";
const INPUT = `name description defaultValue type { ${TYPE} }`;
export const INTROSPECTION = `query Schema {
  __schema {
    queryType { name }
    mutationType { name }
    directives { name description args { ${INPUT} } }
    types {
      kind name description
      fields(includeDeprecated: true) {
        name description isDeprecated deprecationReason args { ${INPUT} } type { ${TYPE} }
      }
      inputFields { ${INPUT} }
      enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
    }
  }
}`;

// Returns the schema of a result of the introspection: its types and directives by name, and the root type of each
// kind of operation. Types of the introspection itself are left out.
export function readSchema({ __schema: { queryType, mutationType, directives, types } }) {
  const named = types.filter(({ name }) => !name.startsWith("__")).map((type) => [type.name, type]);
  return {
    roots: { query: queryType.name, mutation: mutationType?.name },
    types: new Map(named),
    directives: new Map(directives.map((directive) => [directive.name, directive])),
  };
}

// Returns the name of a type without its lists and non-null marks.
export const innerName = (type) => (type.ofType ? innerName(type.ofType) : type.name);

export function formatType(type) {
  if (type.kind === "NON_NULL") return `${formatType(type.ofType)}!`;
  return type.kind === "LIST" ? `[${formatType(type.ofType)}]` : type.name;
}

export const isRequired = ({ type, defaultValue }) => type.kind === "NON_NULL" && defaultValue === null;

// Returns whether a value of the type is written without a selection.
export const isLeaf = (schema, type) => !schema.types.get(innerName(type))?.fields;

const PLACEHOLDERS = { Int: "0", Float: "0.0", Boolean: "false" };

// Returns a value of the type to write into a query, for the reader to replace.
function placeholder(schema, type) {
  if (type.kind === "NON_NULL") return placeholder(schema, type.ofType);
  if (type.kind === "LIST") return "[]";
  return schema.types.get(type.name)?.inputFields ? "{}" : PLACEHOLDERS[type.name] ?? '""';
}

// Returns the text of a field with its required arguments, and with the fields of its type that need no selection.
// `values` has the text of an argument's value by the name of the argument.
export function formatField(schema, field, values = {}) {
  const required = field.args.filter(isRequired).map((arg) => `${arg.name}: ${values[arg.name] ?? placeholder(schema, arg.type)}`);
  const call = required.length ? `${field.name}(${required.join(", ")})` : field.name;
  if (isLeaf(schema, field.type)) return call;
  const inner = schema.types.get(innerName(field.type)).fields;
  const leaves = inner.filter((child) => isLeaf(schema, child.type) && !child.args.some(isRequired)).map(({ name }) => name);
  return [`${call} {`, ...(leaves.length ? leaves : ["__typename"]).map((name) => `  ${name}`), "}"].join("\n");
}

export const operationName = ({ name }) => name[0].toUpperCase() + name.slice(1);

// Returns the text of an operation with this field of a root type. Its required arguments are variables.
export function formatOperation(schema, kind, field) {
  const required = field.args.filter(isRequired);
  const variables = required.map((arg) => `$${arg.name}: ${formatType(arg.type)}`).join(", ");
  const values = Object.fromEntries(required.map(({ name }) => [name, `$${name}`]));
  const body = formatField(schema, field, values).replaceAll("\n", "\n  ");
  return `${kind} ${operationName(field)}${variables && `(${variables})`} {\n  ${body}\n}\n`;
}
