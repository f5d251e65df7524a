// The page of a photo that is not there, or could not be colored.

import { offerErasing } from "./erasing.js";
import { showRecent } from "./gallery.js";
import { forget } from "./recent.js";

const id = location.pathname.split("/").at(-1);
const box = document.getElementById("erase");
const isGone = document.querySelector(".trouble[data-is=gone]") !== null;
if (isGone) forget(id);
offerErasing(box, id);
showRecent(document.getElementById("recent"), id);
