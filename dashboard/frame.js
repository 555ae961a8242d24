// The frame around every view: where to go, how live the page is, language, light or dark, and who is signed in.

import { href } from "./app.js";
import { signOut } from "./api.js";
import { chooseLanguage, language, LANGUAGES, t } from "./i18n.js";
import { watchLiveness } from "./live.js";

const VIEWS = ["city", "alerts", "explore", "devices", "connect"];
// Which entry a view that has none of its own belongs to.
const BELONGS = /** @type {Record<string, string>} */ ({ alert: "alerts", device: "devices", kind: "devices", district: "city", payments: "explore" });
const THEMES = ["auto", "light", "dark"];
const THEME_KEPT_AS = "alatau.theme";

const ICONS = /** @type {Record<string, string>} */ ({
  city: "M3 20V9l6-3v14M9 20V4l7 3v13M16 20v-9l5 2v7M2 20h20",
  alerts: "M12 3.5a6 6 0 0 0-6 6c0 5-2 6.5-2 6.5h16s-2-1.5-2-6.5a6 6 0 0 0-6-6ZM10 19.5a2.2 2.2 0 0 0 4 0",
  explore: "M3 3v18h18M7 15l4-5 3.5 3L20 7",
  devices: "M7 7h10v10H7zM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4",
  connect: "M12 5v14M5 12h14",
  auto: "M12 4a8 8 0 1 0 0 16ZM12 4a8 8 0 0 1 0 16",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z",
  out: "M14 4h5v16h-5M4 12h11M11 8l4 4-4 4",
});

function make(/** @type {string} */ tag, /** @type {Record<string, any>} */ attributes = {}, /** @type {any[]} */ ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Return one of the frame's icons, which says nothing by itself. */
function icon(/** @type {string} */ name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Draw the frame for who is signed in; `again` shows the view anew, in another language. */
export function drawFrame(/** @type {{name: string, role: string}} */ who, /** @type {() => void} */ again) {
  const frame = /** @type {HTMLElement} */ (document.getElementById("frame"));
  const links = VIEWS.map((name) => make("a", { href: href(name), "data-view": name }, icon(name), make("span", {}, t(`nav.${name}`))));
  const pulse = make("span", { class: "pulse", role: "status" });
  const tools = make("div", { class: "tools" }, pulse, languages(who, again), themes(), account(who));
  const mark = make("img", { src: new URL("./icon.svg", import.meta.url).href, alt: "", width: 24, height: 24 });
  const brand = make("a", { class: "brand", href: href("city"), "aria-label": t("shell.home") }, mark, make("span", {}, "Alatau"));
  frame.replaceChildren(brand, make("nav", { "aria-label": t("nav.label") }, ...links), tools);
  const skip = document.querySelector(".skip");
  if (skip) skip.textContent = t("shell.skip");
  markView(document.documentElement.dataset.view ?? "");
  drawn.abort();
  drawn = new AbortController();
  watchLiveness((state) => {
    pulse.dataset.state = state;
    pulse.textContent = state === "none" ? "" : t(`live.${state}`);
    pulse.title = state === "none" ? "" : t(`live.${state}_text`);
  }, drawn.signal);
}

let drawn = new AbortController();

/** Mark the entry of the view that is shown. */
export function markView(/** @type {string} */ name) {
  document.documentElement.dataset.view = name;
  for (const link of document.querySelectorAll("#frame nav a")) {
    const isHere = /** @type {HTMLElement} */ (link).dataset.view === (BELONGS[name] ?? name);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function languages(/** @type {any} */ who, /** @type {() => void} */ again) {
  const options = Object.entries(LANGUAGES).map(([name, title]) => make("option", { value: name, lang: name, ...(name === language() ? { selected: "" } : {}) }, title));
  const select = /** @type {HTMLSelectElement} */ (make("select", { "aria-label": t("shell.language"), name: "language" }, ...options));
  select.addEventListener("change", async () => {
    await chooseLanguage(select.value);
    drawFrame(who, again);
    again();
    /** @type {HTMLElement | null} */ (document.querySelector('select[name="language"]'))?.focus();
  });
  return select;
}

function themes() {
  const button = make("button", { type: "button", class: "plain" });
  const mark = () => {
    const theme = localStorage.getItem(THEME_KEPT_AS) ?? "auto";
    const text = `${t("shell.theme")}: ${t(`shell.theme_${theme}`)}`;
    button.replaceChildren(icon(theme));
    button.setAttribute("aria-label", text);
    button.title = text;
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(localStorage.getItem(THEME_KEPT_AS) ?? "auto") + 1) % THEMES.length];
    localStorage.setItem(THEME_KEPT_AS, next);
    applyTheme();
    mark();
  });
  mark();
  return button;
}

function account(/** @type {{name: string, role: string}} */ who) {
  const text = t("shell.sign_out", { name: who.name });
  const button = make("button", { type: "button", class: "plain", "aria-label": text, title: text }, icon("out"));
  button.addEventListener("click", signOut);
  const role = t(`role.${who.role}`);
  return make("div", { class: "account" }, make("span", { class: "who" }, make("b", {}, who.name), make("small", {}, role)), button);
}

/** Show the theme that was chosen here, and tell those who draw: `alatau:theme` of the document. */
export function applyTheme() {
  const theme = localStorage.getItem(THEME_KEPT_AS) ?? "auto";
  document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new Event("alatau:theme"));
}

applyTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("alatau:theme")));
