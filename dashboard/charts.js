// Charts by uPlot: in the page's colours, as wide as their place, gone when their view is.

import { language } from "./i18n.js";
import uPlot from "./vendor/uplot.js";

/** Return the value of a custom property of the style, such as `--accent`, as it is for an element. */
export const colour = (/** @type {string} */ name, /** @type {Element} */ of = document.documentElement) => {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  of.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
};

/**
 * @typedef {{label: string, colour?: string, width?: number, dash?: number[], fill?: string, isHidden?: boolean}} Series
 *   `colour` and `fill` are names of custom properties.
 * @typedef {{
 *   times: number[], series: Series[], values: (number | null)[][], height: number, zone: string,
 *   range?: [number | null, number | null], hasAxes?: boolean, onCursor?: (index: number | null) => void,
 *   onZoom?: (start: number, end: number) => void, group?: string,
 * }} Chart `times` are Unix seconds; with `group` the charts of one page show the same moment; null of `range` fits the values.
 */

/**
 * Draw a chart into a place, and again when its width or the theme changes; return what sets other times and values.
 * @param {HTMLElement} place @param {Chart} chart @param {AbortSignal} signal
 */
export function drawChart(place, chart, signal) {
  /** @type {any} */
  let plot = null;
  let width = 0;
  const draw = () => {
    width = Math.floor(place.clientWidth);
    plot?.destroy();
    plot = width ? new uPlot(options(chart, width, place), [chart.times, ...chart.values], place) : null;
  };
  const resized = new ResizeObserver(() => {
    const now = Math.floor(place.clientWidth);
    if (!now || now === width) return;
    if (plot) plot.setSize({ width: (width = now), height: chart.height });
    else draw();
  });
  draw();
  resized.observe(place);
  document.addEventListener("alatau:theme", draw, { signal });
  signal.addEventListener(
    "abort",
    () => {
      resized.disconnect();
      plot?.destroy();
    },
    { once: true },
  );
  return (/** @type {number[]} */ times, /** @type {(number | null)[][]} */ values) => {
    chart.times = times;
    chart.values = values;
    plot?.setData([times, ...values]);
  };
}

function options(/** @type {Chart} */ chart, /** @type {number} */ width, /** @type {HTMLElement} */ place) {
  const paint = (/** @type {string | undefined} */ name) => (name ? colour(name, place) : undefined);
  const axis = {
    stroke: paint("--faint"),
    grid: { stroke: paint("--grid"), width: 1 },
    ticks: { show: false },
    font: `11px ${getComputedStyle(place).fontFamily}`,
  };
  return {
    width,
    height: chart.height,
    padding: chart.hasAxes ? [8, 8, 0, 0] : [3, 1, 3, 1],
    legend: { show: false },
    cursor: {
      y: false,
      points: { size: 6 },
      drag: { x: Boolean(chart.onZoom), y: false, setScale: false },
      sync: chart.group ? { key: chart.group, setSeries: false } : undefined,
    },
    scales: { x: { time: true }, y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => around(chart.range, low, high) } },
    tzDate: (/** @type {number} */ at) => uPlot.tzDate(new Date(at * 1e3), chart.zone),
    axes: chart.hasAxes
      ? [{ ...axis, grid: { show: false }, space: 56, values: (/** @type {any} */ _, /** @type {number[]} */ at) => hours(at, chart.zone) }, { ...axis, size: 40, space: 32 }]
      : [{ show: false }, { show: false }],
    series: [
      {},
      ...chart.series.map((one) => ({
        label: one.label,
        show: !one.isHidden,
        stroke: paint(one.colour ?? "--series-1"),
        fill: paint(one.fill),
        width: one.width ?? 1.75,
        dash: one.dash,
        points: { show: false },
        spanGaps: false,
      })),
    ],
    hooks: {
      setCursor: [(/** @type {any} */ plot) => chart.onCursor?.(plot.cursor.idx ?? null)],
      setSelect: [
        (/** @type {any} */ plot) => {
          const { left, width: wide } = plot.select;
          if (wide > 4) chart.onZoom?.(plot.posToVal(left, "x") * 1e3, plot.posToVal(left + wide, "x") * 1e3);
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        },
      ],
    },
  };
}

function around(/** @type {[number | null, number | null] | undefined} */ range, /** @type {number | null} */ low, /** @type {number | null} */ high) {
  if (low === null || high === null) return [range?.[0] ?? 0, range?.[1] ?? 1];
  const air = (high - low || Math.abs(high) || 1) * 0.06;
  return [range?.[0] ?? (low >= 0 && low - air < 0 ? 0 : low - air), range?.[1] ?? high + air];
}

function hours(/** @type {number[]} */ at, /** @type {string} */ zone) {
  const format = new Intl.DateTimeFormat(language(), { timeZone: zone, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return at.map((one) => format.format(new Date(one * 1e3)));
}
