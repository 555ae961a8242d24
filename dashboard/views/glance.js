// The first screen: one sentence of state, the districts on a map, what is wrong, and the last day beside the week before.

import { get } from "../api.js";
import { registerView } from "../app.js";
import { t } from "../i18n.js";
import { listen } from "../live.js";
import { theCity } from "./city.js";
import { glanceAlerts } from "./glance-alerts.js";
import { glanceMap } from "./glance-map.js";
import { multiples } from "./glance-multiples.js";
import { Strip } from "./glance-strip.js";
import { Summary } from "./glance-summary.js";
import { h } from "./kit.js";

const STATE_EVERY_MS = 5_000;
// The first answer of a server that nobody had asked has no rates yet: they are of the time between two looks.
const SECOND_LOOK_MS = 2_500;
const AFTER_EVENT_MS = 400;

// Asked for while the page still learns who looks at it.
theCity().catch(() => {});

registerView("city", {
  title: "nav.city",
  async render(root, params, signal) {
    const city = await theCity();
    const summary = new Summary(city);
    const strip = new Strip(city);
    const map = glanceMap(city, signal);
    const alerts = glanceAlerts(city, signal);
    root.append(
      h("header.glance-head", {}, summary.element, summary.age),
      strip.element,
      h("div.glance", {}, map.element, alerts.element, multiples(city, signal)),
    );

    const looked = new Look((state) => {
      summary.show(state);
      strip.show(state);
      map.showState(state);
      alerts.showState(state);
    }, signal);
    const tick = window.setInterval(() => {
      summary.tick();
      strip.tick();
    }, 1000);
    signal.addEventListener("abort", () => window.clearInterval(tick), { once: true });
    listen(
      { events: "readings,status,alerts" },
      {
        readings: ({ readings }) => {
          strip.arrived(readings);
          map.arrived(readings);
        },
        status: ({ devices }) => {
          map.changed(devices);
          looked.soon();
        },
        alerts: ({ alerts: changed }) => {
          alerts.changed(changed);
          looked.soon();
        },
        opened: () => alerts.reload(),
      },
      signal,
    );
    alerts.watch((open) => map.showAlerts(open));
    await looked.now();
  },
});

/** Asks for the city's state: every few seconds, and soon after something has happened. */
class Look {
  #show;
  #signal;
  #timer = 0;
  #count = 0;

  constructor(/** @type {(state: any) => void} */ show, /** @type {AbortSignal} */ signal) {
    this.#show = show;
    this.#signal = signal;
    signal.addEventListener("abort", () => window.clearTimeout(this.#timer), { once: true });
  }

  soon() {
    this.#again(AFTER_EVENT_MS);
  }

  #again(/** @type {number} */ wait) {
    if (this.#signal.aborted) return;
    window.clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.now().catch(() => {}), wait);
  }

  async now() {
    window.clearTimeout(this.#timer);
    this.#count += 1;
    try {
      if (!document.hidden || this.#count === 1) this.#show(await get("state", {}, { signal: this.#signal }));
    } finally {
      // What fails is asked again; meanwhile what is shown grows old, and looks like it.
      this.#again(this.#count === 1 ? SECOND_LOOK_MS : STATE_EVERY_MS);
    }
  }
}
