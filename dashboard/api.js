// What the page asks of the API: with the session's cookie and its token, and problems as sentences.

import { t } from "./i18n.js";

const PREFIX = "/api/v1/";

/** What the API says is wrong (RFC 9457), or that it could not be reached (`status` 0). */
export class Problem extends Error {
  /** @param {number} status @param {any} document @param {number} [retryAfter] in seconds */
  constructor(status, document, retryAfter) {
    super(document.detail ?? document.title ?? t("problem.answered", { status }));
    this.name = "Problem";
    this.status = status;
    this.type = String(document.type ?? "").replace("urn:alatau:problem:", "");
    this.parameter = document.parameter ?? null;
    this.requestId = document.request_id ?? null;
    this.retryAfter = retryAfter ?? null;
  }
}

/** Return what went wrong as a sentence for people. */
export function explain(/** @type {any} */ error) {
  if (!(error instanceof Problem)) return t("problem.page", { what: String(error?.message ?? error) });
  const text = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

/** @type {Promise<any> | null} */
let asked = null;

/** Return who is signed in: `name`, `role`, `districts`, `kinds`, `csrf_token`. Whoever is not is led to sign in. */
export function session() {
  asked ??= request("GET", "session").catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

/** Lead to the page on which people sign in, and back here. */
export function signIn() {
  const here = location.pathname + location.search;
  location.assign(`/sign-in?to=${encodeURIComponent(here)}`);
}

/** End the session. */
export async function signOut() {
  await send("DELETE", "session");
  location.assign("/sign-in?to=/ui");
}

/**
 * Return the JSON of `GET /api/v1/PATH`. Parameters that are null or undefined are left out, lists become commas.
 * @param {string} path @param {Record<string, any> | URLSearchParams} [params] @param {{signal?: AbortSignal}} [options]
 */
export const get = (path, params = {}, { signal } = {}) => request("GET", path + written(params), undefined, signal);

/** @param {string} path @param {any} [body] @param {{signal?: AbortSignal}} [options] */
export const post = (path, body, options = {}) => send("POST", path, body, options);

/** @param {string} method @param {string} path @param {any} [body] @param {{signal?: AbortSignal}} [options] */
export async function send(method, path, body, { signal } = {}) {
  const { csrf_token: token } = await session();
  return request(method, path, body, signal, token);
}

/** Return the address of a download, which a browser saves by itself. */
export const address = (/** @type {string} */ path, /** @type {any} */ params = {}) => PREFIX + path + written(params);

/** @param {Record<string, any> | URLSearchParams} params */
function written(params) {
  const entries = params instanceof URLSearchParams ? [...params] : Object.entries(params);
  const given = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, Array.isArray(value) ? value.join(",") : String(value)]));
  return given.length ? `?${text}` : "";
}

/** @param {string} method @param {string} path @param {any} [body] @param {AbortSignal} [signal] @param {string} [token] */
async function request(method, path, body, signal, token) {
  const headers = /** @type {Record<string, string>} */ ({ Accept: "application/json" });
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers["X-CSRF-Token"] = token;
  let answer;
  try {
    answer = await fetch(PREFIX + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, { detail: t("problem.away") });
  }
  if (answer.status === 204) return null;
  if (answer.ok) return answer.json();
  const document = await answer.json().catch(() => ({}));
  if (answer.status === 401) signIn();
  throw new Problem(answer.status, document, Number(answer.headers.get("Retry-After")) || undefined);
}
