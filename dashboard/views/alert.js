// One alert, explained: a sentence, a picture of the value against what was expected, what neighbours show, its history.

import { registerView } from "../app.js";
import { explain, get } from "../api.js";
import { t } from "../i18n.js";
import { listen } from "../live.js";
import { acknowledgeForm, alertState, mayAcknowledge, since } from "./alert-list.js";
import { aggregate, headline, theCity } from "./city.js";
import { chip, empty, h, Panel, sign } from "./kit.js";
import { change, to } from "./links.js";
import { sentenceOf, titleOf } from "./message.js";
import { headed, toneOf } from "./pieces.js";
import { plot } from "./plot.js";
import { parameters, picturesOf } from "./question.js";
import { written } from "./range.js";
import { ago, duration, moment, name, quantity } from "./words.js";

/** @typedef {import("./city.js").City} City */

const HOUR = 3_600_000;
// Neighbours that are drawn; more are a smear.
const NEIGHBOURS = 40;

registerView("alert", {
  title: () => t("drill.alert"),
  async render(root, params, signal) {
    const id = params.get("alert");
    if (!id) return change("alerts", new URLSearchParams(), {}, true);
    const [city, may] = await Promise.all([theCity(), mayAcknowledge()]);
    const alert = await get(`alerts/${encodeURIComponent(id)}`, {}, { signal });
    headed(root, {
      crumbs: [[city.title, to("city")], [t("drill.alerts"), to("alerts")]],
      title: [sign(toneOf(alert.severity)), " ", titleOf(alert, city)],
      lead: h("p.lead", {}, chip(toneOf(alert.severity), name("drill.severity", alert.severity)), " ", since(alert)),
    });
    const state = statePanel(id, city, may, signal);
    listen({ events: "alerts" }, { alerts: (news) => news.alerts.some((/** @type {any} */ one) => one.id === id) && state.reload() }, signal);
    const main = h("div.main", {}, h("section.card.sentence", { "data-tone": toneOf(alert.severity) }, h("p", {}, sentenceOf(alert, city))), evidencePanel(alert, city, signal), neighboursPanel(alert, city, signal));
    root.append(h("div.split", {}, main, h("div.side", {}, state.element, factsPanel(alert, city))));
  },
});

/** Return what the picture shows: from before the alert began to after its end. */
function spanOf(/** @type {any} */ alert, least = 6, now = Date.now()) {
  const begun = Date.parse(alert.since);
  const over = alert.resolved_at ? Date.parse(alert.resolved_at) : now;
  const before = Math.max(least * HOUR, Math.min(over - begun, 5 * 24 * HOUR));
  return { start: written(begun - before), end: written(Math.min(now, over + before / 4)) };
}

/** Return the picture: the value, the band in which it was expected, since when; where it is of no value, how many readings came. */
function evidencePanel(/** @type {any} */ alert, /** @type {City} */ city, /** @type {AbortSignal} */ signal) {
  const { expected } = alert;
  const kind = city.kinds.get(alert.kind);
  const metric = alert.metric ?? (kind && headline(kind));
  if (!metric) return null;
  const isCount = !alert.metric;
  const agg = isCount ? "count" : aggregate(city, metric) === "increase" ? "rate" : "avg";
  const question = { metric: [metric], agg: [agg], ...scopeOf(alert), ...spanOf(alert, isCount ? 24 : 6), compare: "-P7D", ...(isCount ? { step: "PT1H" } : {}) };
  return new Panel({
    title: t(isCount ? "drill.arrivals" : "drill.evidence"),
    note: h("a.more", { href: to("explore", parameters(question)) }, t("drill.explore_this")),
    signal,
    every: alert.resolved_at ? 0 : 60,
    lines: 7,
    load: (inner) => get("series", parameters(question, isCount ? {} : { max_points: "400" }), { signal: inner }),
    draw: (answer) => {
      const [picture] = picturesOf(answer, () => (isCount ? t("drill.arrivals") : city.metric(metric)), [agg]);
      if (!picture) return empty(t("drill.no_values_in_range"));
      picture.lines[0].role = "main";
      const unit = isCount ? "" : (alert.unit ?? picture.unit);
      const marks = [{ at: Date.parse(alert.since) / 1000, label: t("drill.began"), tone: alert.severity }];
      if (alert.resolved_at) marks.push({ at: Date.parse(alert.resolved_at) / 1000, label: t("drill.resolved"), tone: "good" });
      const band = expected && { ...expected, label: t("drill.expected") };
      const words = isCount ? [sentenceOf(alert, city)] : [t("drill.value_was", { value: quantity(alert.value, unit) }), expected && t("drill.expected_was", { range: rangeOf(expected, unit) })];
      const name = isCount ? t("drill.arrivals") : city.metric(metric);
      return [
        plot({ ...picture, unit, zone: city.zone, band, marks, height: 300, label: `${name}. ${words.filter(Boolean).join(" ")}` }),
        h("ul.legend", {}, expected && h("li", {}, h("i.band-key", { "aria-hidden": "true" }), `${t("drill.expected")} ${rangeOf(expected, unit)}`), h("li", {}, h("i.ghost-key", { "aria-hidden": "true" }), t("drill.week_before"))),
      ];
    },
  }).element;
}

const rangeOf = (/** @type {{low: number | null, high: number | null}} */ { low, high }, /** @type {string} */ ucum) =>
  low === null ? `≤ ${quantity(high, ucum)}` : high === null ? `≥ ${quantity(low, ucum)}` : `${quantity(low, "")}–${quantity(high, ucum)}`;

function scopeOf(/** @type {any} */ alert) {
  if (alert.device) return { device: [alert.device] };
  return { ...(alert.kind ? { kind: [alert.kind] } : {}), ...(alert.district ? { district: [alert.district] } : {}) };
}

/** Return what the others of the kind show at the same time: the sensor's fault, or an event? */
function neighboursPanel(/** @type {any} */ alert, /** @type {City} */ city, /** @type {AbortSignal} */ signal) {
  const { metric, device, kind, district } = alert;
  if (!metric || !device || !kind || !district) return null;
  const agg = aggregate(city, metric) === "increase" ? "rate" : "avg";
  const question = { metric: [metric], agg: [agg], kind: [kind], district: [district], group_by: "device", ...spanOf(alert) };
  const counted = alert.evidence?.neighbours;
  return new Panel({
    title: t("drill.neighbours"),
    note: counted && t("drill.neighbours_unusual", { n: counted.unusual, count: counted.count }),
    signal,
    lines: 5,
    load: (inner) => get("series", parameters(question, { max_points: "200" }), { signal: inner }),
    draw: (answer) => {
      const [picture] = picturesOf(answer, (one) => one.device, [agg]);
      const isEvent = counted?.count && counted.unusual * 2 > counted.count;
      const verdict = counted?.count ? h("p.verdict", {}, t(isEvent ? "drill.an_event" : "drill.a_sensor")) : null;
      if (!picture || picture.lines.length < 2) return [verdict, empty(t("drill.no_neighbours"))];
      const own = picture.lines.filter((line) => line.group.device === device);
      const others = picture.lines.filter((line) => line.group.device !== device).slice(0, NEIGHBOURS);
      for (const line of others) line.role = "context";
      for (const line of own) line.role = "main";
      return [
        verdict,
        plot({ ...picture, lines: [...others, ...own], zone: city.zone, height: 200, label: t("drill.neighbours") }),
        h("p.hint", {}, t("drill.thin_lines", { n: others.length })),
      ];
    },
  }).element;
}

/** Return the panel of what is done about it: its state, a note, its history. */
function statePanel(/** @type {string} */ id, /** @type {City} */ city, /** @type {boolean} */ may, /** @type {AbortSignal} */ signal) {
  const panel = new Panel({
    title: t("drill.history"),
    signal,
    every: 10,
    lines: 4,
    load: (inner) => get(`alerts/${encodeURIComponent(id)}`, {}, { signal: inner }),
    draw: (alert) => {
      const note = h("div", {});
      // A note that is being written is not taken away by the next refresh.
      const writing = /** @type {HTMLTextAreaElement | null} */ (panel.element.querySelector("textarea"));
      if (may && alert.state === "firing") {
        note.append(acknowledgeForm(alert, () => panel.reload(), explain));
        if (writing?.value) /** @type {any} */ (note.querySelector("textarea")).value = writing.value;
      }
      const by = alert.acknowledged;
      return [
        h("p", {}, alertState(alert)),
        by && h("p.quoted", {}, h("b", {}, by.by), ` ${ago((Date.now() - Date.parse(by.at)) / 1000)}`, by.note && h("q", {}, by.note)),
        note,
        h("ol.history", {}, (alert.history ?? []).map((/** @type {any} */ event) => historyRow(event, alert, city))),
      ];
    },
  });
  return panel;
}

function historyRow(/** @type {any} */ event, /** @type {any} */ alert, /** @type {City} */ city) {
  const tone = event.state === "firing" ? toneOf(event.severity) : toneOf(event.state);
  const sentence = sentenceOf(event, city);
  return h(
    "li",
    { "data-tone": tone },
    sign(tone),
    h("div", {}, h("b", {}, name("drill.alert_state", event.state)), event.by ? ` · ${event.by}` : "", h("br"), h("time.faint", { datetime: event.time }, moment(event.time, city.zone, true)), sentence && sentence !== sentenceOf(alert, city) ? h("p", {}, sentence) : null),
  );
}

function factsPanel(/** @type {any} */ alert, /** @type {City} */ city) {
  const end = alert.resolved_at ? Date.parse(alert.resolved_at) : Date.now();
  const often = alert.evidence?.times_in_30_days;
  const rows = [
    [t("drill.lasted"), duration((end - Date.parse(alert.since)) / 1000)],
    alert.device && [t("drill.device"), h("a.mono", { href: to("device", { device: alert.device }) }, alert.device)],
    alert.district && [t("drill.district"), h("a", { href: to("district", { district: alert.district }) }, city.district(alert.district))],
    alert.kind && [t("drill.kind"), h("a", { href: to("kind", { kind: alert.kind, district: alert.district }) }, city.kind(alert.kind))],
    [t("drill.rule"), alert.rule ?? t("drill.no_rule")],
    [t("drill.rule_kind"), name("drill.rule_kind_of", alert.kind_of_rule)],
    typeof often === "number" && [t("drill.how_often"), t("drill.times_in_30_days", { n: often })],
  ].filter(Boolean);
  return h("section.card.panel", {}, h("header.panel-head", {}, h("h2", {}, t("drill.about"))), h("dl.facts", {}, rows.map((row) => h("div", {}, h("dt", {}, row[0]), h("dd", {}, row[1])))));
}
