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
  [308, t("blue")], // the screen’s own blue lies at 306
  [330, t("violet")],
  [360, t("pink")],
];
/** Chroma below which a color passes for gray, and below which it is said to be pale. */
const GRAY = 6;
const PALE = 17;
/** Chroma above which it is said to be bright. */
const BRIGHT = 62;

/** Hues that a color may lean to, by angle, and the words for it; a color does not lean to its own. */
const LEANING = [
  [25, "red", (color) => t("reddish {color}", { color })],
  [90, "yellow", (color) => t("yellowish {color}", { color })],
  [140, "green", (color) => t("greenish {color}", { color })],
  [265, "blue", (color) => t("bluish {color}", { color })],
];
const OWN = Object.fromEntries(LEANING.map(([angle, name]) => [name, HUES.find(([end]) => angle < end)[1]]));

/** @param {string} color #rrggbb @returns {string} such as "dark red" */
export function nameOf(color) {
  const { lightness, chroma, hue } = seen(color);
  if (chroma < GRAY) return lightness > 93 ? t("white") : lightness < 12 ? t("black") : shade(lightness, t("gray"));
  const name = family(hue, chroma, lightness);
  if (chroma < PALE) return t("grayish {color}", { color: name });
  return chroma > BRIGHT ? t("bright {color}", { color: name }) : shade(lightness, name);
}

/** Names that differ: of two alike, the second says how it does. @param {string[]} colors @returns {string[]} */
export function namesOf(colors) {
  const names = [];
  for (const color of colors) {
    const plain = nameOf(color);
    const before = names.indexOf(plain);
    const choices = before < 0 ? [plain] : differences(seen(color), seen(colors[before]), plain);
    names.push([...choices, ...colors.map((_, at) => `${plain} ${at + 2}`)].find((name) => !names.includes(name)));
  }
  return names;
}

/** What a color may be called beside another of the same name: what is plainest comes first. */
function differences(one, other, color) {
  const around = ((one.hue - other.hue + 540) % 360) - 180;
  const apart = 2 * Math.min(one.chroma, other.chroma) * Math.sin((around * Math.PI) / 360);
  const stronger = one.chroma - other.chroma, lighter = one.lightness - other.lightness;
  return [
    [apart, leaning(one, Math.sign(apart), color)],
    [stronger, stronger < 0 ? t("pale {color}", { color }) : t("strong {color}", { color })],
    [lighter, lighter < 0 ? t("darker {color}", { color }) : t("lighter {color}", { color })],
  ].sort(([a], [b]) => Math.abs(b) - Math.abs(a)).map(([, name]) => name);
}

/** The name of a color that is nearer to the next hue in this direction than it might be. */
function leaning({ hue, chroma, lightness }, direction, color) {
  const others = LEANING.filter(([, name]) => OWN[name] !== family(hue, chroma, lightness));
  const way = ([angle]) => (direction * (angle - hue) + 720) % 360;
  return others.sort((a, b) => way(a) - way(b))[0][2](color);
}

function seen(color) {
  const [lightness, a, b] = lab(...[1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));
  return { lightness, chroma: Math.hypot(a, b), hue: ((Math.atan2(b, a) * 180) / Math.PI + 360) % 360 };
}

function family(hue, chroma, lightness) {
  if ((hue < 55 || hue >= 330) && lightness >= 65 && chroma < 50) return t("pink");
  if (hue >= 55 && hue < 95 && chroma < 45 && lightness >= 60) return t("beige");
  if (hue >= 35 && hue < 88 && chroma < 60 && lightness < 60) return t("brown");
  return HUES.find(([end]) => hue < end)[1];
}

function shade(lightness, color) {
  if (lightness < 35) return t("dark {color}", { color });
  if (lightness > 75) return t("light {color}", { color });
  return color;
}
