// The strip of ingest: how much comes in, how late, how much is refused, and the newest reading of all.

import { t } from "../i18n.js";
import { h } from "./kit.js";
import { to } from "./links.js";
import { ago, number, quantity } from "./words.js";

// A city of one-minute devices is never silent for so long.
const STALE_SECONDS = 90;

export class Strip {
  #city;
  /** @type {Record<string, HTMLElement>} */ #figures = {};
  #last = 0;
  #newest = h("span.newest");
  element;

  constructor(/** @type {import("./city.js").City} */ city) {
    this.#city = city;
    const figure = (/** @type {string} */ key, /** @type {string | null} */ address = null) => {
      this.#figures[key] = h("dd.tabular", {}, "–");
      const title = t(`strip.${key}`);
      return h("div", { title: t(`strip.${key}_text`) }, h("dt", {}, address ? h("a", { href: address }, title) : title), this.#figures[key]);
    };
    this.element = h(
      "section.card.glance-strip",
      { "aria-label": t("strip.title") },
      h("dl", {}, figure("readings"), figure("lag"), figure("refused"), figure("reporting", to("devices"))),
      h("p.ticker", {}, h("span.faint", {}, t("strip.newest")), this.#newest),
    );
  }

  show(/** @type {any} */ { ingest, devices }) {
    this.#put("readings", number(ingest.readings_per_second), t("unit.per_second"));
    const lag = ingest.lag_p95_seconds;
    this.#put("lag", lag === null ? "–" : number(lag < 0.01 ? 0 : lag, 2), t("unit.seconds"));
    this.#put("refused", number(ingest.refused_per_minute), t("unit.per_minute"));
    this.#put("reporting", number(devices.expected - devices.silent), t("strip.of", { all: devices.expected }));
    this.#figures.refused.dataset.tone = ingest.refused_per_minute > 0 ? "warning" : "";
    const last = ingest.last_received_at ? Date.parse(ingest.last_received_at) : 0;
    if (last > this.#last) {
      this.#last = last;
      this.#newest.replaceChildren();
    }
    this.tick();
  }

  /** Show the newest of some readings. */
  arrived(/** @type {any[]} */ readings) {
    const newest = readings.reduce((a, b) => (b.received_at > a.received_at ? b : a));
    const at = Date.parse(newest.received_at);
    if (at < this.#last) return;
    this.#last = at;
    // What a counter has counted since it was installed says nothing.
    const told = Object.entries(newest.values).find(([name]) => !this.#city.isCounter(name));
    if (!told) return;
    const [metric, value] = told;
    this.#newest.dataset.device = newest.device;
    const words = `${this.#city.metric(metric)} ${quantity(/** @type {number} */ (value), this.#city.unit(metric))}`;
    this.#newest.replaceChildren(h("b.tabular", {}, words), " ", h("a.mono", { href: to("device", { device: newest.device }) }, newest.device), " ", h("span.age"));
    this.tick();
  }

  tick() {
    if (!this.#last) return;
    const seconds = Math.max(0, (Date.now() - this.#last) / 1000);
    this.element.classList.toggle("has-old", seconds > STALE_SECONDS);
    const age = this.#newest.querySelector(".age");
    const words = seconds < 1.5 ? t("strip.now") : ago(seconds);
    if (age) age.textContent = words;
    else this.#newest.textContent = words;
  }

  #put(/** @type {string} */ key, /** @type {string} */ value, /** @type {string} */ unit) {
    this.#figures[key].replaceChildren(value, h("small", {}, ` ${unit}`));
  }
}
