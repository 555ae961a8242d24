// Alerts in a list: what is wrong, how bad, since when, where; and the button that says somebody looks after it.

import { get, post, session } from "../api.js";
import { t } from "../i18n.js";
import { chip, h, Panel, sign } from "./kit.js";
import { to } from "./links.js";
import { sentenceOf, titleOf } from "./message.js";
import { toneOf } from "./pieces.js";
import { ago, moment, name } from "./words.js";

export const OPEN = "pending,firing,acknowledged";
const SHOWN = "firing,acknowledged";
const MAY_ACKNOWLEDGE = ["operator", "admin"];

/** Return the panel of the alerts of a part of the city, or of a device. */
export function alertsPanel(/** @type {Record<string, string>} */ filter, /** @type {any} */ city, /** @type {AbortSignal} */ signal) {
  return new Panel({
    title: t("drill.alerts"),
    signal,
    every: 15,
    lines: 3,
    actions: h("a.more", { href: to("alerts", filter) }, t("drill.all_alerts")),
    load: (inner) => get("alerts", { ...filter, state: SHOWN, sort: "worst", limit: 5 }, { signal: inner }),
    draw: (answer) => (answer.alerts.length ? alertList(answer.alerts, city, null, filter) : h("p.fine", {}, sign("good"), t("drill.no_alerts"))),
  });
}

const GRAVEST = ["critical", "warning", "info"];
const UNATTENDED = ["firing", "acknowledged", "pending"];
const rank = (/** @type {any} */ one) => GRAVEST.indexOf(one.severity) * UNATTENDED.length + UNATTENDED.indexOf(one.state);

/** Return open alerts in the order of the API's `sort=worst`: for those that a stream brings in between. */
export const worstFirst = (/** @type {any[]} */ alerts) => alerts.toSorted((a, b) => rank(a) - rank(b) || Number(b.id) - Number(a.id));

/** Return whether who is signed in may say that somebody looks after an alert. */
export const mayAcknowledge = async () => MAY_ACKNOWLEDGE.includes((await session()).role);

/** Return a list of alerts; `onAcknowledge` adds a button to those that nobody looks after, `known` is left out. */
export function alertList(/** @type {any[]} */ alerts, /** @type {any} */ city, /** @type {((alert: any) => void) | null} */ onAcknowledge = null, known = {}) {
  return h("ol.alerts", {}, alerts.map((alert) => alertRow(alert, city, onAcknowledge, known)));
}

function alertRow(/** @type {any} */ alert, /** @type {any} */ city, /** @type {((alert: any) => void) | null} */ onAcknowledge, /** @type {Record<string, string>} */ known) {
  const severity = name("drill.severity", alert.severity);
  // Not what goes without saying: a device's page names neither it nor where it is.
  const where = [
    !known.district && !known.device && alert.district && city.district(alert.district),
    !known.kind && !alert.device && alert.kind && city.kind(alert.kind),
    !known.device && alert.device,
  ].filter(Boolean);
  const button =
    onAcknowledge && alert.state === "firing"
      ? h("button.quiet", { type: "button", onclick: () => onAcknowledge(alert), "aria-label": `${t("drill.acknowledge")}: ${titleOf(alert, city)}` }, t("drill.acknowledge"))
      : null;
  return h(
    "li",
    { "data-tone": toneOf(alert.severity), "data-state": alert.state },
    h("span.mark", { title: severity }, sign(toneOf(alert.severity)), h("span.unseen", {}, severity)),
    h(
      "div",
      {},
      h("a.alert-title", { href: to("alert", { alert: alert.id }) }, titleOf(alert, city)),
      h("p.alert-sentence", {}, sentenceOf(alert, city)),
      h("p.faint", {}, h("time", { datetime: alert.since, title: moment(alert.since, city.zone, true) }, since(alert)), where.length ? ` · ${where.join(" · ")}` : ""),
    ),
    h("div.alert-end", {}, alertState(alert), button),
  );
}

/** Return the chip of an alert's state. */
export const alertState = (/** @type {any} */ alert) =>
  chip(alert.state === "firing" ? toneOf(alert.severity) : toneOf(alert.state), name("drill.alert_state", alert.state));

/** Return since when, or from when to when it was over, in words. */
export function since(/** @type {any} */ alert, now = Date.now()) {
  const seconds = (now - Date.parse(alert.resolved_at ?? alert.since)) / 1000;
  return alert.resolved_at ? t("drill.resolved_ago", { ago: ago(seconds) }) : t("drill.since_ago", { ago: ago(seconds) });
}

/** Tell the API that somebody looks after an alert, and return the alert as it is then. */
export const acknowledge = (/** @type {string} */ id, /** @type {string} */ note) => post(`alerts/${encodeURIComponent(id)}/acknowledge`, { note });

/** Return the form that acknowledges an alert with a note; `done` is called afterwards. */
export function acknowledgeForm(/** @type {any} */ alert, /** @type {() => void} */ done, /** @type {(error: any) => string} */ explain) {
  const trouble = h("p.trouble", { role: "alert" });
  const note = h("textarea", { name: "note", rows: 2, maxlength: 1000, placeholder: t("drill.note_hint") });
  const button = h("button", { type: "submit" }, t("drill.acknowledge"));
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await acknowledge(alert.id, note.value.trim());
      done();
    } catch (error) {
      trouble.textContent = explain(error);
      button.disabled = false;
    }
  };
  return h("form.acknowledge", { onsubmit: send }, h("label", {}, h("span", {}, t("drill.note")), note), trouble, button);
}
