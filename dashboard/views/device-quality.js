// How well a device sends: what came of what was expected, how late, and what was refused and why.

import { get } from "../api.js";
import { t } from "../i18n.js";
import { empty, h, Panel, sign } from "./kit.js";
import { toTime } from "./range.js";
import { ago, duration, moment, name, quantity, share } from "./words.js";

const DAY = 86_400_000;
// What the API looks at in one request.
const MOST_DAYS = 31;

/** Return the panel of what was expected of a device in a range and what came. */
export function qualityPanel(/** @type {string} */ device, /** @type {{start: string, end: string}} */ range, /** @type {any} */ city, /** @type {AbortSignal} */ signal) {
  const isLong = toTime(range.end) - toTime(range.start) > MOST_DAYS * DAY;
  const asked = isLong ? { start: `-P${MOST_DAYS}D` } : range;
  return new Panel({
    title: t("drill.quality"),
    signal,
    every: range.end === "now" ? 60 : 0,
    lines: 4,
    load: (inner) => get("quality", { device, ...asked }, { signal: inner }),
    draw: (answer) => (answer.groups.length ? draw(answer.groups[0], city) : empty(t("drill.no_values_in_range"))),
  }).element;
}

function draw(/** @type {any} */ quality, /** @type {any} */ city) {
  const part = quality.completeness;
  const tone = part === null ? "quiet" : part >= 0.98 ? "good" : part >= 0.9 ? "info" : "warning";
  const meter = h("div.meter", { role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round((part ?? 0) * 100), "aria-label": t("drill.completeness"), "data-tone": tone }, h("i"));
  meter.style.setProperty("--part", String(part ?? 0));
  const refused = Object.values(quality.dead_letters).reduce((/** @type {number} */ sum, one) => sum + /** @type {number} */ (one), 0);
  const facts = [
    [t("drill.came"), `${quality.received} / ${quality.expected}`],
    [t("drill.lag"), quality.lag_seconds.p50 === null ? "–" : `${duration(quality.lag_seconds.p50)} · p95 ${duration(quality.lag_seconds.p95)}`],
    [t("drill.clock"), quality.clock_ahead.median_seconds ? t("drill.clock_ahead", { by: duration(quality.clock_ahead.median_seconds), share: share(quality.clock_ahead.share) }) : t("drill.clock_right")],
    [t("drill.missing"), quality.missing_numbers.open || quality.missing_numbers.abandoned ? `${quality.missing_numbers.open} + ${quality.missing_numbers.abandoned}` : t("drill.none")],
    [t("drill.refused"), refused ? String(refused) : t("drill.none")],
  ];
  const frozen = quality.frozen.map((/** @type {any} */ one) =>
    h("p.warned", {}, sign("warning"), t("drill.frozen_since", { metric: city.metric(one.metric), value: quantity(one.value, city.unit(one.metric)), n: one.readings, time: moment(one.start, city.zone) })),
  );
  return [
    h("p.figure", {}, h("b", {}, share(part)), h("span", {}, t("drill.of_expected"))),
    meter,
    h("dl.facts", {}, facts.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
    frozen,
  ];
}

/** Return the panel of a device's last refused messages. */
export function lettersPanel(/** @type {string} */ device, /** @type {any} */ city, /** @type {AbortSignal} */ signal) {
  return new Panel({
    title: t("drill.refusals"),
    signal,
    every: 30,
    lines: 2,
    load: (inner) => get("dead-letters", { device, limit: 10 }, { signal: inner }),
    draw: (answer) => {
      if (!answer.dead_letters.length) return h("p.fine", {}, sign("good"), t("drill.no_refusals"));
      return h("ol.letters", {}, answer.dead_letters.map((/** @type {any} */ one) => letter(one, city)));
    },
  }).element;
}

function letter(/** @type {any} */ one, /** @type {any} */ city) {
  const age = (Date.now() - Date.parse(one.received_at)) / 1000;
  const payload = one.payload_text ?? t("drill.bytes", { n: one.payload_bytes });
  return h(
    "li",
    {},
    h("p", {}, sign("warning"), h("b", {}, name("drill.reason", one.reason, one.reason.replaceAll("_", " "))), h("time.faint", { datetime: one.received_at, title: moment(one.received_at, city.zone, true) }, ago(age)), one.repeats ? h("span.faint", {}, t("drill.repeats", { n: one.repeats })) : null),
    h("p", {}, one.detail),
    h("pre", { tabindex: "0", "aria-label": t("drill.payload") }, payload),
  );
}
