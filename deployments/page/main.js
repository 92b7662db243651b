// The page's start: which of its two views is shown, and the key.

import { forgetKey, hasKey, keepKey, Problem, read, whenKeyIsMissing } from "/api.js";
import { showAvatar } from "/avatar.js";
import { byId, showProblem } from "/dom.js";
import { showGallery } from "/gallery.js";
import { showLimits, startUploads } from "/upload.js";

let settings = null;
let leave = new AbortController();
let asking = null;

const ask = (wasRefused) => {
  asking ??= askForKey(wasRefused).finally(() => (asking = null));
  return asking;
};

async function askForKey(wasRefused) {
  const dialog = byId("ask-key");
  const input = byId("key");
  input.value = "";
  byId("key-error").textContent = wasRefused
    ? "That key is unknown or was revoked. Check that all of it was copied."
    : "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  const key = input.value.trim();
  if (!key || dialog.returnValue !== "given") {
    throw new Problem({ title: "This service asks for a key.", detail: "Without one it shows nothing." });
  }
  keepKey(key);
  byId("forget-key").hidden = false;
}

/** Show the view that the address names; the id of its avatar, if it is one's. */
function turnToView() {
  const id = location.hash.match(/^#(av_[a-z0-9]+)$/)?.[1];
  byId("home").hidden = Boolean(id);
  byId("avatar").hidden = !id;
  if (!id) document.title = "headsplat";
  return id;
}

async function route({ focus = true } = {}) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const id = turnToView();
  if (focus) byId(id ? "avatar-title" : "home-title").focus();
  try {
    await (id ? showAvatar(id, settings, signal) : showGallery(signal));
  } catch (error) {
    if (signal.aborted) return;
    showProblem(byId(id ? "avatar-error" : "gallery-error"), error, () => route());
  }
}

async function start() {
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("content").focus();
  });
  byId("forget-key").hidden = !hasKey();
  byId("forget-key").addEventListener("click", () => {
    forgetKey();
    location.reload();
  });
  const reading = read("/page.json");
  startUploads(reading);
  turnToView();
  try {
    settings = await reading;
  } catch (error) {
    byId("home").hidden = false;
    byId("cards").replaceChildren();
    showProblem(byId("gallery-error"), error, () => location.reload());
    return;
  }
  if (settings.keys_needed) whenKeyIsMissing(ask);
  showLimits(settings);
  addEventListener("hashchange", () => route());
  await route({ focus: false });
}

start();
