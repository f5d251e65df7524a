// The plane of colors: from green to red and from blue to yellow, a dot for each color that the net knows.

import { RGB_FROM_XYZ, cubed, encoded } from "./lab.js";

/** Of dots, in ab units: of a color without any chance, and of the likeliest. */
const SMALLEST = 0.9;
const LARGEST = 6.5;
/** Lightness of dots: all colors are to be told apart, at dark and light places too. */
const DARKEST = 45;
const LIGHTEST = 75;
/** Halvings of the interval in which the largest chroma lies that sRGB has. */
const HALVINGS = 8;

export class Plane {
  /** @param {SVGElement} svg with a circle for each of `centers`, in their order */
  constructor(svg, centers) {
    this.centers = centers;
    this.dots = [...svg.querySelectorAll("circle:not(.ring)")];
    this.ring = svg.querySelector(".ring");
    this.lightness = null;
  }

  /**
   * @param {Float64Array} chances of each color, in any unit
   * @param {number} lightness of the place, 0…100
   * @param {[number, number] | null} taken the color that is taken, as [a, b]
   */
  show(chances, lightness, taken = null) {
    const shown = Math.min(LIGHTEST, Math.max(DARKEST, lightness));
    const most = chances.reduce((one, other) => Math.max(one, other));
    this.dots.forEach((dot, color) => {
      dot.setAttribute("r", (SMALLEST + (LARGEST - SMALLEST) * Math.sqrt(chances[color] / most)).toFixed(2));
      if (shown !== this.lightness) dot.setAttribute("fill", hex(shown, ...this.centers[color]));
    });
    this.lightness = shown;
    if (!taken) return;
    this.ring.setAttribute("cx", taken[0].toFixed(1));
    this.ring.setAttribute("cy", (-taken[1]).toFixed(1));
  }
}

/** Another plane like this one, with a ring for the color that is taken. @param {SVGElement} svg @returns {SVGElement} */
export function withRing(svg) {
  const copy = svg.cloneNode(true);
  copy.removeAttribute("role");
  copy.removeAttribute("aria-label");
  copy.setAttribute("aria-hidden", "true");
  const ring = document.createElementNS(svg.namespaceURI, "circle");
  ring.setAttribute("class", "ring");
  ring.setAttribute("r", "9");
  copy.append(ring);
  return copy;
}

/** #rrggbb of a color in CIE Lab; where sRGB has no such color, of the same lightness and hue with less chroma. */
export function hex(lightness, a, b) {
  let rgb = linear(lightness, a, b);
  if (!isShown(rgb)) {
    let low = 0;
    for (let step = 0.5, halving = 0; halving < HALVINGS; step /= 2, halving++) {
      if (isShown(linear(lightness, (low + step) * a, (low + step) * b))) low += step;
    }
    rgb = linear(lightness, low * a, low * b);
  }
  return `#${rgb.map((value) => Math.round(encoded(Math.min(1, value))).toString(16).padStart(2, "0")).join("")}`;
}

function linear(lightness, a, b) {
  const f = (lightness + 16) / 116;
  const xyz = [f + a / 500, f, f - b / 200].map(cubed);
  return RGB_FROM_XYZ.map((row) => row.reduce((sum, value, at) => sum + value * xyz[at], 0));
}

function isShown(rgb) {
  return rgb.every((value) => value > -1e-4 && value < 1 + 1e-4);
}
