// What every view is made of: elements, and panels that load on their own and say how they are.

import { explain } from "../api.js";
import { t } from "../i18n.js";
import { ago } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const OF_SVG = new Set(["svg", "path", "polygon", "polyline", "circle", "line", "rect", "g", "text", "title", "desc"]);

/**
 * Return an element: `h("a.quiet", {href: "…"}, "text", child, …)`. Functions listen, `true` is an attribute without a
 * value; null, undefined and false are left out.
 * @param {string} what
 * @param {Record<string, any>} [attributes]
 * @param {...any} children
 * @returns {any}
 */
export function h(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const isSvg = OF_SVG.has(tag) && !(tag === "title" && attributes.html);
  const element = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a sign that is told apart by its shape as well as by its colour. */
export function sign(/** @type {string} */ tone) {
  const shapes = {
    good: h("circle", { cx: 8, cy: 8, r: 5 }),
    info: h("rect", { x: 3.5, y: 3.5, width: 9, height: 9, rx: 1.5 }),
    warning: h("path", { d: "M8 2.2 14.4 13.4H1.6Z" }),
    critical: h("path", { d: "M5.2 1.5h5.6l3.7 3.7v5.6l-3.7 3.7H5.2l-3.7-3.7V5.2Z" }),
    quiet: h("circle", { cx: 8, cy: 8, r: 4.2, fill: "none", "stroke-width": 2, stroke: "currentColor" }),
    off: h("path", { d: "M3 8h10", fill: "none", "stroke-width": 2.4, stroke: "currentColor" }),
  };
  const shape = /** @type {any} */ (shapes)[tone] ?? shapes.quiet;
  return h("svg.sign", { viewBox: "0 0 16 16", "aria-hidden": "true", "data-tone": tone }, shape);
}

/** Return a chip: a sign and a word. */
export const chip = (/** @type {string} */ tone, /** @type {any} */ text) =>
  h("span.chip", { "data-tone": tone }, sign(tone), h("span", {}, text));

/** Return what stands where there is nothing, and what to do about that. */
export const empty = (/** @type {string} */ text, /** @type {any} */ action = null) =>
  h("div.nothing", {}, h("p", {}, text), action);

/**
 * A part of a page that loads on its own. It shows a shimmer at first, then what `draw` returns; after a failure what it
 * had, in grey and with its age, and a button to try again.
 * @template T
 */
export class Panel {
  #load;
  #draw;
  #signal;
  #every;
  /** @type {number | undefined} */ #timer;
  /** @type {AbortController | null} */ #asking = null;
  #at = 0;
  #tried = 0;
  #isRefused = false;
  #body = h("div.panel-body");
  #note = h("p.panel-note", { role: "status" });
  #age = h("span.age");

  /**
   * @param {{title: any, load: (signal: AbortSignal) => Promise<T>, draw: (data: T) => any, signal: AbortSignal,
   *   every?: number, actions?: any, kind?: string, lines?: number, note?: any}} options
   *   `every` is in seconds; without it only `reload` loads again.
   */
  constructor({ title, load, draw, signal, every = 0, actions = null, kind = "", lines = 3, note = null }) {
    this.#load = load;
    this.#draw = draw;
    this.#signal = signal;
    this.#every = every;
    const head = h("header.panel-head", {}, h("h2", {}, title), note && h("span.panel-hint", {}, note), this.#age, actions);
    /** The panel's element. */
    this.element = h(`section.card.panel${kind ? `.${kind}` : ""}`, { "aria-busy": "true" }, head, this.#note, this.#body);
    this.#body.append(h("div.shimmer", { "aria-hidden": "true" }, Array.from({ length: lines }, () => h("i"))));
    signal.addEventListener("abort", () => this.#stop(), { once: true });
    this.reload();
    if (every) this.#timer = window.setInterval(() => this.#tick(), 1000);
  }

  #stop() {
    window.clearInterval(this.#timer);
    this.#asking?.abort();
  }

  #tick() {
    const seconds = (Date.now() - this.#at) / 1000;
    if (this.#at) {
      if (seconds > 3 * this.#every) this.element.toggleAttribute("data-stale", true);
      this.#age.textContent = seconds >= 10 ? ago(seconds) : "";
    }
    // After a failure as long again; what one may not see is not asked for again.
    const isDue = Date.now() - this.#tried >= this.#every * 1000;
    if (isDue && !this.#isRefused && !document.hidden && !this.#asking) this.reload();
  }

  /** Load again; a load that is under way is given up. */
  async reload() {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    this.#tried = Date.now();
    this.element.setAttribute("aria-busy", "true");
    try {
      const data = await this.#load(AbortSignal.any([asking.signal, this.#signal]));
      if (asking.signal.aborted || this.#signal.aborted) return;
      this.#at = Date.now();
      keeping(this.#body, () => this.#body.replaceChildren(...[this.#draw(data)].flat(Infinity).filter(Boolean)));
      this.#note.replaceChildren();
      this.element.removeAttribute("data-stale");
      this.element.removeAttribute("data-failed");
    } catch (error) {
      if (asking.signal.aborted || this.#signal.aborted) return;
      this.#fail(error);
    }
    this.element.removeAttribute("aria-busy");
    if (this.#asking === asking) this.#asking = null;
  }

  #fail(/** @type {any} */ error) {
    const again = h("button.quiet", { type: "button", onclick: () => this.reload() }, t("drill.again"));
    this.element.toggleAttribute("data-failed", true);
    if (this.#at) {
      this.element.toggleAttribute("data-stale", true);
      this.#note.replaceChildren(h("span", {}, `${t("drill.not_refreshed")} ${explain(error)}`), again);
    } else {
      this.#isRefused = error?.status === 403;
      this.#body.replaceChildren(
        h("div.nothing", { role: "alert" }, sign(this.#isRefused ? "off" : "warning"), h("p", {}, explain(error)), this.#isRefused ? null : again),
      );
    }
  }
}

/** Draw a place anew; what was open in it stays open, and what had the focus has it again. */
function keeping(/** @type {HTMLElement} */ place, /** @type {() => void} */ draw) {
  const focusable = "a, button, input, select, textarea, summary, [tabindex]";
  const open = [...place.querySelectorAll("details")].map((one) => one.open);
  const before = [...place.querySelectorAll(focusable)];
  const at = before.indexOf(/** @type {Element} */ (document.activeElement));
  const label = at < 0 ? "" : before[at].textContent;
  draw();
  place.querySelectorAll("details").forEach((one, index) => (one.open = open[index] ?? one.open));
  if (at < 0) return;
  const after = /** @type {HTMLElement[]} */ ([...place.querySelectorAll(focusable)]);
  (after.find((one) => label && one.textContent === label) ?? after[at])?.focus({ preventScroll: true });
}

/** Call `act` when `wait` ms have passed since the last call. */
export function afterwards(/** @type {(...args: any[]) => void} */ act, wait = 250) {
  let timer = 0;
  return (/** @type {any[]} */ ...args) => {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => act(...args), wait);
  };
}

/** Return when to `act`: `now`, or `soon`, which is as soon as `wait` ms have passed since the last time. */
export function atMost(/** @type {() => void} */ act, /** @type {number} */ wait, /** @type {AbortSignal} */ signal) {
  let [last, timer] = [Number.NEGATIVE_INFINITY, 0];
  const now = () => {
    window.clearTimeout(timer);
    [last, timer] = [performance.now(), 0];
    if (!signal.aborted) act();
  };
  const soon = () => {
    timer ||= window.setTimeout(now, Math.max(0, last + wait - performance.now()));
  };
  signal.addEventListener("abort", () => window.clearTimeout(timer), { once: true });
  return { now, soon };
}

/**
 * Return a table that a narrow screen shows as cards. A column is {name, title, cell(row), isNumber}.
 * @param {{title: string, cell: (row: any) => any, isNumber?: boolean, isHead?: boolean}[]} columns
 * @param {any[]} rows
 * @param {string} caption
 */
export function table(columns, rows, caption) {
  const head = columns.map((column) => h(column.isNumber ? "th.number" : "th", { scope: "col" }, column.title));
  const lines = rows.map((row) =>
    h(
      "tr",
      {},
      columns.map((column) => {
        const what = `${column.isHead ? "th" : "td"}${column.isNumber ? ".number" : ""}`;
        return h(what, { scope: column.isHead ? "row" : null, "data-title": column.title }, column.cell(row));
      }),
    ),
  );
  return h("div.table", {}, h("table", {}, h("caption.unseen", {}, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, lines)));
}
