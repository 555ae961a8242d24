// The explorer: any metrics, of any part of the city, over any range; as a picture, a table, a file, a call of the API.

import { registerView } from "../app.js";
import { get } from "../api.js";
import { t } from "../i18n.js";
import { choice } from "./alerts.js";
import { aggregate, theCity } from "./city.js";
import { empty, h, Panel, table } from "./kit.js";
import { change, to } from "./links.js";
import { headed } from "./pieces.js";
import { picker } from "./picker.js";
import { plot } from "./plot.js";
import { AGGREGATES, callOf, curlOf, GROUPS, parameters, picturesOf, STEPS, understand } from "./question.js";
import { labelled, rangePicker, segments, toTime, written } from "./range.js";
import { moment, number, unit } from "./words.js";

/** @typedef {import("./city.js").City} City @typedef {import("./question.js").Question} Question */

// Lines of one picture that can be told apart; of more the first are drawn, and the file has all.
const MOST_LINES = 12;
const ROWS = 500;

registerView("explore", {
  title: () => t("drill.explorer"),
  async render(root, params, signal) {
    const city = await theCity();
    const question = understand(params);
    if (question.metric.length && !question.agg.length) question.agg = [aggregate(city, question.metric[0])];
    const set = (/** @type {Record<string, any>} */ changes) => change("explore", new URLSearchParams(), Object.fromEntries(parameters({ ...question, ...changes })));
    const onZoom = (/** @type {number} */ start, /** @type {number} */ end) => set({ start: written(start), end: written(end) });
    headed(root, {
      crumbs: [[city.title, to("city")]],
      title: t("drill.explorer"),
      tools: [wider(question, set), rangePicker({ ...question, zone: city.zone, onChange: (start, end) => set({ start, end }) })],
    });
    root.append(controls(question, city, set));
    if (!question.metric.length) {
      root.append(suggestions(city));
      return;
    }
    root.append(answerPanel(question, city, signal, onZoom));
  },
});

function suggestions(/** @type {City} */ city) {
  const tries = [
    [t("drill.try.air"), { metric: ["pm2_5"], group_by: "district", start: "-P7D" }],
    [t("drill.try.noise"), { metric: ["laeq"], agg: ["avg", "max"], compare: "-P7D" }],
    [t("drill.try.energy"), { metric: ["energy"], agg: ["increase"], group_by: "district", step: "PT1H", start: "-P7D" }],
    [t("drill.try.traffic"), { metric: ["speed"], kind: ["traffic_flow"], group_by: "district" }],
  ].filter(([, question]) => city.metrics.has(/** @type {any} */ (question).metric[0]));
  return h("section.card.welcome", {}, h("p", {}, t("drill.choose_metric")), h("ul.choices", {}, tries.map(([text, one]) => h("li", {}, h("a.card", { href: to("explore", parameters(/** @type {any} */ (one))) }, /** @type {any} */ (text))))));
}

/** Return the button that shows three times as much; a way back from a zoom besides the browser's own. */
function wider(/** @type {Question} */ question, /** @type {(changes: any) => void} */ set) {
  if (question.end === "now") return null;
  const [start, end] = [toTime(question.start), toTime(question.end)];
  const go = () => set({ start: written(start - (end - start)), end: written(Math.min(Date.now(), end + (end - start))) });
  return h("button.quiet", { type: "button", onclick: go }, t("drill.wider"));
}

function controls(/** @type {Question} */ question, /** @type {City} */ city, /** @type {(changes: any) => void} */ set) {
  const metrics = [...city.metrics.values()].map((one) => ({ value: one.name, text: city.metric(one.name), note: unit(one.unit) }));
  const kinds = question.metric.length ? new Set(question.metric.flatMap((one) => city.metrics.get(one)?.kinds ?? [])) : new Set(city.kinds.keys());
  const aggregates = AGGREGATES.map((one) => ({ value: one, text: t(`drill.agg.${one}`), note: "" }));
  const steps = STEPS.map((one) => [one, t(`drill.step.${one}`)]);
  const device = h("input", { name: "device", value: question.device.join(", "), placeholder: t("drill.any"), autocomplete: "off", list: "devices-found" });
  const found = h("datalist", { id: "devices-found" });
  device.addEventListener("input", () => suggest(device.value, found));
  device.addEventListener("change", () => set({ device: device.value.split(/[\s,]+/).filter(Boolean) }));
  return h(
    "div.filters.explore",
    {},
    picker({ label: t("drill.metrics"), choices: metrics, chosen: question.metric, onChange: (metric) => set({ metric, agg: metric.length ? question.agg : [] }) }),
    picker({ label: t("drill.aggregates"), choices: aggregates, chosen: question.agg, onChange: (agg) => set({ agg }) }),
    choice(t("drill.district"), [...city.districts.keys()].map((one) => [one, city.district(one)]), question.district[0] ?? "", (one) => set({ district: one ? [one] : [] })),
    choice(t("drill.kind"), [...kinds].map((one) => [one, city.kind(one)]), question.kind[0] ?? "", (one) => set({ kind: one ? [one] : [] })),
    h("label.choice", {}, h("span", {}, t("drill.device")), device, found),
    labelled(t("drill.group_by"), segments(t("drill.group_by"), /** @type {any} */ (GROUPS.map((one) => [one, t(`drill.group.${one}`)])), question.group_by, (group_by) => set({ group_by }))),
    choiceOf(t("drill.step"), steps, question.step, (step) => set({ step })),
    h("button.quiet.toggle", { type: "button", "aria-pressed": question.compare ? "true" : "false", onclick: () => set({ compare: question.compare ? "" : "-P7D" }) }, t("drill.compare_week")),
  );
}

function choiceOf(/** @type {string} */ label, /** @type {string[][]} */ choices, /** @type {string} */ chosen, /** @type {(value: string) => void} */ choose) {
  const options = choices.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("label.choice", {}, h("span", {}, label), h("select", { onchange: (/** @type {any} */ event) => choose(event.currentTarget.value) }, options));
}

async function suggest(/** @type {string} */ text, /** @type {HTMLElement} */ place) {
  const q = text.split(/[\s,]+/).at(-1) ?? "";
  if (q.length < 2) return;
  const answer = await get("fleet", { q, sort: "id", limit: 12 }).catch(() => ({ devices: [] }));
  place.replaceChildren(...answer.devices.map((/** @type {any} */ one) => h("option", { value: one.device })));
}

function answerPanel(/** @type {Question} */ question, /** @type {City} */ city, /** @type {AbortSignal} */ signal, /** @type {any} */ onZoom) {
  const title = question.metric.map((one) => city.metric(one)).join(", ");
  return new Panel({
    title,
    kind: "answer",
    signal,
    every: question.end === "now" ? 60 : 0,
    lines: 9,
    actions: files(question),
    load: (inner) => get("series", parameters(question), { signal: inner }),
    draw: (answer) => {
      const pictures = picturesOf(answer, (group, metric, agg) => labelOf(group, metric, agg, question, city), question.agg);
      if (!pictures.length) return [empty(t("drill.no_values_in_range")), warnings(answer)];
      return [pictures.map((picture) => drawOne(picture, city, onZoom)), warnings(answer), tableOf(pictures, city), callBox(question)];
    },
  }).element;
}

function labelOf(/** @type {Record<string, string>} */ group, /** @type {string} */ metric, /** @type {string} */ agg, /** @type {Question} */ question, /** @type {City} */ city) {
  const of = group.district ? city.district(group.district) : group.kind ? city.kind(group.kind) : group.device;
  const parts = [of, question.agg.length > 1 || !of ? t(`drill.agg.${agg}`) : null];
  return parts.filter(Boolean).join(", ") || city.metric(metric);
}

function drawOne(/** @type {any} */ picture, /** @type {City} */ city, /** @type {any} */ onZoom) {
  const drawn = picture.lines.filter((/** @type {any} */ line) => line.colour < MOST_LINES);
  const hidden = picture.lines.length - drawn.length;
  const label = city.metric(picture.metric);
  return h(
    "div.answer-plot",
    {},
    h("h3", {}, label, h("span.faint", {}, ` ${unit(picture.unit)}`)),
    plot({ ...picture, lines: drawn, zone: city.zone, height: 320, label, onZoom, group: "explore" }),
    hidden ? h("p.hint", {}, t("drill.more_lines", { n: hidden })) : null,
  );
}

// What the API says of an answer is for programs' authors; the city's simulated devices go without saying here.
function warnings(/** @type {any} */ answer) {
  const told = (answer.warnings ?? []).filter((/** @type {string} */ one) => !one.includes("simulated") && !one.includes("partial"));
  return told.length ? h("ul.warnings", {}, told.map((/** @type {string} */ one) => h("li", {}, one))) : null;
}

function tableOf(/** @type {any[]} */ pictures, /** @type {City} */ city) {
  const [first] = pictures;
  const lines = pictures.flatMap((picture) => picture.lines.map((/** @type {any} */ line) => ({ ...line, title: pictures.length > 1 ? `${city.metric(picture.metric)}, ${line.label}` : line.label })));
  const places = first.times.map((/** @type {number} */ _, /** @type {number} */ at) => at).reverse().slice(0, ROWS);
  const columns = [
    { title: t("drill.time"), isHead: true, cell: (/** @type {number} */ at) => moment(first.times[at] * 1e3, city.zone) },
    ...lines.slice(0, MOST_LINES).map((line) => ({ title: line.title, isNumber: true, cell: (/** @type {number} */ at) => number(line.values[at]) })),
  ];
  const details = h("details.as-table", {}, h("summary", {}, t("drill.as_table")));
  // A table that nobody opens costs nothing.
  details.addEventListener("toggle", () => details.childElementCount === 1 && details.append(table(columns, places, t("drill.as_table"))), { once: true });
  return details;
}

/** Return the links to the same as files; a file has no second span. */
function files(/** @type {Question} */ question) {
  const link = (/** @type {string} */ format, /** @type {string} */ text) => {
    const call = callOf("series", parameters({ ...question, compare: "" }, { format }));
    return h("a.button.quiet", { href: call, download: `${question.metric.join("-")}.${format}`, "data-format": format }, text);
  };
  return h("span.files", {}, link("csv", "CSV"), link("parquet", "Parquet"));
}

function callBox(/** @type {Question} */ question) {
  const command = curlOf(callOf("series", parameters(question)));
  const told = h("span", { role: "status" });
  const copy = async () => {
    await navigator.clipboard?.writeText(command);
    told.textContent = t("drill.copied");
  };
  return h("details.call", {}, h("summary", {}, t("drill.api_call")), h("pre", { tabindex: "0" }, command), h("button.quiet", { type: "button", onclick: copy }, t("drill.copy")), told);
}
