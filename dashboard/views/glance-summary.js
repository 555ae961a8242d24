// The sentence: how many alerts, how many devices say nothing, how the air is. Each part leads to what it speaks of.

import { t } from "../i18n.js";
import { h, sign } from "./kit.js";
import { to } from "./links.js";
import { ago, moment, name } from "./words.js";

// Older than this, it is no longer the state of the city.
const STALE_SECONDS = 20;
const TONES = ["good", "info", "warning", "warning", "critical", "critical"];

export class Summary {
  #city;
  /** @type {any} */ #state = null;
  #at = 0;
  element = h("h1.glance-sentence", { tabindex: "-1", "aria-live": "polite" }, h("span.shimmer", {}, h("i")));
  age = h("p.as-of");

  constructor(/** @type {import("./city.js").City} */ city) {
    this.#city = city;
  }

  show(/** @type {any} */ state) {
    this.#state = state;
    this.#at = Date.now();
    const parts = [this.#alerts(state), this.#devices(state), this.#air(state)].filter(Boolean);
    const key = parts.map((part) => part.textContent).join();
    // Who hears the page is told of changes only.
    if (this.element.dataset.said !== key) {
      this.element.dataset.said = key;
      const focused = [...this.element.querySelectorAll("a")].indexOf(document.activeElement);
      this.element.replaceChildren(...parts.flatMap((part, place) => (place ? [", ", part] : [part])), ".");
      if (focused >= 0) parts[focused]?.focus();
    }
    this.tick();
  }

  tick() {
    if (!this.#state) return;
    const seconds = (Date.now() - this.#at) / 1000;
    const isStale = seconds > STALE_SECONDS;
    this.element.classList.toggle("is-stale", isStale);
    this.age.classList.toggle("is-old", isStale);
    const time = moment(this.#state.time, this.#city.zone, true);
    this.age.textContent = isStale ? t("glance.as_of_old", { time, ago: ago(seconds) }) : t("glance.as_of", { time });
  }

  #alerts(/** @type {any} */ { alerts }) {
    const n = alerts.critical + alerts.warning + alerts.info;
    const tone = alerts.critical ? "critical" : alerts.warning ? "warning" : n ? "info" : "good";
    return part(tone, n ? t("glance.alerts", { n }) : t("glance.no_alerts"), to("alerts"));
  }

  #devices(/** @type {any} */ { devices }) {
    const { silent: n, expected: all } = devices;
    if (!all) return part("info", t("glance.no_devices"), to("connect"));
    const text = n ? t("glance.silent", { n, all }) : t("glance.all_reporting", { n: all });
    return part(n ? "warning" : "good", text, to("devices", n ? { state: "silent,never" } : {}));
  }

  #air(/** @type {any} */ { districts }) {
    const known = districts.filter((/** @type {any} */ one) => one.air);
    if (!known.length) return null;
    const worst = known.reduce((/** @type {any} */ a, /** @type {any} */ b) => (b.air.index > a.air.index ? b : a));
    const category = name("air.category", worst.air.category);
    const text = worst.air.level
      ? t("glance.air", { district: name("glance.district", worst.district, worst.title), category })
      : t("glance.air_good");
    return part(TONES[worst.air.level], text, to("district", { district: worst.district }));
  }
}

const part = (/** @type {string} */ tone, /** @type {string} */ text, /** @type {string} */ address) =>
  h("a", { href: address, "data-tone": tone }, sign(tone), text);
