// What belongs to the thing that was tapped: places to which no strong edge is on the way, by the photo's lightness alone.

import { lab } from "./lab.js";

/** Places on the shorter side of the grid in which it is looked for: as many as the net answers for. */
const PLACES = 56;
/** How long a way across an edge is, beside one over the whole shorter side, for a step from black to white. */
const EDGE = 4;
/** How long a way within one thing may be. */
const FARTHEST = 0.7;
/** So many places stand for a thing, at most, and are this far apart at least, in steps of the grid. */
const MOST = 5;
const APART = 3;

/** The photo's lightness, as `reach` looks at it. */
export class Grid {
  /** @param {ImageData} gray the photo, whose red is as good as any @param {{left: number, top: number, right: number, bottom: number}} box of it that is colored, 0…1 */
  constructor({ data, width, height }, box = { left: 0, top: 0, right: 1, bottom: 1 }) {
    this.box = box;
    const across = (box.right - box.left) * width, down = (box.bottom - box.top) * height;
    const scale = PLACES / Math.min(across, down);
    this.columns = Math.max(1, Math.round(scale * across));
    this.rows = Math.max(1, Math.round(scale * down));
    const at = (column, row) => {
      const x = Math.min(width - 1, Math.floor(box.left * width + ((column + 0.5) * across) / this.columns));
      const y = Math.min(height - 1, Math.floor(box.top * height + ((row + 0.5) * down) / this.rows));
      return LIGHTNESS[data[4 * (y * width + x)]];
    };
    const sampled = this.#each((column, row) => at(column, row));
    // The middle one of nine: folds and grain are no edges.
    this.lightness = this.#each((column, row) => middle(this.#around(column, row).map(([x, y]) => sampled[y * this.columns + x])));
  }

  #each(value) {
    return Float64Array.from({ length: this.rows * this.columns }, (_, place) => value(place % this.columns, Math.floor(place / this.columns)));
  }

  /** The place itself, and those beside it that there are. */
  #around(column, row) {
    const found = [];
    for (let y = Math.max(0, row - 1); y <= Math.min(this.rows - 1, row + 1); y++) {
      for (let x = Math.max(0, column - 1); x <= Math.min(this.columns - 1, column + 1); x++) found.push([x, y]);
    }
    return found;
  }

  /** The place of the grid at a place of the photo, which may lie outside of what is colored. */
  #cell({ x, y }) {
    const inside = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    const { left, top, right, bottom } = this.box;
    return [inside((x - left) / (right - left), this.columns), inside((y - top) / (bottom - top), this.rows)];
  }

  /**
   * @param {{x: number, y: number}} tapped 0…1 across and down the photo
   * @returns {{places: {x: number, y: number}[], has: (place: {x: number, y: number}) => boolean}} the tapped place and others that
   *   stand for the whole thing; and what else lies in it
   */
  reach(tapped) {
    const [column, row] = this.#cell(tapped);
    const isIn = this.#ways(column, row).map((way) => way < FARTHEST);
    const inner = this.#each((x, y) => this.#around(x, y).every(([a, b]) => isIn[b * this.columns + a]));
    const places = [tapped];
    // The farthest from all that are there comes next.
    const left = this.#each((x, y) => (inner[y * this.columns + x] ? Math.hypot(x - column, y - row) : 0));
    while (places.length < MOST) {
      const far = left.reduce((most, distance) => Math.max(most, distance));
      if (far < APART) break;
      const next = left.indexOf(far), x = next % this.columns, y = Math.floor(next / this.columns);
      places.push(this.#place(x, y));
      left.forEach((distance, place) => { left[place] = Math.min(distance, Math.hypot((place % this.columns) - x, Math.floor(place / this.columns) - y)); });
    }
    const has = (place) => {
      const [x, y] = this.#cell(place);
      return isIn[y * this.columns + x] > 0;
    };
    return { places, has };
  }

  #place(column, row) {
    const { left, top, right, bottom } = this.box;
    const x = left + ((column + 0.5) / this.columns) * (right - left), y = top + ((row + 0.5) / this.rows) * (bottom - top);
    return { x: Math.round(1e4 * x) / 1e4, y: Math.round(1e4 * y) / 1e4 };
  }

  /** How long the shortest way is to each place, where that is less than FARTHEST: else without end. */
  #ways(column, row) {
    const ways = new Float64Array(this.rows * this.columns).fill(Infinity);
    ways[row * this.columns + column] = 0;
    let edge = [[column, row]];
    const shorter = Math.min(this.rows, this.columns);
    while (edge.length) {
      const next = new Map();
      for (const [x, y] of edge) {
        const here = y * this.columns + x;
        for (const [toX, toY] of this.#around(x, y)) {
          const there = toY * this.columns + toX;
          const step = Math.hypot(EDGE * (this.lightness[there] - this.lightness[here]), Math.hypot(toX - x, toY - y) / shorter);
          if (ways[here] + step >= Math.min(ways[there], FARTHEST)) continue;
          ways[there] = ways[here] + step;
          next.set(there, [toX, toY]);
        }
      }
      edge = [...next.values()];
    }
    return ways;
  }
}

/** Of each 8-bit gray, 0…1. */
const LIGHTNESS = Float64Array.from({ length: 256 }, (_, code) => lab(code, code, code)[0] / 100);

function middle(values) {
  return values.sort((one, other) => one - other)[values.length >> 1];
}
