// The operator's own base map: vector tiles of one PMTiles file, in quiet colours, without names.

import maplibre from "../vendor/maplibre.js";
import pmtiles from "../vendor/pmtiles.js";

/**
 * @typedef {{path: string, schema: "protomaps" | "openmaptiles", attribution: string, zooms: [number, number],
 *   bounds: [number, number, number, number]}} Tiles
 */

const SOURCE = "tiles";
// The fill of districts lets more of it through than of the drawn map.
const DISTRICTS = 0.42;

maplibre.addProtocol("pmtiles", new pmtiles.Protocol().tile);

/** What each schema calls things: layers of areas and lines, and their classes by how they are drawn. */
const SCHEMAS = {
  protomaps: {
    // Older files have a prefix.
    kind: ["coalesce", ["get", "kind"], ["get", "pmap:kind"], ""],
    green: ["landcover", "landuse"],
    water: ["water"],
    streams: ["water", "physical_line"],
    roads: "roads",
    rails: ["roads", "transit"],
    buildings: "buildings",
    major: ["highway", "major_road"],
    middle: ["medium_road"],
    minor: ["minor_road"],
    path: ["path"],
  },
  openmaptiles: {
    kind: ["coalesce", ["get", "class"], ""],
    green: ["landcover", "landuse", "park"],
    water: ["water"],
    streams: ["waterway"],
    roads: "transportation",
    rails: ["transportation"],
    buildings: "building",
    major: ["motorway", "trunk", "primary"],
    middle: ["secondary", "tertiary"],
    minor: ["minor", "service"],
    path: ["path", "track"],
  },
};
const GREEN = [
  ...["wood", "forest", "grass", "grassland", "scrub", "meadow", "park", "garden", "nature_reserve", "national_park"],
  ...["protected_area", "cemetery", "golf_course", "pitch", "recreation_ground", "village_green", "allotments", "orchard"],
];
const STREAMS = ["river", "stream", "canal", "drain", "ditch"];
const RAILS = ["rail", "transit"];
// Each class of road: its width in pixels at zoom 10, and at 16.
const ROADS = /** @type {const} */ ([["path", 0, 1.2], ["minor", 0.3, 5], ["middle", 0.7, 8], ["major", 1.4, 12]]);

/** Put the tiles on a map, below all that has been there before but the land. */
export function addTiles(/** @type {any} */ map, /** @type {Tiles} */ tiles) {
  const address = `pmtiles://${new URL(tiles.path, location.href).href}/{z}/{x}/{y}`;
  const [minzoom, maxzoom] = tiles.zooms;
  map.addSource(SOURCE, { type: "vector", tiles: [address], minzoom, maxzoom, bounds: tiles.bounds });
  for (const layer of layers(tiles.schema)) map.addLayer(layer, "water");
  map.setPaintProperty("districts", "fill-opacity", DISTRICTS);
}

/** Give its layers the page's colours. */
export function paintTiles(/** @type {any} */ map, /** @type {(name: string) => string} */ of) {
  for (const { id, type, source, metadata } of map.getStyle().layers) {
    if (source === SOURCE) map.setPaintProperty(id, `${type}-color`, of(metadata.colour));
  }
}

function layers(/** @type {Tiles["schema"]} */ schema) {
  const names = SCHEMAS[schema];
  const any = (/** @type {readonly string[]} */ kinds) => ["in", names.kind, ["literal", kinds]];
  const isA = (/** @type {string} */ type) => ["==", ["geometry-type"], type];
  const wide = (/** @type {number} */ from, /** @type {number} */ to) => ["interpolate", ["exponential", 1.4], ["zoom"], 10, from, 16, to];
  const layer = (/** @type {string} */ what, /** @type {string} */ of, /** @type {string} */ type, /** @type {string} */ colour, /** @type {any} */ filter, /** @type {any} */ more = {}) =>
    ({ id: `${SOURCE}-${what}-${of}`, type, source: SOURCE, "source-layer": of, filter, metadata: { colour }, ...more });
  const line = { "line-cap": "round", "line-join": "round" };
  const isOn = ["all", isA("LineString")];
  return [
    ...names.green.map((of) => layer("green", of, "fill", "--green", ["all", isA("Polygon"), any(GREEN)])),
    ...names.water.map((of) => layer("water", of, "fill", "--water", isA("Polygon"))),
    ...names.streams.map((of) => layer("stream", of, "line", "--water", [...isOn, any(STREAMS)], { layout: line, paint: { "line-width": wide(0.8, 4) } })),
    layer("building", names.buildings, "fill", "--building", isA("Polygon"), { minzoom: 13 }),
    ...ROADS.map(([what, from, to]) => layer(`${what}-edge`, names.roads, "line", "--road-edge", [...isOn, any(names[what])], { layout: line, paint: { "line-width": wide(from * 1.8, to + 2) } })),
    ...ROADS.map(([what, from, to]) => layer(what, names.roads, "line", "--road", [...isOn, any(names[what])], { layout: line, paint: { "line-width": wide(from, to) } })),
    ...names.rails.map((of) => layer("rail", of, "line", "--rail", [...isOn, any(RAILS)], { paint: { "line-width": wide(0.5, 1.6) } })),
  ];
}
