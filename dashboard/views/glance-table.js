// The districts as a table: the same that the map says, for those who do not see it, or see no map.

import { t } from "../i18n.js";
import { worstOf } from "./glance-labels.js";
import { h, table } from "./kit.js";
import { to } from "./links.js";
import { name, number } from "./words.js";

/** Return the table of a state's districts. */
export function districtTable(/** @type {any} */ state, /** @type {import("./city.js").City} */ city) {
  const columns = [
    { title: t("drill.district"), isHead: true, cell: (/** @type {any} */ one) => h("a", { href: to("district", { district: one.district }) }, city.district(one.district)) },
    { title: t("map.worst"), cell: (/** @type {any} */ one) => h("span.level-words", {}, h("i.swatch", { "data-level": one.worst.level }), worstOf(one, city)) },
    { title: t("map.air"), isNumber: true, cell: (/** @type {any} */ one) => (one.air ? `${one.air.index} · ${city.metric(one.air.metric)}` : "–") },
    { title: t("nav.alerts"), isNumber: true, cell: (/** @type {any} */ { alerts }) => number(alerts.critical + alerts.warning + alerts.info) },
    { title: t("map.silent_of"), isNumber: true, cell: (/** @type {any} */ { devices }) => t("map.of", { n: devices.silent, all: devices.expected }) },
  ];
  const source = t("map.index_source", { name: state.air.name, source: state.air.source, date: state.air.date });
  return h("div", {}, table(columns, state.districts, t("map.title")), h("p.faint", {}, source, " ", name("map", "illustrative")));
}
