// uPlot's minified form is a script that leaves a name behind: the page loads it before the modules.
export default /** @type {any} */ (window).uPlot;
