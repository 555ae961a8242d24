// PMTiles as a script that leaves a name behind: its module asks for another package by a bare name, which takes an import
// map, and the policy allows none within the page. Loaded with the first map that needs it.
await new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.src = "/ui/vendor/pmtiles-4.5.0/pmtiles.js";
  script.addEventListener("load", resolve);
  script.addEventListener("error", () => reject(new Error(`${script.src} can't be loaded`)));
  document.head.append(script);
});

export default /** @type {any} */ (window).pmtiles;
