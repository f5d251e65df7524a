// Shows a picture for as long as is meant, by the frames that the browser paints.

/** Milliseconds by which a frame may come too late for its moment: half of one at 60 Hz. */
const HALF_A_FRAME = 8;
/** Shorter or longer than so much of what was meant, and a picture was not shown fairly: the tab was hidden, or the machine busy. */
const FAIR = [0.9, 1.25];

/** Resolves with an <img> that can be painted at once. Rejects where there is none. */
export async function decoded(url) {
  const image = new Image();
  image.src = url;
  image.alt = "";
  await image.decode();
  return image;
}

/** Shows the picture; resolves, once it is gone, with whether that was for so many milliseconds. */
export async function expose(place, image, milliseconds) {
  const begin = await frame();
  place.replaceChildren(image);
  const end = await frameAfter(begin + milliseconds);
  place.replaceChildren();
  performance.measure("exposure", { start: begin, end });
  const share = (end - begin) / milliseconds;
  return share >= FAIR[0] && share <= FAIR[1];
}

/** Resolves so many milliseconds later, while the page is seen. */
export async function pause(milliseconds) {
  await frameAfter((await frame()) + milliseconds);
}

async function frameAfter(moment) {
  let now;
  do now = await frame();
  while (now < moment - HALF_A_FRAME);
  return now;
}

/** The next frame: what is changed then is painted in it. */
function frame() {
  return new Promise(requestAnimationFrame);
}
