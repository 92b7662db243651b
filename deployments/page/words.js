// What the service's names and numbers mean in plain words.

export const STAGES = {
  Load: "Reading the photo",
  Prepare: "Finding and framing the face",
  LowRes: "Imagining 16 views",
  HighRes: "Sharpening the views",
  Reconstruct: "Building the head",
  Judge: "Checking the likeness",
  Export: "Saving the files",
};

export const TITLES = {
  queued: "Waiting for its turn",
  running: "Making your avatar",
  succeeded: "Your avatar",
  rejected: "This photo does not work",
  failed: "This did not work",
  cancelled: "Stopped",
};

export const BADGES = {
  queued: "waiting",
  running: "in the making",
  rejected: "photo refused",
  failed: "failed",
  cancelled: "stopped",
};

export const DOWNLOADS = {
  "avatar.ply": ["PLY", "for every viewer and editor of Gaussian splats"],
  "avatar.spz": ["SPZ", "the same, a quarter of the size, for the web"],
  "avatar.glb": ["GLB", "glTF with Gaussian splats"],
  "turntable.webp": ["WebP", "the head turning, as a moving picture"],
};

const LIKE = 0.6;
const FAINTLY_LIKE = 0.4;
const OUTLINE = 0.92;
const SPECKS = 0.01;
const AGREEMENT_DB = 20.5;

/** What the scores of avatar.json say: `{good, text, number}` each; docs/formats.md has the limits. */
export function scoresInWords({ scores, face_found: faceFound }) {
  const told = [];
  if (faceFound === false) {
    told.push({
      good: false,
      text: "No face is seen from the front. Another photo may do better.",
      number: "no face",
    });
  } else if (scores.identity_cosine !== undefined) {
    told.push(likeness(scores.identity_cosine));
  }
  if (scores.cross_view_psnr !== undefined) {
    const good = scores.cross_view_psnr >= AGREEMENT_DB;
    const text = good
      ? "Head and views agree about as well as in good heads."
      : "The views contradict each other more than is usual, so the head is soft.";
    told.push({ good, text, number: `${scores.cross_view_psnr.toFixed(1)} dB, good from 20.5` });
  }
  if (scores.mask_iou !== undefined) {
    const good = scores.mask_iou >= OUTLINE;
    const text = good ? "The outline is clean." : "The outline strays from the views in places.";
    told.push({ good, text, number: `${percent(scores.mask_iou)} overlap, good from 92 %` });
  }
  if (scores.floaters !== undefined) {
    const good = scores.floaters <= SPECKS;
    const text = good ? "No specks float round the head." : "Some specks float round the head.";
    told.push({ good, text, number: `${percent(scores.floaters)} specks, good up to 1 %` });
  }
  return told;
}

function likeness(cosine) {
  const number = `${cosine.toFixed(2)} of 1, good from 0.6`;
  if (cosine >= LIKE) return { good: true, text: "The face is like the portrait's.", number };
  const text =
    cosine >= FAINTLY_LIKE
      ? "The face is somewhat like the portrait's, as is usual when the head is turned in the photo."
      : "The face is hardly like the portrait's. A photo from the front may do better.";
  return { good: false, text, number };
}

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

export const moment = (iso) =>
  new Date(iso).toLocaleString(undefined, {
    month: "short", day: "numeric", hour: "numeric", minute: "2-digit",
  });

/** Seconds as "42 s" or "3 min 5 s". */
export function duration(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
