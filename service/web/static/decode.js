// A photo in other colors at once, in the browser: decoded from the net's whole answer and joined with the photo's own lightness.

import { LINEAR, RGB_FROM_XYZ, cubed, curve, encoded, lab } from "./lab.js";

/** Halvings of the interval in which the largest chroma lies that sRGB can show. */
const HALVINGS = 8;
const SLACK = 1e-4;

/**
 * What `distribution.annealed(asked, boldness)` gives, some twenty times as fast: in one pass over the codes.
 * @param {import("./distribution.js").Distribution} distribution
 * @param {number | null} asked a temperature; null: that of the boldness
 * @returns {{ab: Float32Array, width: number, height: number}} ab: all a, then all b
 */
export function decode(distribution, boldness, asked = null) {
  const { header, codes, levels, colors, width, height } = distribution;
  const places = width * height;
  const [share, ofBoldness] = distribution.decoding(boldness);
  const temperature = asked ?? ofBoldness;
  const moved = boldness ? header.decoding.taken_back - share : 0;
  const shifts = header.centers.map((_, q) => (moved ? (moved * header.log_weights[q]) / temperature : 0));
  const largest = Math.max(...shifts);
  const weights = levels.map((level) => Math.exp(level / temperature));
  const sums = new Float64Array(places), a = new Float64Array(places), b = new Float64Array(places);
  for (let q = 0; q < colors; q++) {
    const [atA, atB] = header.centers[q];
    const factor = Math.exp(shifts[q] - largest);
    const ofColor = codes.subarray(q * places, (q + 1) * places);
    for (let place = 0; place < places; place++) {
      const weight = factor * weights[ofColor[place]];
      sums[place] += weight;
      a[place] += weight * atA;
      b[place] += weight * atB;
    }
  }
  const ab = new Float32Array(2 * places);
  for (let place = 0; place < places; place++) {
    ab[place] = a[place] / sums[place];
    ab[places + place] = b[place] / sums[place];
  }
  return { ab, width, height };
}

/** The ab of each pixel of a picture, in the shape that `decode` gives. @param {ImageData} picture */
export function colorsOf({ data, width, height }) {
  const places = width * height;
  const ab = new Float32Array(2 * places);
  for (let place = 0; place < places; place++) {
    const [, a, b] = lab(data[4 * place], data[4 * place + 1], data[4 * place + 2]);
    ab[place] = a;
    ab[places + place] = b;
  }
  return { ab, width, height };
}

/** The same picture in gray: each pixel the gray of its lightness. @param {ImageData} picture */
export function withoutColor({ data, width, height }) {
  const gray = new ImageData(width, height);
  for (let byte = 0; byte < data.length; byte += 4) {
    const luminance = 0.212671 * LINEAR[data[byte]] + 0.71516 * LINEAR[data[byte + 1]] + 0.072169 * LINEAR[data[byte + 2]];
    gray.data.fill(Math.round(encoded(luminance)), byte, byte + 3);
    gray.data[byte + 3] = 255;
  }
  return gray;
}

/** Joins lightness and colors on a canvas: by WebGL where a graphics card does it, else by the processor on fewer pixels. */
export class Painter {
  /**
   * @param {ImageData} gray the photo without its colors
   * @param {{left: number, top: number, right: number, bottom: number}} frame which part of it colors fill, 0…1
   * @param {boolean | null} byShader true: in any case; false: in no case; null: where that is quick
   */
  constructor(gray, frame = { left: 0, top: 0, right: 1, bottom: 1 }, byShader = null) {
    this.gray = gray;
    this.frame = frame;
    this.colors = null;
    this.strength = 1;
    this.#begin((byShader !== false && Shader.on(gray, frame, byShader === true)) || new Processor(shrunk(gray), frame));
  }

  /** Takes other colors. @param {{ab: Float32Array, width: number, height: number}} colors */
  take(colors) {
    this.colors = colors;
    this.side.take(colors);
  }

  /** @param {number} strength 0: gray, 1: the colors as they are, 2: twice as strong */
  paint(strength) {
    this.strength = strength;
    this.side.paint(strength);
  }

  #begin(side) {
    this.side = side;
    this.canvas?.replaceWith(side.canvas);
    this.canvas = side.canvas;
    // A browser may take the graphics card away, as from a tab that was hidden.
    this.canvas.addEventListener("webglcontextlost", () => {
      this.#begin(new Processor(shrunk(this.gray), this.frame));
      if (!this.colors) return;
      this.take(this.colors);
      this.paint(this.strength);
    });
  }
}

/** Longest side of what the processor paints: it should take no longer than a blink on an old machine. */
const BY_PROCESSOR = 768;

function shrunk(gray) {
  const scale = BY_PROCESSOR / Math.max(gray.width, gray.height);
  if (scale >= 1) return gray;
  const whole = newCanvas(gray);
  whole.getContext("2d").putImageData(gray, 0, 0);
  const small = newCanvas({ width: Math.max(1, Math.round(gray.width * scale)), height: Math.max(1, Math.round(gray.height * scale)) });
  const context = small.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, small.width, small.height);
  return context.getImageData(0, 0, small.width, small.height);
}

function newCanvas({ width, height }) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/* By the processor */

class Processor {
  constructor(gray, frame) {
    this.canvas = newCanvas(gray);
    this.context = this.canvas.getContext("2d");
    this.gray = gray;
    this.frame = frame;
    this.picture = new ImageData(gray.width, gray.height);
    this.pixels = new Uint32Array(this.picture.data.buffer);
    const places = this.pixels.length;
    this.a = new Float32Array(places);
    this.b = new Float32Array(places);
    this.most = new Float32Array(places);
    this.limits = largestChroma();
  }

  /** Upsamples bilinearly, in units of f (a/500 and b/200), and finds how strong each pixel may become within sRGB. */
  take({ ab, width, height }) {
    const { a, b, most, limits } = this, { data } = this.gray;
    const { width: wide, height: tall } = this.canvas;
    const across = steps(wide, width, this.frame.left, this.frame.right);
    const down = steps(tall, height, this.frame.top, this.frame.bottom);
    const places = width * height;
    for (let y = 0, at = 0; y < tall; y++) {
      const above = down.first[y] * width, below = down.second[y] * width, part = down.part[y];
      for (let x = 0; x < wide; x++, at++) {
        if (!(down.inside[y] && across.inside[x])) continue;
        const left = across.first[x], right = across.second[x], share = across.part[x];
        const nw = above + left, ne = above + right, sw = below + left, se = below + right;
        const topA = ab[nw] + share * (ab[ne] - ab[nw]), lowA = ab[sw] + share * (ab[se] - ab[sw]);
        const topB = ab[places + nw] + share * (ab[places + ne] - ab[places + nw]);
        const lowB = ab[places + sw] + share * (ab[places + se] - ab[places + sw]);
        const atA = topA + part * (lowA - topA), atB = topB + part * (lowB - topB);
        a[at] = atA / 500;
        b[at] = atB / 200;
        most[at] = limits[data[4 * at] * DIRECTIONS + direction(atA, atB)] / Math.max(1e-6, Math.abs(atA) + Math.abs(atB));
      }
    }
  }

  paint(strength) {
    const { a, b, most, pixels } = this, source = this.gray.data;
    for (let at = 0, byte = 0; at < pixels.length; at++, byte += 4) {
      const share = strength < most[at] ? strength : most[at];
      const code = source[byte], y = LINEAR[code], f = CURVES[code];
      const fx = f + share * a[at], fz = f - share * b[at];
      const x = fx > BEND ? fx * fx * fx : (fx - OFFSET) / 7.787, z = fz > BEND ? fz * fz * fz : (fz - OFFSET) / 7.787;
      const red = CODES[(MARGIN + STEPS * (RX * x + RY * y + RZ * z)) | 0];
      const green = CODES[(MARGIN + STEPS * (GX * x + GY * y + GZ * z)) | 0];
      const blue = CODES[(MARGIN + STEPS * (BX * x + BY * y + BZ * z)) | 0];
      pixels[at] = OPAQUE | (blue << 16) | (green << 8) | red;
    }
    this.context.putImageData(this.picture, 0, 0);
  }
}

const [[RX, RY, RZ], [GX, GY, GZ], [BX, BY, BZ]] = RGB_FROM_XYZ;
const BEND = 0.2068927;
const OFFSET = 16 / 116;
const CURVES = Float64Array.from(LINEAR, curve);
/** Codes of linear light in steps, with a margin on both sides for what is not quite within sRGB. */
const STEPS = 4096;
const MARGIN = 256.5;
const CODES = Uint8Array.from({ length: STEPS + 512 }, (_, at) => Math.round(encoded(Math.min(1, Math.max(0, (at - 256) / STEPS)))));
const OPAQUE = 255 << 24;

/** Directions in the plane of a and b that are told apart, and the last for what has none. */
const DIRECTIONS = 257;

/** By the share that b has in |a| + |b|: as good as an angle, and quick. */
function direction(a, b) {
  const sum = Math.abs(a) + Math.abs(b);
  if (sum < 1e-6) return DIRECTIONS - 1;
  const share = b / sum; // −1…1
  return Math.min(DIRECTIONS - 2, (64 * (a < 0 ? 3 - share : 1 + share)) | 0);
}

let chromas = null;

/** |a| + |b| of the strongest color that sRGB has, by gray code and direction. */
function largestChroma() {
  if (chromas) return chromas;
  chromas = new Float32Array(256 * DIRECTIONS);
  for (let way = 0; way < DIRECTIONS - 1; way++) {
    const turn = (way + 0.5) / 64;
    const share = turn < 2 ? turn - 1 : 3 - turn;
    const b = share / 200, a = ((turn < 2 ? 1 : -1) * (1 - Math.abs(share))) / 500;
    for (let code = 0; code < 256; code++) {
      const f = CURVES[code], y = LINEAR[code];
      let low = 0;
      for (let step = 128; step > 0.1; step /= 2) if (isShown(f, y, (low + step) * a, (low + step) * b)) low += step;
      chromas[code * DIRECTIONS + way] = low;
    }
  }
  return chromas;
}

function isShown(f, y, a, b) {
  const x = cubed(f + a), z = cubed(f - b);
  return [RX * x + RY * y + RZ * z, GX * x + GY * y + GZ * z, BX * x + BY * y + BZ * z].every((light) => light > -SLACK && light < 1 + SLACK);
}

/** Of each of so many pixels: between which two of so few places it lies, and where; and whether the frame has it. */
function steps(pixels, places, from, to) {
  const first = new Uint32Array(pixels), second = new Uint32Array(pixels), part = new Float32Array(pixels), inside = new Uint8Array(pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const share = ((pixel + 0.5) / pixels - from) / (to - from);
    const at = Math.min(places - 1, Math.max(0, share * places - 0.5));
    first[pixel] = at;
    second[pixel] = Math.min(places - 1, first[pixel] + 1);
    part[pixel] = at - first[pixel];
    inside[pixel] = share >= 0 && share < 1;
  }
  return { first, second, part, inside };
}

/* By the graphics card */

const VERTICES = `#version 300 es
in vec2 corner;
out vec2 place;
void main() {
  place = corner;
  gl_Position = vec4(2.0 * corner.x - 1.0, 1.0 - 2.0 * corner.y, 0.0, 1.0);
}`;

const PIXELS = `#version 300 es
precision highp float;
precision highp sampler2D;
in vec2 place;
out vec4 color;
uniform sampler2D gray, colors;
uniform vec4 frame;
uniform float strength;
uniform mat3 toRgb;
float linear(float v) { return v > 0.04045 ? pow((v + 0.055) / 1.055, 2.4) : v / 12.92; }
float curve(float t) { return t > 0.008856 ? pow(t, 1.0 / 3.0) : 7.787 * t + 16.0 / 116.0; }
float cubed(float f) { return f > 0.2068927 ? f * f * f : (f - 16.0 / 116.0) / 7.787; }
float encoded(float v) { return v > 0.0031308 ? 1.055 * pow(v, 1.0 / 2.4) - 0.055 : 12.92 * v; }
vec3 rgb(float f, float y, vec2 ab, float share) {
  return toRgb * vec3(cubed(f + share * ab.x / 500.0), y, cubed(f - share * ab.y / 200.0));
}
bool shown(vec3 c) { return all(greaterThan(c, vec3(-${SLACK}))) && all(lessThan(c, vec3(1.0 + ${SLACK}))); }
void main() {
  vec2 inside = (place - frame.xy) / (frame.zw - frame.xy);
  bool isOutside = any(lessThan(inside, vec2(0.0))) || any(greaterThanEqual(inside, vec2(1.0)));
  vec2 ab = isOutside ? vec2(0.0) : texture(colors, inside).rg;
  float y = linear(texture(gray, place).r), f = curve(y);
  vec3 found = rgb(f, y, ab, strength);
  if (!shown(found)) {
    float low = 0.0, part = strength;
    for (int halving = 0; halving < ${HALVINGS}; halving++) {
      part *= 0.5;
      if (shown(rgb(f, y, ab, low + part))) low += part;
    }
    found = rgb(f, y, ab, low);
  }
  found = clamp(found, 0.0, 1.0);
  color = vec4(encoded(found.r), encoded(found.g), encoded(found.b), 1.0);
}`;

/** Drivers without a graphics card. */
const PLAYED = /swiftshader|llvmpipe|softpipe|software|basic render/i;

class Shader {
  /** @returns {Shader | null} null where there is no WebGL 2, or one that the processor plays, unless `anyway` */
  static on(gray, frame, anyway) {
    const canvas = newCanvas(gray);
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, preserveDrawingBuffer: true });
    const names = gl?.getExtension("WEBGL_debug_renderer_info");
    const isPlayed = names && PLAYED.test(gl.getParameter(names.UNMASKED_RENDERER_WEBGL));
    return gl && (anyway || !isPlayed) ? new Shader(canvas, gl, gray, frame) : null;
  }

  constructor(canvas, gl, gray, frame) {
    this.canvas = canvas;
    this.gl = gl;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTICES], [gl.FRAGMENT_SHADER, PIXELS]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    const at = (name) => gl.getUniformLocation(program, name);
    this.strength = at("strength");
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, Float32Array.of(0, 0, 2, 0, 0, 2), gl.STATIC_DRAW);
    const corner = gl.getAttribLocation(program, "corner");
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    gl.uniform4f(at("frame"), frame.left, frame.top, frame.right, frame.bottom);
    gl.uniformMatrix3fv(at("toRgb"), true, Float32Array.from(RGB_FROM_XYZ.flat()));
    gl.uniform1i(at("gray"), 0);
    gl.uniform1i(at("colors"), 1);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.#texture(0, gl.NEAREST);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, gray);
    this.#texture(1, gl.LINEAR);
  }

  take({ ab, width, height }) {
    const { gl } = this;
    const places = width * height;
    const pairs = new Float32Array(2 * places);
    for (let place = 0; place < places; place++) {
      pairs[2 * place] = ab[place];
      pairs[2 * place + 1] = ab[places + place];
    }
    gl.activeTexture(gl.TEXTURE1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RG16F, width, height, 0, gl.RG, gl.FLOAT, pairs);
  }

  paint(strength) {
    const { gl } = this;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.uniform1f(this.strength, strength);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  #texture(unit, filter) {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    for (const which of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, which, filter);
  }
}
