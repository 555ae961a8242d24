// The last day, district by district, with the week before as a ghost: what is unusual is seen without reading a number.

import { get } from "../api.js";
import { t } from "../i18n.js";
import { h, Panel } from "./kit.js";
import { to } from "./links.js";
import { plot } from "./plot.js";
import { moment, name, number, unit } from "./words.js";

// One question for all of them: the kinds keep apart what several measure.
const METRICS = [
  { metric: "pm2_5", kind: "air_quality" },
  { metric: "laeq", kind: "noise" },
  { metric: "speed", kind: "traffic_flow" },
  { metric: "power", kind: "electricity" },
];
const STEP = "PT15M";
const HEIGHT = 52;
// A bucket that has just begun has readings of a few devices only: its mean would be another city's.
const YOUNG_MS = 5 * 60_000;

/** Return the panel of small charts, a row for each metric and a column for each district. */
export function multiples(/** @type {import("./city.js").City} */ city, /** @type {AbortSignal} */ signal) {
  const rows = METRICS.filter(({ metric, kind }) => city.kinds.get(kind)?.metrics.some((one) => one.name === metric));
  const key = h(
    "span.glance-key",
    {},
    h("svg", { viewBox: "0 0 20 8", "aria-hidden": "true" }, h("line.now", { x1: 0, y1: 4, x2: 20, y2: 4 })),
    t("glance.today"),
    h("svg", { viewBox: "0 0 20 8", "aria-hidden": "true" }, h("line.ghost", { x1: 0, y1: 4, x2: 20, y2: 4 })),
    t("glance.week_ago"),
  );
  const readout = h("span.readout", { "aria-hidden": "true" });
  const panel = new Panel({
    title: t("glance.last_day"),
    kind: "glance-multiples",
    signal,
    every: 60,
    lines: 8,
    note: key,
    actions: readout,
    load: (inner) =>
      get(
        "series",
        {
          metric: rows.map((row) => row.metric), kind: rows.map((row) => row.kind),
          group_by: "district", step: STEP, start: "-PT24H", compare: "-P7D",
        },
        { signal: inner },
      ),
    draw: grid,
  });
  return panel.element;

  function grid(/** @type {any} */ answer) {
    const districts = [...city.districts.keys()];
    const cells = rows.flatMap(({ metric, kind }) => {
      const range = rangeOf(answer, metric);
      const head = h("div.multiple-name", { role: "rowheader" }, h("a", { href: to("kind", { kind }) }, city.metric(metric)), h("small", {}, unit(city.unit(metric))));
      return h("div.multiple-row", { role: "row" }, head, districts.map((district) => cell(answer, metric, kind, district, range)));
    });
    const heads = districts.map((district) =>
      h("a", { role: "columnheader", href: to("district", { district }) }, name("glance.district", district, city.district(district))),
    );
    const first = h("span", { role: "columnheader" }, h("span.unseen", {}, t("glance.metric")));
    return h("div.multiples-grid", { role: "table", "aria-label": t("glance.last_day") }, h("div.multiple-row.multiple-heads", { role: "row" }, first, heads), cells);
  }

  function cell(
    /** @type {any} */ answer, /** @type {string} */ metric, /** @type {string} */ kind, /** @type {string} */ district,
    /** @type {[number, number]} */ bounds,
  ) {
    const now = find(answer, metric, district);
    const before = answer.compare ? find(answer.compare, metric, district) : null;
    const value = h("b.tabular", {});
    const then = h("small.tabular", {});
    const canvas = h("div.multiple-chart", { "aria-hidden": "true" });
    const link = h(
      "a.multiple",
      { role: "cell", "data-district": name("glance.district", district, city.district(district)), href: to("explore", { metric, kind, district, group_by: "district", compare: "-P7D" }) },
      h("span.multiple-value", {}, value, then),
      canvas,
    );
    if (!now) {
      value.textContent = "–";
      return link;
    }
    const times = now.start.map((/** @type {string} */ at) => Date.parse(at) / 1000);
    if (Date.now() - times.at(-1) * 1000 < YOUNG_MS) {
      times.pop();
      now.avg = now.avg.slice(0, -1);
    }
    const ghost = before ? times.map((/** @type {any} */ _, /** @type {number} */ place) => before.avg[place] ?? null) : [];
    const tell = (/** @type {number | null} */ index) => {
      const place = index ?? lastOf(now.avg);
      const [is, was] = [now.avg[place] ?? null, ghost[place] ?? null];
      value.textContent = number(is);
      then.textContent = was === null ? "" : number(was);
      readout.textContent = index === null ? "" : moment(now.start[index], city.zone);
    };
    tell(null);
    link.setAttribute("aria-label", describe(metric, district, now.avg, ghost));
    const lines = /** @type {import("./plot.js").Line[]} */ ([
      { label: t("glance.week_ago"), values: ghost.length ? ghost : times.map(() => null), role: "ghost" },
      { label: t("glance.today"), values: now.avg, role: "main" },
    ]);
    canvas.append(plot({ times, lines, zone: city.zone, label: city.metric(metric), height: HEIGHT, group: "glance", small: { bounds, onCursor: tell } }));
    return link;
  }

  function describe(/** @type {string} */ metric, /** @type {string} */ district, /** @type {(number | null)[]} */ now, /** @type {(number | null)[]} */ ghost) {
    const last = lastOf(now);
    const values = { metric: city.metric(metric), district: city.district(district), unit: unit(city.unit(metric)), value: number(now[last]) };
    return ghost[last] == null ? t("glance.cell", values) : t("glance.cell_week", { ...values, before: number(ghost[last]) });
  }
}

const find = (/** @type {any} */ answer, /** @type {string} */ metric, /** @type {string} */ district) =>
  answer.groups.find((/** @type {any} */ one) => one.metric === metric && one.group.district === district) ?? null;

const lastOf = (/** @type {(number | null)[]} */ values) => values.findLastIndex((one) => one !== null);

/** Return one range for a metric in all districts and both weeks, so that they compare. */
function rangeOf(/** @type {any} */ answer, /** @type {string} */ metric) {
  const of = [...answer.groups, ...(answer.compare?.groups ?? [])].filter((one) => one.metric === metric);
  const values = of.flatMap((one) => one.avg).filter((one) => one !== null);
  if (!values.length) return /** @type {[number, number]} */ ([0, 1]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const air = (high - low || Math.abs(high) || 1) * 0.08;
  return /** @type {[number, number]} */ ([low >= 0 && low - air < 0 ? 0 : low - air, high + air]);
}
