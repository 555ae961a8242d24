// What the map says of a device under the pointer.

import { t } from "../i18n.js";
import { h } from "./kit.js";
import { stateChip } from "./pieces.js";
import { ago } from "./words.js";

/** Return the words for a device. */
export function tooltipOf(/** @type {import("./glance-fleet.js").Device} */ device, /** @type {import("./city.js").City} */ city) {
  const age = device.time ? t("map.last_reading", { ago: ago((Date.now() - device.time) / 1000) }) : t("map.never");
  return h("div.tip", {}, h("b.mono", {}, device.id), h("p", {}, `${city.kind(device.kind)} · ${city.district(device.district)}`), h("p", {}, stateChip(device.state), " ", h("span.faint", {}, age)));
}
