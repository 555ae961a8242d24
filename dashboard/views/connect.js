// Connect a device: say what it is, get its account and programs that use it, watch what comes of its messages.

import { navigate, registerView } from "../app.js";
import { get, post, session } from "../api.js";
import { t } from "../i18n.js";
import { theCity } from "./city.js";
import { accountPanel, programsPanel } from "./connect-account.js";
import { deviceForm, metricsPanel } from "./connect-form.js";
import { messagesPanel } from "./connect-messages.js";
import { empty, h } from "./kit.js";
import { to } from "./links.js";
import { headed } from "./pieces.js";

/** @typedef {import("./city.js").City} City */

const ROLES = ["operator", "admin"];

// What a device was given, as long as its page is shown: nobody can ask for a secret again.
/** @type {any} */
let given = null;

registerView("connect", {
  title: (params) => params.get("device") ?? t("connect.title"),
  async render(root, params, signal) {
    const [city, who] = await Promise.all([theCity(), session()]);
    const device = params.get("device");
    if (!ROLES.includes(who.role)) {
      headed(root, { crumbs: [[city.title, to("city")]], title: t("connect.title") });
      root.append(h("section.card", {}, empty(t("connect.not_allowed", { role: t(`role.${who.role}`) }))));
    } else if (device) {
      await showDevice(root, device, city, signal);
    } else {
      given = null;
      showForm(root, params, city);
    }
  },
});

function showForm(/** @type {HTMLElement} */ root, /** @type {URLSearchParams} */ params, /** @type {City} */ city) {
  headed(root, {
    crumbs: [[city.title, to("city")]],
    title: t("connect.title"),
    lead: h("p.lead", {}, t("connect.lead")),
  });
  const side = h("div.side");
  const form = deviceForm(params, city, {
    onKind: (kind) => side.replaceChildren(metricsPanel(kind, city)),
    register: async (device) => {
      given = await post("devices", device);
      navigate("connect", { device: given.id }, { replace: true });
    },
  });
  root.append(h("div.split", {}, h("div.main", {}, form), side));
}

async function showDevice(/** @type {HTMLElement} */ root, /** @type {string} */ id, /** @type {City} */ city, /** @type {AbortSignal} */ signal) {
  const here = location.pathname + location.search;
  const isNew = given?.id === id;
  signal.addEventListener("abort", () => {
    // In another language it is still the same page.
    if (location.pathname + location.search !== here) given = null;
  });
  const device = isNew ? given : await get(`devices/${encodeURIComponent(id)}`, {}, { signal });
  headed(root, {
    crumbs: [
      [city.title, to("city")],
      [t("connect.title"), to("connect")],
    ],
    title: h("span.mono", {}, id),
    lead: h("p.lead", {}, `${city.kind(device.kind)} · ${city.district(device.district)}`),
    tools: [
      h("a.button.quiet", { href: to("device", { device: id }) }, t("connect.its_page")),
      h("a.button.quiet", { href: to("connect", { kind: device.kind, district: device.district }) }, t("connect.another")),
    ],
  });
  const main = h("div.main");
  const draw = (/** @type {any} */ shown) =>
    main.replaceChildren(...[accountPanel(shown, renew), shown.secret ? programsPanel(shown) : null].filter((part) => part !== null));
  async function renew() {
    given = await post(`devices/${encodeURIComponent(id)}/secret`, {});
    draw(given);
  }
  draw(device);
  root.append(h("div.split", {}, main, h("div.side", {}, messagesPanel(id, city, isNew, signal))));
}
