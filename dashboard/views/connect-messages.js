// What comes of a device's messages, as it happens: readings that were stored, and refusals with their reasons.
//
// Both are asked for once a second, and at once when the stream tells of a reading; nothing tells of refusals.

import { explain, get } from "../api.js";
import { t } from "../i18n.js";
import { listen } from "../live.js";
import { h, sign } from "./kit.js";
import { moment, name, quantity } from "./words.js";

/** @typedef {import("./city.js").City} City */

const LOOK_EVERY_MS = 1000;
const QUIET_AFTER_MS = 30_000;
const AT_ONCE = 50;
const KEPT = 50;
const VALUES = 6;

/** Return the panel of a device's messages from now on; of a new one, from its first. */
export function messagesPanel(/** @type {string} */ device, /** @type {City} */ city, /** @type {boolean} */ isNew, /** @type {AbortSignal} */ signal) {
  const messages = new Messages(device, city, isNew, signal);
  messages.start();
  return messages.element;
}

class Messages {
  #device;
  #city;
  #signal;
  #list = h("ol.messages", { role: "log", "aria-live": "polite", "aria-label": t("connect.messages") });
  #counts = h("span.panel-hint");
  #note = h("p.hint", { role: "status" });
  #waiting = "";
  #stored = 0;
  #refused = 0;
  /** The newest refusal that was seen, null before the first look. @type {number | null} */
  #letter;
  /** When the newest stored reading came that was seen, "" where there was none, null before the first look. @type {string | null} */
  #received;
  /** @type {Map<number, HTMLElement>} */
  #repeats = new Map();
  /** Readings of the stream that were not looked at yet. @type {any[]} */
  #told = [];
  #isLooking = false;

  constructor(/** @type {string} */ device, /** @type {City} */ city, /** @type {boolean} */ isNew, /** @type {AbortSignal} */ signal) {
    this.#device = device;
    this.#city = city;
    this.#signal = signal;
    this.#letter = isNew ? 0 : null;
    this.#received = isNew ? "" : null;
    this.#waiting = t(isNew ? "connect.waiting" : "connect.waiting_next");
    this.#note.textContent = this.#waiting;
    this.element = h(
      "section.card.panel.connect-messages",
      {},
      h("header.panel-head", {}, h("h2", {}, t("connect.messages")), this.#counts),
      this.#note,
      this.#list,
    );
  }

  start() {
    const onReadings = (/** @type {any} */ data) => {
      this.#told.push(...data.readings);
      this.#look();
    };
    listen({ device: this.#device }, { readings: onReadings }, this.#signal);
    const looking = window.setInterval(() => document.hidden || this.#look(), LOOK_EVERY_MS);
    const quiet = window.setTimeout(() => this.#sayWhatToCheck(), QUIET_AFTER_MS);
    this.#signal.addEventListener("abort", () => {
      window.clearInterval(looking);
      window.clearTimeout(quiet);
    });
    this.#look();
  }

  /** Ask for what is new, and show it in the order in which it came. The stream tells only the newest of each second. */
  async #look() {
    if (this.#isLooking) return;
    this.#isLooking = true;
    const told = this.#told.splice(0);
    const options = { signal: this.#signal };
    const device = this.#device;
    try {
      const [letters, readings] = await Promise.all([
        get("dead-letters", { device, limit: AT_ONCE }, options),
        get("readings", { device, start: "-PT1H", order: "desc", limit: AT_ONCE }, options),
      ]);
      const fresh = [...this.#newLetters(letters.dead_letters), ...this.#newReadings([...rowsOf(readings), ...told])];
      fresh.sort((one, other) => (one.received_at < other.received_at ? -1 : 1));
      for (const one of fresh) this.#show("reason" in one ? this.#refusal(one) : this.#reading(one));
      if (this.#note.hasAttribute("data-trouble")) this.#tell("");
    } catch (error) {
      if (!this.#signal.aborted) this.#tell(explain(error), true);
    } finally {
      this.#isLooking = false;
    }
    if (this.#told.length) this.#look();
  }

  #newLetters(/** @type {any[]} */ letters) {
    for (const letter of letters) {
      const repeats = this.#repeats.get(letter.id);
      if (repeats && letter.repeats) repeats.textContent = t("drill.repeats", { n: letter.repeats });
    }
    const newest = letters[0]?.id ?? 0;
    const seen = this.#letter ?? newest;
    this.#letter = Math.max(seen, newest);
    return letters.filter((letter) => letter.id > seen);
  }

  #newReadings(/** @type {any[]} */ readings) {
    const newest = readings.map((one) => one.received_at).reduce((one, other) => (one > other ? one : other), "");
    const seen = this.#received ?? newest;
    this.#received = newest > seen ? newest : seen;
    // What the stream told is among those that were asked for, unless it is of long ago by its own time.
    const once = new Map(readings.toReversed().map((one) => [one.received_at + one.time, one]));
    return [...once.values()].filter((one) => one.received_at > seen);
  }

  #reading(/** @type {any} */ reading) {
    this.#stored += 1;
    const values = Object.entries(reading.values).filter(([, value]) => value !== null);
    const written = values.slice(0, VALUES).map(([metric, value]) => `${this.#city.metric(metric)} ${quantity(value, this.#city.unit(metric))}`);
    const more = values.length > VALUES ? [t("connect.more", { n: values.length - VALUES })] : [];
    const head = this.#head("good", t("connect.stored"), reading.received_at);
    return h("li", { "data-verdict": "stored" }, head, h("p", {}, [...written, ...more].join(" · ")));
  }

  #refusal(/** @type {any} */ letter) {
    const repeats = h("span.faint");
    this.#repeats.set(letter.id, repeats);
    this.#refused += 1;
    const reason = name("drill.reason", letter.reason, letter.reason.replaceAll("_", " "));
    const head = this.#head("critical", `${t("connect.refused")}: ${reason}`, letter.received_at, repeats);
    const payload = letter.payload_text ?? t("drill.bytes", { n: letter.payload_bytes });
    return h("li", { "data-verdict": "refused" }, head, h("p", {}, letter.detail), h("pre", { tabindex: "0", "aria-label": t("drill.payload") }, payload));
  }

  #head(/** @type {string} */ tone, /** @type {string} */ text, /** @type {string} */ time, /** @type {any} */ more = null) {
    return h("p.verdict", {}, sign(tone), h("b", {}, text), more, h("time", { datetime: time }, moment(time, this.#city.zone, true)));
  }

  #show(/** @type {HTMLElement} */ entry) {
    this.#list.prepend(entry);
    while (this.#list.children.length > KEPT) this.#list.lastElementChild?.remove();
    this.#tell("");
    this.#counts.textContent = t("connect.counts", { stored: this.#stored, refused: this.#refused });
  }

  #tell(/** @type {string} */ text, isTrouble = false) {
    this.#note.textContent = text || (this.#stored + this.#refused ? "" : this.#waiting);
    this.#note.toggleAttribute("data-trouble", isTrouble);
  }

  #sayWhatToCheck() {
    if (this.#stored + this.#refused) return;
    const checks = ["check_connected", "check_account", "check_authority", "check_topic"].map((key) => h("li", {}, t(`connect.${key}`)));
    this.#note.replaceChildren(t("connect.quiet"), h("ul.checks", {}, checks));
  }
}

/** Return the rows of an answer in columns. */
function rowsOf(/** @type {any} */ answer) {
  return answer.time.map((/** @type {string} */ time, /** @type {number} */ row) => ({
    time,
    received_at: answer.received_at[row],
    values: Object.fromEntries(answer.columns.map((/** @type {string} */ column) => [column, answer.values[column][row]])),
  }));
}
