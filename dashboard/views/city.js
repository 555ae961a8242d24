// What the city is made of, asked once: districts, kinds, metrics. And where each thing of it has its page.

import { get } from "../api.js";
import { name } from "./words.js";

/**
 * @typedef {{name: string, title: string, unit: string, behaviour: string, kinds: string[]}} Metric
 * @typedef {{name: string, title: string, interval: string, metrics: Metric[]}} Kind
 * @typedef {{name: string, title: string, outline: [number, number][]}} District
 */

/** @type {Promise<City> | null} */
let asked = null;

/** The districts, kinds and metrics by name, and the words for them. */
export class City {
  /** @param {any} districts @param {any} kinds @param {any} metrics */
  constructor(districts, kinds, metrics) {
    this.name = districts.city.name;
    this.title = districts.city.title;
    this.zone = districts.city.timezone;
    this.outlines = districts.outlines;
    /** @type {Map<string, District>} */
    this.districts = new Map(districts.districts.map((/** @type {District} */ one) => [one.name, one]));
    /** @type {Map<string, Kind>} */
    this.kinds = new Map(kinds.kinds.map((/** @type {Kind} */ one) => [one.name, one]));
    /** @type {Map<string, Metric>} */
    this.metrics = new Map(metrics.metrics.map((/** @type {Metric} */ one) => [one.name, one]));
  }

  district(/** @type {string | null} */ of) {
    return name("district", of, (of && this.districts.get(of)?.title) || of || "–");
  }

  kind(/** @type {string | null} */ of) {
    return name("kind", of, (of && this.kinds.get(of)?.title) || of || "–");
  }

  metric(/** @type {string | null} */ of) {
    return name("metric", of, (of && this.metrics.get(of)?.title) || of || "–");
  }

  unit(/** @type {string} */ of) {
    return this.metrics.get(of)?.unit ?? "1";
  }

  isCounter(/** @type {string} */ of) {
    return this.metrics.get(of)?.behaviour === "counter";
  }
}

/** Return the city; asked again only after a failure. */
export function theCity() {
  asked ??= Promise.all([get("districts"), get("kinds"), get("metrics")])
    .then((parts) => new City(...parts))
    .catch((error) => {
      asked = null;
      throw error;
    });
  return asked;
}

// The metric by which a kind is known at a glance, and the aggregate that says something of it.
const HEADLINES = /** @type {Record<string, string>} */ ({
  air_quality: "pm2_5", weather: "temperature", noise: "laeq", traffic_flow: "speed", parking: "occupancy",
  public_transport: "delay", street_light: "power", electricity: "power", water: "flow", heating: "supply_temperature",
  waste_bin: "fill_level", river_level: "level", payments: "fiat_volume",
});

/** Return the metric by which a kind is known at a glance. */
export const headline = (/** @type {Kind} */ kind) => HEADLINES[kind.name] ?? kind.metrics[0].name;

/** Return the aggregate that says something of a metric: what a counter rose by, the average of others. */
export const aggregate = (/** @type {City} */ city, /** @type {string} */ metric) => (city.isCounter(metric) ? "increase" : "avg");
