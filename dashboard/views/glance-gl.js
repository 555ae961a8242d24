// The map by MapLibre. What changes is told as the state of a feature: the ten thousand points are sent to it once.

import { colour } from "../colour.js";
import { t } from "../i18n.js";
import { navigate } from "../app.js";
import maplibre from "../vendor/maplibre.js";
import { tooltipOf } from "./glance-tooltip.js";
import { h } from "./kit.js";

const CSS = "/ui/vendor/maplibre-gl-6.17.0/maplibre-gl.css";
const PADDING = { top: 28, bottom: 28, left: 24, right: 24 };
const SEVERITY = /** @type {Record<string, number>} */ ({ info: 1, warning: 2, critical: 3 });
const PULSE_MS = 900;

/**
 * @typedef {{place: HTMLElement, city: import("./city.js").City, fleet: import("./glance-fleet.js").Fleet,
 *   labels: import("./glance-labels.js").Labels, base: any, tiles?: import("./glance-tiles.js").Tiles | null,
 *   signal: AbortSignal}} MapParts
 */

export class GlMap {
  #parts;
  #map;
  #ready;
  #hasDevices = false;
  /** @type {Map<number, number>} In which batch a device has sent last. */ #pulsing = new Map();
  #batch = 0;
  #tip;
  /** @type {typeof import("./glance-tiles.js").paintTiles | null} */ #paintTiles = null;

  constructor(/** @type {MapParts} */ parts) {
    this.#parts = parts;
    const { place, signal } = parts;
    this.#tip = new maplibre.Popup({ closeButton: false, closeOnClick: false, offset: 10, className: "map-tip", maxWidth: "280px" });
    const canvas = h("div.map-canvas");
    place.replaceChildren(canvas);
    addStyle();
    this.#map = new maplibre.Map({
      container: canvas,
      style: { version: 8, sources: {}, layers: [] },
      bounds: this.#bounds(),
      fitBoundsOptions: { padding: PADDING },
      attributionControl: false,
      cooperativeGestures: true,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      maxZoom: 17,
      minZoom: 8,
      locale: {
        "NavigationControl.ZoomIn": t("map.zoom_in"),
        "NavigationControl.ZoomOut": t("map.zoom_out"),
        "CooperativeGesturesHandler.WindowsHelpText": t("map.gesture_ctrl"),
        "CooperativeGesturesHandler.MacHelpText": t("map.gesture_command"),
        "CooperativeGesturesHandler.MobileHelpText": t("map.gesture_touch"),
        "Map.Title": t("map.title"),
      },
    });
    this.#map.touchZoomRotate.disableRotation();
    this.#map.keyboard.disableRotation();
    this.#map.addControl(new maplibre.NavigationControl({ showCompass: false }), "top-right");
    this.#ready = new Promise((resolve) => this.#map.once("load", resolve));
    // For tests, and for whoever looks at the page with the tools of a browser.
    /** @type {any} */ (place).map = this.#map;
    document.addEventListener("alatau:theme", () => this.#paint(), { signal });
    signal.addEventListener("abort", () => this.#map.remove(), { once: true });
  }

  /** Resolve when layers are there to be told of. */
  async begin() {
    await this.#ready;
    const { city, base, labels, fleet, tiles, signal } = this.#parts;
    const map = this.#map;
    const outlines = [...city.districts.values()].map((one, place) => ({
      type: "Feature",
      id: place,
      properties: { district: one.name },
      geometry: { type: "Polygon", coordinates: [[...one.outline, one.outline[0]]] },
    }));
    map.addSource("base", { type: "geojson", data: base });
    map.addSource("districts", { type: "geojson", data: collection(outlines) });
    map.addSource("devices", { type: "geojson", data: collection(pointsOf(fleet)) });
    for (const layer of layers()) map.addLayer(layer);
    if (tiles) {
      const { addTiles, paintTiles } = await import("./glance-tiles.js");
      if (signal.aborted) return;
      addTiles(map, tiles);
      this.#paintTiles = paintTiles;
    }
    this.#paint();
    for (const [district, element] of labels.elements) {
      new maplibre.Marker({ element, anchor: "center" }).setLngLat(labels.anchor(district)).addTo(map);
    }
    this.#listen();
    this.#hasDevices = true;
  }

  #bounds() {
    const corners = [...this.#parts.city.districts.values()].flatMap((one) => one.outline);
    const [east, north] = [corners.map((one) => one[0]), corners.map((one) => one[1])];
    return /** @type {[[number, number], [number, number]]} */ ([
      [Math.min(...east), Math.min(...north)],
      [Math.max(...east), Math.max(...north)],
    ]);
  }

  fit() {
    this.#map.resize();
    this.#map.fitBounds(this.#bounds(), { padding: PADDING, duration: 0 });
  }

  showState(/** @type {any} */ state) {
    const places = [...this.#parts.city.districts.keys()];
    if (!this.#hasDevices) return;
    for (const one of state.districts) {
      this.#map.setFeatureState({ source: "districts", id: places.indexOf(one.district) }, { level: one.worst.level });
    }
  }

  /** Draw the points anew: devices came, went, or stand elsewhere. What is known of the others' state stays with them. */
  showPlaces() {
    if (this.#hasDevices) this.#map.getSource("devices").setData(collection(pointsOf(this.#parts.fleet)));
  }

  showDevices(/** @type {import("./glance-fleet.js").Device[]} */ devices) {
    if (!this.#hasDevices) return;
    for (const { number, state, alert, position } of devices) {
      if (position) this.#map.setFeatureState({ source: "devices", id: number }, { state, alert: SEVERITY[alert ?? ""] ?? 0 });
    }
  }

  /** Let the points of devices that have just sent something light up for a moment. */
  pulse(/** @type {string[]} */ ids) {
    if (!this.#hasDevices || document.hidden) return;
    const batch = ++this.#batch;
    const set = (/** @type {number} */ id, /** @type {boolean} */ pulse) => this.#map.setFeatureState({ source: "devices", id }, { pulse });
    const numbers = this.#parts.fleet.find(ids).map((device) => device.number);
    for (const number of numbers) {
      this.#pulsing.set(number, batch);
      set(number, true);
    }
    window.setTimeout(() => {
      if (this.#parts.signal.aborted) return;
      for (const number of numbers) {
        // What has sent again since then shines on.
        if (this.#pulsing.get(number) === batch) set(number, false);
      }
    }, PULSE_MS);
  }

  #listen() {
    const map = this.#map;
    const around = (/** @type {any} */ point) => [
      [point.x - 6, point.y - 6],
      [point.x + 6, point.y + 6],
    ];
    const deviceAt = (/** @type {any} */ event) => {
      const [found] = map.queryRenderedFeatures(around(event.point), { layers: ["devices"] });
      return found ? this.#parts.fleet.at(Number(found.id)) : null;
    };
    map.on("mousemove", (/** @type {any} */ event) => {
      const device = deviceAt(event);
      map.getCanvas().style.cursor = device || map.queryRenderedFeatures(event.point, { layers: ["districts"] }).length ? "pointer" : "";
      if (!device?.position) this.#tip.remove();
      else this.#tip.setLngLat(device.position).setDOMContent(tooltipOf(device, this.#parts.city)).addTo(map);
    });
    map.on("mouseout", () => this.#tip.remove());
    map.on("click", (/** @type {any} */ event) => {
      const device = deviceAt(event);
      if (device) return navigate("device", { device: device.id });
      const [district] = map.queryRenderedFeatures(event.point, { layers: ["districts"] });
      if (district) navigate("district", { district: district.properties.district });
    });
  }

  #paint() {
    const map = this.#map;
    if (!map.getLayer("devices")) return;
    const of = (/** @type {string} */ name) => colour(name, this.#parts.place);
    const levels = [0, 1, 2, 3, 4, 5].flatMap((level) => [level, of(`--level-${level}`)]);
    const level = ["match", ["coalesce", ["feature-state", "level"], -1], ...levels, of("--level-none")];
    map.setPaintProperty("land", "background-color", of("--land"));
    map.setPaintProperty("water", "fill-color", of("--water"));
    for (const layer of ["river", "canal"]) map.setPaintProperty(layer, "line-color", of("--water"));
    map.setPaintProperty("districts", "fill-color", level);
    map.setPaintProperty("outlines", "line-color", of("--card"));
    map.setPaintProperty("rail", "line-color", of("--rail"));
    map.setPaintProperty("rail-ties", "line-color", of("--rail"));
    map.setPaintProperty("road-edge", "line-color", of("--road-edge"));
    map.setPaintProperty("road", "line-color", of("--road"));
    this.#paintTiles?.(map, of);
    const alert = ["coalesce", ["feature-state", "alert"], 0];
    const state = ["coalesce", ["feature-state", "state"], "reporting"];
    const isSilent = ["in", state, ["literal", ["silent", "never"]]];
    const tone = ["case", [">=", alert, 3], of("--critical"), [">=", alert, 1], of("--warning"), isSilent, of("--faint"), of("--point")];
    map.setPaintProperty("devices", "circle-color", ["case", ["all", isSilent, ["==", alert, 0]], of("--card"), tone]);
    map.setPaintProperty("devices", "circle-stroke-color", ["case", ["all", isSilent, ["==", alert, 0]], tone, of("--card")]);
    map.setPaintProperty("halos", "circle-color", ["case", [">=", alert, 3], of("--critical"), [">=", alert, 1], of("--warning"), of("--accent")]);
  }
}

const collection = (/** @type {any[]} */ features) => ({ type: "FeatureCollection", features });

const pointsOf = (/** @type {import("./glance-fleet.js").Fleet} */ fleet) =>
  fleet.places().map((device) => ({ type: "Feature", id: device.number, properties: {}, geometry: { type: "Point", coordinates: device.position } }));

function layers() {
  const of = (/** @type {string} */ kind) => ["==", ["get", "kind"], kind];
  const wide = (/** @type {number} */ from, /** @type {number} */ to) => ["interpolate", ["linear"], ["zoom"], 9, from, 14, to];
  const line = { "line-cap": "round", "line-join": "round" };
  const alert = ["coalesce", ["feature-state", "alert"], 0];
  const state = ["coalesce", ["feature-state", "state"], "reporting"];
  const grows = (/** @type {number} */ from, /** @type {number} */ to) => ["interpolate", ["linear"], ["zoom"], 9, ["case", [">", alert, 0], from + 2, from], 14, ["case", [">", alert, 0], to + 3, to]];
  return /** @type {any[]} */ ([
    { id: "land", type: "background" },
    { id: "water", type: "fill", source: "base", filter: of("reservoir"), paint: { "fill-antialias": false } },
    { id: "districts", type: "fill", source: "districts", paint: { "fill-opacity": 0.62, "fill-antialias": false } },
    { id: "river", type: "line", source: "base", filter: of("river"), layout: line, paint: { "line-width": wide(2, 7) } },
    { id: "canal", type: "line", source: "base", filter: of("canal"), layout: line, paint: { "line-width": wide(1.2, 4) } },
    { id: "outlines", type: "line", source: "districts", layout: line, paint: { "line-width": 2 } },
    { id: "rail", type: "line", source: "base", filter: of("railway"), paint: { "line-width": 1 } },
    { id: "rail-ties", type: "line", source: "base", filter: of("railway"), paint: { "line-width": 4, "line-dasharray": [0.25, 2] } },
    { id: "road-edge", type: "line", source: "base", filter: of("highway"), layout: line, paint: { "line-width": wide(4, 12) } },
    { id: "road", type: "line", source: "base", filter: of("highway"), layout: line, paint: { "line-width": wide(2.4, 9) } },
    {
      id: "halos",
      type: "circle",
      source: "devices",
      paint: {
        "circle-radius": ["interpolate", ["linear"], ["zoom"], 9, 7, 14, 16],
        "circle-opacity": ["case", [">", alert, 0], 0.28, ["boolean", ["feature-state", "pulse"], false], 0.35, 0],
        "circle-opacity-transition": { duration: 300 },
      },
    },
    {
      id: "devices",
      type: "circle",
      source: "devices",
      paint: {
        "circle-radius": grows(2.4, 7),
        "circle-stroke-width": wide(0.8, 1.6),
        "circle-opacity": ["case", ["==", state, "disabled"], 0, 1],
        "circle-stroke-opacity": ["case", ["==", state, "disabled"], 0, 1],
      },
    },
  ]);
}

function addStyle() {
  if (document.querySelector(`link[href="${CSS}"]`)) return;
  document.head.append(h("link", { rel: "stylesheet", href: CSS }));
}
