// A question about metrics: as the URL of a view, as a call of the API, as a command, as a picture.

import { t } from "../i18n.js";
import { quantity } from "./words.js";

export const AGGREGATES = ["avg", "min", "max", "median", "p95", "sum", "count", "stddev", "first", "last", "twa", "increase", "rate"];
export const STEPS = ["auto", "PT1M", "PT5M", "PT15M", "PT1H", "PT6H", "P1D", "P1W", "P1M"];
export const GROUPS = ["none", "district", "kind", "device"];
const LISTS = ["metric", "agg", "kind", "district", "device"];
const WORDS = /** @type {Record<string, string>} */ ({ start: "-PT24H", end: "now", step: "auto", group_by: "none", compare: "" });

/**
 * @typedef {{metric: string[], agg: string[], kind: string[], district: string[], device: string[], start: string, end: string,
 *   step: string, group_by: string, compare: string}} Question
 */

/** Return the question that a URL's parameters ask. */
export function understand(/** @type {URLSearchParams} */ params) {
  const question = /** @type {any} */ ({});
  for (const name of LISTS) question[name] = params.getAll(name).flatMap((one) => one.split(",")).filter(Boolean);
  for (const [name, otherwise] of Object.entries(WORDS)) question[name] = params.get(name) || otherwise;
  return /** @type {Question} */ (question);
}

/** Return the parameters of a question, the same for the page and for the API; what goes without saying is left out. */
export function parameters(/** @type {Partial<Question>} */ question, /** @type {Record<string, string>} */ more = {}) {
  const params = new URLSearchParams();
  for (const name of LISTS) {
    const values = /** @type {any} */ (question)[name] ?? [];
    if (values.length) params.set(name, values.join(","));
  }
  for (const [name, otherwise] of Object.entries(WORDS)) {
    const value = /** @type {any} */ (question)[name];
    if (value && value !== otherwise) params.set(name, value);
  }
  for (const [name, value] of Object.entries(more)) params.set(name, value);
  return params;
}

/** Return the path of the API's answer to a question. */
export const callOf = (/** @type {string} */ path, /** @type {URLSearchParams} */ params) => `/api/v1/${path}?${params.toString().replaceAll("%2C", ",")}`;

/** Return a command that asks the same; the key is the reader's own. */
export const curlOf = (/** @type {string} */ call) => `curl -s -H "X-API-Key: $ALATAU_API_KEY" "${location.origin}${call}"`;

// What is added up over a bucket is less in one that is cut off, and that would look like a fall.
const ADDED_UP = new Set(["sum", "count", "increase", "exceed"]);

/**
 * Return a picture for each metric of a series answer: its groups and aggregates as lines, and their ghosts.
 * @param {any} answer @param {(group: Record<string, string>, metric: string, agg: string) => string} labelOf
 * @returns {{unit: string, metric: string, times: number[], lines: any[]}[]}
 */
export function picturesOf(answer, labelOf, aggregates = ["avg"]) {
  const pictures = new Map();
  const ghosts = new Map((answer.compare?.groups ?? []).map((/** @type {any} */ one) => [identity(one), one]));
  for (const group of answer.groups) {
    const picture = pictures.get(group.metric) ?? { unit: group.unit, metric: group.metric, times: secondsOf(group.start), lines: [], next: 0 };
    pictures.set(group.metric, picture);
    for (const agg of aggregates) {
      const label = labelOf(group.group, group.metric, agg);
      const colour = picture.next++;
      picture.lines.push({ label, values: whole(group, agg, answer), colour, role: "line", group: group.group, agg });
      const before = ghosts.get(identity(group))?.[agg];
      if (before) picture.lines.push({ label: `${label}, ${t("drill.week_before")}`, values: before, colour, role: "ghost" });
    }
  }
  return [...pictures.values()];
}

const identity = (/** @type {any} */ one) => `${one.metric} ${Object.values(one.group)[0] ?? ""}`;

/** Return the values of a group, without those of buckets that are cut off where these say less than the others. */
function whole(/** @type {any} */ group, /** @type {string} */ agg, /** @type {any} */ answer) {
  const values = [...(group[agg] ?? [])];
  if (!ADDED_UP.has(agg) || !values.length) return values;
  if (Date.parse(group.start[0]) < Date.parse(answer.start)) values[0] = null;
  if (Date.parse(group.end.at(-1)) > Date.parse(answer.end)) values[values.length - 1] = null;
  return values;
}

const secondsOf = (/** @type {string[]} */ times) => times.map((time) => Date.parse(time) / 1000);

/** Return the difference of two means in words, "" where either has none. */
export function change(/** @type {number | null} */ now, /** @type {number | null} */ before, /** @type {string} */ unit) {
  if (now === null || before === null) return "";
  const more = now - before;
  return `${more > 0 ? "+" : more < 0 ? "−" : "±"}${quantity(Math.abs(more), unit)}`;
}

/** Return the mean of what there is of some values, null of nothing. */
export function mean(/** @type {(number | null)[]} */ values) {
  const there = /** @type {number[]} */ (values.filter((one) => one !== null && one !== undefined));
  return there.length ? there.reduce((sum, one) => sum + one, 0) / there.length : null;
}
