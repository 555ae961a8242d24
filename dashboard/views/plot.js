// A chart of series over time: uPlot with our colours, the city's zone, a band, a ghost line, zoom and keys.

import { colour } from "../colour.js";
import { t } from "../i18n.js";
import uPlot from "../vendor/uplot.js";
import { h } from "./kit.js";
import { clock, moment, number, quantity } from "./words.js";

// Told apart by dashes as well as by colours.
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [], [7, 4], [2, 3], [10, 3, 2, 3]];
const COLOURS = 8;

/**
 * @typedef {{label: string, values: (number | null)[], role?: "line" | "ghost" | "context" | "main", colour?: number}} Line
 * @typedef {{
 *   times: number[], lines: Line[], unit?: string, zone: string, height?: number, label: string,
 *   band?: {low: number | null, high: number | null, label: string} | null,
 *   marks?: {at: number, label: string, tone?: string}[],
 *   limits?: {value: number, label: string}[],
 *   onZoom?: (start: number, end: number) => void, group?: string, range?: [number, number],
 *   small?: {bounds: [number, number], onCursor: (index: number | null) => void},
 * }} Picture
 *   `times` are Unix seconds; `range` as well. With `group`, the charts of one page show the same moment. A `small` one has
 *   neither axes nor words of its own: who draws it tells what it shows, and at which moment the pointer is.
 */

/** Return the dashes of the n-th line, as an SVG attribute too. */
export const dashOf = (/** @type {number} */ place) => DASHES[place % DASHES.length];

/** Draws a picture, and draws it again when the colours or the width change. */
class TimePlot extends HTMLElement {
  /** @type {Picture | null} */ #picture = null;
  /** @type {any} */ #plot = null;
  #frame = h("div.plot-frame", { "aria-hidden": "true" });
  #readout = h("output.plot-readout");
  #width = 0;
  /** @type {Map<string, string>} */ #paints = new Map();
  #resized = new ResizeObserver(() => this.#fit());
  #redraw = () => this.#draw();

  connectedCallback() {
    this.replaceChildren(this.#frame);
    if (!this.#picture?.small) {
      this.setAttribute("role", "group");
      this.tabIndex = 0;
      this.append(this.#readout);
    }
    this.#resized.observe(this);
    document.addEventListener("alatau:theme", this.#redraw);
    this.addEventListener("keydown", this.#key);
    this.#draw();
  }

  disconnectedCallback() {
    this.#resized.disconnect();
    document.removeEventListener("alatau:theme", this.#redraw);
    this.removeEventListener("keydown", this.#key);
    this.#plot?.destroy();
    this.#plot = null;
  }

  /** @param {Picture} picture */
  set picture(picture) {
    this.#picture = picture;
    if (this.isConnected) this.#draw();
  }

  // Custom properties with light-dark() are resolved by an element only, which takes a while: once for each drawing.
  #paint(/** @type {string} */ name) {
    if (!this.#paints.has(name)) this.#paints.set(name, colour(name, this));
    return this.#paints.get(name);
  }

  #fit() {
    const width = Math.floor(this.clientWidth);
    if (!width || width === this.#width) return;
    if (this.#plot) this.#plot.setSize({ width, height: this.#picture?.height ?? 220 });
    else this.#draw();
    this.#width = width;
  }

  #draw() {
    const picture = this.#picture;
    this.#width = Math.floor(this.clientWidth);
    if (!picture || !this.#width) return;
    this.#plot?.destroy();
    this.#paints.clear();
    const isSingle = picture.lines.filter((line) => line.role !== "ghost" && line.role !== "context").length === 1;
    this.toggleAttribute("data-single", isSingle);
    if (!picture.small) this.setAttribute("aria-label", `${picture.label}. ${summary(picture)}`);
    this.style.minHeight = `${picture.height ?? 220}px`;
    const data = [picture.times, ...picture.lines.map((line) => line.values)];
    this.#plot = new /** @type {any} */ (uPlot)(this.#options(picture), data, this.#frame);
    this.#tell(null);
  }

  #options(/** @type {Picture} */ picture) {
    const ink = this.#paint("--faint");
    const grid = { stroke: this.#paint("--grid"), width: 1 };
    const axis = { stroke: ink, grid, ticks: { show: false }, font: `11px ${getComputedStyle(this).fontFamily}` };
    const { onZoom } = picture;
    return {
      width: this.#width,
      height: picture.height ?? 220,
      padding: picture.small ? [3, 1, 3, 1] : [10, 12, 0, 0],
      legend: { show: false },
      cursor: {
        sync: picture.group ? { key: picture.group, setSeries: false } : undefined,
        drag: { x: Boolean(onZoom), y: false, setScale: false },
        points: { size: picture.small ? 6 : 7 },
        y: false,
      },
      scales: {
        x: { time: true, ...(picture.range ? { range: () => picture.range } : {}) },
        y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => picture.small?.bounds ?? around(low, high, picture) },
      },
      tzDate: (/** @type {number} */ at) => uPlot.tzDate(new Date(at * 1e3), picture.zone),
      axes: picture.small
        ? [{ show: false }, { show: false }]
        : [
            { ...axis, values: (/** @type {any} */ _, /** @type {number[]} */ at) => ticks(at, picture.zone), size: 26, space: 64, grid: { show: false } },
            { ...axis, values: (/** @type {any} */ _, /** @type {number[]} */ of) => of.map((one) => number(one)), size: roomFor, space: (picture.height ?? 220) < 180 ? 22 : 36 },
          ],
      series: [{}, ...picture.lines.map((line, place) => this.#series(line, place, Boolean(picture.small)))],
      hooks: {
        drawClear: [(/** @type {any} */ plot) => this.#under(plot, picture)],
        draw: [(/** @type {any} */ plot) => this.#over(plot, picture)],
        setCursor: [(/** @type {any} */ plot) => this.#tell(plot.cursor.idx ?? null)],
        setSelect: [
          (/** @type {any} */ plot) => {
            const { left, width } = plot.select;
            if (width > 4) onZoom?.(plot.posToVal(left, "x") * 1e3, plot.posToVal(left + width, "x") * 1e3);
            plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          },
        ],
      },
    };
  }

  #series(/** @type {Line} */ line, /** @type {number} */ place, /** @type {boolean} */ isSmall) {
    const role = line.role ?? "line";
    const colour = line.colour ?? place;
    const stroke = {
      line: this.#paint(`--series-${(colour % COLOURS) + 1}`),
      main: this.#paint("--series-1"),
      ghost: this.#paint("--ghost"),
      context: this.#paint("--context"),
    }[role];
    if (isSmall) {
      const isMain = role === "main";
      return { stroke, dash: isMain ? [] : [3, 3], width: isMain ? 1.75 : 1.25, fill: isMain ? this.#paint("--series-1-soft") : undefined, spanGaps: false, points: { show: false } };
    }
    const dash = role === "ghost" ? [3, 4] : role === "line" ? dashOf(colour) : [];
    const width = role === "context" ? 1 : role === "main" ? 2.25 : role === "ghost" ? 1.5 : 1.75;
    return { label: line.label, stroke, dash, width, spanGaps: false, points: { filter: alone, size: 4, stroke, fill: stroke } };
  }

  #under(/** @type {any} */ plot, /** @type {Picture} */ picture) {
    const { ctx, bbox } = plot;
    ctx.save();
    if (picture.band) {
      const { low, high } = picture.band;
      const top = high === null ? bbox.top : plot.valToPos(high, "y", true);
      const bottom = low === null ? bbox.top + bbox.height : plot.valToPos(low, "y", true);
      ctx.fillStyle = this.#paint("--band");
      ctx.fillRect(bbox.left, top, bbox.width, bottom - top);
      ctx.strokeStyle = this.#paint("--band-edge");
      ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
      for (const [edge, y] of [[high, top], [low, bottom]]) if (edge !== null) stroke(ctx, bbox.left, y, bbox.left + bbox.width, y);
    }
    ctx.restore();
  }

  #over(/** @type {any} */ plot, /** @type {Picture} */ picture) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px ${getComputedStyle(this).fontFamily}`;
    for (const limit of picture.limits ?? []) {
      const y = plot.valToPos(limit.value, "y", true);
      if (y < bbox.top || y > bbox.top + bbox.height) continue;
      ctx.strokeStyle = ctx.fillStyle = this.#paint("--critical");
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      stroke(ctx, bbox.left, y, bbox.left + bbox.width, y);
      ctx.fillText(limit.label, bbox.left + 4 * devicePixelRatio, y - 4 * devicePixelRatio);
    }
    for (const mark of picture.marks ?? []) {
      const x = plot.valToPos(mark.at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = ctx.fillStyle = this.#paint(`--${mark.tone ?? "faint"}`);
      ctx.setLineDash([]);
      stroke(ctx, x, bbox.top, x, bbox.top + bbox.height);
      const isLeft = x > bbox.left + bbox.width * 0.75;
      ctx.textAlign = isLeft ? "right" : "left";
      ctx.fillText(mark.label, x + (isLeft ? -4 : 4) * devicePixelRatio, bbox.top + 11 * devicePixelRatio);
    }
    ctx.restore();
  }

  #tell(/** @type {number | null} */ place) {
    const picture = this.#picture;
    if (!picture) return;
    if (picture.small) return picture.small.onCursor(place);
    const shown = picture.lines.filter((line) => line.role !== "context");
    // What one line is at now stands above it.
    if (place === null && this.hasAttribute("data-single")) return this.#readout.replaceChildren();
    const at = place ?? lastOf(picture);
    if (at === null) return this.#readout.replaceChildren(t("drill.no_values"));
    const entries = shown.map((line) => {
      const index = picture.lines.indexOf(line);
      return h("span.entry", {}, key(line, index), `${line.label} `, h("b", {}, shown.length > 2 ? number(line.values[at]) : quantity(line.values[at], picture.unit ?? "")));
    });
    this.#readout.replaceChildren(h("time", {}, moment(picture.times[at] * 1e3, picture.zone)), ...entries);
  }

  #key = (/** @type {KeyboardEvent} */ event) => {
    const picture = this.#picture;
    if (!this.#plot || !picture?.times.length || picture.small) return;
    const last = picture.times.length - 1;
    const from = this.#plot.cursor.idx ?? last;
    const moves = /** @type {Record<string, number>} */ ({
      ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 10, PageDown: from + 10, Home: 0, End: last,
    });
    if (!(event.key in moves)) return;
    event.preventDefault();
    const to = Math.max(0, Math.min(last, moves[event.key]));
    this.#plot.setCursor({ left: this.#plot.valToPos(picture.times[to], "x"), top: 1 });
  };
}

customElements.define("time-plot", TimePlot);

/** Return a chart. */
export function plot(/** @type {Picture} */ picture) {
  const element = /** @type {TimePlot} */ (document.createElement("time-plot"));
  element.picture = picture;
  return element;
}

/** Return the key of a line in a legend: its colour and its dashes. */
export function key(/** @type {Line} */ line, /** @type {number} */ place) {
  const colour = (line.colour ?? place) % COLOURS;
  const isGhost = line.role === "ghost";
  const dash = isGhost ? [3, 4] : line.role === "line" || !line.role ? dashOf(colour) : [];
  const stroke = h("line", { x1: 1, y1: 5, x2: 23, y2: 5, "stroke-dasharray": dash.join(" ") || null, "stroke-width": 2.25 });
  return h("svg.key", { viewBox: "0 0 24 10", "aria-hidden": "true", "data-series": isGhost ? "ghost" : line.role === "main" ? 1 : colour + 1 }, stroke);
}

function stroke(/** @type {any} */ ctx, /** @type {number} */ x1, /** @type {number} */ y1, /** @type {number} */ x2, /** @type {number} */ y2) {
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

/** Return a range that holds the values, the band and a little air. */
function around(/** @type {number} */ low, /** @type {number} */ high, /** @type {Picture} */ picture) {
  const edges = [low, high, picture.band?.low, picture.band?.high].filter((one) => typeof one === "number" && Number.isFinite(one));
  if (!edges.length) return [0, 1];
  const [least, most] = [Math.min(.../** @type {number[]} */ (edges)), Math.max(.../** @type {number[]} */ (edges))];
  const air = (most - least || Math.abs(most) || 1) * 0.08;
  // A chart of what can't be below zero does not begin there.
  return [least >= 0 && least - air < 0 ? 0 : least - air, most + air];
}

// Axes of millions are wider than those of degrees: by the number of their characters, px.
const roomFor = (/** @type {any} */ _, /** @type {string[] | null} */ written) => Math.max(40, 14 + 6.5 * Math.max(0, ...(written ?? []).map((one) => one.length)));

// A value between two gaps has no line: it is a point.
function alone(/** @type {any} */ plot, /** @type {number} */ series, /** @type {boolean} */ isShown) {
  const values = plot.data[series];
  const isGap = (/** @type {number} */ at) => values[at] === null || values[at] === undefined;
  return isShown ? null : values.flatMap((/** @type {any} */ _, /** @type {number} */ at) => (!isGap(at) && isGap(at - 1) && isGap(at + 1) ? [at] : []));
}

function lastOf(/** @type {Picture} */ picture) {
  for (let at = picture.times.length - 1; at >= 0; at--) if (picture.lines.some((line) => line.role !== "context" && line.values[at] !== null)) return at;
  return null;
}

function ticks(/** @type {number[]} */ at, /** @type {string} */ zone) {
  const span = at.length > 1 ? at[1] - at[0] : 0;
  return at.map((one) => clock(one * 1e3, zone, span >= 86400));
}

/** Return what a chart says, for those who do not see it. */
function summary(/** @type {Picture} */ picture) {
  return picture.lines
    .filter((line) => line.role !== "context")
    .map((line) => {
      const values = /** @type {number[]} */ (line.values.filter((one) => one !== null));
      if (!values.length) return `${line.label}: ${t("drill.no_values")}`;
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const unit = picture.unit ?? "";
      return t("drill.summary", { label: line.label, low: quantity(low, unit), high: quantity(high, unit), last: quantity(values.at(-1), unit) });
    })
    .join(". ");
}
