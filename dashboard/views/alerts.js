// All alerts, those of now or those of before, with filters; the URL holds them.

import { registerView } from "../app.js";
import { explain, get } from "../api.js";
import { t } from "../i18n.js";
import { listen } from "../live.js";
import { acknowledgeForm, alertList, mayAcknowledge, OPEN } from "./alert-list.js";
import { theCity } from "./city.js";
import { atMost, empty, h, Panel } from "./kit.js";
import { change, to } from "./links.js";
import { sentenceOf, titleOf } from "./message.js";
import { headed } from "./pieces.js";
import { labelled, segments } from "./range.js";
import { name } from "./words.js";

const PAGE = 50;
// While many alerts come at once, the list is asked for no more often.
const RELOAD_MS = 5_000;
const SEVERITIES = ["critical", "warning", "info"];

registerView("alerts", {
  title: () => t("drill.alerts"),
  async render(root, params, signal) {
    const [city, may] = await Promise.all([theCity(), mayAcknowledge()]);
    const state = params.get("state") ?? "open";
    const filter = /** @type {Record<string, string>} */ ({ state: state === "open" ? OPEN : state });
    for (const one of ["severity", "district", "kind", "device"]) if (params.get(one)) filter[one] = /** @type {string} */ (params.get(one));
    const set = (/** @type {string} */ what) => (/** @type {string} */ value) => change("alerts", params, { [what]: value });
    headed(root, { crumbs: [[city.title, to("city")]], title: t("drill.alerts") });
    const states = /** @type {[string, string][]} */ ([["open", t("drill.open")], ["firing", name("drill.alert_state", "firing")], ["acknowledged", name("drill.alert_state", "acknowledged")], ["resolved", name("drill.alert_state", "resolved")]]);
    const severities = /** @type {[string, string][]} */ ([["", t("drill.any")], ...SEVERITIES.map((one) => [one, name("drill.severity", one)])]);
    root.append(
      h(
        "div.filters",
        { role: "search" },
        labelled(t("drill.is"), segments(t("drill.is"), states, state, set("state"))),
        labelled(t("drill.severity"), segments(t("drill.severity"), severities, params.get("severity") ?? "", set("severity"))),
        choice(t("drill.district"), [...city.districts.keys()].map((one) => [one, city.district(one)]), params.get("district"), set("district")),
        choice(t("drill.kind"), [...city.kinds.keys()].map((one) => [one, city.kind(one)]), params.get("kind"), set("kind")),
        params.get("device") && h("button.quiet", { type: "button", onclick: () => set("device")("") }, `${params.get("device")} ✕`),
      ),
    );
    const { panel, shows } = listPanel(filter, city, may, signal);
    root.append(panel.element);
    const again = atMost(() => panel.reload(), RELOAD_MS, signal);
    listen({ events: "alerts" }, { alerts: ({ alerts }) => (alerts.some(shows) ? again.now() : again.soon()) }, signal);
  },
});

/** Return a labelled list to choose one of, or all. */
export function choice(/** @type {string} */ label, /** @type {string[][]} */ choices, /** @type {string | null} */ chosen, /** @type {(value: string) => void} */ choose) {
  const options = [["", t("drill.any")], ...choices].map(([value, text]) => h("option", { value, selected: value === (chosen ?? "") }, text));
  const select = h("select", { onchange: (/** @type {any} */ event) => choose(event.currentTarget.value) }, options);
  return h("label.choice", {}, h("span", {}, label), select);
}

/** Return the list, and whether a change of an alert is to be seen in it. */
function listPanel(/** @type {Record<string, string>} */ filter, /** @type {any} */ city, /** @type {boolean} */ may, /** @type {AbortSignal} */ signal) {
  const sort = filter.state === "resolved" ? "newest" : "worst";
  /** @type {Map<string, string>} The states of what is shown, by number. */
  let shown = new Map();
  let most = PAGE;
  const panel = new Panel({
    title: t("drill.alerts"),
    kind: "headless",
    signal,
    every: 15,
    lines: 8,
    load: (inner) => get("alerts", { ...filter, sort, limit: most }, { signal: inner }),
    draw: (answer) => {
      shown = new Map(answer.alerts.map((/** @type {any} */ one) => [one.id, one.state]));
      if (!answer.alerts.length) return empty(filter.state === OPEN ? t("drill.no_alerts") : t("drill.no_such_alerts"));
      const more = answer.next && most < 1000 ? h("button.quiet", { type: "button", onclick: () => ((most = Math.min(1000, most * 2)), panel.reload()) }, t("drill.more")) : null;
      return [alertList(answer.alerts, city, may ? ask : null), more];
    },
  });
  /** Ask for a note in a dialogue; the list is loaded again afterwards. */
  function ask(/** @type {any} */ alert) {
    const dialog = h("dialog.card", { "aria-label": t("drill.acknowledge"), onclose: () => dialog.remove() });
    const done = () => {
      dialog.close();
      panel.reload();
    };
    const close = h("button.quiet", { type: "button", onclick: () => dialog.close() }, t("drill.cancel"));
    dialog.append(h("h2", {}, titleOf(alert, city)), h("p", {}, sentenceOf(alert, city)), acknowledgeForm(alert, done, explain), close);
    document.body.append(dialog);
    dialog.showModal();
    signal.addEventListener("abort", () => dialog.close(), { once: true });
  }
  return { panel, shows: (/** @type {any} */ one) => shown.has(one.id) && shown.get(one.id) !== one.state };
}
