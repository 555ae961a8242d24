// Choosing several of many: what is chosen as buttons that take it away, the others by typing. Keys as in a combobox.

import { t } from "../i18n.js";
import { h } from "./kit.js";

let number = 0;

/**
 * @param {{label: string, choices: {value: string, text: string, note: string}[], chosen: string[],
 *   onChange: (chosen: string[]) => void}} options
 */
export function picker({ label, choices, chosen, onChange }) {
  const id = `picker-${++number}`;
  const list = h("ul.options", { role: "listbox", id: `${id}-list`, "aria-label": label, hidden: true });
  const input = h("input", {
    id, role: "combobox", "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list", autocomplete: "off",
    placeholder: chosen.length ? t("drill.add") : t("drill.choose"),
  });
  let at = 0;
  /** @type {typeof choices} */ let found = [];

  const tags = chosen.map((value) => {
    const text = choices.find((one) => one.value === value)?.text ?? value;
    const drop = () => onChange(chosen.filter((one) => one !== value));
    return h("button.tag", { type: "button", onclick: drop, "aria-label": t("drill.remove", { what: text }) }, text, h("span", { "aria-hidden": "true" }, "×"));
  });

  const take = (/** @type {string} */ value) => onChange([...chosen, value]);
  const show = (/** @type {boolean} */ isShown) => {
    list.hidden = !isShown;
    input.setAttribute("aria-expanded", String(isShown));
    if (!isShown) input.removeAttribute("aria-activedescendant");
  };
  const mark = () => {
    for (const [place, option] of [...list.children].entries()) {
      option.setAttribute("aria-selected", String(place === at));
      if (place === at) option.scrollIntoView({ block: "nearest" });
    }
    if (found[at]) input.setAttribute("aria-activedescendant", `${id}-${found[at].value}`);
  };
  const search = () => {
    const text = input.value.trim().toLowerCase();
    found = choices.filter((one) => !chosen.includes(one.value) && `${one.text} ${one.value}`.toLowerCase().includes(text));
    at = 0;
    list.replaceChildren(
      ...found.map((one) =>
        // Not a click: the list would be gone when the input loses the focus.
        h("li", { role: "option", id: `${id}-${one.value}`, onpointerdown: (/** @type {Event} */ event) => (event.preventDefault(), take(one.value)) }, one.text, one.note && h("span.faint", {}, one.note)),
      ),
    );
    show(found.length > 0);
    mark();
  };
  input.addEventListener("input", search);
  input.addEventListener("focus", search);
  input.addEventListener("blur", () => show(false));
  input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) return search();
      at = (at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
      mark();
    } else if (event.key === "Enter" && !list.hidden && found[at]) {
      event.preventDefault();
      take(found[at].value);
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      show(false);
    } else if (event.key === "Backspace" && !input.value && chosen.length) {
      onChange(chosen.slice(0, -1));
    }
  });
  return h("div.choice.picker", {}, h("label", { for: id }, label), h("div.picker-box", {}, tags, input), list);
}
