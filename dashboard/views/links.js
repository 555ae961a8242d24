// Where each thing has its page. The URL is the state: whoever changes a question goes to its address.

import { href, navigate } from "../app.js";

/** Return the address of a view. */
export function to(/** @type {string} */ view, /** @type {Record<string, string | null | undefined> | URLSearchParams} */ params = {}) {
  if (params instanceof URLSearchParams) return href(view, params);
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return href(view, new URLSearchParams(/** @type {[string, string][]} */ (given)));
}

/** Go to the same view with other parameters; null takes one away. `isMinor` leaves no step to go back to. */
export function change(/** @type {string} */ view, /** @type {URLSearchParams} */ params, /** @type {Record<string, string | null>} */ changes, isMinor = false) {
  const changed = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") changed.delete(name);
    else changed.set(name, value);
  }
  navigate(view, changed, { replace: isMinor });
}
