// Numbers, times, units and names as people of the chosen language write them.

import { has, numerals as rules, t } from "../i18n.js";

// UCUM codes as people write them. What is not here is shown as it is.
const UNITS = /** @type {Record<string, string>} */ ({
  "ug/m3": "µg/m³", "mg/m3": "mg/m³", "[ppm]": "ppm", Cel: "°C", deg: "°", "W/m2": "W/m²", "m3/h": "m³/h", m3: "m³",
  "m3/s": "m³/s", "kW.h": "kWh", "{KZT}": "₸", "{NTU}": "NTU", 1: "", "{vehicle}": "", "{person}": "", "{space}": "",
  "{payment}": "",
});

const kept = new Map();

function formatter(/** @type {string} */ key, /** @type {() => any} */ make) {
  const name = `${rules()} ${key}`;
  if (!kept.has(name)) kept.set(name, make());
  return kept.get(name);
}

/** Return a unit as people write it, "" of what only counts. */
export const unit = (/** @type {string} */ ucum) => UNITS[ucum] ?? (/^\{.*\}$/.test(ucum) ? "" : ucum.replace(/^\[(.*)\]$/, "$1"));

/** Return a number with exactly so many digits after the point. */
export function decimal(/** @type {number} */ value, /** @type {number} */ digits) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return formatter(`decimal ${digits}`, () => new Intl.NumberFormat(rules(), options)).format(value);
}

/** Return a number with as many digits as say something. */
export function number(/** @type {number | null | undefined} */ value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const isLarge = Math.abs(value) >= 1e6;
  const places = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : digits - 1;
  const options = isLarge
    ? { notation: /** @type {"compact"} */ ("compact"), maximumSignificantDigits: 4 }
    : { maximumFractionDigits: places };
  return formatter(`number ${isLarge} ${places}`, () => new Intl.NumberFormat(rules(), options)).format(value);
}

/** Return a value with its unit. */
export function quantity(/** @type {number | null | undefined} */ value, /** @type {string} */ ucum) {
  const written = unit(ucum);
  return written && value !== null && value !== undefined ? `${number(value)} ${written}` : number(value);
}

/** Return a share of 0 to 1 as a percentage. */
export function share(/** @type {number | null | undefined} */ value, digits = 1) {
  if (value === null || value === undefined) return "–";
  const make = () => new Intl.NumberFormat(rules(), { style: "percent", maximumFractionDigits: digits });
  return formatter(`percent ${digits}`, make).format(value);
}

const STEPS = /** @type {[number, string, number][]} */ ([
  [90, "second", 1], [90 * 60, "minute", 60], [36 * 3600, "hour", 3600], [Infinity, "day", 86400],
]);

const step = (/** @type {number} */ seconds) => STEPS.find(([until]) => Math.abs(seconds) < until) ?? STEPS[3];

/** Return "3 min ago" of some seconds. */
export function ago(/** @type {number | null | undefined} */ seconds) {
  if (seconds === null || seconds === undefined) return t("drill.never");
  if (Math.abs(seconds) < 1) return t("drill.just_now");
  return t(seconds < 0 ? "drill.ahead" : "drill.ago", { span: duration(Math.abs(seconds), 0) });
}

/** Return "3 min" of some seconds. */
export function duration(/** @type {number | null | undefined} */ seconds, digits = 1) {
  if (seconds === null || seconds === undefined) return "–";
  const [, name, size] = step(seconds);
  const whole = seconds / size;
  const places = whole < 10 ? digits : 0;
  const make = () => new Intl.NumberFormat(rules(), { maximumFractionDigits: places });
  return t(`drill.span.${name}`, { number: formatter(`span ${places}`, make).format(whole) });
}

/** Return day, month, year, hour, minute and second of a moment on a zone's clock, as numbers with leading zeros. */
function parts(/** @type {Date} */ date, /** @type {string} */ zone) {
  const options = { timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const make = () => new Intl.DateTimeFormat("en-GB", /** @type {any} */ (options));
  const found = formatter(`parts ${zone}`, make).formatToParts(date);
  return Object.fromEntries(found.map((/** @type {any} */ part) => [part.type, part.value]));
}

const date = (/** @type {Record<string, string>} */ { day, month }) => `${Number(day)} ${t(`drill.month.${Number(month)}`)}`;

/** Return hours and minutes on a zone's clock; the day at midnight, or where `isDay`. */
export function clock(/** @type {number} */ time, /** @type {string} */ zone, isDay = false) {
  const of = parts(new Date(time), zone);
  return isDay || (of.hour === "00" && of.minute === "00") ? date(of) : `${of.hour}:${of.minute}`;
}

/** Return a moment in the city's zone: with its day unless it is that of `at`, with seconds only if asked. */
export function moment(/** @type {string | number | null | undefined} */ time, /** @type {string} */ zone, isFine = false, at = Date.now()) {
  if (time === null || time === undefined) return "–";
  const of = parts(new Date(time), zone);
  const now = parts(new Date(at), zone);
  const written = `${of.hour}:${of.minute}${isFine ? `:${of.second}` : ""}`;
  if (of.year !== now.year) return `${date(of)} ${of.year}, ${written}`;
  return of.day === now.day && of.month === now.month ? written : `${date(of)}, ${written}`;
}

/** Return a day without a time. */
export function day(/** @type {string} */ time) {
  const of = parts(new Date(time), "UTC");
  return `${date(of)} ${of.year}`;
}

/** Return a name of a closed set in the chosen language, `otherwise` where there is none. */
export function name(/** @type {string} */ set, /** @type {string | null | undefined} */ key, /** @type {string} */ otherwise = key ?? "–") {
  return has(`${set}.${key}`) ? t(`${set}.${key}`) : otherwise;
}
