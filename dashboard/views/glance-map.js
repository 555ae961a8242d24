// The map: districts coloured by what is worst in them, every device a point, the base map beneath. By MapLibre where the
// browser draws WebGL2, as a plain picture otherwise; and, for everybody who prefers that, as a table.

import { get } from "../api.js";
import { t } from "../i18n.js";
import { Fleet } from "./glance-fleet.js";
import { Labels } from "./glance-labels.js";
import { districtTable } from "./glance-table.js";
import { h } from "./kit.js";

const FLEET_EVERY_MS = 60_000;
const NOTHING = { type: "FeatureCollection", features: [] };
const PAGE = 20_000;
const LEVELS = [0, 1, 2, 3, 4, 5];

const hasGl = Boolean(document.createElement("canvas").getContext("webgl2"));
const loadGl = () => import("./glance-gl.js");
const loadPlan = () => import("./glance-plan.js");
// By far the largest file: it comes, and is read, while the page still asks what to show.
(hasGl ? loadGl() : loadPlan()).catch(() => {});

/** Return the panel of the map. */
export function glanceMap(/** @type {import("./city.js").City} */ city, /** @type {AbortSignal} */ signal) {
  const fleet = new Fleet();
  const labels = new Labels(city);
  const stage = h("div.map-stage");
  const tableOf = h("div.map-table", { hidden: true });
  const toggle = h("button.quiet", { type: "button", "aria-pressed": "false", onclick: () => choose(tableOf.hidden) }, t("map.as_table"));
  const key = legend();
  const element = h(
    "section.card.glance-map",
    { "aria-label": t("map.title"), "aria-busy": "true" },
    stage,
    tableOf,
    h("div.map-tools", {}, toggle),
    key.element,
  );
  /** @type {any} */
  let state = null;
  /** @type {import("./glance-gl.js").GlMap | import("./glance-plan.js").PlanMap | null} */
  let picture = null;

  function choose(/** @type {boolean} */ isTable) {
    tableOf.hidden = !isTable;
    stage.hidden = isTable;
    element.toggleAttribute("data-table", isTable);
    toggle.setAttribute("aria-pressed", String(isTable));
    drawTable();
    if (!isTable) picture?.fit();
  }

  function drawTable() {
    if (state && !tableOf.hidden) tableOf.replaceChildren(districtTable(state, city));
  }

  async function begin() {
    element.dataset.by = hasGl ? "webgl" : "svg";
    const parts = /** @type {const} */ ([loadFleet(), baseMap(city), hasGl ? ownTiles() : null]);
    if (hasGl) {
      const { GlMap } = await loadGl();
      if (signal.aborted) return;
      const tiles = await parts[2];
      picture = new GlMap({ place: stage, city, fleet, labels, base: tiles ? NOTHING : await parts[1], tiles, signal });
      if (tiles) key.showTiles(tiles);
    } else {
      const { PlanMap } = await loadPlan();
      if (signal.aborted) return;
      picture = new PlanMap({ place: stage, city, fleet, labels, base: await parts[1], signal });
      choose(matchMedia("(max-width: 720px)").matches);
    }
    await parts[0];
    if (signal.aborted) return;
    await picture.begin();
    if (state) picture.showState(state);
    picture.showDevices(fleet.unwell());
    element.removeAttribute("aria-busy");
  }

  async function loadFleet() {
    let cursor = null;
    const ids = /** @type {Set<string>} */ (new Set());
    do {
      const page = await get("state/devices", { cursor, limit: PAGE }, { signal });
      const changed = fleet.take(page);
      picture?.showDevices(changed);
      for (const id of page.device) ids.add(id);
      cursor = page.next;
    } while (cursor);
    if (!fleet.settle(ids)) return;
    picture?.showPlaces();
    picture?.showDevices(fleet.unwell());
  }

  const timer = window.setInterval(async () => {
    if (!document.hidden) await loadFleet().catch(() => {});
  }, FLEET_EVERY_MS);
  signal.addEventListener("abort", () => window.clearInterval(timer), { once: true });
  begin().catch((error) => {
    if (!signal.aborted) stage.replaceChildren(h("p.nothing", { role: "alert" }, t("map.trouble", { what: error.message })));
  });

  return {
    element,
    showState: (/** @type {any} */ next) => {
      state = next;
      labels.show(next);
      drawTable();
      picture?.showState(next);
    },
    showAlerts: (/** @type {any[]} */ alerts) => {
      const changed = fleet.alert(alerts);
      picture?.showDevices(changed);
    },
    arrived: (/** @type {any[]} */ readings) => {
      fleet.arrived(readings);
      picture?.pulse(readings.map((one) => one.device));
    },
    changed: (/** @type {any[]} */ devices) => {
      const changed = fleet.connected(devices);
      picture?.showDevices(changed);
    },
  };
}

/** Return the operator's own base map, if there is one that can be drawn. */
async function ownTiles() {
  const answer = await fetch("/ui/map");
  /** @type {import("./glance-tiles.js").Tiles | null} */
  const tiles = answer.ok ? (await answer.json()).tiles : null;
  return tiles;
}

/** Return the base map's features, none of another city. */
async function baseMap(/** @type {import("./city.js").City} */ city) {
  const answer = await fetch(new URL("../map/alatau.geojson", import.meta.url));
  const found = await answer.json();
  return found.city === city.name ? found : NOTHING;
}

function legend() {
  const level = (/** @type {number} */ one) => h("li", {}, h("i.swatch", { "data-level": one }), t(`level.${one}`));
  const mark = (/** @type {string} */ what) => h("li", {}, h("i.dot", { "data-state": what }), t(`map.${what}`));
  const illustrative = h("p.faint", {}, t("map.illustrative"));
  const attribution = h("p.map-attribution", { hidden: true });
  const element = h(
    "details.map-legend",
    { open: matchMedia("(min-width: 1101px) and (min-height: 800px)").matches },
    h("summary", {}, t("map.legend")),
    h("ul", { "aria-label": t("map.districts") }, LEVELS.map(level)),
    h("ul", { "aria-label": t("map.points") }, ["reporting", "silent", "alert"].map(mark)),
    illustrative,
  );
  return {
    element: h("div.map-foot", {}, element, attribution),
    showTiles: (/** @type {import("./glance-tiles.js").Tiles} */ tiles) => {
      illustrative.textContent = t("map.illustrative_districts");
      // The file's own words: text, whatever is in them.
      attribution.textContent = tiles.attribution;
      attribution.hidden = !tiles.attribution;
    },
  };
}
