// From when to when: relative ranges, and absolute ones on the city's clock. Written as the API takes them.

import { t } from "../i18n.js";
import { h } from "./kit.js";
import { moment } from "./words.js";

export const RANGES = ["-PT1H", "-PT6H", "-PT24H", "-P7D", "-P30D"];
const DURATION = /^-P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?$/;

/** Return the ms of a time as the API takes it: RFC 3339, `now` or from now such as `-PT6H`. */
export function toTime(/** @type {string} */ text, now = Date.now()) {
  if (text === "now") return now;
  const found = DURATION.exec(text);
  if (!found) return Date.parse(text);
  const [days, hours, minutes] = found.slice(1).map((one) => Number(one ?? 0));
  return now - ((days * 24 + hours) * 60 + minutes) * 60_000;
}

/** Return ms as what a datetime-local input shows on a zone's clock. */
export function toLocal(/** @type {number} */ time, /** @type {string} */ zone) {
  const format = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "short" });
  return format.format(new Date(time)).replace(" ", "T");
}

/** Return the ms of what a datetime-local input says on a zone's clock; NaN of nothing. */
export function fromLocal(/** @type {string} */ text, /** @type {string} */ zone) {
  const asIfUtc = Date.parse(`${text}Z`);
  let time = asIfUtc;
  // The offset may be another one on the other side of a change of the clock.
  for (let round = 0; round < 2; round++) time += asIfUtc - Date.parse(`${toLocal(time, zone)}Z`);
  return time;
}

/** Return a whole second as RFC 3339. */
export const written = (/** @type {number} */ time) => new Date(Math.round(time / 1000) * 1000).toISOString().replace(".000", "");

/**
 * Return a group of buttons, one of which is pressed.
 * @param {string} label @param {[string, string][]} choices @param {string} chosen @param {(value: string) => void} choose
 */
export function segments(label, choices, chosen, choose) {
  const buttons = choices.map(([value, text]) =>
    h("button", { type: "button", "aria-pressed": value === chosen ? "true" : "false", onclick: () => choose(value) }, text),
  );
  return h("div.segments", { role: "group", "aria-label": label }, buttons);
}

/** Return something with its label above it. */
export const labelled = (/** @type {string} */ label, /** @type {Element} */ element) => h("div.choice", {}, h("span", { "aria-hidden": "true" }, label), element);

/**
 * Return the picker of a range.
 * @param {{start: string, end: string, zone: string, ranges?: string[], onChange: (start: string, end: string) => void}} options
 */
export function rangePicker({ start, end, zone, ranges = RANGES, onChange }) {
  const isRelative = end === "now" && ranges.includes(start);
  const choices = /** @type {[string, string][]} */ (ranges.map((range) => [range, t(`drill.range.${range}`)]));
  const [from, to] = [toTime(start), toTime(end)];
  const field = (/** @type {string} */ name, /** @type {number} */ time) =>
    h("label", {}, h("span", {}, t(`drill.${name}`)), h("input", { type: "datetime-local", name, value: toLocal(time, zone), required: true }));
  const trouble = h("p.trouble", { role: "alert" });
  const apply = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const value = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name)).value;
    const [first, last] = [fromLocal(value("from"), zone), fromLocal(value("to"), zone)];
    if (!(first < last)) return trouble.replaceChildren(t("drill.range_backwards"));
    onChange(written(first), written(last));
  };
  const shown = isRelative ? t("drill.range.own") : `${moment(from, zone)} – ${end === "now" ? t("drill.now") : moment(to, zone)}`;
  const own = h(
    "details.own",
    {},
    h("summary", { "data-chosen": !isRelative }, shown),
    h(
      "form.popover",
      { onsubmit: apply },
      field("from", from),
      field("to", to),
      h("p.hint", {}, t("drill.on_clock", { zone })),
      trouble,
      h("button", { type: "submit" }, t("drill.apply")),
    ),
  );
  own.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape" || !own.open) return;
    own.open = false;
    own.querySelector("summary").focus();
  });
  return h("div.range", {}, segments(t("drill.range"), choices, isRelative ? start : "", (range) => onChange(range, "now")), own);
}
