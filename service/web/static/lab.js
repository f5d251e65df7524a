// sRGB ↔ CIE Lab under D65, as model/upsample.py has it; f is CIE 15's curve, Y is in units of the white.

const XYZ_FROM_RGB = [
  [0.412453, 0.35758, 0.180423],
  [0.212671, 0.71516, 0.072169],
  [0.019334, 0.119193, 0.950227],
];
/** The white is what the matrix makes of R = G = B = 1, so that gray stays gray. */
const PER_WHITE = XYZ_FROM_RGB.map((row) => row.map((value) => value / row.reduce((a, b) => a + b)));
/** Linear RGB from X, Y and Z in units of the white. */
export const RGB_FROM_XYZ = inverse(PER_WHITE);

const EPSILON = 0.008856;
const BEND = Math.cbrt(EPSILON);

/** Linear light of each 8-bit code of sRGB. */
export const LINEAR = Float64Array.from({ length: 256 }, (_, code) => {
  const value = code / 255;
  return value > 0.04045 ? ((value + 0.055) / 1.055) ** 2.4 : value / 12.92;
});

export function curve(ratio) {
  return ratio > EPSILON ? Math.cbrt(ratio) : 7.787 * ratio + 16 / 116;
}

export function cubed(f) {
  return f > BEND ? f * f * f : (f - 16 / 116) / 7.787;
}

/** 0…1 of linear light → 0…255, not rounded. */
export function encoded(linear) {
  return 255 * (linear > 0.0031308 ? 1.055 * linear ** (1 / 2.4) - 0.055 : 12.92 * Math.max(0, linear));
}

/** 8-bit codes of sRGB → [L, a, b], 0…100 and about −100…100. */
export function lab(red, green, blue) {
  const linear = [LINEAR[red], LINEAR[green], LINEAR[blue]];
  const [x, y, z] = PER_WHITE.map((row) => curve(row[0] * linear[0] + row[1] * linear[1] + row[2] * linear[2]));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / det));
}
