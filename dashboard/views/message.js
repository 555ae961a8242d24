// What an alert says, in the reader's language: made of its message, or its English where it was said before there was one.

import { has, t } from "../i18n.js";
import { decimal, moment, name, unit } from "./words.js";

/**
 * @typedef {{type: string, value: any, digits?: number, unit?: string | null, per?: string | null}} Argument
 * @typedef {{key: string, args: Record<string, Argument>}} Phrase
 * @typedef {{title: Phrase, sentence: Phrase[]}} Message
 * @typedef {import("./city.js").City} City
 */

/** Return the title of an alert. */
export const titleOf = (/** @type {{title: string, message: Message | null}} */ alert, /** @type {City} */ city, now = Date.now()) =>
  said(alert.message && [alert.message.title], city, now) ?? alert.title;

/** Return the sentence of an alert, or of a step of its history. */
export const sentenceOf = (/** @type {{sentence: string, message: Message | null}} */ one, /** @type {City} */ city, now = Date.now()) =>
  said(one.message && one.message.sentence, city, now) ?? one.sentence;

/** Return phrases one after the other, null where one of them has no text here, such as of another version. */
function said(/** @type {Phrase[] | null} */ phrases, /** @type {City} */ city, /** @type {number} */ now) {
  if (!phrases?.every(({ key }) => has(key) || has(`${key}.other`))) return null;
  return phrases.map(({ key, args }) => t(key, Object.fromEntries(Object.entries(args).map(([place, one]) => [place, place === "n" ? one.value : written(one, city, now)])))).join(" ");
}

function written(/** @type {Argument} */ { type, value, ...more }, /** @type {City} */ city, /** @type {number} */ now) {
  switch (type) {
    case "number":
      return number(value, more);
    case "time":
      return moment(value, city.zone, false, now);
    case "span":
      return span(value);
    case "count":
      return decimal(value, 0);
    case "metric":
      return city.metric(value);
    case "metrics":
      return value.map((/** @type {string} */ one) => city.metric(one)).join(", ");
    case "kind":
      return city.kind(value);
    case "district":
      return value === null ? t("alert.city") : city.district(value);
    case "aggregate":
      return name("drill.agg", value);
    case "reason":
      return name("drill.reason", value);
    case "source":
      return name("alert.source", value);
    default:
      return String(value);
  }
}

function number(/** @type {number} */ value, /** @type {any} */ { digits, unit: ucum, per }) {
  const quantity = `${decimal(value, digits)} ${unit(ucum ?? "1")}`.trim();
  return per ? t("alert.per_hour", { quantity }) : quantity;
}

const SPANS = /** @type {[number, string][]} */ ([[86_400, "day"], [3600, "hour"], [60, "minute"]]);

/** Return how long it is: in the largest unit of which there are two, or exactly one. */
function span(/** @type {number} */ seconds) {
  const [size, of] = SPANS.find(([one]) => seconds >= 2 * one || seconds === one) ?? [1, "second"];
  return t(`alert.span.${of}`, { n: Math.floor(seconds / size) });
}
