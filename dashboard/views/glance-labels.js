// The labels of districts on the map: name, what is worst there, in words; each leads to its district.

import { t } from "../i18n.js";
import { h, sign } from "./kit.js";
import { to } from "./links.js";
import { name } from "./words.js";

/** Return what is worst in a district, in words. */
export function worstOf(/** @type {any} */ state, /** @type {import("./city.js").City} */ city) {
  const { air, alerts, devices, worst } = state;
  if (worst.cause === "air") return `${t("map.index", { index: air.index })} · ${name("air.category", air.category)}`;
  if (worst.cause === "alerts") return t("glance.alerts", { n: alerts.critical + alerts.warning + alerts.info });
  if (worst.cause === "silence") return t("glance.silent", { n: devices.silent, all: devices.expected });
  return devices.expected ? t("level.0") : t("glance.no_devices");
}

export class Labels {
  #city;
  /** @type {Map<string, HTMLAnchorElement>} */
  elements = new Map();

  constructor(/** @type {import("./city.js").City} */ city) {
    this.#city = city;
    for (const district of city.districts.keys()) {
      const title = h("b", {}, name("glance.district", district, city.district(district)));
      this.elements.set(district, h("a.map-label", { href: to("district", { district }), draggable: "false" }, title, h("span.map-label-text", {}, "…")));
    }
  }

  show(/** @type {any} */ state) {
    for (const one of state.districts) {
      const label = this.elements.get(one.district);
      const text = label?.querySelector(".map-label-text");
      if (!label || !text) continue;
      const { critical, warning, info } = one.alerts;
      const n = critical + warning + info;
      const tone = critical ? "critical" : warning ? "warning" : "info";
      const count = n && one.worst.cause !== "alerts" ? h("span.map-label-alerts", { "data-tone": tone }, sign(tone), t("glance.alerts", { n })) : null;
      text.replaceChildren(worstOf(one, this.#city), ...(count ? [count] : []));
      label.dataset.level = one.worst.level;
    }
  }

  /** Return where a district's label stands: in the middle of its outline. */
  anchor(/** @type {string} */ district) {
    const ring = this.#city.districts.get(district)?.outline ?? [];
    let [area, x, y] = [0, 0, 0];
    for (const [place, [x1, y1]] of ring.entries()) {
      const [x2, y2] = ring[(place + 1) % ring.length];
      const cross = x1 * y2 - x2 * y1;
      area += cross;
      x += (x1 + x2) * cross;
      y += (y1 + y2) * cross;
    }
    return /** @type {[number, number]} */ ([x / (3 * area), y / (3 * area)]);
  }
}
