// Reads the file that docs/distribution.md specifies: a net's whole answer for a photo. The same as `Distribution` in model/distribution.py.
export async function read(bytes) {
  const text = new TextDecoder();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length < 12 ? 12 : 12 + view.getUint32(8, true);
  if (text.decode(bytes.subarray(0, 8)) !== "ACDIST01" || end > bytes.length) throw new Error("this is no distribution of version 1");
  const header = JSON.parse(text.decode(bytes.subarray(12, end)));
  const inflated = new Blob([bytes.subarray(end)]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const codes = new Uint8Array(await new Response(inflated).arrayBuffer());
  if (codes.length !== header.shape.reduce((a, b) => a * b)) throw new Error("this distribution is cut off");
  return new Distribution(header, codes);
}
export class Distribution {
  constructor(header, codes) {
    Object.assign(this, { header, codes });
    [this.colors, this.height, this.width] = header.shape;
    this.levels = Float64Array.from({ length: 256 }, (_, code) => -header.floor * (code / 255) ** header.power);
  }
  decoding(boldness) { // [share of the rebalancing taken back, temperature] at a boldness of -1 to 1
    const rows = this.header.boldness;
    const at = Math.min(Math.max(boldness, rows[0][0]), rows.at(-1)[0]);
    const above = rows[Math.max(1, rows.findIndex((row) => row[0] >= at))] ?? rows[0];
    const below = rows[rows.indexOf(above) - 1] ?? above;
    const part = above === below ? 0 : (at - below[0]) / (above[0] - below[0]);
    return [1, 2].map((column) => below[column] + part * (above[column] - below[column]));
  }
  logits(place, boldness = 0) { // of one place, row * width + column: log-probabilities less the largest
    const moved = boldness ? this.header.decoding.taken_back - this.decoding(boldness)[0] : 0;
    const found = new Float64Array(this.colors), places = this.height * this.width;
    for (let q = 0; q < this.colors; q++) found[q] = this.levels[this.codes[q * places + place]] + (moved && moved * this.header.log_weights[q]);
    const largest = found.reduce((a, b) => Math.max(a, b));
    return found.map((value) => value - largest);
  }
  annealed(temperature = null, boldness = 0) { // Float64Array of 2 * height * width: all a, then all b
    const sharp = temperature ?? this.decoding(boldness)[1], places = this.height * this.width, ab = new Float64Array(2 * places);
    for (let place = 0; place < places; place++) {
      const logits = this.logits(place, boldness), mode = logits.indexOf(0);
      const weights = logits.map((value, q) => (sharp < 1e-6 ? Number(q === mode) : Math.exp(value / sharp)));
      [ab[place], ab[places + place]] = this.mean(weights, weights.reduce((a, b) => a + b));
    }
    return ab;
  }
  palette(row, column, count = 5) { // [a, b, probability] of the likely distinct colors of a place, likeliest first
    const { centers } = this.header, left = this.logits(row * this.width + column).map(Math.exp), all = left.reduce((a, b) => a + b);
    const found = [];
    while (found.length < count) {
      const [a, b] = centers[left.indexOf(left.reduce((x, y) => Math.max(x, y)))];
      const near = left.map((value, q) => (Math.hypot(centers[q][0] - a, centers[q][1] - b) <= 20 ? value : 0)), sum = near.reduce((x, y) => x + y);
      found.push([...this.mean(near, Math.max(sum, 1e-9)), sum / all]);
      near.forEach((value, q) => { left[q] -= value; });
    }
    return found.filter((color) => color[2] >= 0.005).sort((one, other) => other[2] - one[2]);
  }
  mean(weights, sum) { return [0, 1].map((axis) => weights.reduce((total, weight, q) => total + weight * this.header.centers[q][axis], 0) / sum); }
}
