// Sentences in the page's language. The layout embeds the translations; without them English stays.

const embedded = document.getElementById("strings");
const { page = {}, server = {} } = embedded ? JSON.parse(embedded.textContent) : {};
/** What the API says, as patterns: longer ones first, since one may begin like another. */
const patterns = Object.entries(server)
  .sort(([one], [other]) => other.length - one.length)
  .map(([english, translation]) => [pattern(english), translation]);

/** The page's language, as BCP 47 writes it. */
export const language = document.documentElement.lang;

/** @param {string} sentence a literal, so that its translation can be found; `{name}` stands for a value */
export function t(sentence, values = {}) {
  return fill(page[sentence] ?? sentence, values);
}

/** `one` is said of one, `many` of another `{count}`; both are literals. */
export function plural(count, one, many, values = {}) {
  const [ofOne, ofMany] = page[one] ?? [one, many];
  return fill(count === 1 ? ofOne : ofMany, { count, ...values });
}

/** What the API said in English: one known sentence or several; between them may be others, which stay as they are. */
export function told(text) {
  const said = [];
  for (let rest = text; rest; ) {
    const [all, translation] = first(rest);
    said.push(translation);
    rest = rest.slice(all.length).trimStart();
  }
  return said.join(" ");
}

function first(text) {
  for (const [english, translation] of patterns) {
    const found = english.exec(text);
    if (found) return [found[0], fill(translation, found.groups ?? {})];
  }
  const [unknown] = /^.*?[.!?](?=\s|$)|^.*/s.exec(text);
  return [unknown, unknown];
}

/** A number as this language writes it. */
export function number(value, digits = 0) {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (hole, name) => values[name] ?? hole);
}

function pattern(english) {
  const escaped = english.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replace(/\{(\w+)\}/g, "(?<$1>(?:(?![.!?]\\s).)+?)")}(?=\\s|$)`, "s");
}
