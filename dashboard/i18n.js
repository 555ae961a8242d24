// The page's languages: texts by key from the locales, and how numbers and times are written.

/** The languages there are, in their own words. */
export const LANGUAGES = /** @type {Record<string, string>} */ ({ en: "English", ru: "Русский", kk: "Қазақша" });
const KEPT_AS = "alatau.language";

let chosen = "en";
/** @type {Record<string, string>} */
let texts = {};
/** @type {Record<string, string>} */
let english = {};
let plurals = new Intl.PluralRules("en");

/** Return the language: `en`, `ru` or `kk`. */
export const language = () => chosen;

/** Load the texts of the language that was chosen here before, or that the browser asks for. */
export async function loadLanguage() {
  const wished = [localStorage.getItem(KEPT_AS), ...navigator.languages].map((one) => one?.slice(0, 2));
  await use(wished.find((one) => one && one in LANGUAGES) ?? "en");
}

/** Choose a language, for this visit and later ones. */
export async function chooseLanguage(/** @type {string} */ name) {
  localStorage.setItem(KEPT_AS, name);
  await use(name);
}

async function use(/** @type {string} */ name) {
  const read = async (/** @type {string} */ one) => (await fetch(new URL(`./locales/${one}.json`, import.meta.url))).json();
  [texts, english] = await Promise.all([read(name), read("en")]);
  chosen = name;
  plurals = new Intl.PluralRules(name);
  document.documentElement.lang = name;
}

/**
 * Return a text: `{name}` is replaced by `values.name`, numbers as the language writes them. Where a text depends on how
 * many there are, `values.n` chooses: `key.one`, `key.few`, `key.many`, `key.other`. An unknown key is its own text.
 * @param {string} key @param {Record<string, any>} [values]
 */
export function t(key, values = {}) {
  const text = find(texts, key, values) ?? find(english, key, values) ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    if (!(name in values)) return whole;
    return typeof values[name] === "number" ? format(values[name]) : String(values[name]);
  });
}

/** Whether there is a text of this key. */
export const has = (/** @type {string} */ key) => key in texts || key in english;

function find(/** @type {Record<string, string>} */ among, /** @type {string} */ key, /** @type {Record<string, any>} */ values) {
  if (typeof values.n === "number") {
    const form = among[`${key}.${plurals.select(values.n)}`] ?? among[`${key}.other`];
    if (form !== undefined) return form;
  }
  return among[key];
}

/** Return the language by whose rules numbers are written: browsers without data of Kazakh would write them as in English, and
 * its rules are those of Russian. */
export const numerals = () => (chosen === "kk" ? "ru" : chosen);

const format = (/** @type {number} */ value) => new Intl.NumberFormat(numerals()).format(value);
