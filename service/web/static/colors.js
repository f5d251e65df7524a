// Names of colors in plain words, for people who do not see them or not as others do.

import { lab } from "./lab.js";
import { t } from "./strings.js";

/** Up to which hue angle in Lab, in degrees, each name goes. */
const HUES = [
  [8, t("pink")],
  [48, t("red")],
  [80, t("orange")],
  [108, t("yellow")],
  [165, t("green")],
  [220, t("turquoise")],
  [295, t("blue")],
  [330, t("violet")],
  [360, t("pink")],
];
/** Chroma below which a color passes for gray, and below which it is said to be pale. */
const GRAY = 6;
const PALE = 17;
/** Chroma above which it is said to be bright. */
const BRIGHT = 62;

/** @param {string} color #rrggbb @returns {string} such as "dark red" */
export function nameOf(color) {
  const [lightness, a, b] = lab(...[1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));
  const chroma = Math.hypot(a, b);
  if (chroma < GRAY) return lightness > 93 ? t("white") : lightness < 12 ? t("black") : shade(lightness, t("gray"));
  const name = family(((Math.atan2(b, a) * 180) / Math.PI + 360) % 360, chroma, lightness);
  if (chroma < PALE) return t("grayish {color}", { color: name });
  return chroma > BRIGHT ? t("bright {color}", { color: name }) : shade(lightness, name);
}

function family(hue, chroma, lightness) {
  if ((hue < 55 || hue >= 330) && lightness >= 65 && chroma < 50) return t("pink");
  if (hue >= 55 && hue < 95 && chroma < 45 && lightness >= 60) return t("beige");
  if (hue >= 35 && hue < 88 && chroma < 60 && lightness < 60) return t("brown");
  return HUES.find(([end]) => hue < end)[1];
}

/** Names that differ: of two alike, the second has a number. @param {string[]} colors */
export function namesOf(colors) {
  const names = colors.map(nameOf);
  return names.map((name, at) => {
    const before = names.slice(0, at).filter((other) => other === name).length;
    return before ? `${name} ${before + 1}` : name;
  });
}

function shade(lightness, color) {
  if (lightness < 35) return t("dark {color}", { color });
  if (lightness > 75) return t("light {color}", { color });
  return color;
}
