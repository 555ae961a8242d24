// Where something stands: a small picture of the districts with a mark in it, drawn of what the API says.

import { t } from "../i18n.js";
import { h } from "./kit.js";

const SIZE = 300;

/**
 * Return how places of the city are drawn: `x` and `y` of [longitude, latitude], the way back, and the picture's size.
 * What is given beside the districts is in the picture, too.
 */
export function projection(/** @type {any} */ city, /** @type {number[][]} */ also = []) {
  const all = [...[...city.districts.values()].flatMap((one) => one.outline), ...also];
  const [east, north] = [all.map((point) => point[0]), all.map((point) => point[1])];
  const [west, south] = [Math.min(...east), Math.min(...north)];
  // A degree of longitude is shorter than one of latitude.
  const narrow = Math.cos((((south + Math.max(...north)) / 2) * Math.PI) / 180);
  const width = (Math.max(...east) - west) * narrow;
  const height = Math.max(...north) - south;
  const scale = (SIZE - 20) / Math.max(width, height);
  return {
    x: (/** @type {number[]} */ point) => 10 + (point[0] - west) * narrow * scale,
    y: (/** @type {number[]} */ point) => 10 + (height - (point[1] - south)) * scale,
    place: (/** @type {number} */ x, /** @type {number} */ y) => [west + (x - 10) / narrow / scale, south + height - (y - 10) / scale],
    width: Math.round(width * scale + 20),
    height: Math.round(height * scale + 20),
  };
}

/** Return the outlines of the districts, one of them marked. */
export function outlines(/** @type {any} */ city, /** @type {{x: (point: number[]) => number, y: (point: number[]) => number}} */ { x, y }, /** @type {string} */ own) {
  return [...city.districts.values()].map((one) =>
    h("polygon", { points: one.outline.map((/** @type {number[]} */ point) => `${x(point).toFixed(1)},${y(point).toFixed(1)}`).join(" "), "data-own": one.name === own }),
  );
}

/** Return the picture of a device's place, or a sentence that nobody said where it is. */
export function placePicture(/** @type {any} */ device, /** @type {any} */ city) {
  if (!device.position) return h("p.hint", {}, t("drill.no_position"));
  const drawn = projection(city, [device.position]);
  const [x, y] = [drawn.x(device.position), drawn.y(device.position)];
  const [longitude, latitude] = device.position;
  const place = `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
  return h(
    "figure.place",
    {},
    h(
      "svg",
      { viewBox: `0 0 ${drawn.width} ${drawn.height}`, role: "img", "aria-label": t("drill.stands_at", { place, district: city.district(device.district) }) },
      outlines(city, drawn, device.district),
      h("circle.halo", { cx: x, cy: y, r: 11 }),
      h("circle.dot", { cx: x, cy: y, r: 4.5 }),
    ),
    h("figcaption", {}, h("span.mono", {}, place), h("span.faint", {}, t("drill.illustrative"))),
  );
}
