// The one place that names the version of MapLibre GL JS. Its worker is a file of this server: the policy allows no other.
import * as maplibre from "/ui/vendor/maplibre-gl-6.17.0/maplibre-gl.mjs";

maplibre.setWorkerUrl("/ui/vendor/maplibre-gl-6.17.0/maplibre-gl-worker.mjs");

export default maplibre;
