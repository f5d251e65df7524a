// A photo's own page: the comparison, gray beside color in one picture, becomes one with a slider.

import { Compare, loads, shape } from "./compare.js";

const both = document.getElementById("both");
const frame = document.getElementById("compare");
const compare = new Compare(frame);

if (await loads(both, both.src)) {
  compare.before.src = compare.after.src = both.src;
  shape(frame, { naturalWidth: both.naturalWidth / 2, naturalHeight: both.naturalHeight });
  await Promise.all([compare.before.decode(), compare.after.decode()]);
  both.hidden = true;
  frame.hidden = false;
  compare.reveal();
}
