// A kind of sensors: each of its metrics by district, its week, the highest and the worst of its devices.

import { registerView } from "../app.js";
import { get } from "../api.js";
import { t } from "../i18n.js";
import { listen } from "../live.js";
import { airPanel } from "./air.js";
import { alertsPanel } from "./alert-list.js";
import { aggregate, headline, theCity } from "./city.js";
import { empty, h, Panel } from "./kit.js";
import { change, to } from "./links.js";
import { paymentsPanels } from "./volumes.js";
import { bars, deviceLink, headed, metricPanel, together, weekTable, worstPanel } from "./pieces.js";
import { rangePicker, segments, written } from "./range.js";

/** @typedef {import("./city.js").City} City */

registerView("kind", {
  title: (params) => params.get("kind") ?? t("drill.kind"),
  async render(root, params, signal) {
    const city = await theCity();
    const kind = city.kinds.get(params.get("kind") ?? "");
    if (!kind) return choose(root, city);
    const district = params.get("district") ?? "";
    const range = { start: params.get("start") ?? "-PT24H", end: params.get("end") ?? "now" };
    const filter = { kind: kind.name, ...(district ? { district } : {}) };
    const go = (/** @type {string} */ start, /** @type {string} */ end) => change("kind", params, { start, end });
    const onZoom = (/** @type {number} */ start, /** @type {number} */ end) => go(written(start), written(end));
    const places = /** @type {[string, string][]} */ ([["", t("drill.whole_city")], ...[...city.districts.keys()].map((one) => [one, city.district(one)])]);
    const above = /** @type {[string, string][]} */ (district ? [[city.district(district), to("district", { district })]] : []);
    headed(root, {
      crumbs: [[city.title, to("city")], ...above],
      title: city.kind(kind.name),
      tools: [
        segments(t("drill.district"), places, district, (value) => change("kind", params, { district: value })),
        rangePicker({ ...range, zone: city.zone, onChange: go }),
      ],
    });
    const groupBy = district ? "none" : "district";
    const question = { kind: [kind.name], district: district ? [district] : [], ...range, group_by: groupBy, compare: district ? "-P7D" : "" };
    const each = { series: together(question, signal), filter, range, city, signal, onZoom, group: "kind", groupBy };
    const special = kind.name === "payments" ? paymentsPanels(each) : kind.name === "air_quality" ? [airPanel(district, city, signal)] : [];
    const shown = kind.name === "payments" ? ["declined", "latency"] : kind.metrics.map((one) => one.name);
    const panels = shown.map((metric) => metricPanel({ ...each, metric }));
    const main = h("div.main", {}, special, h("div.multiples.wide", {}, panels), weekPanel(kind, filter, city, signal));
    const alerts = alertsPanel(filter, city, signal);
    listen({ events: "alerts", ...filter }, { alerts: () => alerts.reload() }, signal);
    const side = h("div.side", {}, alerts.element, topPanel(kind, filter, range, city, signal), worstPanel(filter, city, signal));
    root.append(h("div.split", {}, main, side));
  },
});

function choose(/** @type {HTMLElement} */ root, /** @type {City} */ city) {
  headed(root, { title: t("drill.kinds") });
  const links = [...city.kinds.keys()].map((one) => h("li", {}, h("a.card", { href: to("kind", { kind: one }) }, city.kind(one))));
  root.append(h("ul.choices", {}, links));
}

function weekPanel(/** @type {any} */ kind, /** @type {Record<string, string>} */ filter, /** @type {City} */ city, /** @type {AbortSignal} */ signal) {
  const metric = kind.metrics.find((/** @type {any} */ one) => one.name === headline(kind) && one.behaviour === "gauge") ?? kind.metrics.find((/** @type {any} */ one) => one.behaviour === "gauge");
  if (!metric) return null;
  const title = t("drill.week_of", { metric: city.metric(metric.name) });
  return new Panel({
    title,
    note: t("drill.last_four_weeks"),
    signal,
    lines: 7,
    load: (inner) => get("heatmap", { ...filter, metric: metric.name, agg: "avg", start: "-P28D" }, { signal: inner }),
    draw: (answer) => (answer.groups.length ? weekTable(answer, answer.groups[0], title) : empty(t("drill.no_values_in_range"))),
  }).element;
}

function topPanel(/** @type {any} */ kind, /** @type {Record<string, string>} */ filter, /** @type {any} */ range, /** @type {City} */ city, /** @type {AbortSignal} */ signal) {
  const metric = headline(kind);
  const agg = aggregate(city, metric);
  return new Panel({
    title: t("drill.highest"),
    note: `${city.metric(metric)}, ${t(`drill.agg.${agg}`)}`,
    signal,
    lines: 6,
    load: (inner) => get("top", { ...filter, ...range, metric, agg, k: 6 }, { signal: inner }),
    draw: (answer) =>
      answer.top.length
        ? bars(answer.top.map((/** @type {any} */ one) => ({ label: deviceLink(one.group.device), value: one.value })), answer.unit)
        : empty(t("drill.no_values_in_range")),
  }).element;
}
