// What is wrong now, the worst first; one press says that somebody looks after it.

import { explain, get } from "../api.js";
import { say } from "../app.js";
import { t } from "../i18n.js";
import { acknowledge, alertList, mayAcknowledge, worstFirst } from "./alert-list.js";
import { h, Panel, sign } from "./kit.js";
import { to } from "./links.js";
import { titleOf } from "./message.js";
import { number } from "./words.js";

const OPEN = ["firing", "acknowledged"];
const SHOWN = 50;

/** Return the panel of open alerts; `changed` takes those of the stream, `watch` is told of all that are open. */
export function glanceAlerts(/** @type {import("./city.js").City} */ city, /** @type {AbortSignal} */ signal) {
  /** @type {Map<string, any>} */
  const open = new Map();
  const watchers = /** @type {((alerts: any[]) => void)[]} */ ([]);
  const trouble = h("p.trouble", { role: "alert" });
  const count = h("span.count");
  let may = false;

  const panel = new Panel({
    title: t("nav.alerts"),
    kind: "glance-alerts",
    signal,
    every: 30,
    lines: 5,
    note: count,
    actions: h("a.more", { href: to("alerts") }, t("glance.all_alerts")),
    load: async (inner) => {
      may = await mayAcknowledge();
      return get("alerts", { state: OPEN, sort: "worst", limit: SHOWN }, { signal: inner });
    },
    draw: (answer) => {
      open.clear();
      take(answer.alerts);
      return body();
    },
  });
  const place = h("div.glance-alert-list");

  function take(/** @type {any[]} */ alerts) {
    for (const alert of alerts) {
      if (OPEN.includes(alert.state)) open.set(alert.id, alert);
      else open.delete(alert.id);
    }
    for (const watch of watchers) watch([...open.values()]);
  }

  function body() {
    const alerts = worstFirst([...open.values()]).slice(0, SHOWN);
    place.replaceChildren(
      trouble,
      alerts.length
        ? alertList(alerts, city, may ? press : null)
        : h("div.all-well", {}, sign("good"), h("p", {}, t("glance.nothing_wrong")), h("p.faint", {}, t("glance.nothing_wrong_text"))),
    );
    return place;
  }

  async function press(/** @type {any} */ alert) {
    trouble.textContent = "";
    try {
      take([await acknowledge(alert.id, "")]);
      say(t("glance.acknowledged", { title: titleOf(alert, city) }));
      body();
      /** @type {HTMLElement | null} */ (place.querySelector(".alert-title"))?.focus();
    } catch (error) {
      trouble.textContent = explain(error);
    }
  }

  return {
    element: panel.element,
    reload: () => panel.reload(),
    /** Take the city's state, which counts more than are listed. */
    showState: (/** @type {any} */ { alerts: { critical, warning, info, acknowledged } }) => {
      const n = critical + warning + info + acknowledged;
      count.textContent = n ? number(n) : "";
    },
    changed: (/** @type {any[]} */ alerts) => {
      take(alerts);
      if (place.isConnected) body();
    },
    watch: (/** @type {(alerts: any[]) => void} */ watch) => {
      watchers.push(watch);
      watch([...open.values()]);
    },
  };
}
