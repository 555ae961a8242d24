// The page's colours, for those who draw on a canvas.

/** Return the value of a custom property of the style, such as `--accent`, as it is for an element. */
export const colour = (/** @type {string} */ name, /** @type {Element} */ of = document.documentElement) => {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  of.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
};
