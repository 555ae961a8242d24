// What a device was given: its account, shown once, and programs that use it.

import { say } from "../app.js";
import { explain } from "../api.js";
import { t } from "../i18n.js";
import { h, sign } from "./kit.js";

/** Return the panel of a device's account; without its secret, how to get another one by `renew`. */
export function accountPanel(/** @type {any} */ device, /** @type {() => Promise<void>} */ renew) {
  return h(
    "section.card.panel.connect-account",
    {},
    h("header.panel-head", {}, h("h2", {}, t("connect.account"))),
    device.secret ? shown(device) : lost(renew),
  );
}

function shown(/** @type {any} */ device) {
  const rows = [
    [t("connect.client_id"), device.id],
    [t("connect.user"), device.user],
    [t("connect.secret"), device.secret],
    [t("connect.broker"), device.broker],
    [t("connect.topic"), device.topic],
  ];
  const authority = device.authority && h("a.button.quiet", { href: device.authority, download: "ca.pem" }, t("connect.download"));
  return [
    h("p.connect-once", { role: "status" }, sign("warning"), h("span", {}, t("connect.once"))),
    h(
      "dl.facts.copied",
      {},
      rows.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, h("code", {}, value), copyButton(() => value, t("connect.copy_what", { what: term }))))),
      authority && h("div", {}, h("dt", {}, t("connect.authority")), h("dd", {}, authority)),
    ),
    isOfOneMachine(device.broker) ? h("p.hint", {}, t("connect.one_machine")) : null,
  ].filter((part) => part !== null);
}

// A broker that listens on the loopback address is reached by nobody else.
const isOfOneMachine = (/** @type {string} */ url) => /^mqtts?:\/\/(127\.|localhost\b|\[::1\])/.test(url);

function lost(/** @type {() => Promise<void>} */ renew) {
  const trouble = h("p.trouble", { role: "alert" });
  const ask = h("button.quiet", { type: "button", onclick: () => place.replaceChildren(...sure) }, t("connect.new_secret"));
  const yes = h("button", { type: "button", onclick: act }, t("connect.new_secret_yes"));
  const no = h("button.quiet", { type: "button", onclick: () => place.replaceChildren(ask) }, t("connect.cancel"));
  const sure = [h("p", {}, t("connect.new_secret_sure")), h("div.actions", {}, yes, no)];
  const place = h("div", {}, ask);
  async function act() {
    yes.disabled = true;
    try {
      await renew();
    } catch (error) {
      trouble.textContent = explain(error);
      yes.disabled = false;
    }
  }
  return [h("p.hint", {}, t("connect.shown_before")), place, trouble];
}

/** Return the panel of programs that send readings, one at a time. */
export function programsPanel(/** @type {any} */ device) {
  const tabs = device.snippets.map((/** @type {any} */ one) =>
    h("button", { type: "button", role: "tab", id: `program-${one.language}`, "aria-controls": "program", onclick: () => choose(one) }, one.title),
  );
  const text = h("code");
  const file = h("span.faint");
  const copy = copyButton(() => text.textContent, t("connect.copy_program"));
  const body = h("div", { id: "program", role: "tabpanel" }, h("div.program-head", {}, file, copy), h("pre", { tabindex: "0" }, text));

  function choose(/** @type {any} */ one, isFocused = false) {
    for (const tab of tabs) {
      const isChosen = tab.id === `program-${one.language}`;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      if (isChosen && isFocused) tab.focus();
    }
    body.setAttribute("aria-labelledby", `program-${one.language}`);
    text.textContent = one.text;
    file.textContent = one.file ? t("connect.for_file", { file: one.file }) : t(device.authority ? "connect.for_shell_with" : "connect.for_shell");
  }
  function step(/** @type {KeyboardEvent} */ event) {
    const at = tabs.findIndex((/** @type {any} */ tab) => tab.getAttribute("aria-selected") === "true");
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(device.snippets[(next + tabs.length) % tabs.length], true);
  }
  choose(device.snippets[0]);
  return h(
    "section.card.panel.connect-programs",
    {},
    h("header.panel-head", {}, h("h2", { id: "programs" }, t("connect.programs"))),
    h("div.tabs", { role: "tablist", "aria-labelledby": "programs", onkeydown: step }, tabs),
    body,
  );
}

/** Return a button that copies a text. */
function copyButton(/** @type {() => string} */ text, /** @type {string} */ label) {
  const button = h("button.plain.copy", { type: "button", "aria-label": label, onclick: act }, t("connect.copy"));
  async function act() {
    await copy(text());
    button.textContent = t("connect.copied");
    say(t("connect.copied"));
    window.setTimeout(() => (button.textContent = t("connect.copy")), 2000);
  }
  return button;
}

async function copy(/** @type {string} */ text) {
  // Over plain http from another machine browsers have no clipboard for scripts, but they let a selection be copied.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = h("textarea.unseen", { "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
