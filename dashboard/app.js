// The shell: which view is shown follows from the address, and only from it.

import { explain, session } from "./api.js";
import { drawFrame, markView } from "./frame.js";
import { loadLanguage, t } from "./i18n.js";

const ROOT = "/ui";
const FIRST = "city";
// In which file a view is, where it is not called like it.
const FILES = /** @type {Record<string, string>} */ ({ city: "glance" });

/**
 * @typedef {{title: (params: URLSearchParams) => string,
 *   render: (root: HTMLElement, params: URLSearchParams, signal: AbortSignal) => void | Promise<void>}} View
 *   `signal` ends when another view, or the same one with other parameters, takes its place.
 */

/** @type {Map<string, View>} */
const views = new Map();
let shown = new AbortController();
let shownAddress = "";

/** Make a view known: `/ui/NAME?params` then renders it into an empty element. `title` is a text's key, or gives the title. */
export function registerView(/** @type {string} */ name, /** @type {{title: string | ((params: URLSearchParams) => string), render: View["render"]}} */ view) {
  const { title } = view;
  views.set(name, { title: typeof title === "string" ? () => t(title) : title, render: view.render });
}

/** Return the address of a view. */
export function href(/** @type {string} */ view, /** @type {URLSearchParams | Record<string, string>} */ params = {}) {
  const query = String(new URLSearchParams(params));
  return `${ROOT}/${view}${query && `?${query}`}`;
}

/** Go to a view. `replace` leaves no step to go back to. */
export function navigate(/** @type {string} */ view, /** @type {URLSearchParams | Record<string, string>} */ params = {}, { replace = false } = {}) {
  const to = href(view, params);
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  show();
}

/** Show again what the address says, such as in another language. */
export async function show() {
  shown.abort();
  shown = new AbortController();
  shownAddress = location.pathname + location.search;
  const { signal } = shown;
  const name = asked();
  const params = new URLSearchParams(location.search);
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  markView(name);
  const view = await load(name);
  if (signal.aborted) return;
  const root = document.createElement("div");
  root.className = `view view-${view ? name : "none"}`;
  main.replaceChildren(root);
  main.removeAttribute("aria-busy");
  document.title = `${view ? view.title(params) : t("shell.no_view")} · Alatau`;
  say(view ? view.title(params) : t("shell.no_view"));
  if (!view) return tell(root, t("shell.no_view_text"));
  try {
    await view.render(root, params, signal);
  } catch (error) {
    if (signal.aborted) return;
    console.error(error);
    tell(root, explain(error));
  }
}

const asked = () => location.pathname.slice(ROOT.length).split("/")[1] || FIRST;

async function load(/** @type {string} */ name) {
  if (!/^[a-z][a-z-]*$/.test(name)) return null;
  if (!views.has(name)) {
    document.getElementById("main")?.setAttribute("aria-busy", "true");
    await import(`./views/${FILES[name] ?? name}.js`).catch((error) => console.warn(error));
  }
  return views.get(name) ?? null;
}

/** Say something to those who do not see the page. */
export function say(/** @type {string} */ text) {
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = text;
}

function tell(/** @type {HTMLElement} */ root, /** @type {string} */ text) {
  const note = document.createElement("div");
  note.className = "nothing";
  note.setAttribute("role", "alert");
  const link = document.createElement("a");
  link.href = href(FIRST);
  link.textContent = t("nav.city");
  const sentence = document.createElement("p");
  sentence.textContent = text;
  note.append(sentence, link);
  root.append(note);
}

// Links between views are followed without loading the page again; with a modifier, or to elsewhere, as ever.
document.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest?.("a[href]");
  if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented || event.button) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.target || link.hasAttribute("download")) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || !(to.pathname === ROOT || to.pathname.startsWith(`${ROOT}/`)) || to.hash) return;
  event.preventDefault();
  if (to.href === location.href) return;
  const isOther = to.pathname !== location.pathname;
  history.pushState(null, "", to);
  if (isOther) window.scrollTo(0, 0);
  show();
  if (isOther) document.getElementById("main")?.focus({ preventScroll: true });
});
window.addEventListener("popstate", () => {
  // A step to a place within the page, such as by the link that skips to the content, is none to another view.
  if (location.pathname + location.search !== shownAddress) show();
});

async function start() {
  load(asked()); // its files come meanwhile
  await loadLanguage();
  const who = await session();
  drawFrame(who, show);
  await show();
}

// Views import this file by the same address, and find the registry of the page.
start().catch((error) => {
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  if (error?.status !== 401) tell(main, explain(error));
});
