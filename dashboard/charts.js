// Small charts by uPlot, without axes: in the page's colours, as wide as their place, gone when their view is.

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
 * @typedef {{label: string, colour?: string, width?: number, dash?: number[], fill?: string}} Series
 *   `colour` and `fill` are names of custom properties.
 * @typedef {{
 *   times: number[], series: Series[], values: (number | null)[][], height: number,
 *   range: [number, number], onCursor: (index: number | null) => void, group: string,
 * }} Chart `times` are Unix seconds; the charts of one `group` show the same moment.
 */

/**
 * Draw a chart into a place, and again when its width or the theme changes.
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
}

function options(/** @type {Chart} */ chart, /** @type {number} */ width, /** @type {HTMLElement} */ place) {
  const paint = (/** @type {string | undefined} */ name) => (name ? colour(name, place) : undefined);
  return {
    width,
    height: chart.height,
    padding: [3, 1, 3, 1],
    legend: { show: false },
    cursor: {
      y: false,
      points: { size: 6 },
      drag: { x: false, y: false, setScale: false },
      sync: { key: chart.group, setSeries: false },
    },
    scales: { x: { time: true }, y: { range: chart.range } },
    axes: [{ show: false }, { show: false }],
    series: [
      {},
      ...chart.series.map((one) => ({
        label: one.label,
        stroke: paint(one.colour ?? "--series-1"),
        fill: paint(one.fill),
        width: one.width ?? 1.75,
        dash: one.dash,
        points: { show: false },
        spanGaps: false,
      })),
    ],
    hooks: {
      setCursor: [(/** @type {any} */ plot) => chart.onCursor(plot.cursor.idx ?? null)],
    },
  };
}
