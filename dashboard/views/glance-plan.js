// The map as a plain picture, for browsers without WebGL2: the same districts, lines and points, drawn as SVG.

import { navigate } from "../app.js";
import { t } from "../i18n.js";
import { tooltipOf } from "./glance-tooltip.js";
import { h } from "./kit.js";

const HEIGHT = 720;
// As much of the surroundings is shown, in parts of the city's own extent.
const AROUND = 0.07;

export class PlanMap {
  #parts;
  /** @type {Map<number, SVGElement>} */ #points = new Map();
  /** @type {Map<string, SVGElement>} */ #shapes = new Map();
  /** @type {Frame | null} */ #frame = null;
  #devices = h("g", {});
  #tip = h("div.plan-tip", { hidden: true });

  constructor(/** @type {import("./glance-gl.js").MapParts} */ parts) {
    this.#parts = parts;
  }

  async begin() {
    const { city, base, labels, place } = this.#parts;
    const frame = new Frame([...city.districts.values()].flatMap((one) => one.outline));
    const lines = base.features.map((/** @type {any} */ one) => {
      const isArea = one.geometry.type === "Polygon";
      const ring = isArea ? one.geometry.coordinates[0] : one.geometry.coordinates;
      return { isWater: isArea, element: h(isArea ? "polygon" : "polyline", { points: frame.points(ring), "data-kind": one.properties.kind }) };
    });
    for (const one of city.districts.values()) this.#shapes.set(one.name, h("polygon.plan-district", { points: frame.points(one.outline) }));
    this.#frame = frame;
    this.showPlaces();
    const of = (/** @type {boolean} */ isWater) => lines.filter((/** @type {any} */ one) => one.isWater === isWater).map((/** @type {any} */ one) => one.element);
    const svg = h(
      "svg.plan",
      { viewBox: `0 0 ${frame.width} ${HEIGHT}`, preserveAspectRatio: "xMidYMid meet", role: "img", "aria-label": t("map.title") },
      h("g.plan-base", {}, of(true)),
      h("g", {}, [...this.#shapes.values()]),
      h("g.plan-base", {}, of(false)),
      this.#devices,
    );
    const names = [...labels.elements].map(([district, element]) => {
      const [x, y] = frame.point(labels.anchor(district));
      element.style.left = `${(x / frame.width) * 100}%`;
      element.style.top = `${(y / HEIGHT) * 100}%`;
      return element;
    });
    const sheet = h("div.plan-sheet", {}, svg, names, this.#tip);
    sheet.style.aspectRatio = `${frame.width} / ${HEIGHT}`;
    place.replaceChildren(sheet);
    svg.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#point(event, sheet));
    svg.addEventListener("pointerleave", () => (this.#tip.hidden = true));
    svg.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      const device = this.#deviceAt(event);
      if (device) navigate("device", { device: device.id });
    });
  }

  fit() {}

  pulse() {}

  #deviceAt(/** @type {MouseEvent} */ event) {
    const number = /** @type {SVGElement} */ (event.target).dataset?.number;
    return number === undefined ? null : this.#parts.fleet.at(Number(number));
  }

  #point(/** @type {PointerEvent} */ event, /** @type {HTMLElement} */ sheet) {
    const device = this.#deviceAt(event);
    this.#tip.hidden = !device;
    if (!device) return;
    const box = sheet.getBoundingClientRect();
    this.#tip.style.left = `${event.clientX - box.left}px`;
    this.#tip.style.top = `${event.clientY - box.top}px`;
    this.#tip.replaceChildren(tooltipOf(device, this.#parts.city));
  }

  showState(/** @type {any} */ state) {
    for (const one of state.districts) this.#shapes.get(one.district)?.setAttribute("data-level", one.worst.level);
  }

  showPlaces() {
    const { fleet } = this.#parts;
    if (!this.#frame) return;
    this.#points.clear();
    for (const { number, position } of fleet.places()) {
      const [x, y] = this.#frame.point(/** @type {[number, number]} */ (position));
      this.#points.set(number, h("circle.plan-device", { cx: x, cy: y, r: 3, "data-number": number }));
    }
    this.#devices.replaceChildren(...this.#points.values());
  }

  showDevices(/** @type {import("./glance-fleet.js").Device[]} */ devices) {
    for (const { number, state, alert } of devices) {
      const point = this.#points.get(number);
      point?.setAttribute("data-state", alert ? `alert-${alert}` : state);
      point?.setAttribute("r", alert ? "5" : "3");
    }
  }
}

/** Where degrees are on the picture. */
class Frame {
  #west;
  #north;
  #scale;
  #narrow;
  width;

  constructor(/** @type {[number, number][]} */ corners) {
    const [east, north] = [corners.map((one) => one[0]), corners.map((one) => one[1])];
    const [left, right, low, high] = [Math.min(...east), Math.max(...east), Math.min(...north), Math.max(...north)];
    const around = (high - low) * AROUND;
    // A degree of longitude is shorter than one of latitude.
    this.#narrow = Math.cos((((low + high) / 2) * Math.PI) / 180);
    this.#west = left - around / this.#narrow;
    this.#north = high + around;
    this.#scale = HEIGHT / (high - low + 2 * around);
    this.width = Math.round(((right - left) * this.#narrow + 2 * around) * this.#scale);
  }

  point([longitude, latitude] = /** @type {[number, number]} */ ([0, 0])) {
    const x = (longitude - this.#west) * this.#narrow * this.#scale;
    const y = (this.#north - latitude) * this.#scale;
    return [Math.round(x * 10) / 10, Math.round(y * 10) / 10];
  }

  points(/** @type {[number, number][]} */ ring) {
    return ring.map((one) => this.point(one).join(",")).join(" ");
  }
}
