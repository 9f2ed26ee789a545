// Texts in the language of the page, and numbers as that language writes them. `make messages` collects the texts.

export const language = document.documentElement.lang;

const english = { texts: {}, pluralIndex: (n) => Number(n !== 1) };
const { texts, pluralIndex } = language === "en" ? english : await import(`./texts-${language}.js`);

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

// The translation of a text. `values` replace the names in braces: gettext("Page {number}", { number: 2 }).
export const gettext = (text, values = {}) => fill(texts[text] ?? text, values);

// The form for a number: ngettext("{n} post", "{n} posts", 2). {n} becomes the number.
export function ngettext(one, many, n, values = {}) {
  const form = (texts[one] ?? [one, many])[pluralIndex(n)];
  return fill(form, { n: formatNumber(n), ...values });
}

const formats = {}; // by the number of digits: to create one takes longer than to format a hundred numbers

export function formatNumber(value, digits = 0) {
  formats[digits] ??= new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return formats[digits].format(value);
}
