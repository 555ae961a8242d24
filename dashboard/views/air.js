// The air as an index: a number, what it is called, which pollutant decides, and by whose table.

import { get } from "../api.js";
import { t } from "../i18n.js";
import { empty, h, Panel } from "./kit.js";
import { to } from "./links.js";
import { day, name, number } from "./words.js";

// Where each category of the table ends; the last is open.
const TOPS = [50, 100, 150, 200, 300, 500];

/** Return the panel of the index of each district, or of one. */
export function airPanel(/** @type {string} */ district, /** @type {import("./city.js").City} */ city, /** @type {AbortSignal} */ signal) {
  return new Panel({
    title: t("drill.air_index"),
    signal,
    every: 30,
    lines: 2,
    load: (inner) => get("state", {}, { signal: inner }),
    draw: (state) => {
      const districts = state.districts.filter((/** @type {any} */ one) => !district || one.district === district);
      if (districts.every((/** @type {any} */ one) => !one.air)) return empty(t("drill.no_index"));
      const { name: table, source, date } = state.air;
      return [
        h("ol.index", {}, districts.map((/** @type {any} */ one) => h("li", {}, place(one, city, Boolean(district))))),
        h("p.hint", {}, t("drill.source", { table, source, date: day(date) })),
      ];
    },
  }).element;
}

function place(/** @type {any} */ state, /** @type {import("./city.js").City} */ city, /** @type {boolean} */ isAlone) {
  const title = !isAlone && h("a", { href: to("district", { district: state.district }) }, city.district(state.district));
  if (!state.air) return [title, h("p.faint", {}, t("drill.no_index"))];
  const { index, category, level, metric } = state.air;
  const word = name("air.category", category);
  return [
    title,
    h("p.index-value", { "data-level": level }, h("i", { "aria-hidden": "true" }), h("b", {}, number(index)), h("span", {}, word)),
    scale(index, level, word),
    h("p.faint", {}, t("drill.decided_by", { metric: city.metric(metric) })),
  ];
}

/** Return the scale of the six categories with a mark where the index is. */
function scale(/** @type {number} */ index, /** @type {number} */ level, /** @type {string} */ word) {
  const from = level ? TOPS[level - 1] : 0;
  // Each category is as wide as another one: the table's are not.
  const at = (level + Math.min(1, (index - from) / (TOPS[level] - from))) / TOPS.length;
  const mark = h("i.index-mark");
  mark.style.setProperty("--part", String(at));
  return h("div.index-scale", { role: "img", "aria-label": `${index}, ${word}` }, TOPS.map((_, place) => h("i", { "data-level": place })), mark);
}
