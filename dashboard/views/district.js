// A district: what it measures now and how it was, what is wrong in it, and the way to each kind and device.

import { registerView } from "../app.js";
import { get } from "../api.js";
import { t } from "../i18n.js";
import { listen } from "../live.js";
import { airPanel } from "./air.js";
import { alertsPanel } from "./alert-list.js";
import { headline, theCity } from "./city.js";
import { chip, empty, h, Panel } from "./kit.js";
import { change, to } from "./links.js";
import { headed, metricPanel, together, worstPanel } from "./pieces.js";
import { rangePicker, written } from "./range.js";
import { share } from "./words.js";

registerView("district", {
  title: (params) => params.get("district") ?? t("drill.district"),
  async render(root, params, signal) {
    const city = await theCity();
    const district = params.get("district") ?? "";
    if (!city.districts.has(district)) return choose(root, city);
    const range = { start: params.get("start") ?? "-PT24H", end: params.get("end") ?? "now" };
    const go = (/** @type {string} */ start, /** @type {string} */ end) => change("district", params, { start, end });
    const counts = h("p.lead", {}, "\u00a0");
    headed(root, {
      crumbs: [[city.title, to("city")]],
      title: city.district(district),
      lead: counts,
      tools: rangePicker({ ...range, zone: city.zone, onChange: go }),
    });
    const series = together({ district: [district], ...range, group_by: "kind", compare: "-P7D" }, signal);
    const kinds = h("div.multiples");
    const alerts = alertsPanel({ district }, city, signal);
    listen({ events: "alerts", district }, { alerts: () => alerts.reload() }, signal);
    const side = h("div.side", {}, alerts.element, city.kinds.has("air_quality") && airPanel(district, city, signal), worstPanel({ district }, city, signal));
    root.append(h("div.split", {}, h("div.main", {}, kinds, kindsPanel(district, city, signal, (found) => fill(found))), side));
    tellCounts(counts, district, signal);

    function fill(/** @type {string[]} */ found) {
      if (kinds.childElementCount) return;
      const onZoom = (/** @type {number} */ start, /** @type {number} */ end) => go(written(start), written(end));
      for (const one of [...city.kinds.values()].filter((kind) => found.includes(kind.name))) {
        const metric = headline(one);
        const note = h("a", { href: to("kind", { kind: one.name, district }) }, city.kind(one.name));
        const filter = { kind: one.name, district };
        kinds.append(metricPanel({ metric, series, kind: one.name, filter, range, city, signal, group: "district", onZoom, note, height: 120 }));
      }
    }
  },
});

function choose(/** @type {HTMLElement} */ root, /** @type {import("./city.js").City} */ city) {
  headed(root, { title: t("drill.district") });
  const links = [...city.districts.keys()].map((one) => h("li", {}, h("a.card", { href: to("district", { district: one }) }, city.district(one))));
  root.append(h("ul.choices", {}, links));
}

async function tellCounts(/** @type {HTMLElement} */ place, /** @type {string} */ district, /** @type {AbortSignal} */ signal) {
  try {
    const { counts } = await get("fleet", { district, limit: 1 }, { signal });
    const all = counts.reporting + counts.silent + counts.never;
    const silent = counts.silent + counts.never;
    place.replaceChildren(t("drill.of_devices", { n: all }), " ", silent ? chip("warning", t("drill.are_silent", { n: silent })) : chip("good", t("drill.none_silent")));
  } catch {
    place.replaceChildren();
  }
}

/** Return the panel of the kinds that are there, with the quality of the last day; `found` is told their names. */
function kindsPanel(/** @type {string} */ district, /** @type {any} */ city, /** @type {AbortSignal} */ signal, /** @type {(kinds: string[]) => void} */ found) {
  return new Panel({
    title: t("drill.kinds"),
    signal,
    every: 300,
    load: (inner) => get("quality", { district, group_by: "kind", start: "-PT1H" }, { signal: inner }),
    draw: (answer) => {
      const groups = answer.groups.filter((/** @type {any} */ one) => one.devices);
      found(groups.map((/** @type {any} */ one) => one.group.kind));
      if (!groups.length) return empty(t("drill.no_devices"));
      return h("ul.kinds", {}, groups.map((/** @type {any} */ one) => kindRow(one, district, city)));
    },
    note: t("drill.last_hour"),
  }).element;
}

function kindRow(/** @type {any} */ group, /** @type {string} */ district, /** @type {any} */ city) {
  const tone = group.silent ? "warning" : group.completeness !== null && group.completeness < 0.9 ? "info" : "good";
  const text = group.silent ? t("drill.are_silent", { n: group.silent }) : t("drill.none_silent");
  return h(
    "li",
    {},
    h("a", { href: to("kind", { kind: group.group.kind, district }) }, city.kind(group.group.kind)),
    h("span.faint", {}, t("drill.of_devices", { n: group.devices })),
    h("span.faint", {}, t("drill.complete", { share: share(group.completeness) })),
    chip(tone, text),
  );
}
