// Pieces that several views show: the head of a page, devices, alerts, small charts, bars.

import { t } from "../i18n.js";
import { get } from "../api.js";
import { chip, empty, h, Panel, sign, table } from "./kit.js";
import { to } from "./links.js";
import { plot } from "./plot.js";
import { change, mean, parameters, picturesOf } from "./question.js";
import { aggregate } from "./city.js";
import { ago, duration, name, quantity, unit } from "./words.js";

/** @typedef {import("./city.js").City} City */

const TONES = /** @type {Record<string, string>} */ ({
  reporting: "good", silent: "warning", never: "quiet", disabled: "off",
  critical: "critical", warning: "warning", info: "info",
  firing: "critical", acknowledged: "info", pending: "quiet", resolved: "good",
});

/** Return the tone of a state or a severity. */
export const toneOf = (/** @type {string} */ what) => TONES[what] ?? "quiet";

/** Return the chip of a device's state. */
export const stateChip = (/** @type {string} */ state) => chip(toneOf(state), name("drill.state", state));

/**
 * Put the head of a page into its root.
 * @param {HTMLElement} root
 * @param {{crumbs?: [string, string][], title: any, lead?: any, tools?: any}} head `crumbs` are texts and addresses
 */
export function headed(root, { crumbs = [], title, lead = null, tools = null }) {
  const way = crumbs.map(([text, address]) => h("li", {}, h("a", { href: address }, text)));
  root.replaceChildren(
    h(
      "header.page-head",
      {},
      h("div.page-title", {}, way.length ? h("nav", { "aria-label": t("drill.way") }, h("ol.crumbs", {}, way)) : null, h("h1", { tabindex: "-1" }, title), lead),
      tools && h("div.page-tools", {}, tools),
    ),
  );
  return root;
}

/** Return a link to a device. */
export const deviceLink = (/** @type {string} */ device) => h("a.mono", { href: to("device", { device }) }, device);

/** Return the sign of a device's worst open alert, which leads to all of them. */
function alertSign(/** @type {any} */ { device, alerts }) {
  if (!alerts?.open) return null;
  const text = `${name("drill.severity", alerts.severity)}: ${t("drill.open_alerts", { n: alerts.open })}`;
  return h("a.alert-sign", { href: to("alerts", { device }), title: text, "aria-label": text }, sign(toneOf(alerts.severity)));
}

/** Return the table of some devices of the fleet. */
export function fleetTable(/** @type {any[]} */ devices, /** @type {City} */ city, isShort = false) {
  const columns = [
    { title: t("drill.device"), isHead: true, cell: (/** @type {any} */ one) => [deviceLink(one.device), alertSign(one)] },
    isShort ? null : { title: t("drill.is"), cell: (/** @type {any} */ one) => stateChip(one.state) },
    { title: t("drill.last_reading"), isNumber: true, cell: (/** @type {any} */ one) => [isShort && sign(toneOf(one.state)), isShort && " ", ago(one.age_seconds)] },
  ].filter((column) => column !== null);
  const more = [
    { title: t("drill.kind"), cell: (/** @type {any} */ one) => h("a", { href: to("kind", { kind: one.kind }) }, city.kind(one.kind)) },
    { title: t("drill.district"), cell: (/** @type {any} */ one) => h("a", { href: to("district", { district: one.district }) }, city.district(one.district)) },
    { title: t("drill.expected_every"), isNumber: true, cell: (/** @type {any} */ one) => duration(one.interval_seconds) },
  ];
  return table(isShort ? columns : [...columns, ...more], devices, t("drill.devices"));
}

/** Return the panel of the worst devices of a part of the city. */
export function worstPanel(/** @type {Record<string, string>} */ filter, /** @type {City} */ city, /** @type {AbortSignal} */ signal) {
  return new Panel({
    title: t("drill.worst"),
    signal,
    every: 30,
    lines: 5,
    actions: h("a.more", { href: to("devices", filter) }, t("drill.all_devices")),
    load: (inner) => get("fleet", { ...filter, state: "silent,never", limit: 6 }, { signal: inner }),
    draw: (answer) =>
      answer.devices.length ? fleetTable(answer.devices, city, true) : h("p.fine", {}, sign("good"), t("drill.all_report", { n: answer.counts.reporting })),
  }).element;
}

/** Return a bar for each of some values, the longest first as given. */
export function bars(/** @type {{label: any, value: number, note?: string}[]} */ rows, /** @type {string} */ ucum) {
  const most = Math.max(...rows.map((row) => Math.abs(row.value)), 0) || 1;
  return h(
    "ol.bars",
    {},
    rows.map((row) => {
      const bar = h("span.bar");
      bar.style.setProperty("--part", String(Math.max(0.01, Math.abs(row.value) / most)));
      return h("li", {}, h("span.bar-label", {}, row.label), h("span.bar-value", {}, quantity(row.value, ucum)), bar);
    }),
  );
}

// For how long questions are gathered, ms; how many metrics one may have.
const GATHERED_MS = 20;
const MOST_METRICS = 20;

/**
 * Return what asks for series metric by metric: those that are asked for at the same time are one request.
 * @param {Partial<import("./question.js").Question>} question all but metric and aggregate
 * @param {AbortSignal} signal
 * @returns {(metric: string, agg: string) => Promise<any>} the answer about this metric alone
 */
export function together(question, signal) {
  /** @type {Map<string, {metric: string, resolve: (answer: any) => void, reject: (error: any) => void}[]>} */
  let waiting = new Map();
  const only = (/** @type {any[] | undefined} */ groups, /** @type {string} */ metric) => groups?.filter((one) => one.metric === metric);
  const ask = (/** @type {string} */ agg, /** @type {any[]} */ asked) => {
    const metric = [...new Set(asked.map((one) => one.metric))];
    get("series", parameters({ ...question, metric, agg: [agg] }, { max_points: "200" }), { signal }).then(
      (answer) => {
        for (const one of asked) {
          const compare = answer.compare && { ...answer.compare, groups: only(answer.compare.groups, one.metric) };
          one.resolve({ ...answer, groups: only(answer.groups, one.metric), compare });
        }
      },
      (error) => asked.forEach((one) => one.reject(error)),
    );
  };
  const flush = () => {
    const now = waiting;
    waiting = new Map();
    for (const [agg, asked] of now) for (let at = 0; at < asked.length; at += MOST_METRICS) ask(agg, asked.slice(at, at + MOST_METRICS));
  };
  return (metric, agg) =>
    new Promise((resolve, reject) => {
      if (!waiting.size) window.setTimeout(flush, GATHERED_MS);
      waiting.set(agg, [...(waiting.get(agg) ?? []), { metric, resolve, reject }]);
    });
}

/**
 * Return the panel of one metric: what it is now, how it was, and a week before.
 * @param {{metric: string, series: (metric: string, agg: string) => Promise<any>, filter: Record<string, string>,
 *   range: {start: string, end: string}, city: City, signal: AbortSignal, groupBy?: string, kind?: string, group?: string,
 *   onZoom?: (start: number, end: number) => void, height?: number, note?: any}} options
 *   `series` is of `together`; where that tells kinds apart, `kind` is the one that is shown.
 */
export function metricPanel({ metric, series, filter, range, city, signal, groupBy = "none", kind, group, onZoom, height = 150, note }) {
  const agg = aggregate(city, metric);
  const title = city.metric(metric);
  const address = to("explore", parameters({ metric: [metric], agg: [agg], ...listed(filter), ...range, group_by: groupBy }));
  const mine = (/** @type {any} */ span) => span && { ...span, groups: span.groups.filter((/** @type {any} */ one) => !kind || one.group.kind === kind) };
  return new Panel({
    title: [h("a", { href: address }, title), groupBy !== "none" && h("span.faint", {}, ` ${unit(city.unit(metric))}`)],
    kind: "metric",
    note,
    signal,
    every: range.end === "now" ? 60 : 0,
    load: () => series(metric, agg),
    draw: (answer) => {
      const shown = { ...mine(answer), compare: mine(answer.compare) };
      const [picture] = picturesOf(shown, (one) => (one.district && city.district(one.district)) || title, [agg]);
      if (!picture || picture.lines.every((line) => line.values.every((/** @type {any} */ one) => one === null))) return empty(t("drill.no_values_in_range"));
      if (groupBy === "none") picture.lines[0].role = "main";
      return [
        groupBy === "none" ? figure(shown, picture, agg, city.isCounter(metric)) : null,
        plot({ ...picture, zone: city.zone, height, group, onZoom, label: title, unit: picture.unit }),
      ];
    },
  }).element;
}

const listed = (/** @type {Record<string, string>} */ filter) => Object.fromEntries(Object.entries(filter).map(([key, value]) => [key, [value]]));

/** Return the number above a chart: what counters rose by in the range, what others are now; and the week before. */
function figure(/** @type {any} */ answer, /** @type {any} */ picture, /** @type {string} */ agg, /** @type {boolean} */ isCounter) {
  const [now, before] = picture.lines;
  const sum = (/** @type {(number | null)[]} */ values) => values.reduce((/** @type {number} */ all, one) => all + (one ?? 0), 0);
  const value = isCounter ? sum(answer.groups[0][agg]) : now.values.findLast((/** @type {any} */ one) => one !== null);
  const shown = quantity(value, picture.unit);
  const was = before && (isCounter ? sum(before.values) : before.values[now.values.findLastIndex((/** @type {any} */ one) => one !== null)]);
  const versus = before && was !== null && was !== undefined ? change(value, was, picture.unit) : "";
  return h("p.figure", {}, h("b", {}, shown), h("span", {}, versus && `${versus} ${t("drill.to_week_before")}`));
}

/** Return the mean of a group's values, or null. */
export const meanOf = (/** @type {any} */ group, /** @type {string} */ agg) => mean(group?.[agg] ?? []);

/** Return the heatmap of a week: a table of hours by days. */
export function weekTable(/** @type {any} */ answer, /** @type {any} */ group, /** @type {string} */ label) {
  const rows = /** @type {(number | null)[][]} */ (group[answer.agg]);
  const values = /** @type {number[]} */ (rows.flat().filter((one) => one !== null));
  if (!values.length) return empty(t("drill.no_values_in_range"));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const hours = h("tr", {}, h("td"), Array.from({ length: 24 }, (_, hour) => h("th", { scope: "col" }, hour % 3 ? "" : String(hour).padStart(2, "0"))));
  const lines = rows.map((row, day) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, t(`drill.day.${day}`)),
      row.map((value, hour) => {
        const text = `${t(`drill.day.${day}`)} ${hour}:00 · ${quantity(value, answer.unit)}`;
        const cell = h(value === null ? "td.none" : "td", { title: text }, h("span.unseen", {}, quantity(value, answer.unit)));
        if (value !== null) cell.style.setProperty("--heat", `${Math.round(((value - low) / (high - low || 1)) * 100)}%`);
        return cell;
      }),
    ),
  );
  return [
    h("div.week", {}, h("table", {}, h("caption.unseen", {}, label), h("thead", {}, hours), h("tbody", {}, lines))),
    h("p.scale", {}, h("span", {}, quantity(low, answer.unit)), h("i", { "aria-hidden": "true" }), h("span", {}, quantity(high, answer.unit) || unit(answer.unit))),
  ];
}
