// The form of a new device: what it is, where it stands, how often it sends.

import { explain } from "../api.js";
import { t } from "../i18n.js";
import { h, table } from "./kit.js";
import { to } from "./links.js";
import { outlines, projection } from "./place.js";
import { number, unit } from "./words.js";

/** @typedef {import("./city.js").City} City */

/**
 * Return the form. `onKind` is told which kind is chosen, `register` takes the body of `POST /devices`; what it throws is
 * shown.
 * @param {URLSearchParams} params @param {City} city
 * @param {{onKind: (kind: string) => void, register: (device: any) => Promise<void>}} to_do
 */
export function deviceForm(params, city, { onKind, register }) {
  const kind = choice("kind", [...city.kinds.keys()].map((one) => [one, city.kind(one)]), params.get("kind"));
  const district = choice("district", [...city.districts.keys()].map((one) => [one, city.district(one)]), params.get("district"));
  const id = h("input", { id: "connect-id", required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9._:\\-]*", autocomplete: "off", autocapitalize: "none", spellcheck: "false", "aria-describedby": "connect-id-hint" });
  const interval = h("input", { id: "connect-interval", type: "number", min: 1, max: 86400, step: 1, inputmode: "numeric" });
  const place = placeChooser(city, () => district.value);
  const trouble = h("p.trouble", { role: "alert" });
  const button = h("button", { type: "submit" }, t("connect.register"));
  const ending = Math.random().toString(36).slice(2, 6).padEnd(4, "0");
  let isOwnId = false;
  id.addEventListener("input", () => (isOwnId = true));

  function follow() {
    if (!isOwnId) id.value = `${kind.value.replaceAll("_", "-")}-${district.value}-${ending}`;
    interval.placeholder = String(seconds(city.kinds.get(kind.value)?.interval ?? ""));
    place.draw();
    onKind(kind.value);
    // The address is the state, and nobody types into a page that is drawn anew.
    history.replaceState(null, "", to("connect", { kind: kind.value, district: district.value }));
  }
  kind.addEventListener("change", follow);
  district.addEventListener("change", follow);

  async function submit(/** @type {Event} */ event) {
    event.preventDefault();
    trouble.textContent = "";
    button.disabled = true;
    try {
      await register({
        id: id.value,
        kind: kind.value,
        district: district.value,
        position: place.value(),
        interval: interval.value ? `PT${interval.value}S` : null,
      });
    } catch (error) {
      trouble.textContent = explain(error);
      button.disabled = false;
      button.focus();
    }
  }

  const form = h(
    "form.card.panel.connect-form",
    { onsubmit: submit, "aria-label": t("connect.title") },
    h("div.fields", {}, field(t("drill.kind"), kind), field(t("drill.district"), district)),
    field(t("connect.id"), id, t("connect.id_hint"), "connect-id-hint"),
    place.element,
    field(t("connect.interval"), interval),
    trouble,
    h("div.actions", {}, button),
  );
  follow();
  return form;
}

/** Return the panel of what a kind measures. */
export function metricsPanel(/** @type {string} */ kind, /** @type {City} */ city) {
  const columns = [
    { title: t("connect.metric"), isHead: true, cell: (/** @type {any} */ one) => h("div.named", {}, city.metric(one.name), h("code.faint", {}, one.name)) },
    { title: t("connect.unit"), cell: (/** @type {any} */ one) => unit(one.unit) || "–" },
    { title: t("connect.range"), isNumber: true, cell: (/** @type {any} */ one) => `${number(one.minimum)} … ${number(one.maximum)}` },
  ];
  const metrics = city.kinds.get(kind)?.metrics ?? [];
  return h(
    "section.card.panel.connect-metrics",
    {},
    h("header.panel-head", {}, h("h2", {}, t("connect.measures")), h("span.panel-hint", {}, city.kind(kind))),
    table(columns, metrics, t("connect.measures")),
  );
}

function choice(/** @type {string} */ name, /** @type {string[][]} */ options, /** @type {string | null} */ chosen) {
  const made = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("select", { id: `connect-${name}` }, made);
}

function field(/** @type {string} */ label, /** @type {any} */ input, hint = "", hintId = "") {
  return h("div.field", {}, h("label", { for: input.id }, label), input, hint ? h("small.faint", { id: hintId }, hint) : null);
}

/** Return the seconds of a duration such as PT1M. */
function seconds(/** @type {string} */ duration) {
  const found = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$/.exec(duration) ?? [];
  const [days, hours, minutes, rest] = found.slice(1).map((part) => Number(part ?? 0));
  return ((days * 24 + hours) * 60 + minutes) * 60 + rest;
}

/** Two fields of degrees, and a picture of the city to point at instead. */
function placeChooser(/** @type {City} */ city, /** @type {() => string} */ district) {
  const degrees = { type: "number", step: "any", inputmode: "decimal" };
  const longitude = h("input", { ...degrees, id: "connect-longitude", min: -180, max: 180 });
  const latitude = h("input", { ...degrees, id: "connect-latitude", min: -90, max: 90 });
  const drawn = projection(city);
  const picture = h("svg", { viewBox: `0 0 ${drawn.width} ${drawn.height}`, "aria-hidden": "true", onclick: point });
  const value = () => (longitude.value && latitude.value ? [Number(longitude.value), Number(latitude.value)] : null);

  function point(/** @type {MouseEvent} */ event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    [longitude.value, latitude.value] = drawn.place(at.x, at.y).map((one) => one.toFixed(5));
    draw();
  }
  function draw() {
    const place = value();
    const mark = place && [h("circle.halo", { cx: drawn.x(place), cy: drawn.y(place), r: 11 }), h("circle.dot", { cx: drawn.x(place), cy: drawn.y(place), r: 4.5 })];
    picture.replaceChildren(...outlines(city, drawn, district()), ...(mark ?? []));
    // Half a place is none.
    longitude.required = Boolean(latitude.value);
    latitude.required = Boolean(longitude.value);
  }
  longitude.addEventListener("input", draw);
  latitude.addEventListener("input", draw);
  const element = h(
    "fieldset",
    {},
    h("legend", {}, t("connect.position")),
    h("div.fields", {}, field(t("connect.longitude"), longitude), field(t("connect.latitude"), latitude)),
    h("figure.place.chooser", {}, picture, h("figcaption.faint", {}, t("connect.point"))),
  );
  return { element, draw, value };
}
