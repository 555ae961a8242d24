// What happens in the city as it happens: the stream of events, one connection of a page; and how live that is.

const STREAM = "/api/v1/stream";
const EVENTS = ["readings", "status", "alerts"];
// A silent stream sends a comment every 15 s, of which a page hears nothing: the browser sees to it that it reconnects.
const AGAIN_MS = 5_000;

/** @type {"none" | "connecting" | "live" | "polling"} */
let state = "none";
let listeners = 0;
const watchers = new Set();

/**
 * Call `watch` with how live the page is, and with each change of it: whether events come ("live"), are about to
 * ("connecting"), views have to ask themselves ("polling"), or none listens ("none"), until `signal` ends.
 */
export function watchLiveness(/** @type {(state: string) => void} */ watch, /** @type {AbortSignal} */ signal) {
  watchers.add(watch);
  signal.addEventListener("abort", () => watchers.delete(watch), { once: true });
  watch(state);
}

function become(/** @type {"none" | "connecting" | "live" | "polling"} */ next) {
  if (next === state) return;
  state = next;
  for (const watch of watchers) watch(state);
}

/**
 * Listen to the stream until `signal` ends. It resumes where it was after a break; where there is none, or it is refused,
 * it is tried again every few seconds, and the page is "polling" meanwhile.
 * @param {Record<string, string | string[]>} filter of the stream: events, metric, district, kind, device
 * @param {{readings?: (data: any) => void, status?: (data: any) => void, alerts?: (data: any) => void, opened?: () => void}} handlers
 * @param {AbortSignal} signal
 */
export function listen(filter, handlers, signal) {
  const asked = new URLSearchParams(Object.entries(filter).map(([name, value]) => [name, String(value)]));
  if (!asked.has("events")) asked.set("events", EVENTS.filter((name) => name in handlers).join(","));
  /** @type {EventSource | null} */
  let source = null;
  let timer = 0;
  function open() {
    source = new EventSource(`${STREAM}?${asked}`);
    source.addEventListener("open", () => {
      become("live");
      handlers.opened?.();
    });
    source.addEventListener("error", () => {
      become("polling");
      // While it connects again by itself it keeps its place; refused, it does nothing more.
      if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(open, AGAIN_MS);
    });
    for (const name of EVENTS) {
      const handle = /** @type {any} */ (handlers)[name];
      if (handle) source.addEventListener(name, (/** @type {any} */ event) => handle(JSON.parse(event.data)));
    }
  }
  if (!listeners++) become("connecting");
  open();
  signal.addEventListener(
    "abort",
    () => {
      window.clearTimeout(timer);
      source?.close();
      if (!--listeners) become("none");
    },
    { once: true },
  );
}
