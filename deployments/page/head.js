// The finished head: in WebGL where that can be had, else as the turntable.

import { readBlob } from "/api.js";
import { byId, calm, make } from "/dom.js";
import { firstFrame } from "/gallery.js";

const NO_LIBRARIES =
  "This service was set up without the 3D viewer, so this is the turntable. Whoever runs it can " +
  "bring the viewer in with “make page”.";
const NO_WEBGL =
  "The 3D viewer does not run in this browser, so this is the turntable. Switching on WebGL, or " +
  "graphics acceleration, helps.";

/** Show the head of a finished job until `signal`. */
export async function showHead(job, settings, signal) {
  const box = byId("viewer");
  for (const old of box.querySelectorAll("canvas, img")) old.remove();
  byId("viewer-busy").hidden = false;
  byId("turn").hidden = true;
  byId("viewer-note").hidden = true;
  box.hidden = false;
  const control = settings.viewer ? await inWebGl(job, box, signal).catch(() => null) : null;
  if (signal.aborted) return;
  if (!control) explain(settings.viewer ? NO_WEBGL : NO_LIBRARIES);
  offerTurning(control ?? (await asTurntable(job, box, signal)));
  byId("viewer-busy").hidden = true;
}

/** What turns the head on and off, with `whenTurned` to be called when that changes. */
async function inWebGl(job, box, signal) {
  const canvas = make("canvas", { tabIndex: 0, role: "application" });
  canvas.setAttribute("aria-label", "The head in 3D. Arrow keys turn it, plus and minus zoom.");
  const name = job.files["avatar.spz"] ? "avatar.spz" : "avatar.ply";
  const [{ HeadViewer }, blob] = await Promise.all([
    import("/viewer.js"),
    readBlob(job.files[name], signal),
  ]);
  if (signal.aborted) return null;
  box.prepend(canvas);
  let viewer = null;
  try {
    const control = { whenTurned: () => {} };
    viewer = new HeadViewer(canvas, (turning) => control.whenTurned(turning));
    signal.addEventListener("abort", () => viewer.dispose());
    await viewer.show(await blob.arrayBuffer(), name);
    control.turn = (turning) => viewer.turn(turning);
    return control;
  } catch (error) {
    viewer?.dispose();
    canvas.remove();
    throw error;
  }
}

async function asTurntable(job, box, signal) {
  const blob = await readBlob(job.files["turntable.webp"], signal);
  const still = await firstFrame(blob);
  const moving = make("img", { src: URL.createObjectURL(blob), alt: "The head, turning" });
  signal.addEventListener("abort", () => URL.revokeObjectURL(moving.src));
  still.setAttribute("role", "img");
  still.setAttribute("aria-label", "The head from the front");
  box.prepend(still);
  const control = { whenTurned: () => {} };
  control.turn = (turning) => {
    (turning ? still : moving).replaceWith(turning ? moving : still);
    control.whenTurned(turning);
  };
  return control;
}

function offerTurning(control) {
  const button = byId("turn");
  let turning = false;
  control.whenTurned = (now) => {
    turning = now;
    button.textContent = now ? "Pause" : "Turn";
  };
  control.whenTurned(false);
  button.onclick = () => control.turn(!turning);
  button.hidden = false;
  if (!calm.matches) control.turn(true);
}

function explain(words) {
  byId("viewer-note").textContent = words;
  byId("viewer-note").hidden = false;
}
