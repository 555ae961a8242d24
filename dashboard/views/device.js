// A device: what it is doing, what it measured and how well, what was refused, where it stands, what is wrong with it.

import { registerView } from "../app.js";
import { get } from "../api.js";
import { t } from "../i18n.js";
import { listen } from "../live.js";
import { alertsPanel } from "./alert-list.js";
import { aggregate, theCity } from "./city.js";
import { empty, h, Panel, sign } from "./kit.js";
import { change, to } from "./links.js";
import { headed, metricPanel, stateChip, together } from "./pieces.js";
import { lettersPanel, qualityPanel } from "./device-quality.js";
import { placePicture } from "./place.js";
import { rangePicker, written } from "./range.js";
import { ago, duration, moment, quantity } from "./words.js";

/** @typedef {import("./city.js").City} City */

registerView("device", {
  title: (params) => params.get("device") ?? t("drill.device"),
  async render(root, params, signal) {
    const id = params.get("device") ?? "";
    const [city, device] = await Promise.all([theCity(), get(`devices/${encodeURIComponent(id)}`, {}, { signal })]);
    const range = { start: params.get("start") ?? "-PT24H", end: params.get("end") ?? "now" };
    const go = (/** @type {string} */ start, /** @type {string} */ end) => change("device", params, { start, end });
    const onZoom = (/** @type {number} */ start, /** @type {number} */ end) => go(written(start), written(end));
    const lead = h("p.lead", {}, "\u00a0");
    headed(root, {
      crumbs: [
        [city.title, to("city")],
        [city.district(device.district), to("district", { district: device.district })],
        [city.kind(device.kind), to("kind", { kind: device.kind, district: device.district })],
      ],
      title: id,
      lead,
      tools: rangePicker({ ...range, zone: city.zone, onChange: go }),
    });
    const kind = city.kinds.get(device.kind);
    const series = together({ device: [id], ...range, compare: "-P7D" }, signal);
    const common = { series, filter: { device: id }, range, city, signal, onZoom, group: "device" };
    const charts = (kind?.metrics ?? []).map((metric) => metricPanel({ ...common, metric: metric.name, height: 130 }));
    const multiples = h("div.multiples.wide", {}, charts);
    const now = nowPanel(id, city, signal, (state, status) => {
      // Of a device that never sent anything there is nothing to draw.
      multiples.hidden = state.state === "never";
      lead.replaceChildren(stateChip(state.state), " ", state.time ? t("drill.last_reading_ago", { ago: ago(state.age_seconds) }) : t("drill.no_reading_yet"), saidOf(state, status, city));
    });
    const letters = lettersPanel(id, city, signal);
    const alerts = alertsPanel({ device: id }, city, signal);
    listen({ device: id }, { readings: () => now.reload(), status: () => now.reload(), alerts: () => alerts.reload() }, signal);
    const main = h("div.main", {}, now.element, multiples, letters);
    const side = h("div.side", {}, alerts.element, qualityPanel(id, range, city, signal), neighboursPanel(device, city, signal), aboutPanel(device, city));
    root.append(h("div.split", {}, main, side));
  },
});

/** Return in words what a silent device, or its last will, said last: is it gone, or is only its sensor? */
function saidOf(/** @type {any} */ state, /** @type {any} */ status, /** @type {City} */ city) {
  // A newer reading says that it came back without a word.
  const isOver = status?.said === "offline" && Date.parse(status.at) < Date.parse(state.time);
  if (state.state !== "silent" || !status || isOver) return "";
  return `; ${t(`drill.said_${status.said}`, { at: moment(status.at, city.zone) })}`;
}

/** Return the panel of the newest value of each metric; it tells the head how the device is. */
function nowPanel(/** @type {string} */ device, /** @type {City} */ city, /** @type {AbortSignal} */ signal, /** @type {(state: any, status: any) => void} */ tell) {
  return new Panel({
    title: t("drill.latest"),
    kind: "now",
    signal,
    every: 10,
    lines: 2,
    load: (inner) =>
      Promise.all([
        get("fleet", { device }, { signal: inner }),
        get("latest", { device }, { signal: inner }),
        get(`devices/${encodeURIComponent(device)}`, {}, { signal: inner }),
      ]),
    draw: ([fleet, latest, { status }]) => {
      const [state] = fleet.devices;
      tell(state, status);
      const values = Object.entries(latest.devices[0]?.values ?? {});
      if (!values.length) return empty(t("drill.no_reading_yet"), h("a.button", { href: to("connect") }, t("drill.connect")));
      return h("dl.figures", {}, values.map(([metric, value]) => valueOf(metric, value, latest.devices[0], city)));
    },
  });
}

function valueOf(/** @type {string} */ metric, /** @type {any} */ value, /** @type {any} */ device, /** @type {City} */ city) {
  // All of one reading are of one age, and the head says it.
  const isOlder = value.stale || value.time !== device.time;
  const age = isOlder && h("dd.when", {}, value.stale ? sign("warning") : null, " ", ago(value.age_seconds));
  return h("div", { "data-stale": value.stale }, h("dt", {}, city.metric(metric)), h("dd", {}, quantity(value.value, value.unit)), age);
}

/** Return what other devices of the same kind in the district say: is it the sensor or the city? */
function neighboursPanel(/** @type {any} */ device, /** @type {City} */ city, /** @type {AbortSignal} */ signal) {
  const kind = city.kinds.get(device.kind);
  const metric = kind?.metrics.find((one) => one.behaviour === "gauge")?.name ?? kind?.metrics[0].name ?? "";
  const agg = aggregate(city, metric);
  const filter = { kind: device.kind, district: device.district };
  return new Panel({
    title: t("drill.neighbours"),
    note: city.metric(metric),
    signal,
    every: 120,
    lines: 2,
    load: (inner) => get("series", { ...filter, metric, agg, group_by: "device", start: "-PT1H", step: "PT1H" }, { signal: inner }),
    draw: (answer) => {
      const rows = answer.groups.map((/** @type {any} */ one) => ({ device: one.group.device, value: one[agg].findLast((/** @type {any} */ value) => value !== null) ?? null }));
      return strip(rows.filter((/** @type {any} */ one) => one.value !== null), device.id, answer.groups[0]?.unit ?? "");
    },
  }).element;
}

/** Return a line with a dot for each device's value; the own one is larger, named, and of another shape. */
export function strip(/** @type {{device: string, value: number}[]} */ rows, /** @type {string} */ own, /** @type {string} */ ucum) {
  const mine = rows.find((one) => one.device === own);
  const others = rows.filter((one) => one !== mine);
  if (!others.length) return empty(t("drill.no_neighbours"));
  const values = rows.map((one) => one.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (/** @type {number} */ value) => 12 + ((value - low) / (high - low || 1)) * 276;
  const sorted = others.map((one) => one.value).sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  const text = t(mine ? "drill.neighbours_say" : "drill.neighbours_alone", { n: others.length, median: quantity(median, ucum), own: quantity(mine?.value ?? null, ucum) });
  const dots = others.map((one) => h("a", { href: to("device", { device: one.device }) }, one.device));
  const picture = h(
    "svg.strip",
    { viewBox: "0 0 300 40", role: "img", "aria-label": text },
    h("line", { x1: 12, x2: 288, y1: 20, y2: 20 }),
    others.map((one) => h("circle", { cx: x(one.value), cy: 20, r: 4.5 }, h("title", {}, `${one.device}: ${quantity(one.value, ucum)}`))),
    mine && h("path.own", { d: `M${x(mine.value)} 9l8 11-8 11-8-11Z` }, h("title", {}, `${own}: ${quantity(mine.value, ucum)}`)),
  );
  return [
    picture,
    h("p.scale", { "aria-hidden": "true" }, h("span", {}, quantity(low, ucum)), h("span", {}, quantity(high, ucum))),
    h("p.hint", {}, text),
    h("details.quiet", {}, h("summary", {}, t("drill.neighbours_list")), h("p.links.mono", {}, dots)),
  ];
}

function aboutPanel(/** @type {any} */ device, /** @type {City} */ city) {
  const rows = [
    [t("drill.kind"), city.kind(device.kind)],
    [t("drill.district"), city.district(device.district)],
    [t("drill.expected_every"), duration(device.interval_seconds)],
    [t("drill.installed"), moment(device.installed, city.zone)],
    [t("drill.registered"), moment(device.registered_at, city.zone)],
    device.simulated ? [t("drill.simulated"), t("drill.yes")] : null,
    ...Object.entries(device.metadata),
  ].filter((row) => row !== null);
  return h(
    "section.card.panel",
    {},
    h("header.panel-head", {}, h("h2", {}, t("drill.about"))),
    h("div.panel-body", {}, placePicture(device, city), h("dl.facts", {}, rows.map((row) => h("div", {}, h("dt", {}, String(row[0])), h("dd", {}, String(row[1])))))),
  );
}
