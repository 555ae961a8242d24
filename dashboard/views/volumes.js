// Payments as volumes: what was paid in tenge and in crypto, and the share of crypto.

import { get } from "../api.js";
import { t } from "../i18n.js";
import { empty, h, Panel } from "./kit.js";
import { plot } from "./plot.js";
import { parameters, picturesOf } from "./question.js";
import { number, quantity, share } from "./words.js";

const METRICS = ["fiat_volume", "crypto_volume", "fiat_payments", "crypto_payments"];
const KZT = "{KZT}";

const sum = (/** @type {(number | null)[]} */ values) => values.reduce((/** @type {number} */ all, one) => all + (one ?? 0), 0);

/**
 * Return the panels of volumes and of the share of crypto in a part of the city.
 * @param {{filter: Record<string, string>, range: {start: string, end: string}, city: any, signal: AbortSignal,
 *   onZoom: (start: number, end: number) => void}} options
 */
export function paymentsPanels({ filter, range, city, signal, onZoom }) {
  const lists = Object.fromEntries(Object.entries(filter).map(([name, value]) => [name, [value]]));
  const question = { metric: METRICS, agg: ["increase"], ...lists, ...range };
  return [
    new Panel({
      title: t("drill.payments"),
      signal,
      every: range.end === "now" ? 60 : 0,
      lines: 8,
      load: (inner) => get("series", parameters(question, { max_points: "100" }), { signal: inner }),
      draw: (answer) => draw(answer, city, onZoom),
    }).element,
  ];
}

function draw(/** @type {any} */ answer, /** @type {any} */ city, /** @type {any} */ onZoom) {
  const of = (/** @type {string} */ metric) => answer.groups.find((/** @type {any} */ one) => one.metric === metric)?.increase ?? [];
  const pictures = picturesOf(answer, (_, metric) => city.metric(metric), ["increase"]);
  const line = (/** @type {string} */ metric) => pictures.find((one) => one.metric === metric)?.lines[0].values ?? [];
  const [fiat, crypto] = [sum(of("fiat_volume")), sum(of("crypto_volume"))];
  if (!fiat && !crypto) return empty(t("drill.no_payments"));
  const payments = sum(of("fiat_payments")) + sum(of("crypto_payments"));
  const shares = line("crypto_volume").map((/** @type {number | null} */ one, /** @type {number} */ at) => {
    const all = (one ?? 0) + (line("fiat_volume")[at] ?? 0);
    return one === null || !all ? null : (100 * one) / all;
  });
  const figures = [
    [t("drill.volume"), quantity(fiat + crypto, KZT)],
    [t("drill.crypto_share"), share(crypto / (fiat + crypto), 2)],
    [t("drill.payments_made"), number(payments)],
    [t("drill.mean_payment"), payments ? quantity((fiat + crypto) / payments, KZT) : "–"],
  ];
  const common = { times: pictures[0].times, zone: city.zone, onZoom, group: "kind" };
  const volumes = [
    { label: t("drill.in_tenge"), values: line("fiat_volume"), colour: 0 },
    { label: t("drill.in_crypto"), values: line("crypto_volume"), colour: 1 },
  ];
  return [
    h("dl.figures", {}, figures.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
    h("div.pair", {},
      h("div", {}, h("h3", {}, t("drill.volumes")), plot({ ...common, lines: volumes, unit: KZT, label: t("drill.volumes"), height: 180 })),
      h("div", {}, h("h3", {}, t("drill.crypto_share")), plot({ ...common, lines: [{ label: t("drill.crypto_share"), values: shares, colour: 1 }], unit: "%", label: t("drill.crypto_share"), height: 180 })),
    ),
    h("p.hint", {}, t("drill.payments_hint")),
  ];
}
