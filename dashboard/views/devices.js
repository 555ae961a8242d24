// All devices: searched, filtered, the worst first; page by page, however many there are.

import { registerView } from "../app.js";
import { explain, get } from "../api.js";
import { t } from "../i18n.js";
import { choice } from "./alerts.js";
import { theCity } from "./city.js";
import { afterwards, empty, h, Panel } from "./kit.js";
import { change, to } from "./links.js";
import { fleetTable, headed } from "./pieces.js";
import { labelled, segments } from "./range.js";
import { name, number } from "./words.js";

const PAGE = 100;
const STATES = ["silent", "never", "reporting", "disabled"];

registerView("devices", {
  title: () => t("drill.devices"),
  async render(root, params, signal) {
    const city = await theCity();
    const filter = /** @type {Record<string, string>} */ ({});
    for (const one of ["q", "kind", "district", "state", "sort"]) if (params.get(one)) filter[one] = /** @type {string} */ (params.get(one));
    const set = (/** @type {string} */ what) => (/** @type {string} */ value) => change("devices", params, { [what]: value });
    headed(root, {
      crumbs: [[city.title, to("city")]],
      title: t("drill.devices"),
      tools: h("a.button", { href: to("connect") }, t("drill.connect")),
    });
    const states = h("div");
    root.append(
      h(
        "div.filters",
        { role: "search" },
        search(params, filter.q ?? ""),
        states,
        choice(t("drill.kind"), [...city.kinds.keys()].map((one) => [one, city.kind(one)]), filter.kind, set("kind")),
        choice(t("drill.district"), [...city.districts.keys()].map((one) => [one, city.district(one)]), filter.district, set("district")),
        labelled(t("drill.order"), segments(t("drill.order"), [["", t("drill.worst_first")], ["id", t("drill.by_id")]], filter.sort ?? "", set("sort"))),
      ),
    );
    const panel = new Panel({
      title: t("drill.devices"),
      kind: "headless",
      signal,
      lines: 12,
      load: (inner) => get("fleet", { ...filter, limit: PAGE }, { signal: inner }),
      draw: (answer) => {
        states.replaceChildren(stateChoice(answer.counts, filter.state ?? "", set("state")));
        if (!answer.devices.length) return empty(t("drill.no_such_devices"));
        const place = h("div", {}, fleetTable(answer.devices, city));
        return [place, answer.next ? more(place, answer.next, filter, city, signal) : null];
      },
    });
    root.append(panel.element);
  },
});

// Each search is an address of its own, and a new view; typing goes on where it was.
let isTyping = false;

function search(/** @type {URLSearchParams} */ params, /** @type {string} */ text) {
  const ask = afterwards((/** @type {string} */ value) => {
    isTyping = true;
    change("devices", params, { q: value.trim() }, true);
  }, 300);
  const input = h("input", { type: "search", name: "q", value: text, placeholder: t("drill.search_hint"), autocomplete: "off", oninput: (/** @type {any} */ event) => ask(event.currentTarget.value) });
  if (isTyping) queueMicrotask(() => (input.focus(), input.setSelectionRange(text.length, text.length)));
  isTyping = false;
  return h("label.choice.search", {}, h("span", {}, t("drill.search")), input);
}

function stateChoice(/** @type {Record<string, number>} */ counts, /** @type {string} */ chosen, /** @type {(value: string) => void} */ choose) {
  const all = STATES.reduce((sum, one) => sum + counts[one], 0);
  const choices = /** @type {[string, string][]} */ ([["", `${t("drill.any")} ${number(all)}`], ...STATES.map((one) => [one, `${name("drill.state", one)} ${number(counts[one])}`])]);
  return labelled(t("drill.is"), segments(t("drill.is"), choices, chosen, choose));
}

/** Return the button that appends the next page to the table; it goes on by itself when it is scrolled to. */
function more(/** @type {HTMLElement} */ place, /** @type {string} */ next, /** @type {Record<string, string>} */ filter, /** @type {any} */ city, /** @type {AbortSignal} */ signal) {
  let cursor = next;
  const button = h("button.quiet.more-rows", { type: "button", onclick: () => load() }, t("drill.more"));
  const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && load(), { rootMargin: "600px" });
  seen.observe(button);
  signal.addEventListener("abort", () => seen.disconnect(), { once: true });
  async function load() {
    if (button.disabled) return;
    button.disabled = true;
    try {
      const answer = await get("fleet", { ...filter, limit: PAGE, cursor }, { signal });
      place.querySelector("tbody")?.append(...fleetTable(answer.devices, city).querySelectorAll("tbody > tr"));
      cursor = answer.next;
      if (!cursor) return button.remove();
      button.textContent = t("drill.more");
      // Asks again if the button is still in sight.
      seen.unobserve(button);
      seen.observe(button);
    } catch (error) {
      if (signal.aborted) return;
      button.textContent = `${explain(error)} ${t("drill.again")}`;
      seen.disconnect();
    } finally {
      button.disabled = false;
    }
  }
  return button;
}
